// A model as somebody to ask: its tokenizer, its chat template, the format it answers in, and how its confidence is read. What
// `candor generate` and `candor serve` share, so that a question becomes the same tokens by both ways.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/trace.h"
#include "model/policy_folder.h"
#include "rollout/episode.h"
#include "text/prompt.h"

namespace candor::cli {

// What a command line says about the format; what it leaves out is the run's, or the folder's.
struct SpeakerOptions {
  std::string model;  // Hugging Face folder, or the folder of a run
  std::string few_shot, confidence, slot_high, slot_low;
  std::optional<std::string> system;
  std::optional<int64_t> max_new_tokens;
  std::vector<std::string> tags, stop;
  std::optional<double> abstain_below;
  std::string abstain_text = "I don't know";
};

// Everything between a question and its text: what must outlive the episodes.
struct Speaker {
  std::string folder;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::optional<PromptBuilder> prompts;
  std::shared_ptr<const TurnFormat> format;
  std::optional<ConfidenceSpec::Recalibration> recalibration;
  std::vector<DataRow> examples;
  std::vector<std::string> stop;
  int64_t budget = 0;     // new tokens of an answer
  int64_t positions = 0;  // that the model has; 0: no limit
  bool budget_given = false;
  std::optional<double> abstain_below;
  std::string abstain_text;
};

inline constexpr int64_t kDefaultBudget = 256;

// Fills `speaker`, which must not move afterwards: its parts point at each other.
Status MakeSpeaker(const SpeakerOptions& options, Speaker& speaker);
// The row with the examples as earlier turns.
Result<PromptText> BuildPrompt(const Speaker& speaker, const DataRow& row);
// The speaker's format with these texts as ends besides the format's own.
Result<std::shared_ptr<const TurnFormat>> FormatWithStops(const Speaker& speaker, const std::vector<std::string>& stop);
// New tokens behind a prompt of so many tokens: the budget, or what the model has room for where nobody asked for a number.
int64_t BudgetBehind(const Speaker& speaker, size_t prompt_tokens);
// The confidence that the format asks for, recalibrated as the model's confidence.json says.
std::optional<double> ConfidenceOf(const Speaker& speaker, const Trace& trace);
// Whether the speaker abstains from this answer: it may, and the confidence is too low, or missing.
bool Withholds(const Speaker& speaker, const Trace& trace);

}  // namespace candor::cli
