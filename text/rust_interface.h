// The C interface of the Rust static library (text/rust/src), and the wrappers that make it safe to call. Only text/*.cc includes this.
//
// Holds: every call that can fail returns 0 or a code with a message in `error`; a panic in Rust is such a code. What Rust hands out is
// freed by Rust.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

extern "C" {
struct CandorBytes {
  uint8_t* data;
  size_t len;
  size_t capacity;
};
struct CandorIds {
  uint32_t* data;
  size_t len;
  size_t capacity;
};
struct CandorBorrowed {
  const uint8_t* data;
  size_t len;
};
struct CandorChatRequest {
  CandorBorrowed messages;
  CandorBorrowed special_tokens;
  CandorBorrowed tools;
  CandorBorrowed extra;
  int32_t add_generation_prompt;
  int32_t has_now;
  int64_t now_unix_s;
};
struct CandorTokenizer;
struct CandorStream;
struct CandorChat;

void candor_text_free_bytes(CandorBytes bytes);
void candor_text_free_ids(CandorIds ids);

int32_t candor_tokenizer_new(const uint8_t* json, size_t len, CandorTokenizer** out, CandorBytes* error);
void candor_tokenizer_free(CandorTokenizer* tokenizer);
int32_t candor_tokenizer_encode(const CandorTokenizer* tokenizer, const uint8_t* text, size_t len, int32_t add_special, CandorIds* ids,
                                CandorIds* offsets, CandorBytes* error);
int32_t candor_tokenizer_decode(const CandorTokenizer* tokenizer, const uint32_t* ids, size_t len, int32_t skip_special, CandorBytes* out,
                                CandorBytes* error);
uint32_t candor_tokenizer_vocab_size(const CandorTokenizer* tokenizer);
int32_t candor_tokenizer_token_to_id(const CandorTokenizer* tokenizer, const uint8_t* token, size_t len, int64_t* id, CandorBytes* error);
int32_t candor_tokenizer_token(const CandorTokenizer* tokenizer, uint32_t id, int32_t raw, CandorBytes* out, CandorBytes* error);
int32_t candor_tokenizer_is_special(const CandorTokenizer* tokenizer, uint32_t id, int32_t* special, CandorBytes* error);

CandorStream* candor_stream_new(int32_t skip_special);
void candor_stream_free(CandorStream* stream);
int32_t candor_stream_push(CandorStream* stream, const CandorTokenizer* tokenizer, uint32_t id, CandorBytes* out, CandorBytes* error);
int32_t candor_stream_finish(CandorStream* stream, const CandorTokenizer* tokenizer, CandorBytes* out, CandorBytes* error);

int32_t candor_chat_new(const uint8_t* source, size_t len, CandorChat** out, CandorBytes* error);
void candor_chat_free(CandorChat* chat);
int32_t candor_chat_render(const CandorChat* chat, const CandorChatRequest* request, CandorBytes* out, CandorIds* spans,
                           CandorBytes* error);

int32_t candor_safetensors_index(const uint8_t* file, size_t len, CandorBytes* out, CandorBytes* error);
}

namespace candor::text {

inline const uint8_t* Data(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// Bytes lent by Rust, given back on destruction.
class RustBytes {
 public:
  RustBytes() = default;
  RustBytes(const RustBytes&) = delete;
  RustBytes& operator=(const RustBytes&) = delete;
  ~RustBytes() { candor_text_free_bytes(bytes_); }
  CandorBytes* out() { return &bytes_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes_.data), bytes_.len}; }
  std::string str() const { return bytes_.data == nullptr ? std::string() : std::string(view()); }

 private:
  CandorBytes bytes_{nullptr, 0, 0};
};

class RustIds {
 public:
  RustIds() = default;
  RustIds(const RustIds&) = delete;
  RustIds& operator=(const RustIds&) = delete;
  ~RustIds() { candor_text_free_ids(ids_); }
  CandorIds* out() { return &ids_; }
  size_t size() const { return ids_.len; }
  uint32_t operator[](size_t i) const { return ids_.data[i]; }

 private:
  CandorIds ids_{nullptr, 0, 0};
};

// Status of a call: a code of 2 is a panic in a library, which is not the input's fault as far as we know.
inline Status RustStatus(int32_t code, const RustBytes& error, const std::string& where, const std::string& fix = "") {
  if (code == 0) return {};
  return Fail(code == 1 ? ErrorCode::kInvalidInput : ErrorCode::kInternal, error.str(), where, fix);
}

}  // namespace candor::text
