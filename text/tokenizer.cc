// Tokenizer over the Rust crate; see tokenizer.h.
#include "text/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/fs.h"
#include "text/config_file.h"
#include "text/rust_interface.h"

namespace candor {

using text::Data;
using text::RustBytes;
using text::RustIds;
using text::RustStatus;
using ConfigJson = nlohmann::json;

struct Tokenizer::Impl {
  CandorTokenizer* handle = nullptr;
  std::string name;  // for errors
  std::vector<int32_t> end_ids;
  std::optional<int32_t> bos_id;
  std::optional<int32_t> pad_id;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { candor_tokenizer_free(handle); }
};

struct DecodeStream::Impl {
  CandorStream* handle = nullptr;
  const Tokenizer::Impl* tokenizer = nullptr;  // heap-allocated and immutable: moving the Tokenizer does not move it

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { candor_stream_free(handle); }
};

namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;  // the largest published tokenizer.json are about 35 MB

// "eos_token": "</s>" or {"content": "</s>", ...}; nullopt where there is none or the vocabulary lacks it.
std::optional<int32_t> NamedToken(const Tokenizer& tokenizer, const ConfigJson& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end()) return std::nullopt;
  if (it->is_string()) return tokenizer.TokenToId(it->get_ref<const std::string&>());
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string()) {
    return tokenizer.TokenToId((*it)["content"].get_ref<const std::string&>());
  }
  return std::nullopt;
}

