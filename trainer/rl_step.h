// One learning step on scored groups: plan what each token teaches, run micro-batches forward and backward, update. The loop of
// architecture §2.6, without any process around it. A collective call: all ranks together, each with its own groups (maybe none).
#pragma once
#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "model/policy_pass.h"
#include "text/prompt.h"
#include "trainer/aggregation.h"
#include "trainer/kl.h"
#include "trainer/losses.h"
#include "trainer/objectives.h"
#include "trainer/report_sums.h"
#include "trainer/sharded_policy.h"
#include "trainer/train_batch.h"
#include "trainer/update.h"

namespace candor {

struct RlSettings {
  std::vector<Objective> objectives;
  LossSettings loss;
  Aggregation aggregation = Aggregation::kPrompt;
  double length_norm = 256.0;
  Whiten whiten = Whiten::kNone;
  double kl_weight = 0.0;
  KlEstimator kl_estimator = KlEstimator::kK3;
  uint64_t seed = 0;  // of random choices
  ScheduleOptions schedule;
  AdamOptions adam;
  int64_t total_steps = 1;
  int64_t tokens_per_microbatch = 4096;
  double ema_decay = 0.0;
  std::optional<SlotTokens> slot;
  bool recompute = false;
  bool deterministic = false;
  bool stop_at_bad_numbers = false;  // else the step is skipped
  bool NeedsReference() const {
    return kl_weight > 0.0 ||
           std::any_of(objectives.begin(), objectives.end(), [](const Objective& o) { return o.loss == LossKind::kPreference; });
  }
  // Tests only: called after each backward, to put in what a faulty machine might.
  std::function<void(ShardedPolicy&, ReportSums&)> disturb;
};
// Everything above from a recipe's options; slot objectives without slot tokens are refused.
Result<RlSettings> CheckRlSettings(const TrainerOptions& options, const std::vector<ObjectiveOptions>& objectives,
                                   const std::optional<SlotTokens>& slot, bool deterministic);

struct StepResult {
  std::map<std::string, double> metrics;
  bool skipped = false;
  std::string why;
};

class RlStepper {
 public:
  // `reference`: the policy that kl_weight holds on to and that preferences are held against, in the policy's number format and on its
  // device; null unless settings.NeedsReference(). Outlives the stepper.
  RlStepper(const RlSettings& settings, ShardedPolicy& policy, const Parameters* reference = nullptr);
  // `step` from 1; the policy holds version step - 1. Groups are validated by the caller.
  Result<StepResult> Run(int64_t step, const std::vector<ScoredGroup>& groups);

 private:
  Result<UpdateOutcome> Learn(const std::vector<GroupTask>& tasks, const Denominators& all, int64_t step, const ReportSums& counted,
                              ReportSums& mine, double& learned);
  Status RunMicroBatches(const std::vector<GroupTask>& tasks, const Denominators& all, int64_t held_version, ReportSums& sums);
  Result<at::Tensor> ScoreReference(const PackedGroups& batch) const;

  RlSettings settings_;
  ShardedPolicy& policy_;
  const Parameters* reference_;
  PolicyPass pass_;
};

}  // namespace candor
