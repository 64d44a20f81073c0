// The filter "moving_std": a group is kept out of the policy gradient where its rewards deviate less than a threshold that follows the run.
// Reward workers measure each group's deviation (the channel value_std, reward/filter.h), the coordinator decides when it plans a step: of
// the steps done before alone, so that neither the order in which groups arrive nor a restart changes anything. A part of the coordinator's
// state: it changes only with ledger records.
//
// RLPR (arXiv 2506.18254, OpenBMB/RLPR): with m(s) the mean of the deviations of all groups of step s, those that were dropped included,
//   E = mean of m(s) over s = average_from .. from - 1, then after every step from `from` on  E = ema E + (1 - ema) m(s)
//   kept at step t >= from where its deviation is at least beta E; before `from` every group is kept
#pragma once
#include <map>
#include <optional>
#include <vector>

#include "coordinator/run_plan.h"
#include "proto/messages.h"

namespace candor {

// Of the rewards of a scored group's traces; nullopt where its worker did not measure it.
std::optional<double> ValueStdOf(const GroupScored& header);

class MovingFilter {
 public:
  explicit MovingFilter(const MovingFilterPlan& plan) : plan_(plan) {}

  // nullopt: nothing is dropped at this step.
  std::optional<double> ThresholdAt(StepId step) const;
  bool Keeps(StepId step, const GroupScored& header) const;
  // Steps in order, with the deviations of their groups.
  void Learned(StepId step, const std::vector<double>& stds);
  // Forgets what steps from this one on taught.
  void Undo(StepId from);

 private:
  struct Average {
    double value = 0.0;
    uint64_t steps = 0;  // whose means are in it
  };
  MovingFilterPlan plan_;
  std::map<StepId, Average> after_;  // each step that taught something
};

}  // namespace candor
