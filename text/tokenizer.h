// Tokenizer: text to token ids and back, exactly as Hugging Face's `tokenizers` does it (it is the same Rust crate behind a C interface).
//
// Holds: ids and bytes equal those of the Python package for the same tokenizer.json (tests/unit/text/tokenizer_parity_test.cc). Truncation
// and padding that a tokenizer.json may ask for are switched off, as transformers does. Text that spells a special token ("<|im_end|>")
// becomes that token, as in Hugging Face.
//
// Threads: a loaded Tokenizer is immutable; every const method may be called from any thread at once. A DecodeStream belongs to one thread,
// and the Tokenizer it came from must outlive it (moving the Tokenizer is fine).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

// Bytes [begin, end) of a text.
struct ByteRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// Token ids with, for each, the bytes of the input it stands for. A token that begins or ends inside a character reports the whole
// character.
struct Encoding {
  std::vector<int32_t> ids_T;
  std::vector<ByteRange> offsets_T;
};

// Incremental decoding: feed ids one by one, get the text that each one completed.
//
// Holds: the concatenation of what Push returned, then Finish, equals Tokenizer::Decode of all ids with the same skip_special. A token that
// ends inside a character returns "", and the token that completes the character returns all of it; bytes() after each Push therefore gives
// the byte range that each token contributed.
class DecodeStream {
 public:
  DecodeStream(DecodeStream&&) noexcept;
  DecodeStream& operator=(DecodeStream&&) noexcept;
  ~DecodeStream();

  // An id outside the vocabulary is an error and leaves the stream as it was.
  Result<std::string> Push(int32_t id);
  // What is still held back: an unfinished character, as U+FFFD. The stream starts anew afterwards, bytes() at 0.
  Result<std::string> Finish();
  // Bytes returned since the start.
  int64_t bytes() const { return bytes_; }

 private:
  friend class Tokenizer;
  struct Impl;
  explicit DecodeStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  int64_t bytes_ = 0;
};

class Tokenizer {
 public:
  // A model folder with tokenizer.json, or the file itself. From a folder, tokenizer_config.json and generation_config.json (both optional)
  // give the end tokens.
  static Result<Tokenizer> Load(const std::string& path);
  // The text of a tokenizer.json; `name` is used in errors. There are no end tokens.
  static Result<Tokenizer> FromJson(std::string_view json, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // `add_special`: let the tokenizer's post-processor add its tokens (such as BOS). Pass false for text that a chat template wrote. Text
  // must be UTF-8.
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special) const;
  Result<Encoding> EncodeWithOffsets(std::string_view text, bool add_special) const;
  // One list per text; the error names the index of the text that failed.
  Result<std::vector<std::vector<int32_t>>> EncodeMany(std::span<const std::string> texts_N, bool add_special) const;
  // Bytes that are not UTF-8 come out as U+FFFD. An id outside the vocabulary is an error.
  Result<std::string> Decode(std::span<const int32_t> ids_T, bool skip_special) const;
  DecodeStream MakeDecodeStream(bool skip_special) const;

  std::optional<int32_t> TokenToId(std::string_view token) const;
  // The token as it is spelled in the vocabulary ("Ġthe").
  std::optional<std::string> IdToToken(int32_t id) const;
  // The raw bytes a token stands for (" the"); may be part of a character. For tokenizers that are not byte-level, the token's own text.
  Result<std::string> TokenBytes(int32_t id) const;
  bool IsSpecial(int32_t id) const;

  // Ids are in [0, vocab_size). Added tokens count; a model's embedding may have more rows.
  int32_t vocab_size() const;
  // Tokens that end a reply: generation_config.json's eos_token_id (one or several), and tokenizer_config.json's eos_token. Sorted; empty
  // when neither says.
  const std::vector<int32_t>& end_ids() const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> pad_id() const;

 private:
  friend class DecodeStream;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace candor
