// Taking turns on one device ([placement] colocate): rollouts pause while the learner learns. Two lock files of this machine, held by
// flock(2), so that the death of a holder is the end of its turn. A learner first says that it wants the device: rollouts, which share it
// one engine step at a time, begin no new step then, so that it waits for one step and not for an answer. Any thread; a Hold belongs to
// one.
#pragma once
#include <optional>
#include <string>

#include "core/result.h"

namespace candor {

class Turn {
 public:
  // Let go by the destructor.
  class Hold {
   public:
    Hold(Hold&& other) noexcept;
    Hold& operator=(Hold&& other) noexcept;
    ~Hold();

   private:
    friend class Turn;
    Hold() = default;
    int want_ = -1, use_ = -1;  // -1: not held
  };

  // The files are made in `folder`, which this machine keeps for itself, and named after the run's folder.
  static Result<Turn> Open(const std::string& run_dir, const std::string& folder = "/dev/shm");
  // A rollout, for one engine step. nullopt: a learner has the device, or wants it.
  Result<std::optional<Hold>> TryShare() const;
  // The learner (one rank of this machine speaks for all): waits for the steps that run. kUnavailable after deadline_ms.
  Result<Hold> TakeWhole(int deadline_ms) const;

 private:
  explicit Turn(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace candor
