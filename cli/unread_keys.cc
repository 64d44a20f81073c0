#include "cli/unread_keys.h"

#include <algorithm>
#include <functional>

#include "cli/recipe_check.h"
#include "reward/judges/judge.h"

namespace candor::cli {

namespace {

bool HasStage(const Recipe& r, const char* stage) {
  return std::find(r.run.stages.begin(), r.run.stages.end(), stage) != r.run.stages.end();
}
bool HasPolicyGradient(const Recipe& r) {
  return std::any_of(r.objectives.begin(), r.objectives.end(), [](const ObjectiveOptions& o) { return o.loss == "policy_gradient"; });
}
bool Reads(const Recipe& r, const char* channel) {
  const auto names = ChannelsRead(r);
  return names && std::find(names->begin(), names->end(), channel) != names->end();
}
bool LossIs(const Recipe& r, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), r.trainer.loss) != names.end();
}

std::string KindOf(const VerifierOptions& v) {
  return !v.kind.empty() ? v.kind : !v.command.empty() ? "command" : !v.url.empty() ? "http" : "exact_match";
}
bool RunsAProgram(const VerifierOptions& v) { return KindOf(v) == "command" || KindOf(v) == "math"; }

bool JudgeIs(const Recipe& r, size_t i, JudgeKind kind) {
  const auto found = KindOfJudge(r.reward.judges[i]);
  return !found || *found == kind;
}

// When a key is read. The first rule that matches a key and does not hold explains it; "*" stands for every key of the section. `i` counts
// the elements of a list.
struct Rule {
  const char* section;
  const char* keys;  // separated by spaces
  bool (*read)(const Recipe& r, size_t i);
  const char* why;
};

