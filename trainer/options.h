// Settings of learning: the section [trainer], the list [[objective]] and the section [sft], with their option tables (core/options.h). No
// torch and no code to link, so that the front program can bind and check a recipe.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"
#include "core/result.h"
#include "core/weight_schedule.h"

namespace candor {

// One [[objective]]: which number teaches which tokens, and how.
struct ObjectiveOptions {
  std::string channel = "accuracy";
  std::string segment = "all";
  std::string loss = "policy_gradient";
  std::string advantage = "group_mean";
  double weight = 1.0;
  std::string weight_schedule = "constant";
  double weight_to = 1.0;
  int64_t weight_steps = 0;
  double weight_max = 1.0;
  double target = 1.0;
  int64_t pass_k = 4;
  double positive_weight = 0.1;
  double preference_beta = 0.1;
  double discrepancy = 0.0;
  double discrepancy_low = 0.5;
  double discrepancy_high = 2.0;
  int64_t discrepancy_steps = 0;
};

inline void DeclareDiscrepancy(OptionTable& t, ObjectiveOptions& o) {
  t.Double("discrepancy", &o.discrepancy,
           {.min = 0,
            .max = 100,
            .help = "kappa: a trace whose confidence was further from its label than the group's mean distance counts more, "
                    "1 + kappa times the excess (CREDO); 0 = all the same"});
  t.Double("discrepancy_low", &o.discrepancy_low, {.min = 0, .max = 1, .help = "discrepancy: least factor"});
  t.Double("discrepancy_high", &o.discrepancy_high, {.min = 1, .max = 100, .help = "discrepancy: largest factor"});
  t.Int("discrepancy_steps", &o.discrepancy_steps,
        {.min = 0, .unit = "steps", .help = "discrepancy: kappa grows from 0 in equal parts over so many steps; 0 = at once"});
}

inline void Declare(OptionTable& t, ObjectiveOptions& o) {
  t.Section("", "one thing to learn; several add up");
  t.String("channel", &o.channel,
           {.help = "reward channel, or a sum of channels: \"accuracy\", \"accuracy + brier\", \"0.5*format + 0.5*accuracy\""});
  t.String("segment", &o.segment,
           {.help = "which tokens it reaches; slot = the position whose logits are read as the confidence",
            .choices = {"all", "reasoning", "answer", "analysis", "confidence", "slot"}});
  t.String(
      "loss", &o.loss,
      {.help = "policy_gradient by [trainer] loss; squared_error (Brier) and cross_entropy (log score) regress the slot on its target; "
               "preference = DPO between the group's highest and lowest value",
       .choices = {"policy_gradient", "squared_error", "cross_entropy", "preference"}});
  t.String("advantage", &o.advantage,
           {.help = "baseline and scale of a policy gradient, over the group's sampled traces with a known label; pass_at_k: "
                    "values above 0 count as right; contrastive_baseline: less the mean score of the row's stored answers (candor "
                    "baseline); positive_only: +1 for right, wrong left out; negative_only: -1 for wrong, right left out; "
                    "weighted_reinforce: positive_weight and -1",
            .choices = {"group_mean", "leave_one_out", "batch_std", "group_std", "contrastive_baseline", "none", "pass_at_k",
                        "positive_only", "negative_only", "weighted_reinforce"}});
  t.Double("weight", &o.weight,
           {.min = 0, .help = "factor of this objective; ramp: at the first step; match_std: the factor of accuracy's deviation"});
  t.String("weight_schedule", &o.weight_schedule,
           {.help = "constant; ramp = in equal parts from weight to weight_to; match_std = at every step the weight with which this "
                    "objective's values deviate from their group's mean `weight` times as much as accuracy does, at most weight_max",
            .choices = {"constant", "ramp", "match_std"}});
  t.Double("weight_to", &o.weight_to, {.min = 0, .help = "ramp: weight at its end and after it"});
  t.Int("weight_steps", &o.weight_steps, {.min = 0, .unit = "steps", .help = "ramp: how many steps it takes; 0 = the whole run"});
  t.Double("weight_max", &o.weight_max,
           {.min = 0, .help = "match_std: largest weight, also where the objective's values do not deviate at all"});
  t.Double("target", &o.target,
           {.min = 0, .max = 1, .help = "slot only: share of the trace's own value in the target; the rest is its group's mean"});
  t.Int("pass_k", &o.pass_k, {.min = 1, .max = 4096, .unit = "traces", .help = "pass_at_k: at least one of this many is right"});
  t.Double("positive_weight", &o.positive_weight, {.min = 0, .max = 1, .help = "weighted_reinforce: advantage of a right answer"});
  t.Double("preference_beta", &o.preference_beta,
           {.min = 1e-6, .max = 1e6, .help = "preference: how sharply a margin counts (DPO's beta)"});
  DeclareDiscrepancy(t, o);
}
// `run_steps`: trainer.steps, which a ramp without steps of its own takes; its end is then the last step.
inline WeightSchedule WeightScheduleOf(const ObjectiveOptions& o, int64_t run_steps) {
  const int64_t over = o.weight_steps > 0 ? o.weight_steps : run_steps - 1;
  const WeightKind kind = o.weight_schedule == "ramp"        ? WeightKind::kRamp
                          : o.weight_schedule == "match_std" ? WeightKind::kMatchStd
                                                             : WeightKind::kConstant;
  return {kind, o.weight, o.weight_to, over > 1 ? over : 1, o.weight_max};
}
inline void Declare(OptionTable& t, std::vector<ObjectiveOptions>& objectives) {
  t.Section("", "");
  t.TableList<ObjectiveOptions>(
      "objective", &objectives, [](OptionTable& element, ObjectiveOptions& o) { Declare(element, o); },
      {.help = "What is learned: named channels, each with the tokens it teaches and the loss it uses. Several objectives add up."});
}

struct ScheduleOptions {
  double lr = 1e-5;
  int64_t warmup_steps = 0;
  std::string schedule = "constant";
  double final_lr_ratio = 0.1;
};
struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  double grad_clip = 1.0;
};

