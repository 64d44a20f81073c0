#include "rollout/weights.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/fs.h"

namespace candor {
namespace {

using Json = nlohmann::json;
constexpr size_t kManifestMax = 64u << 20;
constexpr uint64_t kChunkMax = uint64_t{1} << 33;

struct Chunk {
  uint64_t offset = 0, bytes = 0;
  std::string hash;
};

struct ClosingFile {
  int fd = -1;
  ~ClosingFile() {
    if (fd >= 0) ::close(fd);
  }
};

tl::unexpected<Error> Broken(const std::string& what, const std::string& where) {
  return Fail(ErrorCode::kInvalidInput, what, where, "the version is incomplete or damaged; the trainer writes it again when it resumes");
}

// The file's chunks; one for the whole file when the manifest gives a single hash. Fails unless they cover it in order.
Result<std::vector<Chunk>> ChunksOf(const Json& file, const std::string& where) {
  std::vector<Chunk> chunks;
  try {
    const auto total = file.at("bytes").get<uint64_t>();
    if (file.contains("chunks")) {
      for (const Json& chunk : file.at("chunks"))
        chunks.push_back({chunk.at("offset").get<uint64_t>(), chunk.at("bytes").get<uint64_t>(), chunk.at("hash").get<std::string>()});
    } else {
      chunks.push_back({0, total, file.at("hash").get<std::string>()});
    }
    uint64_t next = 0;
    for (const Chunk& chunk : chunks) {
      if (chunk.offset != next || chunk.bytes > kChunkMax) return Broken("the manifest's chunks do not cover the file", where);
      next += chunk.bytes;
    }
    if (next != total) return Broken("the manifest's chunks end at byte " + std::to_string(next) + " of " + std::to_string(total), where);
  } catch (const Json::exception& error) {
    return Broken(std::string("the manifest's entry cannot be read: ") + error.what(), where);
  }
  return chunks;
}

Status VerifyFile(const std::string& path, const std::vector<Chunk>& chunks) {
  const ClosingFile file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) return Broken("a file that the manifest lists is missing", path);
  const uint64_t total = chunks.empty() ? 0 : chunks.back().offset + chunks.back().bytes;
  if (static_cast<uint64_t>(info.st_size) != total)
    return Broken("the file has " + std::to_string(info.st_size) + " bytes, its manifest says " + std::to_string(total), path);
  std::string buffer;
  for (size_t i = 0; i < chunks.size(); ++i) {
    buffer.resize(chunks[i].bytes);
    for (uint64_t done = 0; done < chunks[i].bytes;) {
      const ssize_t got = ::pread(file.fd, buffer.data() + done, chunks[i].bytes - done, static_cast<off_t>(chunks[i].offset + done));
      if (got <= 0) return Fail(ErrorCode::kIo, "reading stopped at byte " + std::to_string(chunks[i].offset + done), path);
      done += static_cast<uint64_t>(got);
    }
    if (HashHex(buffer) != chunks[i].hash)
      return Broken("chunk " + std::to_string(i) + " (bytes " + std::to_string(chunks[i].offset) + " to " +
                        std::to_string(chunks[i].offset + chunks[i].bytes) + ") does not have its hash",
                    path);
  }
  return {};
}

}  // namespace

Result<std::string> FolderOfVersion(const VersionInfo& newest, PolicyVersion version) {
  if (newest.manifest.empty()) return Fail(ErrorCode::kNotFound, "no policy version has been published yet");
  const std::filesystem::path folder = std::filesystem::path(newest.manifest).parent_path();
  if (version == newest.version) return folder.string();
  return (folder.parent_path() / ("v" + ToString(version))).string();
}

Status VerifyVersion(const std::string& folder, PolicyVersion version, const std::string& manifest_hash) {
  const std::string path = folder + "/manifest.json";
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kManifestMax));
  if (!manifest_hash.empty() && HashHex(text) != manifest_hash)
    return Broken("the manifest does not have the hash that was announced", path);
  const Json manifest = Json::parse(text, nullptr, false);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_array()) return Broken("this is no manifest", path);
  if (!manifest.contains("version") || !manifest["version"].is_number_unsigned() || manifest["version"].get<uint64_t>() != version.value)
    return Fail(ErrorCode::kVersionSkew, "the manifest is not that of version " + ToString(version), path);
  bool weights = false;
  for (const Json& file : manifest["files"]) {
    if (!file.is_object() || !file.contains("name") || !file["name"].is_string())
      return Broken("the manifest lists a file without a name", path);
    const auto name = file["name"].get<std::string>();
    if (name.empty() || name.find('/') != std::string::npos || name == "..")
      return Broken("the manifest lists a file outside its folder: " + name, path);
    weights |= name.ends_with(".safetensors");
    CANDOR_ASSIGN(const std::vector<Chunk> chunks, ChunksOf(file, path + ": " + name));
    CANDOR_TRY(VerifyFile(folder + "/" + name, chunks));
  }
  if (!weights) return Broken("the manifest lists no weights", path);
  return {};
}

}  // namespace candor