constexpr Rule kRules[] = {
    {"prepare", "creates", [](const Recipe& r, size_t) { return !r.prepare.command.empty(); }, "prepare.command"},
    {"self_answers", "*", [](const Recipe& r, size_t) { return HasStage(r, "self_answers"); }, "the stage self_answers"},
    {"sft_rows", "*", [](const Recipe& r, size_t) { return HasStage(r, "sft") && !HasStage(r, "self_answers"); },
     "the stage sft, and only without the stage self_answers, which writes its rows"},
    {"warm_up", "*", [](const Recipe& r, size_t) { return HasStage(r, "warm_up"); }, "the stage warm_up"},
    {"sft", "*", [](const Recipe& r, size_t) { return HasStage(r, "sft") || HasStage(r, "warm_up"); }, "the stages sft and warm_up"},
    {"sft", "final_lr_ratio", [](const Recipe& r, size_t) { return r.sft.schedule.schedule != "constant"; },
     "sft.schedule = \"linear\" and \"cosine\""},
    {"trainer", "*", [](const Recipe& r, size_t) { return HasStage(r, "rl"); }, "the stage rl"},
    {"curriculum", "*", [](const Recipe& r, size_t) { return HasStage(r, "rl"); }, "the stage rl"},
    {"curriculum", "retired_share", [](const Recipe& r, size_t) { return r.curriculum.retire_at > 0; }, "curriculum.retire_at above 0"},
    {"curriculum", "fill_batches", [](const Recipe& r, size_t) { return r.reward.filter != "none" || r.curriculum.retire_at > 0; },
     "a filter, and reward.filter is \"none\""},
    {"coordinator", "*", [](const Recipe& r, size_t) { return HasStage(r, "rl"); }, "the stage rl"},
    {"objective", "*", [](const Recipe& r, size_t) { return HasStage(r, "rl"); }, "the stage rl"},
    {"eval", "every", [](const Recipe& r, size_t) { return HasStage(r, "rl"); }, "the stage rl"},
    {"rollout", "workers greedy_traces swap_in_flight", [](const Recipe& r, size_t) { return HasStage(r, "rl"); }, "the stage rl"},
    {"reward", "filter_low filter_high", [](const Recipe& r, size_t) { return r.reward.filter == "mid_band"; },
     "reward.filter = \"mid_band\""},
    {"reward", "filter_min_variance", [](const Recipe& r, size_t) { return r.reward.filter == "vcrl"; }, "reward.filter = \"vcrl\""},
    {"reward", "answer_threshold", [](const Recipe& r, size_t) { return Reads(r, "thresholded"); },
     "an [[objective]] with the channel thresholded"},
    {"reward", "hybrid_group_share", [](const Recipe& r, size_t) { return Reads(r, "hybrid_brier") || Reads(r, "hybrid_gap"); },
     "an [[objective]] with the channel hybrid_brier or hybrid_gap"},
    {"reward", "majority_min_share", [](const Recipe& r, size_t) { return Reads(r, "majority") || r.reward.filter == "agreement"; },
     "an [[objective]] with the channel majority"},
    {"reward", "filter_min_spread", [](const Recipe& r, size_t) { return r.reward.filter == "reference_spread"; },
     "reward.filter = \"reference_spread\""},
    {"reward", "filter_max_rank", [](const Recipe& r, size_t) { return r.reward.filter == "reference_spread"; },
     "reward.filter = \"reference_spread\""},
    {"reward", "filter_worst_share", [](const Recipe& r, size_t) { return r.reward.filter_max_rank > 0; },
     "reward.filter_max_rank above 0"},
    {"reward", "filter_beta filter_ema filter_average_from filter_from",
     [](const Recipe& r, size_t) { return r.reward.filter == "moving_std"; }, "reward.filter = \"moving_std\""},
    {"reward", "dro_gamma dro_reflective", [](const Recipe& r, size_t) { return Reads(r, "dro_propagated"); },
     "an [[objective]] with the channel dro_propagated"},
    {"reward", "length_beta", [](const Recipe& r, size_t) { return Reads(r, "reference_length"); },
     "an [[objective]] with the channel reference_length"},
    {"reward", "baseline_field", [](const Recipe& r, size_t) { return Reads(r, "contrast") || Reads(r, "baseline"); },
     "an [[objective]] with the channel contrast or baseline, or with advantage = \"contrastive_baseline\""},
    {"reward", "label_noise label_false_positive label_false_negative",
     [](const Recipe& r, size_t) { return Reads(r, "denoised") || Reads(r, "denoised_brier"); },
     "an [[objective]] with the channel denoised or denoised_brier"},
    {"criterion", "*", [](const Recipe& r, size_t) { return Reads(r, "rubric"); }, "an [[objective]] with the channel rubric"},
    {"reward", "filter workers threads max_in_flight bind spool_limit_mb", [](const Recipe& r, size_t) { return HasStage(r, "rl"); },
     "the stage rl"},
    {"format", "slot_high slot_low", [](const Recipe& r, size_t) { return r.format.confidence == "slot"; }, "format.confidence = \"slot\""},
    {"format", "system_role", [](const Recipe& r, size_t) { return !r.format.system_prompt.empty(); },
     "a system prompt, and format.system_prompt is empty"},
    {"trainer", "loss aggregation old_policy", [](const Recipe& r, size_t) { return HasPolicyGradient(r); },
     "an [[objective]] with loss = \"policy_gradient\""},
    {"trainer", "clip_low clip_high",
     [](const Recipe& r, size_t) {
       return LossIs(r, {"ppo_clip", "dr_grpo", "gspo", "decoupled_ppo", "clip_cov"});
     },
     "the losses with a clip: ppo_clip, dr_grpo, gspo, decoupled_ppo and clip_cov"},
    {"trainer", "dual_clip",
     [](const Recipe& r, size_t) {
       return LossIs(r, {"ppo_clip", "dr_grpo", "decoupled_ppo", "clip_cov"});
     },
     "trainer.loss = \"ppo_clip\", \"dr_grpo\", \"decoupled_ppo\" and \"clip_cov\""},
    {"trainer", "sapo_positive sapo_negative", [](const Recipe& r, size_t) { return LossIs(r, {"sapo"}); }, "trainer.loss = \"sapo\""},
    {"trainer", "cov_fraction",
     [](const Recipe& r, size_t) {
       return LossIs(r, {"clip_cov", "kl_cov"});
     },
     "trainer.loss = \"clip_cov\" and \"kl_cov\""},
    {"trainer", "cov_low cov_high", [](const Recipe& r, size_t) { return LossIs(r, {"clip_cov"}); }, "trainer.loss = \"clip_cov\""},
    {"trainer", "cov_kl", [](const Recipe& r, size_t) { return LossIs(r, {"kl_cov"}); }, "trainer.loss = \"kl_cov\""},
    {"trainer", "kl_estimator", [](const Recipe& r, size_t) { return r.trainer.correction.kl_weight > 0; }, "trainer.kl_weight above 0"},
    {"trainer", "reject_low reject_high", [](const Recipe& r, size_t) { return r.trainer.correction.reject != "none"; },
     "trainer.reject, and it is \"none\""},
    {"trainer", "reject kl_weight whiten mask_truncated", [](const Recipe& r, size_t) { return HasPolicyGradient(r); },
     "an [[objective]] with loss = \"policy_gradient\""},
    {"trainer", "clip_max", [](const Recipe& r, size_t) { return r.trainer.loss == "cispo"; }, "trainer.loss = \"cispo\""},
    {"trainer", "old_policy", [](const Recipe& r, size_t) { return r.trainer.loss != "rloo"; },
     "the losses with a ratio to an old policy: all but rloo"},
    {"trainer", "tis_max tis_level", [](const Recipe& r, size_t) { return r.trainer.loss == "rloo" || r.trainer.old_policy != "rollout"; },
     "trainer.loss = \"rloo\", and the others with old_policy = \"learner\" or \"interpolated\""},
    {"trainer", "length_norm",
     [](const Recipe& r, size_t) { return r.trainer.aggregation == "fixed_length" || r.trainer.loss == "dr_grpo"; },
     "trainer.aggregation = \"fixed_length\" and loss = \"dr_grpo\""},
    {"trainer", "final_lr_ratio", [](const Recipe& r, size_t) { return r.trainer.schedule.schedule != "constant"; },
     "trainer.schedule = \"linear\" and \"cosine\""},
    {"trainer", "relay_bind encrypt", [](const Recipe& r, size_t) { return r.trainer.transfer == "relay"; },
     "trainer.transfer = \"relay\""},
    {"objective", "target", [](const Recipe& r, size_t i) { return r.objectives[i].segment == "slot"; }, "an objective of the slot"},
    {"objective", "advantage", [](const Recipe& r, size_t i) { return r.objectives[i].loss == "policy_gradient"; },
     "loss = \"policy_gradient\""},
    {"objective", "weight_to weight_steps", [](const Recipe& r, size_t i) { return r.objectives[i].weight_schedule == "ramp"; },
     "weight_schedule = \"ramp\""},
    {"objective", "weight_max", [](const Recipe& r, size_t i) { return r.objectives[i].weight_schedule == "match_std"; },
     "weight_schedule = \"match_std\""},
    {"objective", "pass_k", [](const Recipe& r, size_t i) { return r.objectives[i].advantage == "pass_at_k"; },
     "advantage = \"pass_at_k\""},
    {"objective", "positive_weight", [](const Recipe& r, size_t i) { return r.objectives[i].advantage == "weighted_reinforce"; },
     "advantage = \"weighted_reinforce\""},
    {"objective", "preference_beta", [](const Recipe& r, size_t i) { return r.objectives[i].loss == "preference"; },
     "loss = \"preference\""},
    {"objective", "discrepancy", [](const Recipe& r, size_t i) { return r.objectives[i].loss == "policy_gradient"; },
     "loss = \"policy_gradient\""},
    {"objective", "discrepancy_low discrepancy_high discrepancy_steps",
     [](const Recipe& r, size_t i) { return r.objectives[i].discrepancy > 0; }, "discrepancy above 0"},
    {"verifier", "command memory_mb cpu_s max_processes", [](const Recipe& r, size_t i) { return RunsAProgram(r.reward.verifiers[i]); },
     "the kinds command and math"},
    {"verifier", "timeout_s processes",
     [](const Recipe& r, size_t i) { return RunsAProgram(r.reward.verifiers[i]) || KindOf(r.reward.verifiers[i]) == "http"; },
     "the kinds command, math and http"},
    {"verifier", "startup_s", [](const Recipe& r, size_t i) { return RunsAProgram(r.reward.verifiers[i]); }, "the kinds command and math"},
    {"verifier", "url", [](const Recipe& r, size_t i) { return KindOf(r.reward.verifiers[i]) == "http"; }, "the kind http"},
    {"verifier", "f1_threshold", [](const Recipe& r, size_t i) { return KindOf(r.reward.verifiers[i]) == "f1"; }, "the kind f1"},
    {"verifier", "absolute_tolerance relative_tolerance",
     [](const Recipe& r, size_t i) { return KindOf(r.reward.verifiers[i]) == "numeric" || KindOf(r.reward.verifiers[i]) == "math"; },
     "the kinds numeric and math"},
    {"judge", "aggregate", [](const Recipe& r, size_t i) { return JudgeIs(r, i, JudgeKind::kSteps); }, "a judge of steps"},
    {"judge", "tournament", [](const Recipe& r, size_t i) { return JudgeIs(r, i, JudgeKind::kPairwise); }, "a judge of pairs"},
    {"judge", "correct_from", [](const Recipe& r, size_t i) { return r.reward.judges[i].name == r.reward.verifier; },
     "the judge whose label counts, which [reward] verifier names"},
    {"verifier", "choices_field", [](const Recipe& r, size_t i) { return KindOf(r.reward.verifiers[i]) == "choice"; }, "the kind choice"},
};

