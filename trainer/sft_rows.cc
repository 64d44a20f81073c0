#include "trainer/sft_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace candor {

namespace {

Result<std::optional<float>> LabelOf(const DataRow& row) {
  nlohmann::json object = nlohmann::json::parse(row.json, nullptr, false);
  if (!object.is_object() || !object.contains("label") || object["label"].is_null()) return std::nullopt;
  const nlohmann::json& label = object["label"];
  if (label.is_boolean()) return label.get<bool>() ? 1.0f : 0.0f;
  if (label.is_string() && (label == "correct" || label == "wrong")) return label == "correct" ? 1.0f : 0.0f;
  if (label.is_number()) {
    double value = label.get<double>();
    if (0.0 <= value && value <= 1.0) return static_cast<float>(value);
  }
  return Fail(ErrorCode::kInvalidInput, "the label " + label.dump() + " is not 0, 1, a number between them, \"correct\" or \"wrong\"",
              row.where, "leave rows with an unknown label out");
}

double PartWeight(PolicyTag tag, const SftOptions& options) {
  switch (tag) {
    case PolicyTag::kThink:
    case PolicyTag::kAnalysis:
      return options.reasoning_weight;
    case PolicyTag::kAnswer:
      return options.answer_weight;
    case PolicyTag::kConfidence:
      return options.confidence_weight;
  }
  return options.other_weight;
}

// One weight per token of the text, by the tag part that holds the token's first byte.
Result<std::vector<float>> WeightsOf(const std::string& text, const Encoding& encoding, const TagFormat& format,
                                     const SftOptions& options) {
  std::vector<float> weights_T(encoding.ids_T.size(), static_cast<float>(options.other_weight));
  ParsedTags parsed = ParseTags(format, text);
  for (const TagPart& part : parsed.parts)
    for (size_t t = 0; t < weights_T.size(); ++t)
      if (part.inner.begin <= encoding.offsets_T[t].begin && encoding.offsets_T[t].begin < part.inner.end)
        weights_T[t] = static_cast<float>(PartWeight(part.tag, options));
  return weights_T;
}

// The reply as the engine leaves it before it reads the slot: up to the end of the last tag that the policy writes itself.
Result<std::string> ReplyBeforeSlot(const DataRow& row, const TagFormat& format) {
  PolicyTag last = PolicyTag::kAnswer;
  for (PolicyTag tag : format.tags)
    if (tag != PolicyTag::kConfidence) last = tag;
  const std::string close(CloseTag(last));
  size_t at = row.completion.find(close);
  if (at == std::string::npos)
    return Fail(ErrorCode::kInvalidInput, "a labelled completion does not close " + close + ", so there is no place to read a confidence",
                row.where, "leave such rows out");
  return row.completion.substr(0, at + close.size());
}

Result<SftExample> LabelledExample(const DataRow& row, float label, const TagFormat& format, const Tokenizer& tokenizer,
                                   const std::optional<SlotTokens>& slot, const SftOptions& options) {
  if (!slot)
    return Fail(ErrorCode::kInvalidInput, "the row has a label, but the format has no confidence slot to train", row.where,
                "set format.confidence=slot, slot_high and slot_low");
  SftExample example;
  CANDOR_ASSIGN(std::string reply, ReplyBeforeSlot(row, format));
  CANDOR_ASSIGN(Encoding encoding, tokenizer.EncodeWithOffsets(reply, false));
  CANDOR_ASSIGN(example.weights_T, WeightsOf(reply, encoding, format, options));
  if (options.anchor == "correct" && label < 0.5f) std::fill(example.weights_T.begin(), example.weights_T.end(), 0.0f);
  example.completion_T = std::move(encoding.ids_T);
  CANDOR_ASSIGN(std::vector<int32_t> prefix, tokenizer.Encode(kSlotPrefix, false));
  example.completion_T.insert(example.completion_T.end(), prefix.begin(), prefix.end());
  example.completion_T.push_back(slot->high);  // the last token predicts nothing: which of the two it is does not matter
  example.weights_T.resize(example.completion_T.size(), 0.0f);
  example.anchor = options.anchor_weight;
  example.label = label;
  return example;
}

Result<SftExample> PlainExample(const DataRow& row, const PromptBuilder& builder, const Tokenizer& tokenizer, const SftOptions& options) {
  SftExample example;
  CANDOR_ASSIGN(example.completion_T, builder.EncodeCompletion(row.completion));
  CANDOR_ASSIGN(Encoding encoding, tokenizer.EncodeWithOffsets(row.completion, false));
  CANDOR_ASSIGN(example.weights_T, WeightsOf(row.completion, encoding, builder.format(), options));
  example.weights_T.resize(example.completion_T.size(), static_cast<float>(options.other_weight));  // the end of the turn
  return example;
}

Status CheckExample(const SftExample& example, const DataRow& row, int64_t vocab_size, int64_t max_positions) {
  if (example.prompt_P.empty()) return Fail(ErrorCode::kInvalidInput, "the prompt has no tokens", row.where);
  if (static_cast<int64_t>(example.prompt_P.size() + example.completion_T.size()) > max_positions)
    return Fail(ErrorCode::kInvalidInput,
                std::to_string(example.prompt_P.size() + example.completion_T.size()) + " tokens are more than the model's " +
                    std::to_string(max_positions),
                row.where, "shorten the row or leave it out");
  auto outside = [&](int32_t id) { return !(0 <= id && id < vocab_size); };
  if (std::any_of(example.prompt_P.begin(), example.prompt_P.end(), outside) ||
      std::any_of(example.completion_T.begin(), example.completion_T.end(), outside))
    return Fail(ErrorCode::kInvalidInput, "a token lies outside the model's vocabulary", row.where,
                "the tokenizer belongs to another model");
  return {};
}

}  // namespace

Result<std::vector<SftExample>> MakeSftExamples(const DataSet& rows, const PromptBuilder& builder, const Tokenizer& tokenizer,
                                                const std::optional<SlotTokens>& slot, const SftOptions& options, int64_t vocab_size,
                                                int64_t max_positions) {
  std::vector<SftExample> examples;
  for (const DataRow& row : rows.rows) {
    CANDOR_ASSIGN(std::optional<float> label, LabelOf(row));
    Result<SftExample> example =
        label ? LabelledExample(row, *label, builder.format(), tokenizer, slot, options) : PlainExample(row, builder, tokenizer, options);
    if (!example) return Fail(example.error());
    CANDOR_ASSIGN(PromptText prompt, builder.Build(row));
    example->prompt_P = std::move(prompt.ids_P);
    CANDOR_TRY(CheckExample(*example, row, vocab_size, max_positions));
    examples.push_back(std::move(*example));
  }
  return examples;
}

}  // namespace candor
