#include "trainer/publisher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "trainer/exchange.h"
#include "weights/delta.h"
#include "weights/relay_list.h"

namespace candor {

namespace {

std::vector<TensorSpec> TensorsOf(const ShardedPolicy& policy) {
  std::vector<TensorSpec> tensors;
  for (const UnitSpec& unit : policy.units())
    for (const ParamSpec& param : unit.params) tensors.push_back({param.name, param.shape});
  return tensors;
}

uint64_t ElementBytes(const ShardedPolicy& policy) { return policy.dtype() == DType::kBf16 ? 2 : 4; }

// This rank's slice of a unit in the compute format, in host memory.
at::Tensor HostSlice(ShardedPolicy& policy, size_t unit) {
  return policy.state(unit).compute.narrow(0, 0, policy.plan().units[unit].Valid()).cpu().contiguous();
}

// One blob after the other into a rank's file.
class ChunkWriter {
 public:
  ChunkWriter(const std::string& path, uint32_t rank) : path_(path), rank_(rank), file_(path, std::ios::binary) {}
  Blob Append(std::string_view bytes, std::string hash) {
    file_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const Blob blob{rank_, at_, bytes.size(), std::move(hash)};
    at_ += bytes.size();
    return blob;
  }
  Status Finish() {
    file_.close();
    if (!file_) return Fail(ErrorCode::kIo, "cannot be written", path_, "free some space on this file system");
    return {};
  }