// What would read the key; "" when something does.
std::string WhyUnread(const Recipe& recipe, const std::string& section, const std::string& key, size_t index) {
  const std::string name = " " + key + " ";
  for (const Rule& rule : kRules) {
    const bool covered = std::string(rule.keys) == "*" || (" " + std::string(rule.keys) + " ").find(name) != std::string::npos;
    if (section == rule.section && covered && !rule.read(recipe, index)) return rule.why;
  }
  return "";
}

bool SameValue(const OptionKey& a, const OptionKey& b) {
  const auto same = [&]<typename T>(T*) { return *static_cast<T*>(a.target) == *static_cast<T*>(b.target); };
  switch (a.kind) {
    case OptionKey::Kind::kBool:
      return same(static_cast<bool*>(nullptr));
    case OptionKey::Kind::kInt:
      return same(static_cast<int64_t*>(nullptr));
    case OptionKey::Kind::kDouble:
      return same(static_cast<double*>(nullptr));
    case OptionKey::Kind::kString:
      return same(static_cast<std::string*>(nullptr));
    case OptionKey::Kind::kStringList:
      return same(static_cast<std::vector<std::string>*>(nullptr));
    case OptionKey::Kind::kTableList:
      return true;  // its elements are compared one by one
  }
  return true;
}