inline void Declare(OptionTable& t, ScheduleOptions& o) {
  t.Double("lr", &o.lr, {.min = 0, .max = 1, .help = "peak learning rate"});
  t.Int("warmup_steps", &o.warmup_steps, {.min = 0, .unit = "steps", .help = "the rate rises linearly over these first steps"});
  t.String("schedule", &o.schedule, {.help = "what the rate does after the warm-up", .choices = {"constant", "linear", "cosine"}});
  t.Double("final_lr_ratio", &o.final_lr_ratio, {.min = 0, .max = 1, .help = "last rate over peak rate, for linear and cosine"});
}
inline void Declare(OptionTable& t, AdamOptions& o) {
  t.Double("beta1", &o.beta1, {.min = 0, .max = 0.9999, .help = "AdamW: memory of the mean gradient"});
  t.Double("beta2", &o.beta2, {.min = 0, .max = 0.999999, .help = "AdamW: memory of the squared gradient"});
  t.Double("epsilon", &o.epsilon, {.min = 1e-20, .max = 1, .help = "AdamW: added to the root of the squared gradient"});
  t.Double("weight_decay", &o.weight_decay,
           {.min = 0, .max = 10, .help = "AdamW: decoupled decay of matrices (norms and biases are never decayed)"});
  t.Double("grad_clip", &o.grad_clip, {.min = 0, .help = "largest global norm of a gradient; 0 = no clipping"});
}

// When the learner's state is written and which checkpoints stay.
struct CheckpointOptions {
  int64_t checkpoint_every = 10;
  int64_t keep_last = 2;
  std::string keep_best = "none";
  int64_t keep_best_n = 1;
};
inline void Declare(OptionTable& t, CheckpointOptions& o) {
  t.Int("checkpoint_every", &o.checkpoint_every,
        {.min = 0, .unit = "steps", .help = "steps between checkpoints; 0 = only after the last step"});
  t.Int("keep_last", &o.keep_last, {.min = 1, .unit = "checkpoints", .help = "the newest checkpoints that are kept"});
  t.String("keep_best", &o.keep_best,
           {.help = "also keep the checkpoints that are best by this figure of the dev evaluations, or of training where none was due",
            .choices = {"none", "brier", "ece", "auroc", "accuracy"}});
  t.Int("keep_best_n", &o.keep_best_n, {.min = 1, .unit = "checkpoints", .help = "how many of the best are kept"});
}

