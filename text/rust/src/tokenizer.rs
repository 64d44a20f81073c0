//! The tokenizers crate: encode, decode, incremental decode, vocabulary.

use crate::ffi::{guard, put, slice, text, Bytes, Ids};
use std::collections::HashMap;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::tokenizer::step_decode_stream;

/// How a token's spelling in the vocabulary maps to the bytes it stands for.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    /// GPT-2's alphabet of 256 printable characters; decoding is the concatenation of the tokens' bytes.
    ByteLevel,
    /// "▁" is a space and "<0x0A>" a byte.
    SentencePiece,
    /// The token as it is.
    Plain,
}

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    spelling: Spelling,
    bytes_of: HashMap<char, u8>,
    vocab_size: u32,
}

fn spelling_of(decoder: &DecoderWrapper) -> Spelling {
    match decoder {
        DecoderWrapper::ByteLevel(_) => Spelling::ByteLevel,
        DecoderWrapper::Metaspace(_) | DecoderWrapper::ByteFallback(_) => Spelling::SentencePiece,
        DecoderWrapper::Sequence(sequence) => match sequence.get_decoders() {
            [DecoderWrapper::ByteLevel(_)] => Spelling::ByteLevel,
            parts if parts.iter().any(|part| spelling_of(part) == Spelling::SentencePiece) => Spelling::SentencePiece,
            _ => Spelling::Plain,
        },
        _ => Spelling::Plain,
    }
}

/// GPT-2's byte alphabet (openai/gpt-2 src/encoder.py, bytes_to_unicode), inverted.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut next = 256u32;
    (0..=255u8)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let code = if printable { u32::from(byte) } else { next };
            if !printable {
                next += 1;
            }
            (char::from_u32(code).unwrap_or('\0'), byte)
        })
        .collect()
}

impl Tokenizer {
    fn from_json(json: &[u8]) -> Result<Self, String> {
        tokenizers::utils::parallelism::set_parallelism(false);
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        let spelling = inner.get_decoder().map_or(Spelling::Plain, spelling_of);
        let largest = inner.get_vocab(true).into_values().max();
        let vocab_size = match largest {
            None => return Err("the vocabulary is empty".to_string()),
            Some(id) if id < i32::MAX as u32 => id + 1,
            Some(id) => return Err(format!("token id {id} does not fit 31 bits")),
        };
        Ok(Tokenizer { inner, spelling, bytes_of: byte_alphabet(), vocab_size })
    }

    fn check(&self, ids: &[u32]) -> Result<(), String> {
        match ids.iter().position(|&id| id >= self.vocab_size) {
            None => Ok(()),
            Some(at) => Err(format!("token id {} at position {at} is outside the vocabulary of {}", ids[at] as i32, self.vocab_size)),
        }
    }

    fn is_special(&self, id: u32) -> bool {
        self.inner.id_to_token(id).is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id) else { return Vec::new() };
        match self.spelling {
            Spelling::ByteLevel => {
                let bytes: Option<Vec<u8>> = token.chars().map(|c| self.bytes_of.get(&c).copied()).collect();
                bytes.unwrap_or_else(|| token.into_bytes())
            }
            Spelling::SentencePiece => match token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>')) {
                Some(hex) if hex.len() == 2 => u8::from_str_radix(hex, 16).map_or_else(|_| token.clone().into_bytes(), |byte| vec![byte]),
                _ => token.replace('▁', " ").into_bytes(),
            },
            Spelling::Plain => token.into_bytes(),
        }
    }
}

