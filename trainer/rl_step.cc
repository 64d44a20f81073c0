#include "trainer/rl_step.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/clock.h"
#include "core/fault_point.h"
#include "core/log.h"
#include "core/rng.h"
#include "trainer/exchange.h"
#include "trainer/micro_batch.h"
#include "trainer/optimizer.h"
#include "trainer/packing.h"

namespace candor {

namespace {
constexpr int kAttempts = 2;  // of a step whose numbers are not finite
}

Result<RlSettings> CheckRlSettings(const TrainerOptions& options, const std::vector<ObjectiveOptions>& objectives,
                                   const std::optional<SlotTokens>& slot, bool deterministic) {
  RlSettings s;
  CANDOR_ASSIGN(s.objectives, CheckObjectives(objectives, options.steps));
  for (Objective& objective : s.objectives) objective.mask_truncated = options.correction.mask_truncated;
  CANDOR_ASSIGN(s.loss, CheckLoss(options));
  CANDOR_ASSIGN(s.aggregation, CheckAggregation(options));
  for (const Objective& objective : s.objectives)
    if (objective.TrainsSlot() && !slot)
      return Fail(ErrorCode::kInvalidInput, "an objective trains the confidence slot, but the format has none", "objective",
                  "set [format] confidence = \"slot\" with slot_high and slot_low");
  s.length_norm = static_cast<double>(options.length_norm);
  const CorrectionOptions& correction = options.correction;
  s.kl_weight = correction.kl_weight;
  s.kl_estimator = correction.kl_estimator == "k1"   ? KlEstimator::kK1
                   : correction.kl_estimator == "k2" ? KlEstimator::kK2
                                                     : KlEstimator::kK3;
  s.whiten = correction.whiten == "sequences" ? Whiten::kSequences : correction.whiten == "tokens" ? Whiten::kTokens : Whiten::kNone;
  s.schedule = options.schedule, s.adam = options.adam;
  s.total_steps = options.steps, s.tokens_per_microbatch = options.tokens_per_microbatch;
  s.stop_at_bad_numbers = options.bad_numbers == "stop";
  s.ema_decay = options.ema_decay, s.slot = slot, s.recompute = options.recompute, s.deterministic = deterministic;
  return s;
}

RlStepper::RlStepper(const RlSettings& settings, ShardedPolicy& policy, const Parameters* reference)
    : settings_(settings),
      policy_(policy),
      reference_(reference),
      pass_(policy.config(), Numerics{policy.dtype(), settings.deterministic}, policy, {.recompute = settings.recompute}) {
  CANDOR_CHECK(reference || !settings.NeedsReference(), "a distance and a preference need a reference");
}

namespace {

Result<std::vector<Moments>> StepMoments(Collective& collective, const std::vector<Objective>& objectives,
                                         const std::vector<ScoredGroup>& groups) {
  std::vector<double> mine;
  for (const Moments& m : ComputeMoments(objectives, groups)) mine.insert(mine.end(), {m.count, m.sum, m.sum_squares});
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(collective, mine));
  std::vector<Moments> total(objectives.size());
  for (const std::vector<double>& one : by_rank)
    for (size_t k = 0; k < total.size(); ++k)
      total[k].count += one[3 * k], total[k].sum += one[3 * k + 1], total[k].sum_squares += one[3 * k + 2];
  return total;
}

Status WhitenStep(Collective& collective, Whiten kind, std::vector<GroupTask>& tasks) {
  if (kind == Whiten::kNone) return {};
  const Moments mine = ComputeWhitening(kind, tasks);
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(collective, {mine.count, mine.sum, mine.sum_squares}));
  Moments all;
  for (const std::vector<double>& one : by_rank) all.count += one[0], all.sum += one[1], all.sum_squares += one[2];
  WhitenAdvantages(all, tasks);
  return {};
}

Result<Denominators> StepDenominators(Collective& collective, const std::vector<GroupTask>& tasks) {
  Denominators mine = CountDenominators(tasks), all;
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(collective, {mine.tokens, mine.sequences, mine.prompts, mine.slots, mine.pairs}));
  for (const std::vector<double>& one : by_rank)
    all.tokens += one[0], all.sequences += one[1], all.prompts += one[2], all.slots += one[3], all.pairs += one[4];
  return all;
}

