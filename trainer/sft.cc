#include "trainer/sft.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/clock.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/rng.h"
#include "trainer/checkpoint.h"
#include "trainer/exchange.h"
#include "trainer/losses.h"
#include "trainer/optimizer.h"
#include "trainer/packing.h"
#include "trainer/policy_start.h"
#include "trainer/publisher.h"
#include "trainer/update.h"

namespace candor {

namespace {

// Sums of one step on one rank.
struct Sums {
  double token_loss = 0.0, slot_loss = 0.0, confidence = 0.0, slots = 0.0, rows = 0.0;
};
// Over all ranks, before the first backward.
struct Shares {
  double token_weight = 0.0, slots = 0.0, micro_batches = 1.0;
};

Result<Shares> StepShares(Collective& collective, const std::vector<const SftExample*>& mine, size_t micro_batches) {
  Shares shares;
  double weight = 0.0, slots = 0.0;
  for (const SftExample* example : mine) {
    for (float w : example->weights_T) weight += w;
    slots += example->label ? 1.0 : 0.0;
  }
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(collective, {weight, slots, static_cast<double>(micro_batches)}));
  for (const auto& one : by_rank)
    shares.token_weight += one[0], shares.slots += one[1], shares.micro_batches = std::max(shares.micro_batches, one[2]);
  return shares;
}

// The examples of one micro-batch in the model's form, with d loss / d log-probability, which is a constant here.
struct SftBatch {
  PackedGroups packed;
  std::vector<float> dlog_probs_M;
  std::vector<float> slot_targets;
  std::vector<int64_t> slot_rows;  // index into M
};

Result<SftBatch> MakeBatch(const std::vector<const SftExample*>& examples, const MicroBatch* plan, const Shares& shares) {
  SftBatch batch;
  if (!plan) {
    CANDOR_TRY(batch.packed.Add({0}, {{0}}));
    batch.dlog_probs_M = {0.0f};
    return batch;
  }
  batch.packed.Begin(std::span(examples[plan->parts.front().item]->prompt_P).first(static_cast<size_t>(plan->common)));
  for (const PackPart& part : plan->parts) {
    const SftExample& example = *examples[part.item];
    CANDOR_TRY(batch.packed.Add(example.prompt_P, {example.completion_T}));
    double factor = shares.token_weight > 0.0 ? example.anchor / shares.token_weight : 0.0;
    for (float w : example.weights_T) batch.dlog_probs_M.push_back(static_cast<float>(-factor * w));
    if (example.label) {
      batch.slot_rows.push_back(static_cast<int64_t>(batch.dlog_probs_M.size()) - 1);
      batch.slot_targets.push_back(*example.label);
    }
  }
  return batch;
}

at::Tensor SlotGradient(const SftBatch& batch, const at::Tensor& selected_ME, const SftOptions& options, const Shares& shares, Sums& sums) {
  if (!selected_ME.defined()) return {};
  at::Tensor selected = selected_ME.contiguous(), gradient = at::zeros_like(selected);
  const float* in = selected.data_ptr<float>();
  float* out = gradient.data_ptr<float>();
  std::vector<float> margins, weights(batch.slot_rows.size(), static_cast<float>(options.slot_weight / std::max(1.0, shares.slots)));
  for (int64_t row : batch.slot_rows) margins.push_back(in[2 * row] - in[2 * row + 1]);
  SlotInputs inputs{margins, batch.slot_targets, weights};
  SlotOutputs slots = options.slot_loss == "cross_entropy" ? ComputeSlotCrossEntropy(inputs) : ComputeSlotSquaredError(inputs);
  for (size_t i = 0; i < margins.size(); ++i) {
    out[2 * batch.slot_rows[i]] = slots.gradient_S[i];
    out[2 * batch.slot_rows[i] + 1] = -slots.gradient_S[i];
    sums.confidence += slots.confidence_S[i], sums.slots += 1.0;
  }
  sums.slot_loss += slots.sum;
  return gradient;
}

}  // namespace

SftStepper::SftStepper(const SftOptions& options, int64_t total_steps, const std::optional<SlotTokens>& slot, bool deterministic,
                       ShardedPolicy& policy)
    : options_(options),
      total_steps_(total_steps),
      extra_ids_(slot ? std::vector<int32_t>{slot->high, slot->low} : std::vector<int32_t>{}),
      policy_(policy),
      pass_(policy.config(), Numerics{policy.dtype(), deterministic}, policy, {.recompute = options.recompute}) {}