/// Text completed token by token. Byte-level vocabularies concatenate bytes, which is exact and never stalls; the others go through the
/// crate's own stream.
pub struct Stream {
    skip_special: bool,
    held: Vec<u8>,
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl Stream {
    fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, String> {
        tokenizer.check(&[id])?;
        if tokenizer.spelling == Spelling::ByteLevel {
            if !(self.skip_special && tokenizer.is_special(id)) {
                self.held.extend(tokenizer.token_bytes(id));
            }
            return Ok(take_complete(&mut self.held));
        }
        let before = self.ids.clone();
        let step =
            step_decode_stream(&tokenizer.inner, vec![id], self.skip_special, &mut self.ids, &mut self.prefix, &mut self.prefix_index);
        match step {
            Ok(text) => Ok(text.unwrap_or_default()),
            // The crate gives up where a new token changes text it has already returned; go on from this token, keeping what was returned.
            Err(_) => {
                self.ids = before;
                let mut text = self.finish(tokenizer)?;
                text += &self.push_first(tokenizer, id)?;
                Ok(text)
            }
        }
    }

    fn push_first(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, String> {
        step_decode_stream(&tokenizer.inner, vec![id], self.skip_special, &mut self.ids, &mut self.prefix, &mut self.prefix_index)
            .map(Option::unwrap_or_default)
            .map_err(|e| e.to_string())
    }

    fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String, String> {
        let text = if tokenizer.spelling == Spelling::ByteLevel {
            String::from_utf8_lossy(&self.held).into_owned()
        } else {
            let all = tokenizer.inner.decode(&self.ids, self.skip_special).map_err(|e| e.to_string())?;
            all.strip_prefix(self.prefix.as_str()).unwrap_or_default().to_string()
        };
        self.held.clear();
        self.ids.clear();
        self.prefix.clear();
        self.prefix_index = 0;
        Ok(text)
    }
}

/// Removes from the front everything but an unfinished character; what can no longer become a character turns into U+FFFD, as
/// String::from_utf8_lossy would have it.
fn take_complete(held: &mut Vec<u8>) -> String {
    let mut complete = 0;
    loop {
        match std::str::from_utf8(&held[complete..]) {
            Ok(_) => {
                complete = held.len();
                break;
            }
            Err(e) => {
                complete += e.valid_up_to();
                match e.error_len() {
                    Some(bad) => complete += bad,
                    None => break,
                }
            }
        }
    }
    let text = String::from_utf8_lossy(&held[..complete]).into_owned();
    held.drain(..complete);
    text
}

#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_new(json: *const u8, len: usize, out: *mut *mut Tokenizer, error: *mut Bytes) -> i32 {
    guard(error, || {
        out.write(Box::into_raw(Box::new(Tokenizer::from_json(slice(json, len))?)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

/// `offsets` (begin, end, begin, end, ... in bytes) may be null, which is faster.
#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_encode(
    tokenizer: *const Tokenizer,
    input: *const u8,
    len: usize,
    add_special: i32,
    ids: *mut Ids,
    offsets: *mut Ids,
    error: *mut Bytes,
) -> i32 {
    guard(error, || {
        let input = text(input, len)?;
        if input.len() > u32::MAX as usize {
            return Err("the text is longer than 4 GiB".to_string());
        }
        let tokenizer = &(*tokenizer).inner;
        if offsets.is_null() {
            let encoding = tokenizer.encode_fast(input, add_special != 0).map_err(|e| e.to_string())?;
            put(ids, encoding.get_ids().to_vec());
        } else {
            let encoding = tokenizer.encode(input, add_special != 0).map_err(|e| e.to_string())?;
            put(ids, encoding.get_ids().to_vec());
            put(offsets, encoding.get_offsets().iter().flat_map(|&(b, e)| [b as u32, e as u32]).collect());
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_decode(
    tokenizer: *const Tokenizer,
    ids: *const u32,
    len: usize,
    skip_special: i32,
    out: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    guard(error, || {
        let (tokenizer, ids) = (&*tokenizer, slice(ids, len));
        tokenizer.check(ids)?;
        put(out, tokenizer.inner.decode(ids, skip_special != 0).map_err(|e| e.to_string())?.into_bytes());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_vocab_size(tokenizer: *const Tokenizer) -> u32 {
    (*tokenizer).vocab_size
}

/// -1 where the vocabulary has no such token.
#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_token_to_id(
    tokenizer: *const Tokenizer,
    token: *const u8,
    len: usize,
    id: *mut i64,
    error: *mut Bytes,
) -> i32 {
    guard(error, || {
        id.write((*tokenizer).inner.token_to_id(text(token, len)?).map_or(-1, i64::from));
        Ok(())
    })
}

/// `raw` = 0: the spelling in the vocabulary; else the bytes it stands for.
#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_token(tokenizer: *const Tokenizer, id: u32, raw: i32, out: *mut Bytes, error: *mut Bytes) -> i32 {
    guard(error, || {
        let tokenizer = &*tokenizer;
        tokenizer.check(&[id])?;
        let spelling = tokenizer.inner.id_to_token(id).ok_or_else(|| format!("no token has id {id}"))?;
        put(out, if raw != 0 { tokenizer.token_bytes(id) } else { spelling.into_bytes() });
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn candor_tokenizer_is_special(tokenizer: *const Tokenizer, id: u32, special: *mut i32, error: *mut Bytes) -> i32 {
    guard(error, || {
        special.write(i32::from((*tokenizer).is_special(id)));
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn candor_stream_new(skip_special: i32) -> *mut Stream {
    Box::into_raw(Box::new(Stream {
        skip_special: skip_special != 0,
        held: Vec::new(),
        ids: Vec::new(),
        prefix: String::new(),
        prefix_index: 0,
    }))
}

#[no_mangle]
pub unsafe extern "C" fn candor_stream_free(stream: *mut Stream) {
    if !stream.is_null() {
        drop(Box::from_raw(stream));
    }
}

#[no_mangle]
pub unsafe extern "C" fn candor_stream_push(
    stream: *mut Stream,
    tokenizer: *const Tokenizer,
    id: u32,
    out: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    guard(error, || {
        put(out, (*stream).push(&*tokenizer, id)?.into_bytes());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn candor_stream_finish(stream: *mut Stream, tokenizer: *const Tokenizer, out: *mut Bytes, error: *mut Bytes) -> i32 {
    guard(error, || {
        put(out, (*stream).finish(&*tokenizer)?.into_bytes());
        Ok(())
    })
}
