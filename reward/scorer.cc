#include "reward/scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/channel_expression.h"
#include "reward/channels.h"
#include "reward/filter.h"
#include "reward/group_channels.h"
#include "reward/policy_channels.h"
#include "reward/verifiers/normalise.h"

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
  if (!std::ranges::all_of(trace.reference_log_probs_R, finite))
    return Fail(ErrorCode::kInvalidInput, "a log-probability of the reference answer is not finite");
  return CheckSpans(trace);
}

}  // namespace

Result<ScoreRules> ScoreRules::From(const TagFormat& format, const RewardOptions& options, std::span<const std::string> channels,
                                    std::span<const std::string> values) {
  ScoreRules rules;
  rules.format = format, rules.signal = options.signal, rules.filter = FilterRules::From(options);
  rules.answer_threshold = options.answer_threshold, rules.baseline_field = options.baseline_field;
  rules.reflection = {options.dro_gamma, options.dro_reflective, options.length_beta};
  CANDOR_ASSIGN(rules.noise, LabelNoiseOf(options));
  for (const std::string& answer : options.abstain) rules.abstain.insert(NormaliseAnswer(answer));
  rules.group = {{channels.begin(), channels.end()}, options.majority_min_share, options.hybrid_group_share, options.criteria};
  for (const std::string& value : values) {
    CANDOR_ASSIGN(ChannelExpression expression, ChannelExpression::Parse(value));
    rules.filter.values.push_back(std::move(expression));
  }
  if (rules.filter.kind == FilterKind::kAgreement) rules.group.wanted.insert("majority");
  rules.filter.needs_label = std::ranges::none_of(
      channels, [](const std::string& name) { return std::ranges::find(PolicyChannels(), name) != PolicyChannels().end(); });
  if (rules.Wants("majority")) rules.group.wanted.insert("majority_true");
  if (rules.Wants("rubric"))
    for (const CriterionOptions& criterion : options.criteria) rules.group.wanted.insert(criterion.channel);
  if (options.filter_low > options.filter_high)
    return Fail(ErrorCode::kInvalidInput, fmt::format("filter_low {} lies above filter_high {}", options.filter_low, options.filter_high),
                "[reward] filter_low", "no group could be kept");
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
  if (!std::ranges::all_of(group.reference_base_R, [](float x) { return std::isfinite(x); }))
    return Fail(ErrorCode::kInvalidInput, "a log-probability of the reference answer without reasoning is not finite", where);
  for (size_t i = 0; i < group.traces_G.size(); ++i)
    if (Status checked = CheckTrace(group.traces_G[i]); !checked)
      return Fail(ErrorCode::kInvalidInput, checked.error().what, fmt::format("{}, trace {}", where, i));
  return {};
}

bool ScoreRules::NeedsReference() const { return candor::NeedsReference(group.wanted) || filter.kind == FilterKind::kReferenceSpread; }

namespace {

ChannelInputs InputsOf(const ScoreRules& rules, const ScoredTrace& trace, const Verdict& verdict, bool abstained) {
  ChannelInputs in{trace.format_ok, trace.label, trace.soft_label, rules.signal != "none", trace.confidence};
  in.abstained = abstained;
  in.answer_label = trace.answer.empty() ? Label::kWrong : verdict.label;
  in.answer_threshold = rules.answer_threshold, in.noise = rules.noise;
  return in;
}

// What filter_max_rank is compared with, to be watched.
void AddRanks(const FilterRules& filter, std::vector<ScoredTrace>& traces_G) {
  if (filter.kind != FilterKind::kReferenceSpread || filter.max_rank <= 0.0) return;
  for (ScoredTrace& trace : traces_G)
    if (const auto rank = WorstRank(trace, filter.worst_share)) trace.channels["reference_rank"] = *rank;
}

// An accepted answer is never an abstention, even where it reads like one.
bool Abstained(const ScoreRules& rules, const ScoredTrace& trace) {
  return !rules.abstain.empty() && trace.format_ok && trace.label != Label::kCorrect &&
         rules.abstain.contains(NormaliseAnswer(trace.answer));
}

ScoredTrace ScoreTrace(const ScoreRules& rules, Trace&& written, const ReadCompletion& read, const Verdict& verdict) {
  ScoredTrace trace;
  trace.trace = std::move(written);
  trace.format_ok = read.format_ok;
  trace.format_error = read.format_error;
  trace.answer = read.answer;
  trace.confidence = read.confidence;
  trace.label = read.format_ok ? verdict.label : Label::kWrong;
  trace.soft_label = read.format_ok && verdict.label != Label::kUnknown ? verdict.soft_label : 0.0;
  std::erase_if(trace.trace.signals, [](const auto& signal) { return !std::isfinite(signal.second); });
  trace.trace.signals.erase("verbal");  // this parser's word counts, whatever the engine thought
  if (rules.signal == "verbal" && read.confidence) trace.trace.signals["verbal"] = read.confidence->value();
  return trace;
}

}  // namespace

ScoredGroup ScoreGroup(const ScoreRules& rules, TraceGroup group, std::span<const ReadCompletion> read_G,
                       std::span<const Verdict> verdicts_G, const RowFacts& row) {
  ScoredGroup scored{group.id, group.prompt, group.wave, std::move(group.prompt_tokens_P), {}, DropReason::kNone, std::move(group.worker)};
  std::vector<bool> abstained_G;
  for (size_t i = 0; i < group.traces_G.size(); ++i) {
    ScoredTrace trace = ScoreTrace(rules, std::move(group.traces_G[i]), read_G[i], verdicts_G[i]);
    abstained_G.push_back(Abstained(rules, trace));
    const ChannelInputs inputs = InputsOf(rules, trace, verdicts_G[i], abstained_G.back());
    trace.channels = ComputeChannels(inputs);
    AddWantedChannels(inputs, rules.group.wanted, trace.channels);
    for (const auto& [name, value] : verdicts_G[i].rewards) trace.channels.emplace(name, value);
    scored.traces_G.push_back(std::move(trace));
  }
  AddPolicyChannels(rules.group.wanted, rules.reflection, {group.reference_base_R, row.reference_characters}, scored.traces_G);
  AddGroupChannels(rules.group, abstained_G, row.baseline, scored.traces_G);
  if (const auto deviation = rules.filter.kind == FilterKind::kMovingStd ? ValueStd(rules.filter, scored.traces_G) : std::nullopt)
    for (ScoredTrace& trace : scored.traces_G) trace.channels["value_std"] = *deviation;
  AddRanks(rules.filter, scored.traces_G);
  scored.drop = IsEvaluation(scored.id) ? DropReason::kEvaluation : FilterGroup(rules.filter, scored.traces_G, abstained_G);
  return scored;
}

}  // namespace candor