 private:
  const std::string path_;
  const uint32_t rank_;
  std::ofstream file_;
  uint64_t at_ = 0;
};

nlohmann::json ToLine(const Blob& blob) { return {blob.rank, blob.at, blob.bytes, blob.hash}; }
Blob BlobOf(const nlohmann::json& line) {
  return {line[0].get<uint32_t>(), line[1].get<uint64_t>(), line[2].get<uint64_t>(), line[3].get<std::string>()};
}

}  // namespace

WeightPublisher::WeightPublisher(ShardedPolicy& policy, PublishOptions options)
    : policy_(policy), options_(std::move(options)), weights_(options_.run_dir + "/weights") {
  PlanPieces();
}

// Without sharding every rank holds everything, and the pieces are dealt out in turn.
void WeightPublisher::PlanPieces() {
  const ShardPlan& plan = policy_.plan();
  const uint64_t element = ElementBytes(policy_);
  uint64_t unit_start = 0, dealt = 0;
  for (size_t unit = 0; unit < plan.units.size(); ++unit) {
    const UnitShard& shard = plan.units[unit];
    const uint64_t bytes = static_cast<uint64_t>(shard.Valid()) * element, begin = static_cast<uint64_t>(shard.begin) * element;
    for (uint64_t at = 0; at < bytes; at += options_.chunk_bytes) {
      const uint64_t size = std::min(options_.chunk_bytes, bytes - at);
      const bool mine = plan.slices() > 1 || dealt++ % static_cast<uint64_t>(plan.ranks) == static_cast<uint64_t>(plan.rank);
      if (mine) pieces_.push_back({unit, at, unit_start + begin + at, size, "", ""});
    }
    unit_start += static_cast<uint64_t>(shard.count) * element;
  }
}

Status WeightPublisher::StartServer() {
  if (!options_.relay || server_) return {};
  if (options_.encrypt) {
    CANDOR_ASSIGN(server_, ServeBlobsEncrypted(store_, options_.bind, *options_.transport, Role::kTrainer));
  } else {
    CANDOR_ASSIGN(server_, ServeBlobsOverTcp(store_, options_.bind));
  }
  return AnnounceRelay(weights_, {fmt::format("trainer-{}", policy_.collective().rank()), server_->endpoint()});
}

// `lines`: for each chunk [offset, bytes, hash, full or null, delta or null, same].
Status WeightPublisher::WriteChunks(const std::string& path, bool full, std::string& lines) {
  const auto element = static_cast<uint32_t>(ElementBytes(policy_));
  ChunkWriter writer(path, static_cast<uint32_t>(policy_.collective().rank()));
  nlohmann::json list = nlohmann::json::array();
  at::Tensor slice;
  mine_.clear();
  for (size_t i = 0; i < pieces_.size(); ++i) {
    Piece& piece = pieces_[i];
    if (i == 0 || pieces_[i - 1].unit != piece.unit) slice = HostSlice(policy_, piece.unit);
    const double start = SteadySeconds();
    const std::string_view now(static_cast<const char*>(slice.data_ptr()) + piece.unit_offset, piece.bytes);
    std::string hash = HashHex(now);
    std::optional<std::string> delta;
    const bool known = !piece.before.empty(), same = known && hash == piece.hash;
    if (known && !same) delta = EncodeDelta(piece.before, now, element, piece.hash);
    nlohmann::json line{piece.image_offset, piece.bytes, hash, nullptr, nullptr, same};
    if (full || (!same && !delta)) line[3] = ToLine(mine_.emplace_back(writer.Append(now, hash)));
    if (delta) line[4] = ToLine(mine_.emplace_back(writer.Append(*delta, HashHex(*delta))));
    if (!same) piece.before.assign(now), piece.hash = std::move(hash);
    list.push_back(std::move(line));
    last_.encode_seconds += SteadySeconds() - start;
    FaultPoint("weights.chunk");
  }
  lines = list.dump();
  return writer.Finish();
}

// Rank 0, after all ranks have written.
Status WeightPublisher::Complete(const std::string& part, int64_t version, const std::vector<std::string>& lines, std::string& hash) {
  std::vector<std::pair<ContentChunk, ChunkPacking>> chunks;
  for (const std::string& of_rank : lines) {
    const auto list = nlohmann::json::parse(of_rank);
    for (const auto& line : list) {
      ChunkPacking packing;
      if (!line[3].is_null()) packing.full = BlobOf(line[3]), last_.full_bytes += packing.full->bytes;
      if (!line[4].is_null()) packing.delta = BlobOf(line[4]), last_.delta_bytes += packing.delta->bytes;
      packing.same = line[5].get<bool>();
      chunks.push_back({{line[0].get<uint64_t>(), line[1].get<uint64_t>(), line[2].get<std::string>()}, std::move(packing)});
    }
  }
  std::sort(chunks.begin(), chunks.end(), [](const auto& a, const auto& b) { return a.first.offset < b.first.offset; });
  VersionManifest manifest;
  manifest.version.value = static_cast<uint64_t>(version);
  manifest.dtype = policy_.dtype() == DType::kBf16 ? "BF16" : "F32";
  manifest.config = ConfigJson(policy_.config(), policy_.dtype() == DType::kBf16 ? "bfloat16" : "float32");
  manifest.tensors = TensorsOf(policy_);
  VersionPacking packing{manifest.version, {}};
  for (auto& [content, packed] : chunks) manifest.chunks.push_back(std::move(content)), packing.chunks.push_back(std::move(packed));
  last_.content_bytes = manifest.Bytes();
  CANDOR_TRY(WriteFileAtomic(part + "/packing.json", ToJson(packing), false));
  FaultPoint("weights.manifest");
  const std::string text = ToJson(manifest);
  hash = HashHex(text);
  CANDOR_TRY(WriteFileAtomic(part + "/manifest.json", text, false));
  FaultPoint("weights.rename");
  const std::string folder = VersionFolder(weights_, manifest.version);
  CANDOR_TRY(RemoveTree(folder));  // of an earlier life of this run
  std::error_code error;
  std::filesystem::rename(part, folder, error);
  if (error) return Fail(ErrorCode::kIo, "cannot rename the published weights: " + error.message(), folder);
  FaultPoint("weights.renamed");
  RemoveOldVersions(version);
  return {};
}

// What is kept can be built by a late joiner: the newest full copy that is not newer than the oldest version to keep stays too.
void WeightPublisher::RemoveOldVersions(int64_t newest) const {
  const int64_t oldest = newest - options_.keep + 1;
  int64_t from = -1;
  const std::vector<PolicyVersion> versions = PublishedVersions(weights_);
  for (PolicyVersion version : versions) {
    if (static_cast<int64_t>(version.value) > std::max<int64_t>(oldest, 0)) break;
    if (const auto packing = ReadPacking(VersionFolder(weights_, version), version); packing && packing->IsFull())
      from = static_cast<int64_t>(version.value);
  }
  for (PolicyVersion version : versions)
    if (static_cast<int64_t>(version.value) < from) (void)RemoveTree(VersionFolder(weights_, version));
}

Status WeightPublisher::Serve(const std::string& folder, int64_t version) {
  if (!server_) return {};
  CANDOR_ASSIGN(const auto file, OpenFile::Open(ChunkFile(folder, static_cast<uint32_t>(policy_.collective().rank()))));
  const PolicyVersion id{static_cast<uint64_t>(version)};
  for (const Blob& blob : mine_) store_.Put(blob.hash, id, {nullptr, file, blob.at, blob.bytes});
  if (const int64_t from = std::min(full_, version - options_.keep + 1); from > 0) store_.DropBelow({static_cast<uint64_t>(from)});
  return {};
}

Result<VersionInfo> WeightPublisher::Publish(int64_t version) {
  Collective& collective = policy_.collective();
  const bool first = collective.rank() == 0;
  const std::string part = fmt::format("{}/part_v{}", weights_, version), folder = fmt::format("{}/v{}", weights_, version);
  Status status;
  if (first) status = RemoveTree(part);
  if (first && status) status = MakeFolders(part);
  CANDOR_TRY(AgreeOn(collective, status));
  CANDOR_TRY(AgreeOn(collective, StartServer()));
  const bool follows = published_ >= 0 && version == published_ + 1;
  if (!follows)
    for (Piece& piece : pieces_) piece.before.clear();
  const bool full = !follows || version - full_ >= options_.full_every;
  last_ = {}, published_ = -1;
  std::string lines, hash;
  status = WriteChunks(ChunkFile(part, static_cast<uint32_t>(collective.rank())), full, lines);
  CANDOR_TRY(AgreeOn(collective, status));
  CANDOR_ASSIGN(const std::vector<std::string> all, GatherTexts(collective, lines));
  FaultPoint("weights.streamed");
  if (first) status = Complete(part, version, all, hash);
  CANDOR_TRY(AgreeOn(collective, status));
  published_ = version;
  if (full) full_ = version;
  CANDOR_TRY(AgreeOn(collective, Serve(folder, version)));
  CANDOR_ASSIGN(hash, BroadcastText(collective, hash, 0));
  if (first)
    spdlog::debug("weights version={} bytes={} delta_bytes={} full_bytes={} encode_seconds={:.3f}", version, last_.content_bytes,
                  last_.delta_bytes, last_.full_bytes, last_.encode_seconds);
  return VersionInfo{{static_cast<uint64_t>(version)}, folder + "/manifest.json", hash};
}

Status WriteFinalPolicy(ShardedPolicy& policy, const std::string& folder, const PolicyFolderOptions& options) {
  Collective& collective = policy.collective();
  const bool first = collective.rank() == 0;
  ShardedPolicy::Which which = policy.has_average() ? ShardedPolicy::Which::kAverage : ShardedPolicy::Which::kCompute;
  std::optional<Parameters> whole;
  if (first) whole.emplace(policy.config(), ToScalarType(policy.dtype()));
  for (size_t u = 0; u < policy.units().size(); ++u) {
    CANDOR_ASSIGN(at::Tensor unit, policy.WholeUnit(u, which));
    if (first) whole->Flat(u).copy_(unit.narrow(0, 0, policy.units()[u].Count()));
  }
  return AgreeOn(collective, first ? WritePolicyFolder(folder, policy.config(), *whole, options) : Status{});
}

}  // namespace candor
