#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "weights/version_fetcher.h"

namespace candor {

std::string SafetensorsHeader(const VersionManifest& manifest) {
  nlohmann::ordered_json header{{"__metadata__", {{"format", "pt"}}}};
  uint64_t offset = 0;
  for (const TensorSpec& tensor : manifest.tensors) {
    uint64_t bytes = manifest.ElementBytes();
    for (int64_t size : tensor.shape) bytes *= static_cast<uint64_t>(size);
    header[tensor.name] = {{"dtype", manifest.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  uint64_t length = text.size();
  std::string prefix(8, '\0');
  for (char& byte : prefix) byte = static_cast<char>(length & 0xff), length >>= 8;
  return prefix + text;
}

Status AssembleVersion(const std::string& weights, PolicyVersion version, const std::string& folder) {
  FetcherSetup setup;
  setup.weights = weights;
  CANDOR_ASSIGN(const std::unique_ptr<VersionFetcher> fetcher, VersionFetcher::Start(setup));
  CANDOR_ASSIGN(const std::shared_ptr<const WeightImage> image, fetcher->Fetch(version, ""));
  const std::string part = fmt::format("{}.part.{}", folder, ::getpid());
  CANDOR_TRY(RemoveTree(part));
  CANDOR_TRY(MakeFolders(part));
  CANDOR_TRY(WriteFileAtomic(part + "/config.json", image->manifest.config, false));
  std::ofstream file(part + "/model.safetensors", std::ios::binary);
  file << SafetensorsHeader(image->manifest);
  for (const Bytes& chunk : image->chunks) file.write(chunk->data(), static_cast<std::streamsize>(chunk->size()));
  file.close();
  if (!file) return Fail(ErrorCode::kIo, "cannot be written", part + "/model.safetensors", "free some space on this file system");
  std::error_code error;
  std::filesystem::rename(part, folder, error);
  if (error && FileExists(folder + "/config.json")) return RemoveTree(part);  // somebody else was first
  if (error) return Fail(ErrorCode::kIo, "cannot rename the assembled weights: " + error.message(), folder);
  return {};
}

}  // namespace candor