void CountGroups(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups, const std::vector<GroupTask>& tasks,
                 ReportSums& sums) {
  AdvantageStats stats = ComputeStats(objectives, groups, tasks);
  sums.values = stats.value_sum, sums.traces = stats.traces;
  sums.advantage = stats.advantage_sum, sums.advantage_squares = stats.advantage_squares, sums.advantage_max = stats.advantage_max;
  for (const ScoredGroup& group : groups) {
    sums.groups += 1.0;
    sums.groups_kept += group.drop == DropReason::kNone ? 1.0 : 0.0;
    for (const ScoredTrace& scored : group.traces_G)
      if (!scored.trace.greedy && scored.label != Label::kUnknown)
        sums.completion_tokens += static_cast<double>(scored.trace.tokens_T.size());
  }
}

}  // namespace

Result<at::Tensor> RlStepper::ScoreReference(const PackedGroups& batch) const {
  if (!reference_) return at::Tensor();
  CANDOR_ASSIGN(TokenScores scores, ScoreTokens(policy_.config(), *reference_, {policy_.dtype(), settings_.deterministic}, batch));
  return scores.log_probs_M;
}

Status RlStepper::RunMicroBatches(const std::vector<GroupTask>& tasks, const Denominators& all, int64_t held_version, ReportSums& sums) {
  std::vector<PackItem> items = PackItemsOf(tasks);
  std::vector<MicroBatch> batches = PlanMicroBatches(items, settings_.tokens_per_microbatch, CommonBeginningOf(tasks));
  CANDOR_ASSIGN(auto counts, GatherDoubles(policy_.collective(), {static_cast<double>(batches.size())}));
  size_t most = 1;
  for (const std::vector<double>& one : counts) most = std::max(most, static_cast<size_t>(one[0]));
  std::vector<int32_t> extra_ids =
      settings_.slot ? std::vector<int32_t>{settings_.slot->high, settings_.slot->low} : std::vector<int32_t>{};
  LossContext context{settings_.loss,      settings_.aggregation,  settings_.length_norm, all,
                      settings_.kl_weight, settings_.kl_estimator, held_version};
  const uint64_t rank = static_cast<uint64_t>(policy_.collective().rank());
  for (size_t b = 0; b < most; ++b) {  // short ranks run batches that train nothing, so that all ranks make the same collective calls
    policy_.BeginMicroBatch(b + 1 == most);
    CANDOR_ASSIGN(LearnBatch batch, b < batches.size() ? MakeLearnBatch(tasks, batches[b], context) : MakeEmptyBatch());
    CANDOR_ASSIGN(const at::Tensor reference_M, ScoreReference(batch.packed));
    CANDOR_ASSIGN(TokenScores scores, pass_.Forward(batch.packed, extra_ids));
    FaultPoint("learner.forward");
    context.draw = RandomBits(settings_.seed, RngStream::kTokenChoice, static_cast<uint64_t>(held_version), rank, b);
    TokenGradients gradients = ComputeTokenGradients(batch, context, scores, reference_M, sums);
    CANDOR_TRY(pass_.Backward(gradients.dlog_probs_M, gradients.dselected_ME));
    if (settings_.disturb) settings_.disturb(policy_, sums);
    FaultPoint("learner.backward");
    CANDOR_TRY(policy_.EndMicroBatch());
  }
  return {};
}

