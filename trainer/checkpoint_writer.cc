#include "trainer/checkpoint_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "model/safetensors_io.h"
#include "trainer/exchange.h"

namespace candor {

namespace {

constexpr int kPollMs = 2;
using Json = nlohmann::json;

Status Asked(const char* point) {
  if (FaultPoint(point)) return Fail(ErrorCode::kIo, std::string("asked to fail at ") + point);
  return {};
}

Status Rename(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error) return Fail(ErrorCode::kIo, "cannot rename the checkpoint: " + error.message(), to);
  return {};
}

std::string_view BytesOf(const at::Tensor& tensor) { return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()}; }

}  // namespace

CheckpointWriter::CheckpointWriter(ShardedPolicy& policy, std::string checkpoints, CheckpointOptions keep, std::string run_dir)
    : policy_(policy), checkpoints_(std::move(checkpoints)), run_dir_(std::move(run_dir)), keep_(std::move(keep)) {
  if (!owns_slice() && !compares()) return;
  for (size_t u = 0; u < policy_.units().size(); ++u)
    for (const auto& [name, tensor] : CheckpointedState(policy_, u))
      buffers_.emplace_back(name, at::empty(tensor.sizes(), at::kFloat).fill_(0));  // touched now, not in the first snapshot
  policy_.SetReader([this] { AwaitSnapshot(); });
}

CheckpointWriter::~CheckpointWriter() { policy_.SetReader(nullptr); }

// State in host memory is copied by the thread that writes it; what lies on a GPU now, in the order of its stream.
void CheckpointWriter::TakeSnapshot() {
  sources_.clear();
  if (buffers_.empty()) return;
  for (size_t u = 0; u < policy_.units().size(); ++u)
    for (auto& named : CheckpointedState(policy_, u)) {
      CANDOR_CHECK(named.second.is_contiguous() && named.second.scalar_type() == at::kFloat, "slices of fp32");
      sources_.push_back(std::move(named));
    }
  copied_ = false;
  if (CopiesBeside()) return;
  Synchronize(policy_.device());
  CopyState();
}

// Bytes, not tensor operations: torch's threads belong to the training.
void CheckpointWriter::CopyState() {
  for (size_t i = 0; i < sources_.size(); ++i) {
    const at::Tensor& from = sources_[i].second;
    at::Tensor& to = buffers_[i].second;
    if (CopiesBeside())
      std::memcpy(to.data_ptr(), from.const_data_ptr(), from.nbytes());
    else
      to.copy_(from);
  }
  copied_ = true;
  copied_.notify_all();
}

void CheckpointWriter::AwaitSnapshot() {
  if (copied_) return;
  const double start = SteadySeconds();
  copied_.wait(false);
  wait_seconds_ += SteadySeconds() - start;
}

void CheckpointWriter::Launch(std::function<Result<std::string>()> job) {
  ready_ = false;
  thread_ = NamedThread("checkpoint", [this, job = std::move(job)] {
    result_ = job();
    ready_ = true;
  });
}

Status CheckpointWriter::Start(int64_t step, const std::string& books) {
  CANDOR_CHECK(!busy(), "one checkpoint at a time");
  const double start = SteadySeconds();
  const ShardPlan& plan = policy_.plan();
  manifest_ = {};
  manifest_.step = step, manifest_.updates = policy_.updates(), manifest_.slices = plan.slices(), manifest_.ranks = plan.ranks;
  manifest_.average = policy_.has_average(), manifest_.books = books;
  for (size_t u = 0; u < policy_.units().size(); ++u)
    manifest_.units.push_back({policy_.units()[u].name, plan.units[u].count, plan.units[u].slice});
  part_ = checkpoints_ + "/part_" + CheckpointFolderName(step);
  Status made;
  if (first() && FileExists(part_)) made = RemoveTree(part_);  // of a life that died while it wrote
  if (first() && made) made = MakeFolders(part_);
  TakeSnapshot();
  const Status agreed = AgreeOn(policy_.collective(), made);
  if (!agreed && agreed.error().code == ErrorCode::kCollective) return agreed;
  result_.reset();
  phase_ = Phase::kShards;
  if (!agreed) {
    copied_ = true;
    result_ = Fail(agreed.error());  // told by the next Poll, like every other outcome
  } else {
    Launch([this] {
      if (!copied_) CopyState();
      return WriteShard();
    });
  }
  spdlog::debug("checkpoint step={} start_s={:.4f}", step, SteadySeconds() - start);
  return {};
}

