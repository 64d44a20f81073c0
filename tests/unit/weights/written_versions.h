// Published versions as a trainer of one rank writes them, made of random bytes: for tests of those who receive them.
#pragma once
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "core/fs.h"
#include "weights/blob_store.h"
#include "weights/delta.h"
#include "weights/manifest.h"

namespace candor {

class WrittenVersions {
 public:
  explicit WrittenVersions(std::string folder, size_t chunks = 6, size_t chunk_bytes = 1 << 16)
      : weights(std::move(folder)), contents(chunks, std::string(chunk_bytes, '\0')) {
    std::mt19937_64 random(1);
    for (std::string& chunk : contents)
      for (char& byte : chunk) byte = static_cast<char>(random());
    hashes.resize(chunks);
  }

  // Changes a few values of every chunk but the last and writes the version; returns the hash of its manifest.
  std::string Write(uint64_t version, bool full) {
    std::mt19937_64 random(version + 100);
    const std::string folder = VersionFolder(weights, {version});
    EXPECT_TRUE(MakeFolders(folder));
    VersionManifest manifest{{version}, "BF16", "{}", {{"w", {static_cast<int64_t>(contents.size() * contents[0].size() / 2)}}}, {}};
    VersionPacking packing{{version}, {}};
    std::string file;
    const auto append = [&](const std::string& bytes, const std::string& hash) {
      file += bytes;
      return Blob{0, file.size() - bytes.size(), bytes.size(), hash};
    };
    for (size_t i = 0; i < contents.size(); ++i) {
      const std::string before = contents[i], base_hash = hashes[i];
      for (int change = 0; change < 200 && i + 1 < contents.size(); ++change) contents[i][random() % before.size()] ^= 1;
      hashes[i] = HashHex(contents[i]);
      ChunkPacking chunk;
      chunk.same = hashes[i] == base_hash;
      if (full) chunk.full = append(contents[i], hashes[i]);
      if (!base_hash.empty() && !chunk.same) {
        const std::string delta = *EncodeDelta(before, contents[i], 2, base_hash);
        chunk.delta = append(delta, HashHex(delta));
      }
      manifest.chunks.push_back({i * contents[i].size(), contents[i].size(), hashes[i]});
      packing.chunks.push_back(chunk);
    }
    Save(ChunkFile(folder, 0), file);
    Save(folder + "/packing.json", ToJson(packing));
    Save(folder + "/manifest.json", ToJson(manifest));
    packings.push_back(packing);
    return HashHex(ToJson(manifest));
  }
  static void Save(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
  std::string Whole() const {
    std::string all;
    for (const std::string& chunk : contents) all += chunk;
    return all;
  }
  // What the trainer's rank would serve.
  void Serve(BlobStore& store, uint64_t version) const {
    const auto file = OpenFile::Open(ChunkFile(VersionFolder(weights, {version}), 0)).value();
    for (const VersionPacking& packing : packings)
      if (packing.version.value == version)
        for (const ChunkPacking& chunk : packing.chunks)
          for (const auto* blob : {&chunk.full, &chunk.delta})
            if (*blob) store.Put((*blob)->hash, {version}, {nullptr, file, (*blob)->at, (*blob)->bytes});
  }

  const std::string weights;
  std::vector<std::string> contents, hashes;
  std::vector<VersionPacking> packings;
};

}  // namespace candor
