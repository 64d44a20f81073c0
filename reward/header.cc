// MakeHeader of scorer.h: a scored group reduced to integers, sums and sketches.
#include <algorithm>
#include <set>

#include "calibration/sketch.h"
#include "reward/scorer.h"

namespace candor {

namespace {

using calibration::CalSketch;

// Signals of the engine that are no probabilities (rollout/signals.h): nothing to calibrate.
bool IsProbability(const std::string& signal) {
  return signal != "mean_log_prob" && signal != "self_certainty" && signal != "lowest_window";
}

// Of `expected` and of each signal that any trace of the group has: one observation per labelled trace, missing where the format broke or
// the signal is absent or no number in [0, 1].
std::map<std::string, std::string> EncodeSketches(const ScoredGroup& group, const std::string& expected) {
  std::set<std::string> names;
  if (!expected.empty() && expected != "none") names.insert(expected);
  for (const ScoredTrace& scored : group.traces_G)
    for (const auto& [name, value] : scored.trace.signals)
      if (IsProbability(name)) names.insert(name);
  std::map<std::string, CalSketch> sketches;
  for (const ScoredTrace& scored : group.traces_G) {
    if (scored.label == Label::kUnknown) continue;
    for (const std::string& name : names) {
      CalSketch& sketch = sketches[scored.trace.greedy ? name + "/greedy" : name];
      auto signal = scored.trace.signals.find(name);
      std::optional<Confidence> confidence;
      if (scored.format_ok && signal != scored.trace.signals.end()) confidence = Confidence::From(signal->second);
      if (confidence)
        sketch.Add(*confidence, scored.label == Label::kCorrect ? 1.0 : 0.0);
      else
        sketch.AddMissing();
    }
  }
  std::map<std::string, std::string> encoded;
  for (const auto& [name, sketch] : sketches) encoded[name] = sketch.Encode();
  return encoded;
}

void CountTrace(const ScoredTrace& scored, GroupScored& header) {
  ++header.traces;
  if (scored.label == Label::kCorrect)
    ++header.correct;
  else if (scored.label == Label::kWrong)
    ++header.wrong;
  else
    ++header.unknown;
  if (scored.format_ok) ++header.format_ok;
  for (const auto& [name, value] : scored.channels) header.sums["reward/" + name] += value;
  header.sums["tokens"] += static_cast<double>(scored.trace.tokens_T.size());
  header.sums["truncated"] += scored.trace.finish == FinishReason::kLength || scored.trace.finish == FinishReason::kBudget ? 1.0 : 0.0;
  if (!scored.confidence || scored.label == Label::kUnknown) return;
  double miss = scored.confidence->value() - (scored.label == Label::kCorrect ? 1.0 : 0.0);
  header.sums["calibrated"] += 1.0;
  header.sums["confidence"] += scored.confidence->value();
  header.sums["brier"] += miss * miss;
}

void AddMissingChannels(const ScoredGroup& group, bool greedy, GroupScored& header) {
  std::map<std::string, double> present;
  for (const ScoredTrace& scored : group.traces_G)
    if (scored.trace.greedy == greedy)
      for (const auto& [name, value] : scored.channels) present[name] += 1.0;
  for (const auto& [name, count] : present)
    if (count < header.traces) header.sums["missing/" + name] = header.traces - count;
}

void FindVersions(const ScoredGroup& group, GroupScored& header) {
  bool any = false;
  for (const ScoredTrace& scored : group.traces_G)
    for (const Span& span : scored.trace.spans) {
      if (span.origin != Origin::kPolicy) continue;
      for (int32_t t = span.begin; t < span.end; ++t) {
        PolicyVersion version{scored.trace.version_T[static_cast<size_t>(t)]};
        header.oldest_version = any ? std::min(header.oldest_version, version) : version;
        header.newest_version = any ? std::max(header.newest_version, version) : version;
        any = true;
      }
    }
}

}  // namespace

GroupScored MakeHeader(const ScoredGroup& group, const DataRow& row, const SpoolPlace& place, const std::string& signal) {
  GroupScored header;
  header.group = group.id;
  header.prompt = group.prompt;
  header.wave = group.wave;
  header.reward_worker = place.worker;
  header.reward_endpoint = place.endpoint;
  header.hash = place.hash;
  header.payload_bytes = place.payload_bytes;
  header.prompt_tokens = static_cast<uint32_t>(group.prompt_tokens_P.size());
  header.drop = group.drop;
  header.slices = row.slices;
  bool greedy = std::ranges::all_of(group.traces_G, [](const ScoredTrace& scored) { return scored.trace.greedy; });
  for (const ScoredTrace& scored : group.traces_G) {
    header.completion_tokens += static_cast<uint32_t>(scored.trace.tokens_T.size());
    if (scored.trace.greedy == greedy) CountTrace(scored, header);
  }
  AddMissingChannels(group, greedy, header);
  FindVersions(group, header);
  header.sketches = EncodeSketches(group, signal);
  return header;
}

}  // namespace candor
