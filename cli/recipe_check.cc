#include "cli/recipe_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cli/role.h"
#include "cli/run_dir.h"
#include "core/channel_expression.h"
#include "core/fs.h"
#include "reward/channels.h"
#include "reward/judges/judge.h"
#include "reward/policy_channels.h"
#include "reward/scorer.h"
#include "reward/verifiers/verifier.h"
#include "text/prompt.h"

namespace candor::cli {

namespace {

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

tl::unexpected<Error> Bad(const std::string& what, const std::string& where, const std::string& fix) {
  return Fail(ErrorCode::kInvalidInput, what, where, fix);
}

Status CheckStages(const Recipe& r) {
  const std::vector<std::string> order = {"self_answers", "sft", "warm_up", "rl"};
  size_t reached = 0;
  for (const std::string& stage : r.run.stages) {
    const size_t place = static_cast<size_t>(std::find(order.begin(), order.end(), stage) - order.begin()) + 1;
    if (place <= reached)
      return Bad(fmt::format("the stage {} comes too late or twice", stage), "stages", "the order is self_answers, sft, warm_up, rl");
    reached = place;
  }
  if (Contains(r.run.stages, "self_answers") && (r.self_answers.rows.empty() || r.self_answers.few_shot.empty()))
    return Bad("the stage self_answers needs self_answers.rows and self_answers.few_shot", "stages", "name both files");
  if (Contains(r.run.stages, "sft") && !Contains(r.run.stages, "self_answers") && r.sft_rows.path.empty())
    return Bad("the stage sft needs rows", "stages", "put self_answers before it, or name a file: sft_rows.path");
  if (Contains(r.run.stages, "warm_up") && r.format.confidence != "slot")
    return Bad("the stage warm_up trains a slot", "format.confidence", "set format.confidence = \"slot\"");
  if (Contains(r.run.stages, "warm_up") && r.warm_up.rows.empty() && r.data.train.empty())
    return Bad("the stage warm_up needs questions", "stages", "name a file: warm_up.rows, or [[data.train]]");
  if (Contains(r.run.stages, "rl") && r.data.train.empty())
    return Bad("the recipe names no training rows", "data.train", "add [[data.train]] path = \"rows.jsonl\"");
  return {};
}

// Channels that are known to exist, and whether a verifier of the user's may return others.
struct KnownChannels {
  std::vector<std::string> names;
  bool open = false;
};
KnownChannels ChannelsOf(const Recipe& r) {
  KnownChannels known{FilledChannels(r.reward, r.format.confidence != "none" && r.reward.signal != "none"), false};
  for (const VerifierOptions& v : r.reward.verifiers) {
    known.names.push_back(v.name);
    if (v.kind == "f1") known.names.push_back("f1");
    if (v.kind == "command" || v.kind == "http" || !v.command.empty() || !v.url.empty()) known.open = true;
  }
  if (r.reward.verifier == "f1") known.names.push_back("f1");
  for (const JudgeOptions& judge : r.reward.judges)
    if (const auto kind = KindOfJudge(judge))
      for (std::string& name : ChannelsOfJudge(judge, *kind)) known.names.push_back(std::move(name));
  return known;
}

// What a channel of Candor's own would need to be filled; "" for a name that is none.
std::string WhatFills(const std::string& name) {
  for (const auto& [channels, need] : std::initializer_list<std::pair<std::string, const char*>>{
           {" abstained thresholded tiar ", "name answers that decline: reward.abstain = [\"I don't know\"]"},
           {" rubric ", "add a [[criterion]] channel = \"...\""},
           {" contrast baseline ", "name the row's field with the stored answers' scores: reward.baseline_field = \"...\""},
           {" brier spherical log soft_brier soft_spherical soft_log denoised_brier confidence hybrid_brier hybrid_gap ",
            "set format.confidence = \"verbal\" or \"slot\""}})
    if (channels.find(" " + name + " ") != std::string::npos) return need;
  return "";
}

Status CheckChannel(const std::string& channel, const KnownChannels& known, const std::string& where) {
  auto expression = ChannelExpression::Parse(channel);
  if (!expression) return Bad(expression.error().what, where + ".channel", expression.error().fix);
  for (const std::string& name : expression->names())
    if (!Contains(known.names, name)) {
      if (const std::string need = WhatFills(name); !need.empty())
        return Bad(fmt::format("nothing fills the channel `{}`", name), where + ".channel", need);
      if (known.open) return {};
      const std::string nearest = NearestName(name, known.names);
      return Bad(fmt::format("nothing fills the channel `{}`", name), where + ".channel",
                 nearest.empty() ? fmt::format("there are: {}", fmt::join(known.names, ", ")) : "did you mean `" + nearest + "`?");
    }
  return {};
}

Status CheckSegment(const Recipe& r, const ObjectiveOptions& o, const std::string& where) {
  const bool regression = o.loss == "squared_error" || o.loss == "cross_entropy";
  if (regression != (o.segment == "slot"))
    return Bad(fmt::format("loss = \"{}\" on segment = \"{}\"", o.loss, o.segment), where,
               "the slot is regressed (squared_error), all other segments take policy_gradient");
  if (o.segment == "slot" && r.format.confidence != "slot")
    return Bad("segment = \"slot\" needs a slot to read", where, "set format.confidence = \"slot\"");
  const std::string tag = o.segment == "reasoning" ? "think" : o.segment == "analysis" || o.segment == "confidence" ? o.segment : "";
  if (!tag.empty() && !Contains(r.format.tags, tag))
    return Bad(fmt::format("segment = \"{}\" has no tokens: the format has no tag {}", o.segment, tag), where, "add it to format.tags");
  if (o.segment == "confidence" && r.format.confidence != "verbal")
    return Bad("segment = \"confidence\" has no tokens: the policy does not write its confidence", where,
               "use segment = \"slot\" with loss = \"squared_error\", or format.confidence = \"verbal\"");
  return {};
}

// What judges reasoning by the reference answer behind it needs reasoning, and in front of the answer.
Status CheckReference(const Recipe& r, const ObjectiveOptions& o, const std::string& where) {
  CANDOR_ASSIGN(const ChannelExpression expression, ChannelExpression::Parse(o.channel));
  const auto place = [&](const char* tag) { return std::find(r.format.tags.begin(), r.format.tags.end(), tag); };
  const bool thinks = Contains(r.format.tags, "think") && place("think") < place("answer");
  if (NeedsReference({expression.names().begin(), expression.names().end()}) && !thinks)
    return Bad(fmt::format("`{}` compares reasonings, and the format has none before the answer", o.channel), where + ".channel",
               "format.tags = [\"think\", \"answer\", ..]");
  return {};
}

Status CheckObjectives(const Recipe& r) {
  if (!Contains(r.run.stages, "rl")) return {};
  if (r.objectives.empty())
    return Bad("the recipe has no [[objective]]", "", "name at least one channel to learn: [[objective]] channel = \"accuracy\"");
  CANDOR_TRY(CheckOldPolicy(r.trainer));
  for (const JudgeOptions& judge : r.reward.judges) CANDOR_TRY(KindOfJudge(judge));
  const KnownChannels known = ChannelsOf(r);
  for (size_t i = 0; i < r.objectives.size(); ++i) {
    const std::string where = fmt::format("objective[{}]", i);
    const ObjectiveOptions& o = r.objectives[i];
    if (o.loss == "policy_gradient" && o.advantage == "contrastive_baseline" && r.reward.baseline_field.empty())
      return Bad("advantage = \"contrastive_baseline\" has no stored answers to compare with", where + ".advantage",
                 "write them with candor baseline, and name their field: reward.baseline_field = \"baseline_scores\"");
    if (o.loss == "policy_gradient" && o.advantage == "pass_at_k" && o.pass_k > r.trainer.group_size)
      return Bad(fmt::format("pass_k = {} of a group of {}", o.pass_k, r.trainer.group_size), where + ".pass_k",
                 "at most trainer.group_size, and less to learn anything from a group with one right answer");
    const bool centred = o.loss == "policy_gradient" && (o.advantage == "group_mean" || o.advantage == "leave_one_out");
    if (o.discrepancy > 0 && r.format.confidence == "none")
      return Bad("discrepancy weighs traces by their confidence, and the policy is asked for none", where + ".discrepancy",
                 "set format.confidence = \"verbal\" or \"slot\"");
    if (o.weight_schedule == "match_std" && !centred)
      return Bad("weight_schedule = \"match_std\" scales values that are compared with their group's mean", where + ".weight_schedule",
                 "loss = \"policy_gradient\" with advantage = \"group_mean\" or \"leave_one_out\"");
    CANDOR_TRY(CheckSegment(r, o, where));
    CANDOR_TRY(CheckChannel(o.channel, known, where));
    CANDOR_TRY(CheckReference(r, o, where));
  }
  for (size_t i = 0; i < r.reward.criteria.size(); ++i)
    CANDOR_TRY(CheckChannel(r.reward.criteria[i].channel, known, fmt::format("criterion[{}]", i)));
  return {};
}

Status CheckFilter(const Recipe& r) {
  if (r.reward.filter != "moving_std" || !Contains(r.run.stages, "rl")) return {};
  if (const size_t count = ValuesLearned(r).size(); count != 1)
    return Bad(fmt::format("filter = \"moving_std\" follows the deviation of one reward, and {} objectives have a policy gradient", count),
               "reward.filter", "write their sum as one channel expression, or choose another filter");
  if (r.reward.filter_average_from >= r.reward.filter_from)
    return Bad("the first step that is filtered has nothing to compare with", "reward.filter_from",
               fmt::format("let it lie after filter_average_from = {}", r.reward.filter_average_from));
  return {};
}

Status CheckCurriculum(const Recipe& r) {
  const bool slot = std::any_of(r.objectives.begin(), r.objectives.end(), [](const ObjectiveOptions& o) { return o.segment == "slot"; });
  if (r.curriculum.retire_at > 0 && r.curriculum.retired_share > 0 && !slot)
    return Bad("retired prompts go on training the confidence slot, and no objective does", "curriculum.retired_share",
               "set it to 0, or add an [[objective]] with segment = \"slot\"");
  return {};
}

Status CheckNames(const Recipe& r) {
  if (r.run.name.find('/') != std::string::npos || r.run.name.empty() || r.run.name[0] == '.')
    return Bad("`name` must be a plain folder name", r.run.name, "letters, digits, '-' and '_'");
  std::set<std::string> names;
  for (const EvalSetOptions& eval : r.evals)
    if (!names.insert(eval.name).second) return Bad("two [[eval]] have the name " + eval.name, "eval", "names must differ");
  if (names.contains("train")) return Bad("an [[eval]] is called train, as the training rows are", "eval", "choose another name");
  return {};
}

}  // namespace

Result<std::vector<std::string>> ChannelsRead(const Recipe& r) {
  std::vector<std::string> names;
  for (const ObjectiveOptions& o : r.objectives) {
    CANDOR_ASSIGN(const ChannelExpression expression, ChannelExpression::Parse(o.channel));
    for (const std::string& name : expression.names())
      if (!Contains(names, name)) names.push_back(name);
    if (o.loss == "policy_gradient" && o.advantage == "contrastive_baseline" && !Contains(names, "baseline")) names.push_back("baseline");
  }
  return names;
}

std::vector<std::string> ValuesLearned(const Recipe& r) {
  std::vector<std::string> values;
  for (const ObjectiveOptions& o : r.objectives)
    if (o.loss == "policy_gradient") values.push_back(o.channel);
  return values;
}

Status CheckRecipe(const Recipe& r) {
  CANDOR_TRY(CheckNames(r));
  CANDOR_TRY(CheckStages(r));
  CANDOR_ASSIGN(const TagFormat format, TagFormat::From(r.format.tags, r.format.confidence));
  CANDOR_TRY(CheckObjectives(r));
  CANDOR_TRY(CheckCurriculum(r));
  CANDOR_TRY(CheckFilter(r));
  CANDOR_TRY(CheckEngineOptions(r.rollout.engine));
  CANDOR_TRY(CheckSamplingOptions(r.rollout.sampling));
  CANDOR_TRY(ScoreRules::From(format, r.reward));
  CANDOR_TRY(MakeVerifiers(r.reward));
  return {};
}

bool NeedsPreparing(const Recipe& r) {
  const auto exists = [](const std::string& path) { return FileExists(path); };
  return !r.prepare.command.empty() &&
         (r.prepare.creates.empty() || !std::all_of(r.prepare.creates.begin(), r.prepare.creates.end(), exists));
}

Status CheckInputs(const Recipe& r) {
  CANDOR_ASSIGN(const std::string model, ModelFolderOf(r.run.model));
  CANDOR_ASSIGN(const Tokenizer tokenizer, Tokenizer::Load(model));
  CANDOR_ASSIGN(const ChatTemplate chat_template, ChatTemplate::Load(model));
  CANDOR_TRY(PromptBuilder::Make(&tokenizer, &chat_template, r.format));
  CANDOR_TRY(LoadRunData(r));
  if (Contains(r.run.stages, "self_answers")) {
    CANDOR_TRY(ReadDataSet(r.self_answers.rows, {}, {}));
    CANDOR_TRY(ReadDataSet(r.self_answers.few_shot, {}, {.answer = true}));
  } else if (Contains(r.run.stages, "sft")) {
    CANDOR_TRY(ReadDataSet(r.sft_rows.path, r.data.fields, {.completion = true}));
  }
  if (Contains(r.run.stages, "warm_up") && !r.warm_up.rows.empty())
    CANDOR_TRY(ReadDataSet(r.warm_up.rows, r.data.fields, {.answer = true}));
  return {};
}

}  // namespace candor::cli
