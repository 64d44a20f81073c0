//! What crosses the C interface: buffers, and the guard that turns errors and panics into codes.

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

/// A Rust vector lent to C++; (null, 0, 0) is empty.
#[repr(C)]
pub struct Lent<T> {
    pub data: *mut T,
    pub len: usize,
    pub capacity: usize,
}

pub type Bytes = Lent<u8>;
pub type Ids = Lent<u32>;

impl<T> Lent<T> {
    fn give(values: Vec<T>) -> Self {
        let mut values = std::mem::ManuallyDrop::new(values);
        Lent { data: values.as_mut_ptr(), len: values.len(), capacity: values.capacity() }
    }
    unsafe fn take_back(self) {
        if !self.data.is_null() {
            drop(Vec::from_raw_parts(self.data, self.len, self.capacity));
        }
    }
}

/// # Safety
/// `out` must be valid for writing or null.
pub unsafe fn put<T>(out: *mut Lent<T>, values: Vec<T>) {
    if !out.is_null() {
        out.write(Lent::give(values));
    }
}

/// # Safety
/// `data` must point to `len` values that live as long as the caller needs the slice.
pub unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, len)
    }
}

/// # Safety
/// As for `slice`.
pub unsafe fn text<'a>(data: *const u8, len: usize) -> Result<&'a str, String> {
    std::str::from_utf8(slice(data, len)).map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to()))
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The default hook prints to stderr; ours keeps the message for the error that the guard returns.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = info.to_string();
            LAST_PANIC.with(|last| *last.borrow_mut() = message);
        }))
    });
}

pub const OK: i32 = 0;
pub const FAILED: i32 = 1;
pub const PANICKED: i32 = 2;

/// Runs `work`; on an error or a panic writes the message to `error`.
/// # Safety
/// `error` must be valid for writing or null.
pub unsafe fn guard(error: *mut Bytes, work: impl FnOnce() -> Result<(), String>) -> i32 {
    install_panic_hook();
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => OK,
        Ok(Err(message)) => {
            put(error, message.into_bytes());
            FAILED
        }
        Err(_) => {
            let message = LAST_PANIC.with(|last| std::mem::take(&mut *last.borrow_mut()));
            put(error, message.into_bytes());
            PANICKED
        }
    }
}

/// What the last panic of this thread said.
pub fn panic_message() -> String {
    LAST_PANIC.with(|last| std::mem::take(&mut *last.borrow_mut()))
}

#[no_mangle]
pub unsafe extern "C" fn candor_text_free_bytes(bytes: Bytes) {
    bytes.take_back()
}

#[no_mangle]
pub unsafe extern "C" fn candor_text_free_ids(ids: Ids) {
    ids.take_back()
}
