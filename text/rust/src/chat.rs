//! Chat templates: Jinja as transformers runs it (transformers/utils/chat_template_utils.py), on minijinja.
//!
//! `{% generation %}` blocks mark what the assistant said. minijinja has no such tag, so each one becomes a block of the same trimming that
//! prints a marker; the markers are cut out of
//! the result and give the spans.

use crate::ffi::{guard, put, slice, text, Bytes, Ids};
use crate::limits::{with_limits, LIMIT_REACHED};
use crate::python_json::tojson;
use crate::python_values::str_of;
use crate::strftime::format_now;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use serde_json::{Map, Value as Json};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Instructions a template may execute: under a second of work, enough for conversations of thousands of messages.
const FUEL: u64 = 2_000_000;
/// Bytes a template may print. Spans are 32-bit.
const MAX_OUTPUT_BYTES: usize = 256 << 20;
const TEMPLATE: &str = "chat";
const NOW: &str = "__candor_now";
/// Replaced per render by text that occurs nowhere in the input.
const OPEN: &str = "__candor_generation_open";
const CLOSE: &str = "__candor_generation_close";

pub struct Chat {
    environment: Arc<Environment<'static>>,
    refused: AtomicBool, // it reached the limit of memory once
}

#[repr(C)]
pub struct Borrowed {
    data: *const u8,
    len: usize,
}

/// Mirrors CandorChatRequest in text/rust_interface.h. Empty JSON means "none".
#[repr(C)]
pub struct Request {
    messages: Borrowed,
    special_tokens: Borrowed,
    tools: Borrowed,
    extra: Borrowed,
    add_generation_prompt: i32,
    has_now: i32,
    now_unix_s: i64,
}

#[no_mangle]
pub unsafe extern "C" fn candor_chat_new(source: *const u8, len: usize, out: *mut *mut Chat, error: *mut Bytes) -> i32 {
    guard(error, || {
        let source = text(source, len)?.to_string();
        let chat = with_limits(move || compile(&source))?;
        out.write(Box::into_raw(Box::new(chat)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn candor_chat_free(chat: *mut Chat) {
    if !chat.is_null() {
        drop(Box::from_raw(chat));
    }
}

/// `spans` gets begin, end, begin, end, ... in bytes of the text.
#[no_mangle]
pub unsafe extern "C" fn candor_chat_render(
    chat: *const Chat,
    request: *const Request,
    out: *mut Bytes,
    spans: *mut Ids,
    error: *mut Bytes,
) -> i32 {
    guard(error, || {
        let (chat, request) = (&*chat, &*request);
        let context = build_context(request)?;
        if chat.refused.load(Ordering::Relaxed) {
            return Err(LIMIT_REACHED.to_string());
        }
        let environment = chat.environment.clone();
        let result = with_limits(move || render(&environment, context));
        if matches!(&result, Err(error) if error == LIMIT_REACHED) {
            chat.refused.store(true, Ordering::Relaxed);
        }
        let (rendered, markers) = result?;
        let (plain, ranges) = cut_markers(&rendered, &markers)?;
        put(out, plain.into_bytes());
        put(spans, ranges);
        Ok(())
    })
}

fn compile(source: &str) -> Result<Chat, String> {
    let mut environment = Environment::new();
    let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| e.to_string())?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    // Their cost grows with the square of the nesting, which fuel does not see.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: Value| str_of(&value));
    environment.add_test("iterable", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Iterable | ValueKind::Undefined)
    });
    environment.add_function("raise_exception", |message: Value, _: Kwargs| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, str_of(&message)?))
    });
    environment.add_function("strftime_now", |state: &State, format: &str| -> Result<String, Error> {
        let now = state.lookup(NOW).and_then(|v| v.as_i64());
        format_now(format, now).map_err(|message| Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.set_formatter(|out, _, value| out.write_str(&str_of(value)?).map_err(Error::from));
    let source = mark_generation(&source.replace("\r\n", "\n").replace('\r', "\n"));
    environment.add_template_owned(TEMPLATE, source).map_err(|e| describe(&e))?;
    Ok(Chat { environment: Arc::new(environment), refused: AtomicBool::new(false) })
}

/// The error with its causes and, where known, the template's line.
fn describe(error: &Error) -> String {
    let mut message = match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (template line {line})"),
        (Some(detail), None) => detail.to_string(),
        (None, Some(line)) => format!("{} (template line {line})", error.kind()),
        (None, None) => error.kind().to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message += &format!(": {inner}");
        cause = inner.source();
    }
    message
}

/// `{% generation %}` and `{% endgeneration %}`, with any trim marks, become blocks that print a marker.
fn mark_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let tag = &rest[start..];
        let Some(end) = tag.find("%}") else { break };
        let inside = &tag[2..end];
        let left = if inside.starts_with(['-', '+']) { &inside[..1] } else { "" };
        let body = &inside[left.len()..];
        let right = if body.ends_with(['-', '+']) { &body[body.len() - 1..] } else { "" };
        let marker = match body[..body.len() - right.len()].trim() {
            "generation" => Some(OPEN),
            "endgeneration" => Some(CLOSE),
            _ => None,
        };
        out.push_str(&rest[..start]);
        match marker {
            Some(name) => out.push_str(&format!("{{%{left} if true %}}{{{{ {name} }}}}{{% endif {right}%}}")),
            None => out.push_str(&tag[..end + 2]),
        }
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out
}