Result<SftStepResult> SftStepper::Run(int64_t step, const std::vector<const SftExample*>& examples) {
  Collective& collective = policy_.collective();
  std::vector<const SftExample*> mine;
  std::vector<PackItem> items;
  for (size_t i = static_cast<size_t>(collective.rank()); i < examples.size(); i += static_cast<size_t>(collective.size())) {
    mine.push_back(examples[i]);
    items.push_back({static_cast<int64_t>(examples[i]->prompt_P.size()), {static_cast<int64_t>(examples[i]->completion_T.size())}});
  }
  const auto common = static_cast<int64_t>(CommonBeginning(mine, &SftExample::prompt_P).size());
  std::vector<MicroBatch> plan = PlanMicroBatches(items, options_.tokens_per_microbatch, common);
  CANDOR_ASSIGN(Shares shares, StepShares(collective, mine, plan.size()));
  CANDOR_TRY(policy_.BeginStep());
  Sums sums;
  for (size_t b = 0; b < static_cast<size_t>(shares.micro_batches); ++b) {
    policy_.BeginMicroBatch(b + 1 == static_cast<size_t>(shares.micro_batches));
    CANDOR_ASSIGN(SftBatch batch, MakeBatch(mine, b < plan.size() ? &plan[b] : nullptr, shares));
    CANDOR_ASSIGN(TokenScores scores, pass_.Forward(batch.packed, extra_ids_));
    at::Tensor dlog_probs_M = at::from_blob(batch.dlog_probs_M.data(), {static_cast<int64_t>(batch.dlog_probs_M.size())}, at::kFloat);
    sums.token_loss += (scores.log_probs_M.to(at::kDouble) * dlog_probs_M).sum().item<double>();
    sums.rows += static_cast<double>(batch.packed.rows());
    CANDOR_TRY(pass_.Backward(dlog_probs_M, SlotGradient(batch, scores.selected_ME, options_, shares, sums)));
    CANDOR_TRY(policy_.EndMicroBatch());
  }
  SftStepResult result;
  result.lr = LearningRate(options_.schedule, total_steps_, step);
  CANDOR_ASSIGN(UpdateOutcome update, ApplyUpdate(policy_, options_.adam, result.lr, options_.ema_decay, sums.token_loss + sums.slot_loss));
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(collective, {sums.token_loss, sums.slot_loss, sums.confidence, sums.slots, sums.rows}));
  double slots = 0.0;
  for (const auto& one : by_rank)
    result.token_loss += one[0], result.slot_loss += one[1], result.slot_confidence += one[2], slots += one[3], result.rows += one[4];
  result.loss = result.token_loss + result.slot_loss;
  result.slot_confidence = slots > 0.0 ? result.slot_confidence / slots : 0.0;
  result.grad_norm = update.grad_norm, result.skipped = update.skipped, result.why = update.why;
  return result;
}

int64_t SftSteps(const SftOptions& options, size_t rows) {
  if (options.steps > 0) return options.steps;
  return options.epochs * ((static_cast<int64_t>(rows) + options.rows_per_step - 1) / options.rows_per_step);
}

