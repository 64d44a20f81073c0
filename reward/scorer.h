// Traces and verdicts to a scored group: labels, channels, the main confidence, the filter's decision; and the header that the coordinator
// plans with and records. Pure, any thread.
#pragma once
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/trace.h"
#include "proto/messages.h"
#include "reward/channels.h"
#include "reward/filter.h"
#include "reward/group_channels.h"
#include "reward/policy_channels.h"
#include "reward/verifiers/verifier.h"
#include "text/rows.h"
#include "text/tags.h"

namespace candor {

struct ScoreRules {
  TagFormat format;
  std::string signal;  // the main confidence: "slot", "verbal", or "none"
  FilterRules filter;
  GroupChannelRules group;
  std::set<std::string> abstain;  // normalised answers that decline
  double answer_threshold = 0.5;
  std::string baseline_field;
  LabelNoise noise;
  ReflectionRules reflection;

  bool Wants(const std::string& channel) const { return group.wanted.contains(channel); }
  // Whether the rollout must score the rows' reference answers (policy_channels.h).
  bool NeedsReference() const;
  // `channels`: what the recipe's objectives read; `values`: what their policy gradients learn from, for the filter "reward". signal: "" =
  // as the format's confidence says. Errors: a signal that the format does not give, a band without room.
  static Result<ScoreRules> From(const TagFormat& format, const RewardOptions& options, std::span<const std::string> channels = {},
                                 std::span<const std::string> values = {});
};

// A completion read by the rules: is the format held, what is the answer, what is the confidence.
struct ReadCompletion {
  bool format_ok = false;
  std::string format_error;
  std::string answer;
  std::optional<Confidence> confidence;
};
ReadCompletion ReadTrace(const ScoreRules& rules, const Trace& trace);

// What a peer sent must hold before anything is computed from it: arrays of one length, spans that cover the tokens in order, finite
// numbers.
Status CheckTraceGroup(const TraceGroup& group);

// What a group's row says besides its answers.
struct RowFacts {
  std::optional<double> baseline = std::nullopt;  // ReadBaseline
  size_t reference_characters = 0;                // of its first answer
};
// `read_G` and `verdicts_G` belong to group.traces_G in order. A trace whose format did not hold is wrong whatever its verdict; its rewards
// are kept. `row`: what its row says.
ScoredGroup ScoreGroup(const ScoreRules& rules, TraceGroup group, std::span<const ReadCompletion> read_G,
                       std::span<const Verdict> verdicts_G, const RowFacts& row = {});

// Where a scored group lies.
struct SpoolPlace {
  std::string worker, endpoint, hash;
  uint64_t payload_bytes = 0;
};
// Counts (traces, correct, wrong, unknown, format_ok) and sums are over the sampled traces; over the greedy ones where nothing was sampled
// (evaluation). Token counts are of everything. Sums: "reward/<channel>" with "missing/<channel>" where it is not 0, "tokens", "truncated",
// "confidence" and "brier" (over traces with label and confidence: "calibrated"). Sketches hold each labelled trace that kept the format,
// by signal; greedy ones under "<signal>/greedy". `signal`: the run's main confidence (ScoreRules), whose sketch is there though no trace
// has it, so that answers which all broke the format are missing in the record, not absent; "" or "none": nothing is expected.
GroupScored MakeHeader(const ScoredGroup& group, const DataRow& row, const SpoolPlace& place, const std::string& signal = "");

}  // namespace candor
