// How weights and checkpoints describe themselves: manifests, packings and deltas, as another machine or an earlier life wrote them.
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "tests/fuzz/targets.h"
#include "trainer/checkpoint_manifest.h"
#include "weights/delta.h"
#include "weights/manifest.h"

namespace candor::fuzz {

namespace {

using Json = nlohmann::json;

void Refused(const Error& error) { Promise(!error.what.empty(), "a refusal says why"); }

void RunVersionManifest(std::string_view bytes) {
  const Result<VersionManifest> manifest = ParseVersionManifest(std::string(bytes), "manifest.json");
  if (!manifest) return Refused(manifest.error());
  uint64_t end = 0;
  for (const ContentChunk& chunk : manifest->chunks) {
    Promise(chunk.offset == end && 0 < chunk.bytes && chunk.bytes <= kChunkContentMax, "chunks cover the image in order");
    end += chunk.bytes;
  }
  Promise(end == manifest->Bytes() && end % manifest->ElementBytes() == 0, "the image is made of whole elements");
  const Result<VersionManifest> again = ParseVersionManifest(ToJson(*manifest), "again");
  Promise(again && ToJson(*again) == ToJson(*manifest), "a manifest can be written again");
}
std::vector<std::string> VersionManifestSeeds() {
  VersionManifest manifest{{7}, "BF16", R"({"model_type":"llama"})", {{"a", {2, 3}}, {"b", {4}}}, {}};
  manifest.chunks = {{0, 12, std::string(32, 'a')}, {12, 8, std::string(32, '0')}};
  VersionManifest one{{0}, "F32", "{}", {{"a", {1}}}, {{0, 4, std::string(32, 'f')}}};
  return {ToJson(manifest), ToJson(one)};
}

void RunPacking(std::string_view bytes) {
  const Result<VersionPacking> packing = ParsePacking(std::string(bytes), "packing.json");
  if (!packing) return Refused(packing.error());
  if (packing->IsFull()) (void)packing->FullBytes();
  (void)packing->DeltaBytes();
  Promise(ParsePacking(ToJson(*packing), "again").has_value(), "a packing can be written again");
}
std::vector<std::string> PackingSeeds() {
  const Blob blob{1, 4096, 20, std::string(32, 'b')};
  VersionPacking packing{{7}, {{blob, std::nullopt, false}, {std::nullopt, blob, false}, {blob, blob, true}}};
  return {ToJson(packing), ToJson(VersionPacking{{0}, {}})};
}

// Against the base that the seeds were made for.
const std::string& Base() {
  static const std::string base = [] {
    std::string bytes(4096, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37);
    return bytes;
  }();
  return base;
}
void RunDelta(std::string_view bytes) {
  const Result<std::string> next = ApplyDelta(Base(), HashHex(Base()), bytes);
  if (!next) return Refused(next.error());
  Promise(next->size() == Base().size(), "a delta does not change the size of its chunk");
  const Result<std::string> again = ApplyDelta(Base(), HashHex(Base()), bytes);
  Promise(again && *again == *next, "the same delta gives the same bytes");
}
std::vector<std::string> DeltaSeeds() {
  std::vector<std::string> seeds;
  for (size_t every : {size_t{7}, size_t{64}, size_t{4000}})
    for (uint32_t element : {2u, 4u}) {
      std::string next = Base();
      for (size_t i = 0; i < next.size(); i += every) next[i] = static_cast<char>(next[i] ^ 5);
      if (auto delta = EncodeDelta(Base(), next, element, HashHex(Base()))) seeds.push_back(std::move(*delta));
    }
  return seeds;
}

// As it is, and as the body of a manifest whose hash is right: no mutation would get past the hash.
void RunCheckpointManifest(std::string_view bytes) {
  std::string text(bytes);
  if (const Json body = Json::parse(bytes, nullptr, false); body.is_object() && !body.contains("hash")) try {
      text = Json{{"body", body}, {"hash", HashHex(body.dump())}}.dump(1) + "\n";
    } catch (const Json::exception&) {  // bad UTF-8 cannot be printed
    }
  const Result<CheckpointManifest> manifest = ParseCheckpointManifest(text, "manifest.json");
  if (!manifest) return Refused(manifest.error());
  Promise(static_cast<size_t>(manifest->slices) == manifest->files.size(), "every slice has a file");
  for (const CheckpointUnit& unit : manifest->units)
    Promise(0 < unit.count && unit.count <= unit.slice * manifest->slices, "slices cover their unit");
  (void)manifest->LedgerSequence();
  Promise(ParseCheckpointManifest(ManifestText(*manifest), "again").has_value(), "a manifest can be written again");
}
std::vector<std::string> CheckpointManifestSeeds() {
  CheckpointManifest manifest;
  manifest.step = 20, manifest.updates = 19, manifest.slices = manifest.ranks = 2, manifest.average = true;
  manifest.units = {{"embedding", 31, 16}, {"block 0", 8, 4}};
  manifest.files = {{"rank_0.safetensors", 30, {{0, 30, std::string(32, 'a')}}}, {"rank_1.safetensors", 8, {{0, 8, std::string(32, '1')}}}};
  manifest.books = R"({"ledger_sequence":5,"spooled":{"4294967296":"ab"}})";
  const std::string whole = ManifestText(manifest);
  manifest.books = "";
  return {whole, Json::parse(whole)["body"].dump(), Json::parse(ManifestText(manifest))["body"].dump()};
}

}  // namespace

std::vector<Target> VersionTargets() {
  return {{"version_manifest", RunVersionManifest, VersionManifestSeeds, 20000},
          {"version_packing", RunPacking, PackingSeeds, 20000},
          {"weight_delta", RunDelta, DeltaSeeds, 20000},
          {"checkpoint_manifest", RunCheckpointManifest, CheckpointManifestSeeds, 20000}};
}

}  // namespace candor::fuzz
