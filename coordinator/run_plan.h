// What the coordinator knows of a recipe: counts, never contents. Prompts are rows of data sets that rollout and reward workers have loaded
// themselves; here they are numbers.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/trace.h"

namespace candor {

struct DatasetPlan {
  std::string name;  // as in PromptRef::dataset
  uint32_t rows = 0;
  double weight = 1.0;  // how often each of its rows occurs in one pass, relative to the other data sets
};

struct EvalPlan {
  std::string name;
  uint32_t rows = 0;
  uint64_t every = 0;  // asked at version 0, after every so many steps, and at the last; 0: only at version 0 and the last
};

// Which prompts are taken (coordinator/curriculum.h), and when a step has enough groups.
struct CurriculumPlan {
  bool skip = false;           // pass over prompts that were easy or hard every time
  double retire_at = 0.0;      // pass rate from which a prompt is retired; 0 = never
  double retired_share = 0.1;  // of a retired prompt's visits that go on training the confidence
  uint32_t fill_batches = 1;   // a step generates so many batches at most until prompts_per_step groups have passed the filter
  bool NeedsPast() const { return skip || retire_at > 0; }
  bool operator==(const CurriculumPlan&) const = default;
};

// The filter "moving_std" (coordinator/moving_filter.h). Steps are numbered from 1.
struct MovingFilterPlan {
  bool on = false;
  double beta = 0.5, ema = 0.99;
  uint64_t average_from = 6, from = 11;
  bool operator==(const MovingFilterPlan&) const = default;
};

struct RunPlan {
  std::string run_id;
  uint64_t steps = 0;
  uint32_t prompts_per_step = 0;
  uint32_t group_size = 0;     // sampled traces of a group
  uint32_t greedy_traces = 0;  // greedy traces added to it
  uint64_t staleness = 1;      // η
  bool deterministic = false;
  uint64_t seed = 1;
  std::vector<DatasetPlan> datasets;
  std::vector<EvalPlan> evals;
  CurriculumPlan curriculum = {};
  MovingFilterPlan moving_filter = {};
};

// Counts in range, names different, everything that a group id can hold.
Status CheckRunPlan(const RunPlan& plan);

// Evaluation groups have ids of their own, above all training groups: bit 63, then eval (7 bits), policy version (24 bits), row (32 bits).
inline constexpr uint32_t kMaxEvals = 128;
inline constexpr uint64_t kMaxVersions = uint64_t{1} << 24;
constexpr GroupId MakeEvalGroupId(uint32_t eval, PolicyVersion version, uint32_t row) {
  return {uint64_t{1} << 63 | uint64_t{eval} << 56 | version.value << 32 | row};
}
constexpr bool IsEvalGroup(GroupId id) { return id.value >> 63 != 0; }
constexpr uint32_t EvalIndexOf(GroupId id) { return static_cast<uint32_t>(id.value >> 56 & (kMaxEvals - 1)); }
constexpr PolicyVersion EvalVersionOf(GroupId id) { return {id.value >> 32 & (kMaxVersions - 1)}; }

bool EvalIsDue(const RunPlan& plan, const EvalPlan& eval, PolicyVersion version);

// Which prompt every position of every wave visits: a function of (seed, data sets) alone. Data sets are interleaved in proportion to rows
// x weight (the one that is furthest behind its share goes next); inside a data set, pass e visits its rows in EpochOrder(seed, e). Keeps
// the schedule computed so far; one thread.
class PromptOrder {
 public:
  explicit PromptOrder(const RunPlan& plan) : plan_(plan), taken_(plan.datasets.size(), 0) {}
  PromptRef At(StepId wave, uint32_t position);
  // The same by number: visits of wave 1 are 0, 1, ...
  PromptRef AtVisit(uint64_t visit);

 private:
  struct Visit {
    uint32_t dataset;
    uint64_t count;  // how many visits of this data set came before
  };
  void Extend(size_t visits);
  uint32_t RowOf(uint32_t dataset, uint64_t count);

  RunPlan plan_;
  std::vector<Visit> schedule_;
  std::vector<uint64_t> taken_;
  std::map<uint32_t, std::pair<uint64_t, std::vector<uint32_t>>> orders_;  // data set -> (epoch, order of its rows)
};

}  // namespace candor
