//! strftime as Python's datetime has it: the C library's, plus %f (microseconds), with empty %z and %Z (transformers formats a naive
//! datetime).

use std::ffi::CString;

/// `now`: seconds since 1970 in UTC, or None for the present in local time.
pub fn format_now(format: &str, now: Option<i64>) -> Result<String, String> {
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    let seconds = match now {
        Some(seconds) => seconds as libc::time_t,
        None => unsafe { libc::time(std::ptr::null_mut()) },
    };
    let filled = unsafe {
        match now {
            Some(_) => libc::gmtime_r(&seconds, &mut broken_down),
            None => libc::localtime_r(&seconds, &mut broken_down),
        }
    };
    if filled.is_null() {
        return Err("strftime_now: the time is out of range".to_string());
    }
    let format = replace_python_only(format);
    if format.is_empty() {
        return Ok(String::new());
    }
    // A final space tells an empty result ("%p" in some locales) from a buffer that is too small.
    let c_format = CString::new(format + " ").map_err(|_| "strftime_now: the format holds a NUL".to_string())?;
    let mut buffer = vec![0u8; 64 + 64 * c_format.as_bytes().len()];
    let written = unsafe { libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), c_format.as_ptr(), &broken_down) };
    if written == 0 {
        return Err("strftime_now: the format is too long".to_string());
    }
    buffer.truncate(written - 1);
    String::from_utf8(buffer).map_err(|_| "strftime_now: the result is not UTF-8".to_string())
}

fn replace_python_only(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('f') => out.push_str("000000"),
            Some('z') | Some('Z') => {}
            Some(other) => out.extend(['%', other]),
            None => out.push_str("%%"),
        }
    }
    out
}
