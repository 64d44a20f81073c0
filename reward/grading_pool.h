// Threads that verify completions. The unit of work is one trace, so that one slow completion holds up one thread and not its whole group;
// the last trace of a group scores the group.
//
// Submit never blocks and the pool has no bound of its own: the caller admits at most [reward] max_in_flight groups, counted from Submit
// until TakeScored returns them.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/thread.h"
#include "reward/judges/judge.h"
#include "reward/scorer.h"

namespace candor {

// Somebody who scores groups: the pool below, or the simulation's stand-in.
class Grader {
 public:
  virtual ~Grader() = default;
  // `row` must outlive the job. The group has passed CheckTraceGroup.
  virtual void Submit(TraceGroup group, const DataRow& row) = 0;
  virtual std::optional<ScoredGroup> TakeScored() = 0;  // in order of completion; nullopt when none is ready
};

class GradingPool final : public Grader {
 public:
  using GroupJudges = std::vector<std::unique_ptr<GroupJudge>>;
  // Verifier and rules must outlive the pool. `judges` look at each whole group but those of an evaluation.
  GradingPool(const Verifier& verifier, const ScoreRules& rules, int threads, GroupJudges judges = {});
  // Traces in hand are finished (each within its verifier's deadline), the rest is dropped.
  ~GradingPool() override;

  void Submit(TraceGroup group, const DataRow& row) override;
  std::optional<ScoredGroup> TakeScored() override;

 private:
  struct Job {
    TraceGroup group;
    const DataRow* row = nullptr;
    std::vector<ReadCompletion> read_G;
    std::vector<Verdict> verdicts_G;
    size_t next = 0;               // under mutex_
    std::atomic<size_t> left = 0;  // traces without a verdict
  };
  void Work();
  void GradeTrace(Job& job, size_t index) const;
  void JudgeGroup(Job& job) const;
  RowFacts FactsOf(const DataRow& row) const;

  const Verifier& verifier_;
  const ScoreRules& rules_;
  const GroupJudges judges_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<std::shared_ptr<Job>> jobs_;  // shared: threads hold a job while others take its next traces
  std::deque<ScoredGroup> scored_;
  bool stopping_ = false;
  std::vector<NamedThread> threads_;  // last: they use what is above
};

}  // namespace candor