// In the thread. The listed file and, where ranks hold copies, a hash of each tensor.
Result<std::string> CheckpointWriter::WriteShard() const {
  Json report{{"state", Json::array()}, {"file", nullptr}};
  if (compares())
    for (const auto& [name, tensor] : buffers_) report["state"].push_back(HashHex(BytesOf(tensor)));
  if (!owns_slice()) return report.dump();
  CANDOR_TRY(Asked("checkpoint.shard"));
  const std::string name = SliceFileName(policy_.plan().rank);
  CANDOR_TRY(MakeFolders(part_));  // seen by another machine earlier than rank 0's, perhaps
  CANDOR_TRY(WriteSafetensors(part_ + "/" + name, buffers_));
  CANDOR_ASSIGN(const ListedFile listed, ListFile(part_, name));
  CANDOR_TRY(SyncFolder(part_));
  report["file"] = ToJsonText(listed);
  return report.dump();
}

// In rank 0's thread: the manifest makes the folder whole, the rename makes it a checkpoint. The hash of the manifest.
Result<std::string> CheckpointWriter::Complete(const CheckpointManifest& manifest) const {
  const std::string text = ManifestText(manifest);
  CANDOR_TRY(Asked("checkpoint.manifest"));
  CANDOR_TRY(WriteFileAtomic(part_ + "/manifest.json", text));
  CANDOR_TRY(SyncFolder(part_));
  const std::string name = CheckpointFolderName(manifest.step), folder = checkpoints_ + "/" + name,
                    replaced = checkpoints_ + "/replaced_" + name;
  CANDOR_TRY(Asked("checkpoint.rename"));
  if (FileExists(folder)) {  // an abandoned life's; until the new one has the name this one counts
    CANDOR_TRY(RemoveTree(replaced));
    CANDOR_TRY(Rename(folder, replaced));
  }
  CANDOR_TRY(Rename(part_, folder));
  CANDOR_TRY(SyncFolder(checkpoints_));
  Status pointed = Asked("checkpoint.pointer");
  if (pointed) pointed = WriteFileAtomic(checkpoints_ + "/latest", name + "\n");
  if (!pointed) LogError(pointed.error(), "pointer to the newest checkpoint");  // a hint for people: the checkpoint is there
  if (Status removed = RemoveTree(replaced); !removed) LogError(removed.error(), "replaced checkpoint");
  Retain(name);
  return HashHex(text);
}

// What cannot be removed now is tried again after the next checkpoint.
void CheckpointWriter::Retain(const std::string& newest) const {
  std::vector<int64_t> steps;
  for (const CheckpointFolder& folder : FindCheckpoints(checkpoints_))
    if (folder.step <= manifest_.step) steps.push_back(folder.step);  // newer ones are not of this lineage: never a reason to remove ours
  FaultPoint("checkpoint.retention");
  for (int64_t step :
       PlanRetention(steps, run_dir_.empty() ? std::map<int64_t, double>{} : ReadFigures(run_dir_, keep_.keep_best), keep_)) {
    const std::string name = CheckpointFolderName(step), going = checkpoints_ + "/gone_" + name;
    CANDOR_CHECK(name != newest, "the newest checkpoint is never removed");
    Status removed = Rename(checkpoints_ + "/" + name, going);  // first the name goes, so that no half of it is ever looked at
    if (removed) removed = RemoveTree(going);
    if (!removed) LogError(removed.error(), "old checkpoint");
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints_, ignored))
    if (entry.path().filename().string().starts_with("gone_")) std::filesystem::remove_all(entry.path(), ignored);
}

