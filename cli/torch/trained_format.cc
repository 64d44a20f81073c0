#include "cli/torch/trained_format.h"

#include "text/prompt.h"

namespace candor::cli {

FormatOptions FormatOfSpec(const ConfidenceSpec& spec) {
  FormatOptions format;
  format.tags.clear();
  if (spec.system_prompt.find(OpenTag(PolicyTag::kThink)) != std::string::npos) format.tags.push_back(Name(PolicyTag::kThink));
  if (!spec.reply_end.empty()) format.tags.push_back(Name(PolicyTag::kAnswer));
  if (spec.reply_end == CloseTag(PolicyTag::kAnalysis)) format.tags.push_back(Name(PolicyTag::kAnalysis));
  if (!spec.reply_end.empty()) format.tags.push_back(Name(PolicyTag::kConfidence));
  format.confidence = "slot";
  format.system_prompt = spec.system_prompt;
  format.slot_high = spec.high_token;
  format.slot_low = spec.low_token;
  return format;
}

Result<std::optional<ConfidenceSpec>> SpecOfFormat(const FormatOptions& format, const std::string& folder) {
  if (format.confidence != "slot") return std::nullopt;
  CANDOR_ASSIGN(const Tokenizer tokenizer, Tokenizer::Load(folder));
  CANDOR_ASSIGN(const ChatTemplate chat_template, ChatTemplate::Load(folder));
  CANDOR_ASSIGN(const PromptBuilder prompts, PromptBuilder::Make(&tokenizer, &chat_template, format));
  ConfidenceSpec spec;
  spec.high_id = prompts.slot().high;
  spec.low_id = prompts.slot().low;
  spec.high_token = format.slot_high;
  spec.low_token = format.slot_low;
  spec.after = std::string(kSlotPrefix);
  spec.reply_end.clear();
  for (const PolicyTag tag : prompts.format().tags)
    if (tag != PolicyTag::kConfidence) spec.reply_end = std::string(CloseTag(tag));  // the last tag that the policy writes itself
  spec.system_prompt = prompts.system_prompt();
  return spec;
}

}  // namespace candor::cli