// Forward, backward and update. Numbers that are not finite are computed once more, with weights that are gathered anew: what a passing
// fault of one machine did is healed, what the data did comes back.
Result<UpdateOutcome> RlStepper::Learn(const std::vector<GroupTask>& tasks, const Denominators& all, int64_t step,
                                       const ReportSums& counted, ReportSums& mine, double& learned) {
  const double lr = LearningRate(settings_.schedule, settings_.total_steps, step);
  for (int attempt = 1;; ++attempt) {
    mine = counted;
    CANDOR_TRY(policy_.BeginStep());
    CANDOR_TRY(RunMicroBatches(tasks, all, step - 1, mine));
    learned = SteadySeconds();
    FaultPoint("learner.step");
    CANDOR_ASSIGN(UpdateOutcome update, ApplyUpdate(policy_, settings_.adam, lr, settings_.ema_decay, mine.loss));
    FaultPoint("learner.stepped");
    update.attempts = attempt;
    if (!update.skipped) return update;
    if (policy_.collective().rank() == 0) spdlog::warn("step={} attempt={}: {}", step, attempt, update.why);
    if (attempt < kAttempts) {
      policy_.MastersChanged();
      continue;
    }
    if (!settings_.stop_at_bad_numbers) return update;
    return Fail(ErrorCode::kInvalidInput, "step " + std::to_string(step) + ": " + update.why + ", also when computed again", "bad_numbers",
                "look at this step's data and the learning rate; [trainer] bad_numbers = \"skip\" leaves such a step out");
  }
}

namespace {

// The objectives with the weights of this step; adds what was measured for them.
std::vector<Objective> Weighted(const std::vector<Objective>& objectives, const std::vector<Moments>& moments, int64_t steps_done,
                                std::map<std::string, double>& metrics) {
  std::vector<Objective> weighted = objectives;
  std::vector<double> own_std;
  for (const Moments& m : moments) own_std.push_back(m.Std());
  SetWeights(steps_done, own_std, own_std.back(), weighted);
  for (size_t k = 0; k < weighted.size(); ++k) {
    const std::string name = "objective/" + std::to_string(k + 1);
    metrics[name + "/weight"] = weighted[k].weight;
    if (weighted[k].discrepancy.kappa > 0.0) metrics[name + "/kappa"] = weighted[k].kappa;
    if (weighted[k].schedule.kind == WeightKind::kMatchStd) metrics[name + "/std"] = own_std[k];
  }
  return weighted;
}

}  // namespace

Result<StepResult> RlStepper::Run(int64_t step, const std::vector<ScoredGroup>& groups) {
  double start = SteadySeconds();
  ReportSums mine;
  StepResult result;
  CANDOR_ASSIGN(std::vector<Moments> moments, StepMoments(policy_.collective(), WithAccuracy(settings_.objectives), groups));
  const std::vector<Objective> objectives = Weighted(settings_.objectives, moments, step - 1, result.metrics);
  std::vector<GroupTask> tasks = PlanTasks(objectives, groups, moments);
  CANDOR_TRY(WhitenStep(policy_.collective(), settings_.whiten, tasks));
  CANDOR_ASSIGN(Denominators all, StepDenominators(policy_.collective(), tasks));
  CountGroups(objectives, groups, tasks, mine);
  double learned = 0.0;
  const ReportSums counted = mine;
  CANDOR_ASSIGN(const UpdateOutcome update, Learn(tasks, all, step, counted, mine, learned));
  CANDOR_ASSIGN(ReportSums sums, SumOverRanks(policy_.collective(), mine));
  result.skipped = update.skipped, result.why = update.why;
  AddMetrics(sums, result.metrics);
  result.metrics["optim/grad_norm"] = update.grad_norm;
  result.metrics["optim/clip_scale"] = update.clip_scale;
  result.metrics["optim/lr"] = LearningRate(settings_.schedule, settings_.total_steps, step);
  result.metrics["optim/recomputed"] = update.attempts - 1;
  result.metrics["optim/skipped"] = update.skipped ? 1.0 : 0.0;
  result.metrics["time/forward_backward"] = learned - start;
  result.metrics["time/update"] = SteadySeconds() - learned;
  result.metrics["perf/throughput"] = sums.rows / (SteadySeconds() - start);
  const MemoryUse& memory = policy_.memory();
  result.metrics["memory/owned_bytes"] = static_cast<double>(memory.owned_bytes);
  result.metrics["memory/gathered_bytes_peak"] = static_cast<double>(memory.gathered_bytes_peak);
  result.metrics["memory/gathered_units_peak"] = static_cast<double>(memory.gathered_units_peak);
  result.metrics["memory/gradient_bytes_peak"] = static_cast<double>(memory.gradient_bytes_peak);
  std::erase_if(result.metrics,
                [](const auto& metric) { return !std::isfinite(metric.second); });  // a skipped step: what is not a number is not reported
  return result;
}

}  // namespace candor
