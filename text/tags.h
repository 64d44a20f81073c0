// The only parser of a policy's tags: <think>, <answer>, <analysis>, <confidence>.
//
// A completion is valid when it holds exactly one of each tag that the format asks for, in the format's order, nothing but whitespace
// between and after them, and none of the other tags. <think>'s opening tag may be missing (chat templates write it into the prompt).
// Anything else is invalid, with a reason. Stricter than the rule of the RLCR code (damanimehul/RLCR reward_fns.py), whose pattern takes an
// <answer> repeated inside <analysis> and then grades that one, and lets "nan" through as a confidence.
//
// Parts are byte ranges of the text, so token spans follow from per-token byte offsets (DecodeStream) and nothing is ever tokenised again.
// Pure functions, any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/confidence.h"
#include "core/result.h"
#include "core/trace.h"
#include "text/tokenizer.h"

namespace candor {

enum class PolicyTag : uint8_t { kThink = 0, kAnswer = 1, kAnalysis = 2, kConfidence = 3 };
inline constexpr int kPolicyTags = 4;

const char* Name(PolicyTag tag);           // "think"
std::string_view OpenTag(PolicyTag tag);   // "<think>"
std::string_view CloseTag(PolicyTag tag);  // "</think>"
// What stands between a closed answer and the confidence slot: tags are written one to a line, in fine-tuning rows and by the engine alike.
inline constexpr std::string_view kSlotPrefix = "\n<confidence>";
Segment SegmentOf(PolicyTag tag);  // think → reasoning, the others by name
std::optional<PolicyTag> PolicyTagFromName(std::string_view name);

// Where the confidence comes from: written by the policy as a number, read from a slot's two tokens (then the text inside <confidence> is
// not parsed), or not asked for.
enum class ConfidenceSource : uint8_t { kNone = 0, kVerbal = 1, kSlot = 2 };

struct TagFormat {
  std::vector<PolicyTag> tags;  // asked for, in order; empty = no tags: the whole completion, trimmed, is the answer
  ConfidenceSource confidence = ConfidenceSource::kNone;

  bool Has(PolicyTag tag) const;
  // Names as in a recipe: tags {"think", "answer", "confidence"}, confidence "verbal" | "slot" | "none". Refuses repeated or unknown names,
  // tags without "answer", and verbal without a confidence tag.
  static Result<TagFormat> From(std::span<const std::string> tags, std::string_view confidence);
  // What a prompt should say so that a model writes this format; the default system prompt. "" without tags.
  std::string Instructions() const;
};

// One tag's part of a text.
struct TagPart {
  PolicyTag tag = PolicyTag::kAnswer;
  ByteRange outer;  // with the tags themselves
  ByteRange inner;  // between them
};

struct ParsedTags {
  bool valid = false;
  std::string error;           // why not, in one sentence; "" when valid
  std::vector<TagPart> parts;  // in order; of an invalid text, the parts before the fault
  std::string
      answer;  // the answer part, trimmed; also of an invalid text whose answer part was complete, for display only: grade valid texts
  std::optional<Confidence> confidence;  // verbal formats: set exactly when valid

  const TagPart* Find(PolicyTag tag) const;
};

ParsedTags ParseTags(const TagFormat& format, std::string_view text);

// A plain decimal in [0, 1], whitespace around it allowed: "0.9", "1", ".5", "1e-1". Not "90%", "nan", "inf", "1.2", "-0.1", "0,9", "". The
// error says which rule broke.
Result<Confidence> ParseConfidence(std::string_view text);

// The segment of each token, given where each token's bytes end (cumulative, DecodeStream::bytes() after each Push). A token belongs to the
// part that holds its first byte; bytes between parts belong to the part after them, bytes behind the last part to the last. Where a text
// is broken off, the rest counts for the part that was due.
std::vector<Segment> TokenSegments(const TagFormat& format, const ParsedTags& parsed, std::span<const int64_t> token_end_bytes_T);

}  // namespace candor
