#include "cli/torch/trained_format.h"

#include "trainer/policy_start.h"

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
  CANDOR_ASSIGN(const std::optional<SlotTokens> slot, SlotOf(format, tokenizer));
  return ConfidenceSpecOf(format, *slot);
}

}  // namespace candor::cli
