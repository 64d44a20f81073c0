//! The Rust half of text/: Hugging Face tokenizers, Jinja chat templates and the safetensors header check behind a C interface
//! (text/rust_interface.h is its other side).
//!
//! Holds for every exported function: a panic comes back as an error code with its message and never unwinds into C++; buffers that are
//! handed out are freed by
//! `candor_text_free_bytes` / `candor_text_free_ids`; input bytes are only borrowed for the call.

mod chat;
mod ffi;
mod limits;
mod python_json;
mod python_values;
mod safetensors_index;
mod strftime;
mod tokenizer;