// What single loss forms read.
struct LossFormOptions {
  double sapo_positive = 1.0;
  double sapo_negative = 1.05;
  double cov_fraction = 2e-4;
  double cov_low = 1.0;
  double cov_high = 5.0;
  double cov_kl = 1.0;
};
inline void Declare(OptionTable& t, LossFormOptions& o) {
  t.Double("sapo_positive", &o.sapo_positive,
           {.min = 1e-3, .max = 1e3, .help = "sapo: sharpness of the gate where the advantage is above 0"});
  t.Double("sapo_negative", &o.sapo_negative, {.min = 1e-3, .max = 1e3, .help = "sapo: sharpness of the gate elsewhere"});
  t.Double("cov_fraction", &o.cov_fraction,
           {.min = 0, .max = 1, .help = "clip_cov, kl_cov: share of a micro-batch's tokens that are treated apart, at least one token"});
  t.Double("cov_low", &o.cov_low, {.help = "clip_cov: smallest covariance of advantage and log-probability that may lose its gradient"});
  t.Double("cov_high", &o.cov_high, {.help = "clip_cov: largest"});
  t.Double("cov_kl", &o.cov_kl, {.min = 0, .help = "kl_cov: weight of |log ratio| on the tokens of highest covariance"});
}

// Data of another policy, and distance from a reference policy.
struct CorrectionOptions {
  std::string tis_level = "token";
  std::string reject = "none";
  double reject_low = 0.0;
  double reject_high = 5.0;
  double kl_weight = 0.0;
  std::string kl_estimator = "k3";
  std::string whiten = "none";
  bool mask_truncated = false;
};
inline void Declare(OptionTable& t, CorrectionOptions& o) {
  t.String("tis_level", &o.tis_level,
           {.help = "tis_max bounds each token's ratio, or the product over its sequence", .choices = {"token", "sequence"}});
  t.String("reject", &o.reject,
           {.help = "what leaves the loss where the learner's and the rollout's log-probabilities disagree, by: a token's ratio, its "
                    "sequence's product of ratios, their geometric mean, or the sequence's mean k2 or k3 distance",
            .choices = {"none", "token", "sequence", "geometric", "k2", "k3"}});
  t.Double("reject_low", &o.reject_low, {.min = 0, .help = "reject: smallest measure that is kept"});
  t.Double("reject_high", &o.reject_high, {.min = 0, .help = "reject: largest measure that is kept"});
  t.Double("kl_weight", &o.kl_weight,
           {.min = 0,
            .help = "weight of the distance from the policy that RL started from, on every trained token; above 0 each rank holds that "
                    "policy as well; 0 = none"});
  t.String(
      "kl_estimator", &o.kl_estimator,
      {.help = "k1 enters like a reward, k2 = squared log ratio / 2, k3 = never negative and unbiased", .choices = {"k1", "k2", "k3"}});
  t.String("whiten", &o.whiten,
           {.help = "shifts and scales the summed advantages of a step to mean 0 and deviation 1, over traces or over tokens (GDPO, after "
                    "objectives that are each normalised)",
            .choices = {"none", "sequences", "tokens"}});
  t.Bool("mask_truncated", &o.mask_truncated,
         {.help = "answers that were cut off by max_new_tokens get no policy gradient; their rewards stay in their group's baseline"});
}

struct TrainerOptions {
  int64_t ranks = 1;
  int64_t threads = 1;
  int64_t steps = 40;
  int64_t prompts_per_step = 28;
  int64_t group_size = 4;
  std::string loss = "cispo";
  std::string aggregation = "auto";
  std::string old_policy = "rollout";
  double clip_low = 0.2;
  double clip_high = 0.28;
  double clip_max = 4.0;
  double dual_clip = 3.0;
  double tis_max = 2.0;
  LossFormOptions form;
  CorrectionOptions correction;
  int64_t length_norm = 256;
  ScheduleOptions schedule;
  AdamOptions adam;
  std::string sharding = "none";
  bool recompute = false;
  int64_t tokens_per_microbatch = 4096;
  double ema_decay = 0.0;
  CheckpointOptions checkpoint;
  std::string bad_numbers = "skip";
  int64_t keep_versions = 3;
  int64_t full_every = 8;
  std::string transfer = "files";
  std::string relay_bind = "tcp://127.0.0.1:0";
  bool encrypt = false;
  int64_t peer_deadline_s = 600;
};

