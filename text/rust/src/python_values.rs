//! How Python prints values: Jinja2 templates show `str(x)`, and containers show their elements' `repr`.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Values nested deeper than this are an error; Python's own limit is about 1,000 frames.
pub const MAX_DEPTH: usize = 500;

pub fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value is nested deeper than {MAX_DEPTH} levels"))
}

/// `str(value)`.
pub fn str_of(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match (value.kind(), value.as_str()) {
        (ValueKind::Undefined, _) => {}
        (_, Some(text)) => out.push_str(text),
        _ => write_repr(value, 0, &mut out)?,
    }
    Ok(out)
}

fn write_repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string_repr(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => write_sequence(value, depth, out)?,
        ValueKind::Map => write_map(value, depth, out)?,
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_sequence(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    let tuple = value.is_tuple();
    out.push(if tuple { '(' } else { '[' });
    let mut count = 0;
    for item in value.try_iter()? {
        if count > 0 {
            out.push_str(", ");
        }
        write_repr(&item, depth + 1, out)?;
        count += 1;
    }
    if tuple && count == 1 {
        out.push(',');
    }
    out.push(if tuple { ')' } else { ']' });
    Ok(())
}

fn write_map(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    out.push('{');
    for (i, key) in value.try_iter()?.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_repr(&key, depth + 1, out)?;
        out.push_str(": ");
        write_repr(&value.get_item(&key)?, depth + 1, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
}

/// Python's str.isprintable and Rust's escape_debug use the same rule (categories C* and Z* except the space), except that escape_debug
/// also escapes a *leading* combining mark.
fn is_printable(c: char) -> bool {
    let after_a_letter: String = ['a', c].iter().collect();
    let escaped: String = after_a_letter.escape_debug().skip(1).collect();
    !(escaped.starts_with("\\u") || escaped.starts_with("\\0"))
}

/// `repr` of an int or a float.
pub fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map(float).unwrap_or_else(|_| value.to_string())
}

/// `repr(float)`: shortest digits, an exponent from 1e16 and below 1e-4.
pub fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_string();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let magnitude = x.abs();
    if x == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{x:?}");
    }
    // Rust: 1e-5, Python: 1e-05.
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}
