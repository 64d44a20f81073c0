// Writes a checkpoint beside the training. A thread copies this rank's state into buffers of its own, then writes, syncs and hashes the
// shard. The state changes in the optimizer's update alone, so the copy has until then: ShardedPolicy::BeginChange waits for what is left
// of it, and that is all the training waits for (state on a GPU is copied before Start returns). The ranks meet in Poll, between steps:
// when all shards are there, rank 0's thread writes the manifest, syncs it, gives the folder its name by one rename, syncs the folder
// above, sets the pointer `latest` and removes what is not kept; another Poll tells the outcome, the same on every rank. A shard that
// cannot be written is a named outcome, not an end: training goes on. No collective is called outside the caller's thread.
//
// Without sharding the ranks hold copies of the same state: they are hashed and compared on the way, and a copy that differs (memory that
// flipped a bit) is an error that must end this life of the learner.
//
// The buffers take as much host memory as the state itself. One thread calls it; every rank makes the same calls.
#pragma once
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/thread.h"
#include "trainer/checkpoint.h"

namespace candor {

inline constexpr int64_t kCheckpointDeadlineMs = 600'000;  // a disk that takes longer is taken for broken

struct CheckpointOutcome {
  CheckpointInfo info;
  Status written;  // why there is none
};

class CheckpointWriter {
 public:
  // `run_dir`: where the figures of keep_best are read; "" without.
  CheckpointWriter(ShardedPolicy& policy, std::string checkpoints, CheckpointOptions keep, std::string run_dir = "");
  ~CheckpointWriter();  // waits for the thread

  // Not while one is being written. `books`: the coordinator's state as JSON text, on rank 0; "" = unknown.
  Status Start(int64_t step, const std::string& books);
  bool busy() const { return phase_ != Phase::kIdle; }
  int64_t step() const { return manifest_.step; }  // of the last Start
  // What the caller of BeginChange waited for the snapshot since the last call of this.
  double TakeWaitSeconds() { return std::exchange(wait_seconds_, 0.0); }
  // The outcome once there is one. An error: the collective broke, or the ranks' copies differ.
  Result<std::optional<CheckpointOutcome>> Poll() { return Look(false); }
  // Polls until the outcome; after deadline_ms it is kIo, by name.
  Result<CheckpointOutcome> Finish(int64_t deadline_ms);

 private:
  enum class Phase { kIdle, kShards, kCompletion };
  bool first() const { return policy_.collective().rank() == 0; }
  bool owns_slice() const { return policy_.plan().rank < policy_.plan().slices(); }
  bool compares() const { return policy_.plan().slices() == 1 && policy_.collective().size() > 1; }
  bool CopiesBeside() const { return policy_.device().is_cpu(); }
  void TakeSnapshot();
  void CopyState();
  void AwaitSnapshot();
  void Launch(std::function<Result<std::string>()> job);
  Result<std::string> WriteShard() const;
  Result<std::string> Complete(const CheckpointManifest& manifest) const;
  void Retain(const std::string& folder) const;
  Result<std::optional<CheckpointOutcome>> Look(bool too_late);
  Result<std::optional<CheckpointOutcome>> AfterShards();
  Status SameOnAllRanks(const std::vector<std::string>& shards) const;
  CheckpointOutcome GiveUp(const Error& error);

  ShardedPolicy& policy_;
  const std::string checkpoints_, run_dir_;
  const CheckpointOptions keep_;
  std::vector<std::pair<std::string, at::Tensor>> buffers_, sources_;  // sources: the live state, in the same order
  CheckpointManifest manifest_;                                        // of the present one; files on rank 0 once all shards are there
  std::string part_;
  Phase phase_ = Phase::kIdle;
  double wait_seconds_ = 0.0;
  SystemClock clock_;
  std::optional<Result<std::string>> result_;  // of the thread; read when ready_
  std::atomic<bool> ready_ = true;
  std::atomic<bool> copied_ = true;  // the snapshot is whole: the state may change
  NamedThread thread_;               // last: it uses the others
};

}  // namespace candor