// A decoupled loss needs an old policy that is not the rollout's.
inline Status CheckOldPolicy(const TrainerOptions& o) {
  if (o.loss != "decoupled_ppo" || o.old_policy != "rollout") return {};
  return Fail(ErrorCode::kInvalidInput, "decoupled_ppo with old_policy = \"rollout\" is ppo_clip: nothing is decoupled",
              "trainer.old_policy", "old_policy = \"interpolated\", or loss = \"ppo_clip\"");
}

inline void Declare(OptionTable& t, TrainerOptions& o) {
  t.Section("trainer", "How scored groups become new weights.");
  t.Int("ranks", &o.ranks, {.min = 1, .max = 4096, .help = "MPI ranks that learn together"});
  t.Int("threads", &o.threads, {.min = 1, .max = 1024, .help = "threads of each rank"});
  t.Int("steps", &o.steps, {.min = 0, .unit = "steps", .help = "optimizer steps of the run"});
  t.Int("prompts_per_step", &o.prompts_per_step,
        {.min = 1, .max = 1 << 20, .unit = "prompts", .help = "groups of one wave, trained by one step"});
  t.Int("group_size", &o.group_size, {.min = 1, .max = 4096, .unit = "traces", .help = "answers sampled for each prompt"});
  t.String("loss", &o.loss,
           {.help = "form of every policy gradient",
            .choices = {"cispo", "ppo_clip", "dr_grpo", "rloo", "gspo", "sapo", "decoupled_ppo", "clip_cov", "kl_cov"}});
  t.String(
      "aggregation", &o.aggregation,
      {.help = "how tokens are averaged: over all tokens, per sequence, per prompt, summed per sequence, summed over length_norm; "
               "auto = prompt for cispo, sequence for "
               "ppo_clip, gspo and sapo, token for decoupled_ppo, clip_cov and kl_cov, fixed_length for dr_grpo, sequence_sum for rloo",
       .choices = {"auto", "token", "sequence", "prompt", "sequence_sum", "fixed_length"}});
  t.String("old_policy", &o.old_policy,
           {.help = "the policy that ratios are taken against: the rollout's recorded log-probabilities, or the learner's own at the start "
                    "of the step (then the rollout's enter through tis_max), or between both, one version behind the learner",
            .choices = {"rollout", "learner", "interpolated"}});
  t.Double("clip_low", &o.clip_low, {.min = 0, .max = 1, .help = "losses with a clip: the ratio is clipped below 1 - clip_low"});
  t.Double("clip_high", &o.clip_high, {.min = 0, .help = "losses with a clip: the ratio is clipped above 1 + clip_high"});
  t.Double("clip_max", &o.clip_max, {.min = 1, .help = "cispo: largest importance weight of a token"});
  t.Double(
      "dual_clip", &o.dual_clip,
      {.min = 0, .help = "losses with a clip, but gspo: bound of the loss where the advantage is negative; 0 = none, else more than 1"});
  t.Double("tis_max", &o.tis_max,
           {.min = 0, .help = "truncated importance sampling against the rollout's log-probabilities: largest weight; 0 = none"});
  Declare(t, o.form);
  Declare(t, o.correction);
  t.Int("length_norm", &o.length_norm,
        {.min = 1, .unit = "tokens", .help = "fixed_length aggregation: constant that token sums are divided by"});
  Declare(t, o.schedule);
  Declare(t, o.adam);
  t.String("sharding", &o.sharding,
           {.help = "none: every rank holds everything; zero2: optimizer and master weights are split; zero3: weights as well, gathered "
                    "per decoder block",
            .choices = {"none", "zero2", "zero3"}});
  t.Bool("recompute", &o.recompute, {.help = "keep only each block's input and run the block again in backward"});
  t.Int("tokens_per_microbatch", &o.tokens_per_microbatch,
        {.min = 16, .unit = "tokens", .help = "tokens of one forward and backward, shared prompts counted once"});
  t.Double("ema_decay", &o.ema_decay, {.min = 0, .max = 0.999999, .help = "exponentially averaged weights: memory per step; 0 = none"});
  Declare(t, o.checkpoint);
  t.String("bad_numbers", &o.bad_numbers,
           {.help = "a step whose loss or gradients are not finite, also when computed again: leave it out and go on, or end the run",
            .choices = {"skip", "stop"}});
  t.Int("keep_versions", &o.keep_versions,
        {.min = 2,
         .unit = "versions",
         .help = "published weight folders that are kept, beside the full copy that the oldest of them builds on"});
  t.Int("full_every", &o.full_every,
        {.min = 1, .unit = "versions", .help = "published versions between full copies, where late comers begin; the others are deltas"});
  t.String(
      "transfer", &o.transfer,
      {.help = "how weights travel to the rollouts: files of the run's folder, or relay = over the network, where rollouts pass them on "
               "to each other and each chunk leaves the learner once",
       .choices = {"files", "relay"}});
  t.String("relay_bind", &o.relay_bind,
           {.help = "relay: address where ranks and rollouts serve weights; tcp://0.0.0.0:0 for rollouts on other hosts"});
  t.Bool("encrypt", &o.encrypt,
         {.help = "relay: weights travel encrypted (several times slower than plain TCP, whose bytes are checked against hashes from the "
                  "coordinator)"});
  t.Int("peer_deadline_s", &o.peer_deadline_s,
        {.min = 1, .unit = "seconds", .help = "how long the learner waits for a silent coordinator before it gives up"});
}

