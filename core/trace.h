// The words of the data path: a prompt visit becomes a TraceGroup (rollout), the TraceGroup becomes a ScoredGroup (reward), the ScoredGroup
// is trained on (trainer). Plain data, no behaviour; every array is indexed by completion token unless its name says otherwise. Legend: T
// completion tokens of a trace, P prompt tokens, G traces.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/confidence.h"
#include "core/ids.h"

namespace candor {

// Who wrote a token. Only policy tokens train and only they have log-probabilities.
enum class Origin : uint8_t { kPrompt = 0, kPolicy = 1, kEnvironment = 2 };
// What a token is part of. kSlot is a token whose logits are read (high/low), never sampled and never reached by a policy gradient.
enum class Segment : uint8_t { kNone = 0, kReasoning = 1, kAnswer = 2, kAnalysis = 3, kConfidence = 4, kSlot = 5 };
enum class FinishReason : uint8_t { kStop = 0, kLength = 1, kBudget = 2, kCancelled = 3 };
// unknown: the verifier failed. It is never counted as wrong and never enters a baseline.
enum class Label : uint8_t { kWrong = 0, kCorrect = 1, kUnknown = 2 };
enum class DropReason : uint8_t {
  kNone = 0,
  kNoVariance = 1,
  kAllUnknown = 2,
  kStale = 3,
  kGhostVersion = 4,
  kFailed = 5,
  kEvaluation = 6,
  kOutsideBand = 7,  // its pass rate lies outside the recipe's band
  kLowVariance = 8,  // its outcomes vary, but less than the recipe asks for
  kRetired = 9,      // its prompt is solved; a slice of such visits goes on training the confidence
  kTooHard = 10      // no reasoning brings the reference answer within reach
};
inline constexpr DropReason kLastDropReason = DropReason::kTooHard;
// Kept out of the policy gradient by a filter on outcomes: such a group still trains its slots and is still observed, because what is
// filtered by its labels says nothing true about them.
constexpr bool IsFiltered(DropReason reason) {
  return reason == DropReason::kNoVariance || reason == DropReason::kOutsideBand || reason == DropReason::kLowVariance ||
         reason == DropReason::kRetired || reason == DropReason::kTooHard;
}

// Tokens [begin, end) of the completion; spans of a trace are consecutive and cover it.
struct Span {
  Origin origin = Origin::kPolicy;
  Segment segment = Segment::kNone;
  int32_t turn = 0;
  int32_t begin = 0;
  int32_t end = 0;
};

struct Trace {
  int32_t index = 0;              // position in the group
  bool greedy = false;            // decoded at temperature 0; trains only the slot
  std::vector<int32_t> tokens_T;  // completion tokens, forced (environment) and slot tokens included
  std::vector<Span> spans;
  std::vector<float>
      log_probs_T;               // log p of the token at T = 1 before any filter, nats; 0 where origin is not policy or the segment is slot
  std::vector<float> entropy_T;  // entropy of the raw distribution, nats; 0 likewise
  std::vector<uint64_t> version_T;  // policy version that produced each token
  std::map<std::string, double>
      signals;  // confidence signals by name: "slot", "verbal", "answer_span", "self_certainty", "lowest_window", ...
  FinishReason finish = FinishReason::kStop;
  std::string text;  // the completion decoded, special tokens left out
  // log p of each token of the row's reference answer R where it stands in for this trace's own answer, behind its reasoning; empty where
  // nobody asked for it (rollout/reference_scorer.h).
  std::vector<float> reference_log_probs_R;
  std::vector<int32_t> reference_ranks_R;  // likewise, 1 + how many tokens the policy found likelier there
};

// Where a prompt comes from: the row of a data set that every role has loaded from the same file.
struct PromptRef {
  std::string dataset;  // "train", or the name of an [[eval]]
  uint32_t row = 0;
};

struct TraceGroup {
  GroupId id;
  PromptRef prompt;
  StepId wave;  // the step these traces are meant for; for evaluation, the policy version's step
  std::vector<int32_t> prompt_tokens_P;
  std::vector<Trace> traces_G;
  std::string worker;                        // which rollout worker wrote it
  std::vector<float> reference_base_R = {};  // as Trace::reference_log_probs_R, with no reasoning before the answer
};

// What the reward tier adds to a trace.
struct ScoredTrace {
  Trace trace;
  Label label = Label::kUnknown;
  double soft_label = 0.0;               // in [0, 1]; 1 / 0 for correct / wrong, between for partial credit; meaningless when unknown
  std::optional<Confidence> confidence;  // the recipe's main signal; nullopt: the format did not hold
  bool format_ok = false;
  std::string format_error;                // why not
  std::string answer;                      // the graded answer as parsed
  std::map<std::string, double> channels;  // named reward channels: accuracy, format, brier, and the user's own
};

struct ScoredGroup {
  GroupId id;
  PromptRef prompt;
  StepId wave;
  std::vector<int32_t> prompt_tokens_P;
  std::vector<ScoredTrace> traces_G;
  DropReason drop = DropReason::kNone;  // IsFiltered: it still trains its slots and is still observed
  std::string worker;
  double slot_weight = 1.0;  // of its slots in their loss; set by the learner from the plan, not part of a stored group
};

// Numbers of one optimizer step, sent to the coordinator; plain names as in metrics.jsonl ("reward/all/mean", "optim/grad_norm", ...).
struct StepReport {
  StepId step;
  PlanId plan;
  PolicyVersion version;  // the version this step made
  std::map<std::string, double> metrics;
};

const char* Name(Origin origin);
const char* Name(Segment segment);
const char* Name(FinishReason reason);
const char* Name(Label label);
const char* Name(DropReason reason);
std::optional<Segment> SegmentFromName(const std::string& name);

}  // namespace candor
