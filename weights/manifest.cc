#include "weights/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "core/json_depth.h"
#include "weights/delta.h"

namespace candor {

namespace {

using Json = nlohmann::ordered_json;
constexpr size_t kTextMax = 256u << 20;
constexpr uint64_t kImageMax = uint64_t{1} << 44;
constexpr uint32_t kRanksMax = 1u << 16;
constexpr const char* kFix = "the version is incomplete or damaged; the trainer writes it again when it resumes";

tl::unexpected<Error> Broken(const std::string& what, const std::string& where) {
  return Fail(ErrorCode::kInvalidInput, what, where, kFix);
}

bool IsHash(const std::string& text) {
  return text.size() == kHashDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Bytes of all tensors, or 0 when their shapes are not sizes.
uint64_t TensorBytes(const VersionManifest& manifest) {
  uint64_t total = 0;
  for (const TensorSpec& tensor : manifest.tensors) {
    uint64_t count = 1;
    for (int64_t size : tensor.shape) {
      if (size < 1 || static_cast<uint64_t>(size) > kImageMax / count) return 0;
      count *= static_cast<uint64_t>(size);
    }
    total += count * manifest.ElementBytes();
    if (total > kImageMax) return 0;
  }
  return total;
}

Status CheckManifest(const VersionManifest& m, const std::string& where) {
  if (m.dtype != "F32" && m.dtype != "BF16") return Broken("unknown number format \"" + m.dtype + "\"", where);
  uint64_t next = 0;
  for (const ContentChunk& chunk : m.chunks) {
    if (chunk.offset != next) return Broken("the manifest's chunks do not cover the weights", where);
    if (chunk.bytes == 0 || chunk.bytes > kChunkContentMax || chunk.bytes % m.ElementBytes() != 0)
      return Broken(fmt::format("a chunk of {} bytes", chunk.bytes), where);
    if (!IsHash(chunk.hash)) return Broken("\"" + chunk.hash + "\" is no hash", where);
    next += chunk.bytes;
  }
  const uint64_t bytes = TensorBytes(m);
  if (bytes == 0) return Broken("the manifest lists no weights, or shapes that cannot be", where);
  if (next != bytes) return Broken(fmt::format("the manifest's chunks end at byte {} of {}", next, bytes), where);
  return {};
}

Json ToJson(const Blob& blob) { return {{"rank", blob.rank}, {"at", blob.at}, {"bytes", blob.bytes}, {"hash", blob.hash}}; }

Result<Blob> BlobFrom(const Json& json, const std::string& where) {
  Blob blob{json.at("rank").get<uint32_t>(), json.at("at").get<uint64_t>(), json.at("bytes").get<uint64_t>(),
            json.at("hash").get<std::string>()};
  if (blob.rank >= kRanksMax || blob.at > kImageMax || blob.bytes == 0 || blob.bytes > kChunkContentMax || !IsHash(blob.hash))
    return Broken("a blob that cannot be: " + json.dump(), where);
  return blob;
}

Result<VersionManifest> ManifestFrom(const Json& json, const std::string& where) {
  VersionManifest m;
  if (json.at("format").get<int>() != 2) return Broken("another format of manifest", where);
  m.version.value = json.at("version").get<uint64_t>();
  m.dtype = json.at("dtype").get<std::string>(), m.config = json.at("config").get<std::string>();
  for (const Json& tensor : json.at("tensors"))
    m.tensors.push_back({tensor.at("name").get<std::string>(), tensor.at("shape").get<std::vector<int64_t>>()});
  for (const Json& chunk : json.at("chunks"))
    m.chunks.push_back({chunk.at("offset").get<uint64_t>(), chunk.at("bytes").get<uint64_t>(), chunk.at("hash").get<std::string>()});
  CANDOR_TRY(CheckManifest(m, where));
  return m;
}

Result<VersionPacking> PackingFrom(const Json& json, const std::string& where) {
  VersionPacking packing;
  packing.version.value = json.at("version").get<uint64_t>();
  for (const Json& from : json.at("chunks")) {
    ChunkPacking chunk;
    if (from.contains("full")) {
      CANDOR_ASSIGN(chunk.full, BlobFrom(from.at("full"), where));
    }
    if (from.contains("delta")) {
      CANDOR_ASSIGN(chunk.delta, BlobFrom(from.at("delta"), where));
    }
    chunk.same = from.contains("same") && from.at("same").get<bool>();
    if (!chunk.full && !chunk.delta && !chunk.same) return Broken("a chunk that cannot be had", where);
    packing.chunks.push_back(std::move(chunk));
  }
  return packing;
}

// Reads untrusted text: what nlohmann throws becomes an error here.
template <typename T, typename Read>
Result<T> Parse(const std::string& text, const std::string& where, Read read) {
  if (BracketDepth(text) > kMaxJsonDepth || MostKeys(text) > kMaxJsonKeys) return Broken("nested too deeply, or too many keys", where);
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Broken("this is no manifest", where);
  try {
    return read(json, where);
  } catch (const Json::exception& error) {
    return Broken(std::string("an entry cannot be read: ") + error.what(), where);
  }
}

}  // namespace

bool VersionPacking::IsFull() const {
  return std::all_of(chunks.begin(), chunks.end(), [](const ChunkPacking& c) { return c.full.has_value(); });
}
bool VersionPacking::IsDelta() const {
  return std::any_of(chunks.begin(), chunks.end(), [](const ChunkPacking& c) { return c.same || c.delta; });
}
uint64_t VersionPacking::FullBytes() const {
  uint64_t total = 0;
  for (const ChunkPacking& chunk : chunks) total += chunk.full ? chunk.full->bytes : 0;
  return total;
}
uint64_t VersionPacking::DeltaBytes() const {
  uint64_t total = 0;
  for (const ChunkPacking& chunk : chunks)
    if (!chunk.same) total += chunk.delta ? chunk.delta->bytes : chunk.full->bytes;
  return total;
}

std::string ToJson(const VersionManifest& m) {
  std::string tensors, chunks;
  for (const TensorSpec& tensor : m.tensors)
    tensors += (tensors.empty() ? "\n  " : ",\n  ") + Json{{"name", tensor.name}, {"shape", tensor.shape}}.dump();
  for (const ContentChunk& chunk : m.chunks)
    chunks += (chunks.empty() ? "\n  " : ",\n  ") + Json{{"offset", chunk.offset}, {"bytes", chunk.bytes}, {"hash", chunk.hash}}.dump();
  return fmt::format(R"({{"format": 2, "version": {}, "dtype": "{}", "config": {}, "tensors": [{}
], "chunks": [{}
]}}
)",
                     m.version.value, m.dtype, Json(m.config).dump(), tensors, chunks);
}