// Supervised fine-tuning, and the slot's warm-up on labelled traces.
struct SftOptions {
  int64_t threads = 2;
  int64_t epochs = 1;
  int64_t steps = 0;
  int64_t rows_per_step = 16;
  int64_t tokens_per_microbatch = 4096;
  double reasoning_weight = 1.0;
  double answer_weight = 1.0;
  double confidence_weight = 1.0;
  double other_weight = 1.0;
  double slot_weight = 1.0;
  std::string slot_loss = "squared_error";
  double anchor_weight = 1.0;
  std::string anchor = "all";
  ScheduleOptions schedule;
  AdamOptions adam;
  std::string sharding = "none";
  bool recompute = false;
  double ema_decay = 0.0;
};

inline void Declare(OptionTable& t, SftOptions& o) {
  t.Section("sft", "Supervised fine-tuning on rows with a prompt and a completion; rows with a label also train the confidence slot.");
  t.Int("threads", &o.threads, {.min = 1, .max = 1024, .help = "threads of each process"});
  t.Int("epochs", &o.epochs, {.min = 1, .max = 1000000, .help = "passes over the rows, unless steps is given"});
  t.Int("steps", &o.steps, {.min = 0, .unit = "steps", .help = "optimizer steps; 0 = by epochs"});
  t.Int("rows_per_step", &o.rows_per_step, {.min = 1, .unit = "rows", .help = "rows of one optimizer step"});
  t.Int("tokens_per_microbatch", &o.tokens_per_microbatch, {.min = 16, .unit = "tokens", .help = "tokens of one forward and backward"});
  t.Double("reasoning_weight", &o.reasoning_weight, {.min = 0, .help = "weight of the tokens inside <think> and <analysis>"});
  t.Double("answer_weight", &o.answer_weight, {.min = 0, .help = "weight of the tokens inside <answer>"});
  t.Double("confidence_weight", &o.confidence_weight, {.min = 0, .help = "weight of the tokens inside <confidence>"});
  t.Double("other_weight", &o.other_weight,
           {.min = 0, .help = "weight of all other completion tokens: tags, white space, the end of the turn"});
  t.Double("slot_weight", &o.slot_weight, {.min = 0, .help = "rows with a label: weight of the slot's loss"});
  t.String("slot_loss", &o.slot_loss,
           {.help = "rows with a label: squared error (Brier) or cross-entropy (log score) of the slot's confidence",
            .choices = {"squared_error", "cross_entropy"}});
  t.Double("anchor_weight", &o.anchor_weight,
           {.min = 0, .help = "rows with a label: weight of the loss on their completion tokens, which keeps the format in place"});
  t.String("anchor", &o.anchor,
           {.help = "rows with a label: whose completion tokens anchor, all rows' or only those labelled correct",
            .choices = {"all", "correct"}});
  Declare(t, o.schedule);
  Declare(t, o.adam);
  t.String("sharding", &o.sharding, {.help = "as in [trainer]", .choices = {"none", "zero2", "zero3"}});
  t.Bool("recompute", &o.recompute, {.help = "as in [trainer]"});
  t.Double("ema_decay", &o.ema_decay,
           {.min = 0,
            .max = 0.999999,
            .help = "the folder holds exponentially averaged weights with this memory per step; 0 = the last weights"});
}

}  // namespace candor
