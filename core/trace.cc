#include "core/trace.h"

namespace candor {

const char* Name(Origin origin) {
  switch (origin) {
    case Origin::kPrompt:
      return "prompt";
    case Origin::kPolicy:
      return "policy";
    case Origin::kEnvironment:
      return "environment";
  }
  return "?";
}

const char* Name(Segment segment) {
  switch (segment) {
    case Segment::kNone:
      return "none";
    case Segment::kReasoning:
      return "reasoning";
    case Segment::kAnswer:
      return "answer";
    case Segment::kAnalysis:
      return "analysis";
    case Segment::kConfidence:
      return "confidence";
    case Segment::kSlot:
      return "slot";
  }
  return "?";
}

const char* Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kBudget:
      return "budget";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "?";
}

const char* Name(Label label) {
  switch (label) {
    case Label::kWrong:
      return "wrong";
    case Label::kCorrect:
      return "correct";
    case Label::kUnknown:
      return "unknown";
  }
  return "?";
}

const char* Name(DropReason reason) {
  switch (reason) {
    case DropReason::kNone:
      return "none";
    case DropReason::kNoVariance:
      return "no_variance";
    case DropReason::kAllUnknown:
      return "all_unknown";
    case DropReason::kStale:
      return "stale";
    case DropReason::kGhostVersion:
      return "ghost_version";
    case DropReason::kFailed:
      return "failed";
    case DropReason::kEvaluation:
      return "evaluation";
    case DropReason::kOutsideBand:
      return "outside_band";
    case DropReason::kLowVariance:
      return "low_variance";
    case DropReason::kRetired:
      return "retired";
    case DropReason::kTooHard:
      return "too_hard";
  }
  return "?";
}

std::optional<Segment> SegmentFromName(const std::string& name) {
  for (Segment segment : {Segment::kNone, Segment::kReasoning, Segment::kAnswer, Segment::kAnalysis, Segment::kConfidence, Segment::kSlot})
    if (name == Name(segment)) return segment;
  return std::nullopt;
}

}  // namespace candor
