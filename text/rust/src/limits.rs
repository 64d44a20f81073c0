//! What one template may cost in memory. Fuel bounds its instructions, but twenty of them double a string to gigabytes, and neither minijinja
//! nor Rust's strings can be told to stop: an allocation that fails ends the process.
//!
//! So templates run on a thread of their own whose large allocations are counted by the allocator. The one that would go over the limit never
//! returns: its thread sleeps for ever, and whoever waited for it is told. That leaks at most the limit, once per template (the caller must
//! not use it again), which is what it costs to refuse a hostile one without ending the process.

use crate::ffi::panic_message;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes in large blocks that a template's thread may hold.
const MAX_BYTES: isize = 128 << 20;
/// Smaller blocks are not counted; fuel bounds how many there can be.
const LARGE: usize = 4 << 10;
/// A list that is added to itself is read for ever without an instruction or an allocation. Its thread cannot be stopped, only left alone.
/// The processor's time counts, not the clock's: a process that was suspended for a minute has a good template all the same.
const MAX_TIME: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
/// Reserved, not used: values nested deeply by a template are printed and dropped recursively.
const STACK_BYTES: usize = 512 << 20;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LEFT: Cell<isize> = const { Cell::new(isize::MAX) };
    static GATE: Cell<*const Gate> = const { Cell::new(std::ptr::null()) };
}

/// Where the one who waits hears of the end.
struct Gate {
    over: Mutex<Option<bool>>, // Some(true): the limit was reached
    changed: Condvar,
}

impl Gate {
    fn tell(&self, limit_reached: bool) {
        *self.over.lock().unwrap_or_else(|e| e.into_inner()) = Some(limit_reached);
        self.changed.notify_all();
    }
}

fn charge(bytes: isize) {
    let _ = LEFT.try_with(|left| {
        if left.get() == isize::MAX {
            return; // not a template's thread
        }
        left.set(left.get().saturating_sub(bytes).min(MAX_BYTES));
        if left.get() < 0 {
            left.set(isize::MAX); // what follows allocates nothing, but must not come here again
                                  // The gate lives as long as this thread, which holds a share of it and never ends.
            GATE.with(|gate| unsafe { (*gate.get()).tell(true) });
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            charge(layout.size() as isize);
        }
        System.alloc(layout)
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            charge(layout.size() as isize);
        }
        System.alloc_zeroed(layout)
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        System.dealloc(pointer, layout);
        if layout.size() >= LARGE {
            charge(-(layout.size() as isize));
        }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, new) = (if layout.size() >= LARGE { layout.size() } else { 0 }, if size >= LARGE { size } else { 0 });
        if new > old {
            charge((new - old) as isize);
        }
        let moved = System.realloc(pointer, layout, size);
        if new < old {
            charge(-((old - new) as isize));
        }
        moved
    }
}

/// What a thread that was not joined yet has used; nothing where it has ended.
fn processor_time<T>(thread: &JoinHandle<T>) -> Duration {
    let mut clock: libc::clockid_t = 0;
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let known = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &mut clock) == 0 && libc::clock_gettime(clock, &mut used) == 0 };
    if known {
        Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    } else {
        Duration::ZERO
    }
}

/// Runs `work` on a thread with a large stack and limited memory.
pub fn with_limits<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let gate = Arc::new(Gate { over: Mutex::new(None), changed: Condvar::new() });
    let shared = gate.clone();
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            GATE.with(|mine| mine.set(Arc::as_ptr(&shared)));
            LEFT.with(|left| left.set(MAX_BYTES));
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panic_message()));
            LEFT.with(|left| left.set(isize::MAX));
            shared.tell(false);
            result
        })
        .unwrap_or_else(|e| panic!("cannot start a thread: {e}")); // the machine's failure, not the template's
    let mut over = gate.over.lock().unwrap_or_else(|e| e.into_inner());
    while over.is_none() && processor_time(&thread) < MAX_TIME {
        over = gate.changed.wait_timeout(over, LOOK).unwrap_or_else(|e| e.into_inner()).0;
    }
    if *over != Some(false) {
        return Err(LIMIT_REACHED.to_string());
    }
    drop(over);
    thread.join().map_err(|_| "a thread panicked".to_string())?
}

pub const LIMIT_REACHED: &str = "the template needs more than 128 MiB of memory, or more than 10 seconds";