// Calls `changed(section, key)` for every key of two tables of one shape whose values differ.
void ForEachChange(const OptionTable& table, const OptionTable& defaults,
                   const std::function<void(const OptionSection&, const OptionKey&)>& changed) {
  for (size_t s = 0; s < table.sections().size(); ++s)
    for (size_t k = 0; k < table.sections()[s].keys.size(); ++k)
      if (!SameValue(table.sections()[s].keys[k], defaults.sections()[s].keys[k]))
        changed(table.sections()[s], table.sections()[s].keys[k]);
}

}  // namespace

std::string UnreadKey::Name() const { return (index < 0 ? section : section + "[" + std::to_string(index) + "]") + "." + key; }

std::vector<UnreadKey> FindUnreadKeys(Recipe& recipe) {
  std::vector<UnreadKey> unread;
  const auto look = [&](const std::string& section, const std::string& key, int64_t index) {
    if (std::string why = WhyUnread(recipe, section, key, static_cast<size_t>(std::max<int64_t>(index, 0))); !why.empty())
      unread.push_back({section, key, index, std::move(why)});
  };
  OptionTable table, default_table;
  Recipe defaults;
  Declare(table, recipe);
  Declare(default_table, defaults);
  ForEachChange(table, default_table, [&](const OptionSection& section, const OptionKey& key) { look(section.name, key.key, -1); });
  for (const OptionSection& section : table.sections())
    for (const OptionKey& list : section.keys) {
      if (list.kind != OptionKey::Kind::kTableList) continue;
      const auto description = list.element(OptionTable::kDescribe);
      for (size_t i = 0; i < list.size(); ++i)
        ForEachChange(*list.element(i), *description,
                      [&](const OptionSection&, const OptionKey& key) { look(list.key, key.key, static_cast<int64_t>(i)); });
    }
  return unread;
}

}  // namespace candor::cli
