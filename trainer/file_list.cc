#include "trainer/file_list.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/fs.h"

namespace candor {

namespace {

// The chunks of a file of any size.
Result<std::vector<FileChunk>> HashChunks(const std::string& path) {
  const int opened = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);  // a link would lead out of the folder
  if (opened < 0 && errno == ELOOP) return Fail(ErrorCode::kInvalidInput, "is a link, not a file of its folder", path);
  if (opened < 0)
    return Fail(errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
                std::string("cannot be opened: ") + std::strerror(errno), path);
  const std::unique_ptr<FILE, int (*)(FILE*)> file(::fdopen(opened, "rb"), &std::fclose);
  std::vector<FileChunk> chunks;
  std::string buffer(kChunkBytes, '\0');
  for (uint64_t offset = 0;;) {
    const uint64_t got = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (std::ferror(file.get()))  // EIO: a sector that is lost is damage of the file; anything else is not
      return Fail(errno == EIO ? ErrorCode::kInvalidInput : ErrorCode::kUnavailable,
                  "reading stopped at byte " + std::to_string(offset) + ": " + std::strerror(errno), path);
    if (got > 0) chunks.push_back({offset, got, HashHex(std::string_view(buffer).substr(0, got))});
    offset += got;
    if (got < buffer.size()) return chunks;
  }
}

// Chunks cover the file in order, and each has a hash.
Status CheckChunks(const ListedFile& file, const std::string& where) {
  uint64_t end = 0;
  for (const FileChunk& chunk : file.chunks) {
    const bool hashed = chunk.hash.size() == 32 && chunk.hash.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!hashed) return Fail(ErrorCode::kInvalidInput, "lists a hash that is not 32 hex digits for " + file.name, where);
    if (chunk.offset != end || chunk.bytes > file.bytes - std::min(end, file.bytes))
      return Fail(ErrorCode::kInvalidInput, "lists chunks that do not cover " + file.name + " in order", where);
    end += chunk.bytes;
  }
  if (end != file.bytes) return Fail(ErrorCode::kInvalidInput, "lists chunks that do not cover " + file.name + " in order", where);
  return {};
}

}  // namespace

Result<ListedFile> ListFile(const std::string& folder, const std::string& name) {
  ListedFile listed{name, 0, {}};
  CANDOR_ASSIGN(listed.chunks, HashChunks(folder + "/" + name));
  for (const FileChunk& chunk : listed.chunks) listed.bytes += chunk.bytes;
  return listed;
}

Status VerifyListedFile(const std::string& folder, const ListedFile& file) {
  const std::string path = folder + "/" + file.name;
  CANDOR_ASSIGN(ListedFile found, ListFile(folder, file.name));
  if (found.bytes != file.bytes)
    return Fail(ErrorCode::kInvalidInput, "has " + std::to_string(found.bytes) + " bytes instead of " + std::to_string(file.bytes), path);
  if (found.chunks.size() != file.chunks.size()) return Fail(ErrorCode::kInvalidInput, "was hashed in other chunks", path);
  for (size_t i = 0; i < found.chunks.size(); ++i)
    if (found.chunks[i].hash != file.chunks[i].hash)
      return Fail(ErrorCode::kInvalidInput,
                  "is damaged between bytes " + std::to_string(found.chunks[i].offset) + " and " +
                      std::to_string(found.chunks[i].offset + found.chunks[i].bytes),
                  path);
  return {};
}

std::string ToJsonText(const ListedFile& file) {
  nlohmann::json object{{"name", file.name}, {"bytes", file.bytes}, {"chunks", nlohmann::json::array()}};
  for (const FileChunk& chunk : file.chunks)
    object["chunks"].push_back({{"offset", chunk.offset}, {"bytes", chunk.bytes}, {"hash", chunk.hash}});
  return object.dump();
}

Result<ListedFile> ListedFileFromJson(const std::string& text, const std::string& where) {
  try {
    nlohmann::json object = nlohmann::json::parse(text);
    ListedFile file{object.at("name").get<std::string>(), object.at("bytes").get<uint64_t>(), {}};
    if (!IsPlainFileName(file.name)) return Fail(ErrorCode::kInvalidInput, "lists a file outside its folder", where);
    for (const nlohmann::json& chunk : object.at("chunks"))
      file.chunks.push_back({chunk.at("offset").get<uint64_t>(), chunk.at("bytes").get<uint64_t>(), chunk.at("hash").get<std::string>()});
    CANDOR_TRY(CheckChunks(file, where));
    return file;
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorCode::kInvalidInput, std::string("lists a file in another form: ") + error.what(), where);
  }
}

}  // namespace candor
