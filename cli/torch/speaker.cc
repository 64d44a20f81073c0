#include "cli/torch/speaker.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/trained_format.h"
#include "core/fs.h"

namespace candor::cli {
namespace {

// Left for the slot and its prefix where the budget is cut to what the model can hold.
constexpr int64_t kSlotReserve = 16;

// The format: of the run's recipe, else plain text; then what the command line says.
Result<FormatOptions> SpokenFormat(const SpeakerOptions& a, const std::optional<Recipe>& recipe,
                                   const std::optional<ConfidenceSpec>& spec) {
  FormatOptions format;
  format.tags = {}, format.confidence = "none", format.system_prompt = "";
  if (recipe) {
    format = recipe->format;
  } else if (spec && a.confidence.empty()) {
    format = FormatOfSpec(*spec);
  }
  if (!a.confidence.empty()) {
    format.confidence = a.confidence;
    if (a.confidence != "none" && format.tags.empty()) format.tags = {"answer", "confidence"}, format.system_prompt = "auto";
  }
  if (!a.tags.empty()) format.tags = a.tags, format.system_prompt = "auto";
  if (a.system) format.system_prompt = *a.system;
  if (spec && format.slot_high.empty()) format.slot_high = spec->high_token, format.slot_low = spec->low_token;
  if (!a.slot_high.empty()) format.slot_high = a.slot_high;
  if (!a.slot_low.empty()) format.slot_low = a.slot_low;
  if (format.confidence == "slot" && (format.slot_high.empty() || format.slot_low.empty()))
    return Fail(ErrorCode::kInvalidInput, "this model has no confidence slot: there is no confidence.json", a.model,
                "use --confidence verbal, or name --slot-high and --slot-low");
  return format;
}

Status ReadExamples(const std::string& few_shot, Speaker& speaker) {
  CANDOR_ASSIGN(DataSet examples, ReadDataSet(few_shot, {}, {}));
  for (DataRow& row : examples.rows) {
    if (!row.has_completion && row.answers.empty())
      return Fail(ErrorCode::kInvalidInput, "an example needs an answer or a completion", row.where);
    const bool tagged = speaker.prompts->format().Has(PolicyTag::kAnswer);
    if (!row.has_completion) row.completion = tagged ? "<answer>" + row.answers[0] + "</answer>" : row.answers[0];
    speaker.examples.push_back(std::move(row));
  }
  return {};
}

}  // namespace

Status MakeSpeaker(const SpeakerOptions& a, Speaker& speaker) {
  CANDOR_ASSIGN(speaker.folder, ModelFolderOf(a.model));
  CANDOR_ASSIGN(const std::optional<ConfidenceSpec> spec, ReadConfidenceSpec(speaker.folder));
  if (spec) speaker.recalibration = spec->recalibration;
  std::optional<Recipe> recipe;  // of a run: its answers are as long here as they were in training, and end where they ended
  if (FileExists(RunDir{a.model}.Resolved())) {
    CANDOR_ASSIGN(recipe, LoadResolvedRecipe(a.model));
  }
  CANDOR_ASSIGN(const FormatOptions format, SpokenFormat(a, recipe, spec));
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(speaker.folder));
  speaker.positions = config.max_positions;
  speaker.budget_given = a.max_new_tokens.has_value();
  speaker.budget = a.max_new_tokens.value_or(recipe ? recipe->rollout.sampling.max_new_tokens : kDefaultBudget);
  speaker.stop = a.stop.empty() && recipe ? recipe->rollout.stop : a.stop;
  CANDOR_ASSIGN(speaker.tokenizer, Tokenizer::Load(speaker.folder));
  CANDOR_ASSIGN(speaker.chat_template, ChatTemplate::Load(speaker.folder));
  if (speaker.chat_template->is_default()) std::fprintf(stderr, "candor: %s\n", speaker.chat_template->note().c_str());
  CANDOR_ASSIGN(speaker.prompts, PromptBuilder::Make(&*speaker.tokenizer, &*speaker.chat_template, format));
  if (a.abstain_below && format.confidence == "none")
    return Fail(ErrorCode::kInvalidInput, "--abstain-below compares a confidence, and this model is not asked for one", a.model,
                "--confidence slot or verbal");
  speaker.abstain_below = a.abstain_below, speaker.abstain_text = a.abstain_text;
  CANDOR_ASSIGN(speaker.format, FormatWithStops(speaker, {}));
  if (!a.few_shot.empty()) CANDOR_TRY(ReadExamples(a.few_shot, speaker));
  return {};
}

Result<std::shared_ptr<const TurnFormat>> FormatWithStops(const Speaker& speaker, const std::vector<std::string>& stop) {
  const TagFormat& tags = speaker.prompts->format();
  std::vector<std::string> all = speaker.stop;
  all.insert(all.end(), stop.begin(), stop.end());
  const bool slot = tags.confidence == ConfidenceSource::kSlot;
  return MakeTurnFormat(*speaker.tokenizer, tags, speaker.prompts->stop_ids(), std::move(all),
                        slot ? std::optional<SlotTokens>(speaker.prompts->slot()) : std::nullopt);
}

Result<PromptText> BuildPrompt(const Speaker& speaker, const DataRow& row) {
  using Json = nlohmann::ordered_json;
  if (speaker.examples.empty()) return speaker.prompts->Build(row);
  Json messages = Json::array();
  for (const DataRow& example : speaker.examples) {
    messages.push_back({{"role", "user"}, {"content", example.prompt}});
    messages.push_back({{"role", "assistant"}, {"content", example.completion}});
  }
  if (row.messages_json.empty())
    messages.push_back({{"role", "user"}, {"content", row.prompt}});
  else
    for (const Json& message : Json::parse(row.messages_json)) messages.push_back(message);
  DataRow with_examples = row;
  with_examples.messages_json = messages.dump();
  return speaker.prompts->Build(with_examples);
}

int64_t BudgetBehind(const Speaker& speaker, size_t prompt_tokens) {
  if (speaker.budget_given || speaker.positions <= 0) return speaker.budget;
  const int64_t room = speaker.positions - static_cast<int64_t>(prompt_tokens) - kSlotReserve;
  return std::max<int64_t>(1, std::min(speaker.budget, room));
}

std::optional<double> ConfidenceOf(const Speaker& speaker, const Trace& trace) {
  const ConfidenceSource source = speaker.prompts->format().confidence;
  const auto at = trace.signals.find(source == ConfidenceSource::kSlot ? "slot" : source == ConfidenceSource::kVerbal ? "verbal" : "");
  if (at == trace.signals.end()) return std::nullopt;
  if (source != ConfidenceSource::kSlot || !speaker.recalibration) return at->second;
  const double logit = std::log(at->second) - std::log1p(-at->second);
  return 1.0 / (1.0 + std::exp(-(speaker.recalibration->a * logit + speaker.recalibration->b)));
}

bool Withholds(const Speaker& speaker, const Trace& trace) {
  return speaker.abstain_below && ConfidenceOf(speaker, trace).value_or(0.0) < *speaker.abstain_below;
}

}  // namespace candor::cli