CheckpointOutcome CheckpointWriter::GiveUp(const Error& error) {
  phase_ = Phase::kIdle;
  if (first()) (void)RemoveTree(part_);
  Error named = error;
  named.what = fmt::format("the checkpoint of step {} was not written: {}", manifest_.step, error.what);
  return {{manifest_.step, "", "", 0}, Fail(named)};
}

Status CheckpointWriter::SameOnAllRanks(const std::vector<std::string>& shards) const {
  if (!compares()) return {};
  const Json reference = Json::parse(shards[0])["state"];
  for (size_t r = 1; r < shards.size(); ++r) {
    const Json other = Json::parse(shards[r])["state"];
    for (size_t i = 0; i < reference.size(); ++i)
      if (other[i] != reference[i])
        return Fail(ErrorCode::kCollective,
                    fmt::format("rank {} and rank 0 hold different values of {} after step {}, which must be copies of each other", r,
                                buffers_[i].first, manifest_.step),
                    "checkpoint", "memory of one of them is damaged: the learner starts again from the newest checkpoint");
  }
  return {};
}

Result<std::optional<CheckpointOutcome>> CheckpointWriter::AfterShards() {
  Collective& collective = policy_.collective();
  Status agreed = AgreeOn(collective, *result_ ? Status{} : Status(Fail(result_->error())));
  if (!agreed && agreed.error().code == ErrorCode::kCollective) return Fail(agreed.error());
  if (!agreed) return std::optional(GiveUp(agreed.error()));
  CANDOR_ASSIGN(const std::vector<std::string> shards, GatherTexts(collective, **result_));
  CANDOR_TRY(SameOnAllRanks(shards));
  result_ = std::string();
  phase_ = Phase::kCompletion;
  if (!first()) return std::nullopt;
  for (int slice = 0; slice < manifest_.slices; ++slice) {
    const Json report = Json::parse(shards[static_cast<size_t>(slice)]);
    CANDOR_ASSIGN(ListedFile listed, ListedFileFromJson(report["file"].get<std::string>(), "shard of rank " + std::to_string(slice)));
    manifest_.files.push_back(std::move(listed));
  }
  Launch([this] { return Complete(manifest_); });
  return std::nullopt;
}

Result<std::optional<CheckpointOutcome>> CheckpointWriter::Look(bool too_late) {
  if (!busy()) return std::nullopt;
  Collective& collective = policy_.collective();
  CANDOR_ASSIGN(const auto all, GatherDoubles(collective, {ready_ ? 1.0 : 0.0, too_late ? 1.0 : 0.0}));
  bool ready = true;
  for (size_t r = 0; r < all.size(); ++r) {
    ready = ready && all[r][0] > 0;
    if (all[r][1] > 0)
      return Fail(ErrorCode::kIo, fmt::format("the checkpoint of step {} is not on disk after its deadline", manifest_.step), checkpoints_,
                  "look at the file system");
  }
  if (!ready) return std::nullopt;
  thread_.Join();
  if (phase_ == Phase::kShards) return AfterShards();
  const Status agreed = AgreeOn(collective, *result_ ? Status{} : Status(Fail(result_->error())));
  if (!agreed && agreed.error().code == ErrorCode::kCollective) return Fail(agreed.error());
  if (!agreed) return std::optional(GiveUp(agreed.error()));
  CANDOR_ASSIGN(const std::string hash, BroadcastText(collective, first() ? **result_ : "", 0));
  phase_ = Phase::kIdle;
  return std::optional(
      CheckpointOutcome{{manifest_.step, checkpoints_ + "/" + CheckpointFolderName(manifest_.step), hash, manifest_.LedgerSequence()}, {}});
}

Result<CheckpointOutcome> CheckpointWriter::Finish(int64_t deadline_ms) {
  for (const int64_t end_ms = clock_.SteadyMs() + deadline_ms;;) {
    CANDOR_ASSIGN(std::optional<CheckpointOutcome> outcome, Look(clock_.SteadyMs() > end_ms));
    if (outcome) return std::move(*outcome);
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
}

}  // namespace candor
