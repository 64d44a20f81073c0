#include "reward/scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reward/channels.h"
#include "reward/filter.h"

namespace candor {

namespace {

constexpr size_t kMaxTraces = 4096;

Status CheckSpans(const Trace& trace) {
  int32_t at = 0;
  for (const Span& span : trace.spans) {
    if (span.begin != at || span.end < span.begin)
      return Fail(ErrorCode::kInvalidInput, fmt::format("span [{}, {}) does not follow {}", span.begin, span.end, at));
    at = span.end;
  }
  if (static_cast<size_t>(at) != trace.tokens_T.size())
    return Fail(ErrorCode::kInvalidInput, fmt::format("spans cover {} of {} tokens", at, trace.tokens_T.size()));
  return {};
}

Status CheckTrace(const Trace& trace) {
  size_t tokens = trace.tokens_T.size();
  if (trace.log_probs_T.size() != tokens || trace.entropy_T.size() != tokens || trace.version_T.size() != tokens)
    return Fail(ErrorCode::kInvalidInput, fmt::format("{} tokens with {} log-probabilities, {} entropies, {} versions", tokens,
                                                      trace.log_probs_T.size(), trace.entropy_T.size(), trace.version_T.size()));
  auto finite = [](float x) { return std::isfinite(x); };
  if (!std::ranges::all_of(trace.log_probs_T, finite) || !std::ranges::all_of(trace.entropy_T, finite))
    return Fail(ErrorCode::kInvalidInput, "a log-probability or entropy is not finite");
  return CheckSpans(trace);
}

}  // namespace

Result<ScoreRules> ScoreRules::From(const TagFormat& format, const RewardOptions& options) {
  ScoreRules rules{format, options.signal, options.filter == "accuracy"};
  const char* given = format.confidence == ConfidenceSource::kSlot     ? "slot"
                      : format.confidence == ConfidenceSource::kVerbal ? "verbal"
                                                                       : "none";
  if (rules.signal.empty()) rules.signal = given;
  if (rules.signal != "none" && rules.signal != given)
    return Fail(ErrorCode::kInvalidInput, "the signal \"" + rules.signal + "\" is not in the format, whose confidence is \"" + given + "\"",
                "[reward] signal", "leave it out or change [format] confidence");
  return rules;
}

ReadCompletion ReadTrace(const ScoreRules& rules, const Trace& trace) {
  ParsedTags parsed = ParseTags(rules.format, trace.text);
  ReadCompletion read{parsed.valid, parsed.error, parsed.answer, std::nullopt};
  if (!read.format_ok) return read;
  if (rules.signal == "verbal") read.confidence = parsed.confidence;
  if (rules.signal == "slot")
    if (auto slot = trace.signals.find("slot"); slot != trace.signals.end()) read.confidence = Confidence::From(slot->second);
  if (rules.signal != "none" && !read.confidence) {
    read.format_ok = false;
    read.format_error = rules.signal == "slot" ? "the confidence slot was not read" : "no confidence";
  }
  return read;
}

Status CheckTraceGroup(const TraceGroup& group) {
  std::string where = "group " + ToString(group.id);
  if (group.traces_G.empty() || group.traces_G.size() > kMaxTraces)
    return Fail(ErrorCode::kInvalidInput, fmt::format("{} traces", group.traces_G.size()), where);
  for (size_t i = 0; i < group.traces_G.size(); ++i)
    if (Status checked = CheckTrace(group.traces_G[i]); !checked)
      return Fail(ErrorCode::kInvalidInput, checked.error().what, fmt::format("{}, trace {}", where, i));
  return {};
}

ScoredGroup ScoreGroup(const ScoreRules& rules, TraceGroup group, std::span<const ReadCompletion> read_G,
                       std::span<const Verdict> verdicts_G) {
  ScoredGroup scored{group.id, group.prompt, group.wave, std::move(group.prompt_tokens_P), {}, DropReason::kNone, std::move(group.worker)};
  for (size_t i = 0; i < group.traces_G.size(); ++i) {
    const ReadCompletion& read = read_G[i];
    const Verdict& verdict = verdicts_G[i];
    ScoredTrace trace;
    trace.trace = std::move(group.traces_G[i]);
    trace.format_ok = read.format_ok;
    trace.format_error = read.format_error;
    trace.answer = read.answer;
    trace.confidence = read.confidence;
    trace.label = read.format_ok ? verdict.label : Label::kWrong;
    trace.soft_label = read.format_ok && verdict.label != Label::kUnknown ? verdict.soft_label : 0.0;
    std::erase_if(trace.trace.signals, [](const auto& signal) { return !std::isfinite(signal.second); });
    trace.trace.signals.erase("verbal");  // this parser's word counts, whatever the engine thought
    if (rules.signal == "verbal" && read.confidence) trace.trace.signals["verbal"] = read.confidence->value();
    trace.channels = ComputeChannels({read.format_ok, trace.label, trace.soft_label, rules.signal != "none", read.confidence});
    for (const auto& [name, value] : verdict.rewards) trace.channels.emplace(name, value);
    scored.traces_G.push_back(std::move(trace));
  }
  DropReason filtered = FilterByAccuracy(scored.traces_G);
  if (IsEvaluation(scored.id))
    scored.drop = DropReason::kEvaluation;
  else if (rules.filter || filtered == DropReason::kAllUnknown)
    scored.drop = filtered;
  return scored;
}

}  // namespace candor