Status AddEndIds(const ConfigJson& value, int32_t vocab_size, const std::string& where, std::set<int32_t>& ids) {
  if (value.is_null()) return {};
  for (const ConfigJson& id : value.is_array() ? value : ConfigJson::array({value})) {
    const bool fits = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < vocab_size;
    if (!fits) return Fail(ErrorCode::kInvalidInput, "eos_token_id " + id.dump() + " is not a token of the vocabulary", where);
    ids.insert(id.get<int32_t>());
  }
  return {};
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::FromJson(std::string_view json, const std::string& name) {
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  RustBytes error;
  const int32_t code = candor_tokenizer_new(Data(json), json.size(), &impl->handle, error.out());
  CANDOR_TRY(RustStatus(code, error, name, "check that the file is a complete tokenizer.json of Hugging Face's tokenizers"));
  return Tokenizer(std::move(impl));
}

Result<Tokenizer> Tokenizer::Load(const std::string& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::string file = folder ? path + "/tokenizer.json" : path;
  if (!FileExists(file)) {
    return Fail(ErrorCode::kNotFound, "there is no tokenizer.json", file,
                "give a model folder in Hugging Face's layout; slow tokenizers are converted by transformers' save_pretrained");
  }
  CANDOR_ASSIGN(const std::string json, ReadFile(file, kMaxTokenizerBytes));
  CANDOR_ASSIGN(Tokenizer tokenizer, FromJson(json, file));
  if (!folder) return tokenizer;

  CANDOR_ASSIGN(const ConfigJson config, ReadOptionalObject<ConfigJson>(path + "/tokenizer_config.json"));
  const std::string generation_file = path + "/generation_config.json";
  CANDOR_ASSIGN(const ConfigJson generation, ReadOptionalObject<ConfigJson>(generation_file));
  std::set<int32_t> end_ids;
  CANDOR_TRY(AddEndIds(generation.value("eos_token_id", ConfigJson()), tokenizer.vocab_size(), generation_file, end_ids));
  if (const auto eos = NamedToken(tokenizer, config, "eos_token")) end_ids.insert(*eos);
  tokenizer.impl_->end_ids.assign(end_ids.begin(), end_ids.end());
  tokenizer.impl_->bos_id = NamedToken(tokenizer, config, "bos_token");
  tokenizer.impl_->pad_id = NamedToken(tokenizer, config, "pad_token");
  return tokenizer;
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, bool add_special) const {
  RustIds ids;
  RustBytes error;
  const int32_t code =
      candor_tokenizer_encode(impl_->handle, Data(text), text.size(), add_special ? 1 : 0, ids.out(), nullptr, error.out());
  CANDOR_TRY(RustStatus(code, error, impl_->name));
  std::vector<int32_t> ids_T(ids.size());
  for (size_t t = 0; t < ids.size(); ++t) ids_T[t] = static_cast<int32_t>(ids[t]);
  return ids_T;
}

Result<Encoding> Tokenizer::EncodeWithOffsets(std::string_view text, bool add_special) const {
  RustIds ids;
  RustIds offsets;
  RustBytes error;
  const int32_t code =
      candor_tokenizer_encode(impl_->handle, Data(text), text.size(), add_special ? 1 : 0, ids.out(), offsets.out(), error.out());
  CANDOR_TRY(RustStatus(code, error, impl_->name));
  Encoding encoding;
  encoding.ids_T.resize(ids.size());
  encoding.offsets_T.resize(ids.size());
  for (size_t t = 0; t < ids.size(); ++t) {
    encoding.ids_T[t] = static_cast<int32_t>(ids[t]);
    encoding.offsets_T[t] = {static_cast<int64_t>(offsets[2 * t]), static_cast<int64_t>(offsets[2 * t + 1])};
  }
  return encoding;
}

Result<std::vector<std::vector<int32_t>>> Tokenizer::EncodeMany(std::span<const std::string> texts_N, bool add_special) const {
  std::vector<std::vector<int32_t>> ids_NT;
  ids_NT.reserve(texts_N.size());
  for (size_t n = 0; n < texts_N.size(); ++n) {
    auto ids_T = Encode(texts_N[n], add_special);
    if (!ids_T) return Fail(ids_T.error().code, ids_T.error().what, "text " + std::to_string(n) + ", " + ids_T.error().where);
    ids_NT.push_back(std::move(*ids_T));
  }
  return ids_NT;
}

Result<std::string> Tokenizer::Decode(std::span<const int32_t> ids_T, bool skip_special) const {
  // Negative ids become numbers beyond any vocabulary, which Rust refuses.
  const std::vector<uint32_t> ids(ids_T.begin(), ids_T.end());
  RustBytes out;
  RustBytes error;
  const int32_t code = candor_tokenizer_decode(impl_->handle, ids.data(), ids.size(), skip_special ? 1 : 0, out.out(), error.out());
  CANDOR_TRY(RustStatus(code, error, impl_->name));
  return out.str();
}

std::optional<int32_t> Tokenizer::TokenToId(std::string_view token) const {
  int64_t id = -1;
  RustBytes error;
  const int32_t code = candor_tokenizer_token_to_id(impl_->handle, Data(token), token.size(), &id, error.out());
  if (code != 0 || id < 0) return std::nullopt;
  return static_cast<int32_t>(id);
}

std::optional<std::string> Tokenizer::IdToToken(int32_t id) const {
  RustBytes out;
  RustBytes error;
  if (candor_tokenizer_token(impl_->handle, static_cast<uint32_t>(id), 0, out.out(), error.out()) != 0) return std::nullopt;
  return out.str();
}

Result<std::string> Tokenizer::TokenBytes(int32_t id) const {
  RustBytes out;
  RustBytes error;
  const int32_t code = candor_tokenizer_token(impl_->handle, static_cast<uint32_t>(id), 1, out.out(), error.out());
  CANDOR_TRY(RustStatus(code, error, impl_->name));
  return out.str();
}

bool Tokenizer::IsSpecial(int32_t id) const {
  int32_t special = 0;
  RustBytes error;
  const int32_t code = candor_tokenizer_is_special(impl_->handle, static_cast<uint32_t>(id), &special, error.out());
  return code == 0 && special != 0;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(candor_tokenizer_vocab_size(impl_->handle)); }
const std::vector<int32_t>& Tokenizer::end_ids() const { return impl_->end_ids; }
std::optional<int32_t> Tokenizer::bos_id() const { return impl_->bos_id; }
std::optional<int32_t> Tokenizer::pad_id() const { return impl_->pad_id; }

DecodeStream Tokenizer::MakeDecodeStream(bool skip_special) const {
  auto stream = std::make_unique<DecodeStream::Impl>();
  stream->handle = candor_stream_new(skip_special ? 1 : 0);
  stream->tokenizer = impl_.get();
  return DecodeStream(std::move(stream));
}

DecodeStream::DecodeStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream& DecodeStream::operator=(DecodeStream&&) noexcept = default;
DecodeStream::~DecodeStream() = default;

Result<std::string> DecodeStream::Push(int32_t id) {
  RustBytes out;
  RustBytes error;
  const int32_t code = candor_stream_push(impl_->handle, impl_->tokenizer->handle, static_cast<uint32_t>(id), out.out(), error.out());
  CANDOR_TRY(RustStatus(code, error, impl_->tokenizer->name));
  bytes_ += static_cast<int64_t>(out.view().size());
  return out.str();
}

Result<std::string> DecodeStream::Finish() {
  RustBytes out;
  RustBytes error;
  const int32_t code = candor_stream_finish(impl_->handle, impl_->tokenizer->handle, out.out(), error.out());
  CANDOR_TRY(RustStatus(code, error, impl_->tokenizer->name));
  bytes_ = 0;
  return out.str();
}

}  // namespace candor
