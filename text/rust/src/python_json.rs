//! The `tojson` filter of chat templates: Python's json.dumps, as transformers configures it (no HTML escapes, ensure_ascii off).

use crate::python_values::{float, number, too_deep, MAX_DEPTH};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

struct Style {
    ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

pub fn tojson(value: Value, ensure_ascii: Option<Value>, indent: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let named = |name: &str, positional: Option<Value>| -> Result<Option<Value>, Error> {
        let value = if kwargs.has(name) { Some(kwargs.get::<Value>(name)?) } else { positional };
        Ok(value.filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let indent = named("indent", indent)?.map(|v| indent_text(&v)).transpose()?;
    let mut style = Style {
        ascii: named("ensure_ascii", ensure_ascii)?.is_some_and(|v| v.is_true()),
        item_separator: if indent.is_some() { "," } else { ", " }.to_string(),
        key_separator: ": ".to_string(),
        sort_keys: named("sort_keys", None)?.is_some_and(|v| v.is_true()),
        indent,
    };
    if let Some(separators) = named("separators", None)? {
        let parts: Vec<Value> = separators.try_iter()?.collect();
        match (parts.len(), parts.first().and_then(|v| v.as_str()), parts.last().and_then(|v| v.as_str())) {
            (2, Some(item), Some(key)) => {
                style.item_separator = item.to_string();
                style.key_separator = key.to_string();
            }
            _ => return Err(invalid("tojson: separators must be two strings")),
        }
    }
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write(&value, &style, 0, &mut out)?;
    Ok(out)
}

fn indent_text(value: &Value) -> Result<String, Error> {
    const MAX_INDENT: usize = 64;
    if let Some(text) = value.as_str() {
        return Ok(text.to_string());
    }
    match value.as_usize() {
        Some(spaces) if spaces <= MAX_INDENT => Ok(" ".repeat(spaces)),
        _ => Err(invalid(format!("tojson: indent must be text or a number up to {MAX_INDENT}"))),
    }
}

fn write(value: &Value, style: &Style, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&json_number(value)),
        ValueKind::String => write_string(value.as_str().unwrap_or_default(), style.ascii, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_list('[', ']', &items, style, depth, out, |item, out| write(item, style, depth + 1, out))?
        }
        ValueKind::Map => {
            let mut entries: Vec<(String, Value)> = Vec::new();
            for key in value.try_iter()? {
                entries.push((key_text(&key)?, value.get_item(&key)?));
            }
            if style.sort_keys {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            write_list('{', '}', &entries, style, depth, out, |(key, item), out| {
                write_string(key, style.ascii, out);
                out.push_str(&style.key_separator);
                write(item, style, depth + 1, out)
            })?
        }
        kind => return Err(invalid(format!("tojson: a value of type {kind} cannot be written as JSON"))),
    }
    Ok(())
}

fn write_list<T>(
    open: char,
    close: char,
    items: &[T],
    style: &Style,
    depth: usize,
    out: &mut String,
    mut write_item: impl FnMut(&T, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(&style.item_separator);
        }
        new_line(style, depth + 1, out);
        write_item(item, out)?;
    }
    if !items.is_empty() {
        new_line(style, depth, out);
    }
    out.push(close);
    Ok(())
}

fn new_line(style: &Style, depth: usize, out: &mut String) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn json_number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(x) if !value.is_integer() => match float(x).as_str() {
            "nan" => "NaN".to_string(),
            "inf" => "Infinity".to_string(),
            "-inf" => "-Infinity".to_string(),
            text => text.to_string(),
        },
        _ => number(value),
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match (key.kind(), key.as_str()) {
        (_, Some(text)) => Ok(text.to_string()),
        (ValueKind::None, _) => Ok("null".to_string()),
        (ValueKind::Bool, _) => Ok(if key.is_true() { "true" } else { "false" }.to_string()),
        (ValueKind::Number, _) => Ok(json_number(key)),
        (kind, _) => Err(invalid(format!("tojson: a key of type {kind} cannot be written as JSON"))),
    }
}

fn write_string(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            // json.dumps leaves DEL alone without ensure_ascii and also with it.
            c if ascii && !c.is_ascii() => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