std::string ToJson(const VersionPacking& packing) {
  std::string chunks;
  for (const ChunkPacking& chunk : packing.chunks) {
    Json json = Json::object();
    if (chunk.full) json["full"] = ToJson(*chunk.full);
    if (chunk.delta) json["delta"] = ToJson(*chunk.delta);
    if (chunk.same) json["same"] = true;
    chunks += (chunks.empty() ? "\n  " : ",\n  ") + json.dump();
  }
  return fmt::format("{{\"version\": {}, \"chunks\": [{}\n]}}\n", packing.version.value, chunks);
}

Result<VersionManifest> ParseVersionManifest(const std::string& text, const std::string& where) {
  return Parse<VersionManifest>(text, where, ManifestFrom);
}
Result<VersionPacking> ParsePacking(const std::string& text, const std::string& where) {
  return Parse<VersionPacking>(text, where, PackingFrom);
}

std::string VersionFolder(const std::string& weights, PolicyVersion version) { return weights + "/v" + ToString(version); }
std::string ChunkFile(const std::string& version_folder, uint32_t rank) { return fmt::format("{}/rank_{}.chunks", version_folder, rank); }

Result<VersionManifest> ReadVersionManifest(const std::string& version_folder, PolicyVersion version, const std::string& hash) {
  const std::string path = version_folder + "/manifest.json";
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kTextMax));
  if (!hash.empty() && HashHex(text) != hash) return Broken("the manifest does not have the hash that was announced", path);
  CANDOR_ASSIGN(VersionManifest manifest, ParseVersionManifest(text, path));
  if (manifest.version != version)
    return Fail(ErrorCode::kVersionSkew, "the manifest is not that of version " + ToString(version), path, kFix);
  return manifest;
}

Result<VersionPacking> ReadPacking(const std::string& version_folder, PolicyVersion version) {
  const std::string path = version_folder + "/packing.json";
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kTextMax));
  CANDOR_ASSIGN(VersionPacking packing, ParsePacking(text, path));
  if (packing.version != version)
    return Fail(ErrorCode::kVersionSkew, "the packing is not that of version " + ToString(version), path, kFix);
  return packing;
}

std::vector<PolicyVersion> PublishedVersions(const std::string& weights) {
  std::vector<PolicyVersion> versions;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(weights, ignored)) {
    const std::string name = entry.path().filename().string();
    uint64_t number = 0;
    if (name.size() < 2 || name[0] != 'v') continue;
    const auto [end, bad] = std::from_chars(name.data() + 1, name.data() + name.size(), number);
    if (bad == std::errc() && end == name.data() + name.size() && FileExists(entry.path().string() + "/manifest.json"))
      versions.push_back({number});
  }
  std::sort(versions.begin(), versions.end());
  return versions;
}

}  // namespace candor