unsafe fn parse_json(borrowed: &Borrowed, what: &str) -> Result<Json, String> {
    match slice(borrowed.data, borrowed.len) {
        [] => Ok(Json::Null),
        bytes => serde_json::from_slice(bytes).map_err(|e| format!("{what} are not valid JSON: {e}")),
    }
}

unsafe fn build_context(request: &Request) -> Result<Map<String, Json>, String> {
    let mut context = Map::new();
    for (borrowed, what) in [(&request.special_tokens, "the special tokens"), (&request.extra, "the extra variables")] {
        match parse_json(borrowed, what)? {
            Json::Null => {}
            Json::Object(entries) => context.extend(entries),
            _ => return Err(format!("{what} must be a JSON object")),
        }
    }
    let mut messages = parse_json(&request.messages, "the messages")?;
    match &mut messages {
        Json::Array(list) if list.iter().all(Json::is_object) => list.iter_mut().for_each(alias_reasoning),
        _ => return Err("the messages must be a JSON array of objects".to_string()),
    }
    context.insert("messages".to_string(), messages);
    context.insert("tools".to_string(), parse_json(&request.tools, "the tools")?);
    context.entry("documents").or_insert(Json::Null);
    context.insert("add_generation_prompt".to_string(), Json::Bool(request.add_generation_prompt != 0));
    context.insert(NOW.to_string(), if request.has_now != 0 { Json::from(request.now_unix_s) } else { Json::Null });
    Ok(context)
}

/// As transformers does: reasoning given under any of its three names can be read under the two that templates use.
fn alias_reasoning(message: &mut Json) {
    let Json::Object(fields) = message else { return };
    let reasoning =
        ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| fields.get(*name).filter(|v| !v.is_null())).cloned();
    if let Some(reasoning) = reasoning {
        let mut aliased = Map::new();
        aliased.insert("thinking".to_string(), reasoning.clone());
        aliased.extend(std::mem::take(fields));
        aliased.insert("reasoning_content".to_string(), reasoning);
        *fields = aliased;
    }
}

struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(std::io::Error::other(format!("the template printed more than {MAX_OUTPUT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn render(environment: &Environment<'static>, mut context: Map<String, Json>) -> Result<(String, [String; 2]), String> {
    let markers = unused_markers(&context)?;
    context.insert(OPEN.to_string(), Json::from(markers[0].as_str()));
    context.insert(CLOSE.to_string(), Json::from(markers[1].as_str()));
    let template = environment.get_template(TEMPLATE).map_err(|e| describe(&e))?;
    let mut out = Limited(Vec::new());
    template.render_captured_to(minijinja::value::Serde(&context), &mut out).map_err(|e| describe(&e))?;
    Ok((String::from_utf8(out.0).map_err(|_| "the template printed bytes that are not UTF-8")?, markers))
}

/// Private-use text that the input does not contain, so that no message can forge a span.
fn unused_markers(context: &Map<String, Json>) -> Result<[String; 2], String> {
    let input = serde_json::to_string(context).map_err(|e| e.to_string())?;
    let number = (0..).find(|n| !input.contains(&format!("\u{F8F1}{n}"))).unwrap_or(0);
    Ok([format!("\u{F8F1}{number}<\u{F8F2}"), format!("\u{F8F1}{number}>\u{F8F2}")])
}

fn cut_markers(rendered: &str, markers: &[String; 2]) -> Result<(String, Vec<u32>), String> {
    let mut plain = String::with_capacity(rendered.len());
    let mut spans: Vec<u32> = Vec::new();
    let mut rest = rendered;
    loop {
        let inside = spans.len() % 2 == 1;
        let Some(at) = rest.find(&markers[usize::from(inside)]) else { break };
        plain.push_str(&rest[..at]);
        spans.push(plain.len() as u32);
        rest = &rest[at + markers[0].len()..];
    }
    plain.push_str(rest);
    if spans.len() % 2 == 1 || plain.contains(&markers[0]) || plain.contains(&markers[1]) {
        return Err("{% generation %} blocks are nested or cut by the template".to_string());
    }
    Ok((plain, spans))
}
