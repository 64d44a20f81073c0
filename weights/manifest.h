// What a published policy version is, in two files of RUN_DIR/weights/v<N>/:
//
//   manifest.json  the content: model configuration, tensors in order, and the chunks that their bytes are cut into, each with its hash.
//   The
//                  same weights give the same text, whoever publishes them; its hash travels with the coordinator's word (VersionInfo).
//   packing.json   how the chunks can be had: for each a full copy, a delta against the version before, or nothing because it did not
//                  change, as blobs in the files rank_<r>.chunks that the trainer's ranks wrote. Nobody needs to trust it: what comes out
//                  of a blob is held against the manifest.
//
// All tensors have one number format and lie one after the other in the image; a chunk is a range of the image. No torch. Any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/result.h"

namespace candor {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};

struct ContentChunk {
  uint64_t offset = 0, bytes = 0;  // in the image
  std::string hash;                // XXH3-128, hex
};

struct VersionManifest {
  PolicyVersion version;
  std::string dtype;   // "F32" or "BF16", as safetensors call them
  std::string config;  // config.json of the model, as text
  std::vector<TensorSpec> tensors;
  std::vector<ContentChunk> chunks;  // cover the image in order

  uint32_t ElementBytes() const { return dtype == "BF16" ? 2 : 4; }
  uint64_t Bytes() const { return chunks.empty() ? 0 : chunks.back().offset + chunks.back().bytes; }
};

struct Blob {
  uint32_t rank = 0;  // its file is rank_<rank>.chunks
  uint64_t at = 0;    // where it begins there
  uint64_t bytes = 0;
  std::string hash;
};

struct ChunkPacking {
  std::optional<Blob> full, delta;
  bool same = false;  // as in the version before
};

struct VersionPacking {
  PolicyVersion version;
  std::vector<ChunkPacking> chunks;  // as many as the manifest has

  bool IsFull() const;   // every chunk has a full copy: a late joiner can begin here
  bool IsDelta() const;  // every chunk can be had by whoever holds the version before
  // Bytes of the cheapest blobs, for one that begins here or for one that holds the version before.
  uint64_t FullBytes() const;
  uint64_t DeltaBytes() const;
};

std::string ToJson(const VersionManifest& manifest);
std::string ToJson(const VersionPacking& packing);
// Everything is checked: sizes add up, chunks cover the tensors without gaps, counts and sizes stay within their limits.
Result<VersionManifest> ParseVersionManifest(const std::string& text, const std::string& where);
Result<VersionPacking> ParsePacking(const std::string& text, const std::string& where);

// RUN_DIR/weights/v<version>
std::string VersionFolder(const std::string& weights, PolicyVersion version);
std::string ChunkFile(const std::string& version_folder, uint32_t rank);
// FOLDER/manifest.json; its hash is compared unless `hash` is empty. kVersionSkew when it is another version's.
Result<VersionManifest> ReadVersionManifest(const std::string& version_folder, PolicyVersion version, const std::string& hash);
Result<VersionPacking> ReadPacking(const std::string& version_folder, PolicyVersion version);
// The versions that have a manifest, ascending.
std::vector<PolicyVersion> PublishedVersions(const std::string& weights);

}  // namespace candor