namespace {

// The rows of step `step` (from 1): epochs one after the other, each in its own order; the last step of an epoch may be short.
std::vector<const SftExample*> RowsOfStep(const std::vector<SftExample>& examples, const SftOptions& options, uint64_t seed, int64_t step) {
  int64_t n = static_cast<int64_t>(examples.size()), per_epoch = (n + options.rows_per_step - 1) / options.rows_per_step;
  int64_t epoch = (step - 1) / per_epoch, begin = (step - 1) % per_epoch * options.rows_per_step;
  std::vector<uint32_t> order(examples.size());
  EpochOrder(seed, static_cast<uint64_t>(epoch), static_cast<uint32_t>(n), order.data());
  std::vector<const SftExample*> rows;
  for (int64_t i = begin; i < std::min(n, begin + options.rows_per_step); ++i) rows.push_back(&examples[order[static_cast<size_t>(i)]]);
  return rows;
}

constexpr double kKeepEverySeconds = 600.0;  // a killed process loses so much at most

// Between two steps: keeps what was learned when it is time or a rank was told to stop; then, on all ranks, kCancelled.
Status KeepOrStop(const SftSetup& setup, ShardedPolicy& policy, int64_t done, int64_t total, double& kept_at) {
  const bool due = !setup.keep_folder.empty() && SteadySeconds() - kept_at >= kKeepEverySeconds;
  const bool stop = setup.stop && setup.stop->load();
  CANDOR_ASSIGN(const auto wishes, GatherDoubles(policy.collective(), {due ? 1.0 : 0.0, stop ? 1.0 : 0.0}));
  bool keeps = false, stops = false;
  for (const auto& wish : wishes) keeps = keeps || wish[0] > 0.0, stops = stops || wish[1] > 0.0;
  const bool worth_it = !setup.keep_folder.empty() && done > 0;
  bool kept = false;
  if (worth_it && (keeps || stops)) {
    const Result<CheckpointInfo> written = WriteCheckpoint(policy, setup.keep_folder, done, 1);
    if (!written && written.error().code == ErrorCode::kCollective) return Fail(written.error());
    if (!written) LogError(written.error(), "what was learned is not kept");  // a full disk ends no training; the next one may fit
    kept = written.has_value();
    kept_at = SteadySeconds();
  }
  if (!stops) return {};
  return Fail(ErrorCode::kCancelled,
              fmt::format("stopped after step {} of {}{}", done, total, worth_it && !kept ? ", which could not be kept" : ""),
              worth_it ? setup.keep_folder : "", kept ? "the same command goes on from there" : "");
}

PolicyFolderOptions FolderOptionsOf(const SftSetup& setup, const std::optional<SlotTokens>& slot) {
  PolicyFolderOptions options;
  options.tokenizer_folder = setup.model_folder;
  if (slot) options.confidence = ConfidenceSpecOf(setup.format, *slot);
  options.card.base_model = setup.base_model;
  options.card.recipe_toml = setup.recipe_toml;
  return options;
}

}  // namespace

Status RunSupervised(const SftSetup& setup, Collective& collective) {
  at::set_num_threads(static_cast<int>(setup.options.threads));
  CANDOR_ASSIGN(ModelConfig config, ReadModelConfig(setup.model_folder));
  CANDOR_ASSIGN(Tokenizer tokenizer, Tokenizer::Load(setup.model_folder));
  CANDOR_ASSIGN(ChatTemplate chat, ChatTemplate::Load(setup.model_folder));
  CANDOR_ASSIGN(PromptBuilder builder, PromptBuilder::Make(&tokenizer, &chat, setup.format));
  CANDOR_ASSIGN(std::optional<SlotTokens> slot, SlotOf(setup.format, tokenizer));
  CANDOR_ASSIGN(std::vector<SftExample> examples,
                MakeSftExamples(*setup.rows, builder, tokenizer, slot, setup.options, config.vocab_size, config.max_positions));
  if (examples.empty()) return Fail(ErrorCode::kInvalidInput, "there are no rows to learn from");
  CANDOR_ASSIGN(const Placement placement, PlaceLearner(setup.device, setup.dtype, setup.deterministic, collective));
  CANDOR_ASSIGN(Sharding sharding, ParseSharding(setup.options.sharding));
  Result<std::unique_ptr<ShardedPolicy>> made = MakePolicy(config, sharding, setup.options.ema_decay > 0.0, placement, collective);
  CANDOR_TRY(AgreeOn(collective, made ? Status{} : Status(Fail(made.error()))));
  ShardedPolicy& policy = **made;
  CANDOR_TRY(AgreeOn(collective, policy.LoadFolder(setup.model_folder)));
  const int64_t total = SftSteps(setup.options, examples.size());
  SftStepper stepper(setup.options, total, slot, setup.deterministic, policy);
  std::optional<CheckpointInfo> kept;
  if (!setup.keep_folder.empty()) {
    CANDOR_ASSIGN(kept, LoadNewestCheckpoint(policy, setup.keep_folder));
  }
  double kept_at = SteadySeconds();
  for (int64_t step = kept ? kept->step + 1 : 1; step <= total; ++step) {
    CANDOR_TRY(KeepOrStop(setup, policy, step - 1, total, kept_at));
    CANDOR_ASSIGN(SftStepResult result, stepper.Run(step, RowsOfStep(examples, setup.options, setup.seed, step)));
    if (result.skipped && collective.rank() == 0) spdlog::error("step {} was skipped: {}", step, result.why);
    if (setup.progress && collective.rank() == 0) setup.progress(step, total, result);
  }
  CANDOR_TRY(WriteFinalPolicy(policy, setup.out_folder, FolderOptionsOf(setup, slot)));
  return collective.rank() == 0 && !setup.keep_folder.empty() ? RemoveTree(setup.keep_folder) : Status{};
}

}  // namespace candor
