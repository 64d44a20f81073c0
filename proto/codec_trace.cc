// Traces and groups on the wire. What holds after FromWire without a complaint: tokens, log-probabilities, entropies and versions of a
// trace are equally long, spans are consecutive and cover it, token ids are not negative, and no number is NaN.
#include "proto/wire.h"

namespace candor::proto {

namespace {

void ToWire(const Trace& from, wire::Trace* to) {
  to->set_index(static_cast<uint32_t>(from.index));
  to->set_greedy(from.greedy);
  to->mutable_tokens()->Add(from.tokens_T.begin(), from.tokens_T.end());
  to->mutable_log_probs()->Add(from.log_probs_T.begin(), from.log_probs_T.end());
  to->mutable_entropy()->Add(from.entropy_T.begin(), from.entropy_T.end());
  for (size_t i = 0; i < from.version_T.size();) {
    size_t end = i;
    while (end < from.version_T.size() && from.version_T[end] == from.version_T[i]) ++end;
    to->add_version_runs(from.version_T[i]);
    to->add_version_runs(end - i);
    i = end;
  }
  for (const Span& span : from.spans) {
    to->add_span_origin(static_cast<wire::Origin>(span.origin));
    to->add_span_segment(static_cast<wire::Segment>(span.segment));
    to->add_span_turn(span.turn);
    to->add_span_length(static_cast<uint32_t>(span.end - span.begin));
  }
  NumbersToWire(from.signals, to->mutable_signals());
  to->set_finish(static_cast<wire::FinishReason>(from.finish));
  to->set_text(from.text);
  to->mutable_reference_log_probs()->Add(from.reference_log_probs_R.begin(), from.reference_log_probs_R.end());
  to->mutable_reference_ranks()->Add(from.reference_ranks_R.begin(), from.reference_ranks_R.end());
}

std::vector<int32_t> TokensFromWire(const google::protobuf::RepeatedField<int32_t>& from, Checks& checks, const char* field) {
  checks.Require(from.size() <= kMaxTokens, fmt::format("{} are too many: {}", field, from.size()));
  std::vector<int32_t> to(from.begin(), from.end());
  for (int32_t token : to) checks.Require(token >= 0, fmt::format("{} hold the negative id {}", field, token));
  return to;
}

std::vector<float> FloatsFromWire(const google::protobuf::RepeatedField<float>& from, int tokens, Checks& checks, const char* field) {
  checks.Require(from.size() == tokens, fmt::format("a trace has {} tokens but {} values of {}", tokens, from.size(), field));
  std::vector<float> to(from.begin(), from.end());
  for (float value : to) checks.Finite(value, field);
  return to;
}

std::vector<float> ReferenceFromWire(const google::protobuf::RepeatedField<float>& from, Checks& checks, const char* field) {
  checks.Require(from.size() <= kMaxTokens, fmt::format("{} are too many: {}", field, from.size()));
  return FloatsFromWire(from, from.size(), checks, field);
}

std::vector<int32_t> RanksFromWire(const wire::Trace& from, Checks& checks) {
  std::vector<int32_t> to(from.reference_ranks().begin(), from.reference_ranks().end());
  checks.Require(to.empty() || from.reference_ranks_size() == from.reference_log_probs_size(),
                 fmt::format("a trace has {} reference_log_probs but {} reference_ranks", from.reference_log_probs_size(), to.size()));
  for (int32_t rank : to) checks.Require(rank >= 1, fmt::format("reference_ranks hold {}, below 1", rank));
  return to;
}

std::vector<uint64_t> VersionsFromWire(const google::protobuf::RepeatedField<uint64_t>& runs, int tokens, Checks& checks) {
  std::vector<uint64_t> to;
  uint64_t left = static_cast<uint64_t>(tokens);
  bool whole = runs.size() % 2 == 0;
  for (int i = 0; whole && i + 1 < runs.size(); i += 2) {
    uint64_t count = runs[i + 1];
    whole = 0 < count && count <= left && (i == 0 || runs[i] != runs[i - 2]);
    if (!whole) break;
    to.insert(to.end(), static_cast<size_t>(count), runs[i]);
    left -= count;
  }
  checks.Require(whole && left == 0, fmt::format("the version runs of a trace do not cover its {} tokens", tokens));
  return to;
}

std::vector<Span> SpansFromWire(const wire::Trace& from, Checks& checks) {
  const int n = from.span_length_size();
  bool equal = from.span_origin_size() == n && from.span_segment_size() == n && from.span_turn_size() == n;
  checks.Require(equal, "the columns of a trace's spans differ in length");
  std::vector<Span> to;
  int64_t end = 0;
  for (int i = 0; equal && i < n; ++i) {
    Span span;
    span.origin = checks.Enum(from.span_origin(i), Origin::kEnvironment, "span origin");
    span.segment = checks.Enum(from.span_segment(i), Segment::kSlot, "span segment");
    span.turn = from.span_turn(i);
    checks.Require(span.turn >= 0, "a span has a negative turn");
    int64_t begin = end;
    end += from.span_length(i);
    if (end > from.tokens_size()) break;
    span.begin = static_cast<int32_t>(begin);
    span.end = static_cast<int32_t>(end);
    to.push_back(span);
  }
  checks.Require(end == from.tokens_size(), fmt::format("the spans of a trace cover {} of its {} tokens", end, from.tokens_size()));
  return to;
}

Trace FromWire(const wire::Trace& from, Checks& checks) {
  Trace to;
  checks.Require(from.index() < static_cast<uint32_t>(kMaxTracesPerGroup), fmt::format("a trace has the index {}", from.index()));
  to.index = static_cast<int32_t>(from.index());
  to.greedy = from.greedy();
  to.tokens_T = TokensFromWire(from.tokens(), checks, "tokens of a trace");
  to.log_probs_T = FloatsFromWire(from.log_probs(), from.tokens_size(), checks, "log_probs");
  to.entropy_T = FloatsFromWire(from.entropy(), from.tokens_size(), checks, "entropy");
  to.version_T = VersionsFromWire(from.version_runs(), from.tokens_size(), checks);
  to.spans = SpansFromWire(from, checks);
  to.signals = FiniteFromWire(from.signals(), checks, "a confidence signal");
  to.finish = checks.Enum(from.finish(), FinishReason::kCancelled, "finish reason");
  to.text = from.text();
  to.reference_log_probs_R = ReferenceFromWire(from.reference_log_probs(), checks, "reference_log_probs");
  to.reference_ranks_R = RanksFromWire(from, checks);
  return to;
}

ScoredTrace FromWire(const wire::ScoredTrace& from, Checks& checks) {
  ScoredTrace to;
  to.trace = FromWire(from.trace(), checks);
  to.label = checks.Enum(from.label(), Label::kUnknown, "label");
  to.soft_label = from.soft_label();
  checks.Require(0.0 <= to.soft_label && to.soft_label <= 1.0, fmt::format("a soft label is {}, outside [0, 1]", to.soft_label));
  if (from.has_confidence()) {
    to.confidence = Confidence::From(from.confidence());
    checks.Require(to.confidence.has_value(), fmt::format("a confidence is {}, outside [0, 1]", from.confidence()));
  }
  to.format_ok = from.format_ok();
  to.format_error = from.format_error();
  to.answer = from.answer();
  to.channels = FiniteFromWire(from.channels(), checks, "a reward channel");
  return to;
}

}  // namespace

void ToWire(const TraceGroup& from, wire::TraceGroup* to) {
  to->set_id(from.id.value);
  ToWire(from.prompt, to->mutable_prompt());
  to->set_wave(from.wave.value);
  to->mutable_prompt_tokens()->Add(from.prompt_tokens_P.begin(), from.prompt_tokens_P.end());
  for (const Trace& trace : from.traces_G) ToWire(trace, to->add_traces());
  to->set_worker(from.worker);
  to->mutable_reference_base()->Add(from.reference_base_R.begin(), from.reference_base_R.end());
}

TraceGroup FromWire(const wire::TraceGroup& from, Checks& checks) {
  TraceGroup to;
  to.id = {from.id()};
  to.prompt = FromWire(from.prompt());
  to.wave = {from.wave()};
  to.prompt_tokens_P = TokensFromWire(from.prompt_tokens(), checks, "prompt tokens");
  checks.Require(from.traces_size() <= kMaxTracesPerGroup, fmt::format("a group has {} traces", from.traces_size()));
  if (!checks.ok()) return to;
  for (const wire::Trace& trace : from.traces()) to.traces_G.push_back(FromWire(trace, checks));
  to.worker = from.worker();
  to.reference_base_R = ReferenceFromWire(from.reference_base(), checks, "reference_base");
  return to;
}

void ToWire(const ScoredGroup& from, wire::ScoredGroup* to) {
  to->set_id(from.id.value);
  ToWire(from.prompt, to->mutable_prompt());
  to->set_wave(from.wave.value);
  to->mutable_prompt_tokens()->Add(from.prompt_tokens_P.begin(), from.prompt_tokens_P.end());
  for (const ScoredTrace& scored : from.traces_G) {
    wire::ScoredTrace* entry = to->add_traces();
    ToWire(scored.trace, entry->mutable_trace());
    entry->set_label(static_cast<wire::Label>(scored.label));
    entry->set_soft_label(scored.soft_label);
    if (scored.confidence) entry->set_confidence(scored.confidence->value());
    entry->set_format_ok(scored.format_ok);
    entry->set_format_error(scored.format_error);
    entry->set_answer(scored.answer);
    NumbersToWire(scored.channels, entry->mutable_channels());
  }
  to->set_drop(static_cast<wire::DropReason>(from.drop));
  to->set_worker(from.worker);
}

ScoredGroup FromWire(const wire::ScoredGroup& from, Checks& checks) {
  ScoredGroup to;
  to.id = {from.id()};
  to.prompt = FromWire(from.prompt());
  to.wave = {from.wave()};
  to.prompt_tokens_P = TokensFromWire(from.prompt_tokens(), checks, "prompt tokens");
  checks.Require(from.traces_size() <= kMaxTracesPerGroup, fmt::format("a group has {} traces", from.traces_size()));
  if (!checks.ok()) return to;
  for (const wire::ScoredTrace& trace : from.traces()) to.traces_G.push_back(FromWire(trace, checks));
  to.drop = checks.Enum(from.drop(), kLastDropReason, "drop reason");
  to.worker = from.worker();
  return to;
}

}  // namespace candor::proto
