// The scanner behind ParseTags; see tags.h for the rule.
#include "text/tags.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace candor {
namespace {

struct TagWords {
  const char* name;
  std::string_view open;
  std::string_view close;
  Segment segment;
  const char* instruction;
};

constexpr std::array<TagWords, kPolicyTags> kWords = {{
    {"think", "<think>", "</think>", Segment::kReasoning, "your reasoning, step by step"},
    {"answer", "<answer>", "</answer>", Segment::kAnswer, "your final answer and nothing else"},
    {"analysis", "<analysis>", "</analysis>", Segment::kAnalysis,
     "how sure you can be: name the steps that may be wrong, what the question leaves open and which other answers are possible; do not "
     "solve it again"},
    {"confidence", "<confidence>", "</confidence>", Segment::kConfidence,
     "the probability that your answer is correct, as a number between 0 and 1"},
}};

const TagWords& Words(PolicyTag tag) { return kWords[static_cast<size_t>(tag)]; }

constexpr std::string_view kSpace = " \t\n\r\f\v";

size_t SkipSpace(std::string_view text, size_t pos) {
  const size_t found = text.find_first_not_of(kSpace, pos);
  return found == std::string_view::npos ? text.size() : found;
}

std::string_view Trim(std::string_view text) {
  const size_t begin = SkipSpace(text, 0);
  const size_t last = text.find_last_not_of(kSpace);
  return begin == text.size() ? std::string_view() : text.substr(begin, last + 1 - begin);
}

ByteRange Range(size_t begin, size_t end) { return {static_cast<int64_t>(begin), static_cast<int64_t>(end)}; }

// The first of all eight tag words in text[begin, end); empty where there is none.
std::string_view FirstTagWord(std::string_view text, size_t begin, size_t end) {
  const std::string_view region = text.substr(begin, end - begin);
  size_t first = std::string_view::npos;
  std::string_view word;
  for (const TagWords& words : kWords) {
    for (const std::string_view candidate : {words.open, words.close}) {
      const size_t at = region.find(candidate);
      if (at < first) {
        first = at;
        word = candidate;
      }
    }
  }
  return word;
}

std::string Quoted(std::string_view word) { return std::string(word); }

// Reads the part of `tag` that begins at or after `pos`; returns why it cannot, "" if it could.
std::string ScanPart(std::string_view text, PolicyTag tag, bool first, size_t& pos, TagPart& part) {
  const TagWords& words = Words(tag);
  const size_t start = SkipSpace(text, pos);
  size_t inner = start + words.open.size();
  size_t outer = start;
  if (!text.substr(start).starts_with(words.open)) {
    if (tag != PolicyTag::kThink || !first) {
      const bool later = text.find(words.open, start) != std::string_view::npos;
      if (start == text.size() || !later) return Quoted(words.open) + " is missing";
      const std::string_view other = FirstTagWord(text, start, text.find(words.open, start));
      return other.empty() ? "there is text before " + Quoted(words.open)
                           : Quoted(other) + " stands where " + Quoted(words.open) + " was due";
    }
    inner = outer = 0;  // the prompt has already opened it
  }
  const size_t close = text.find(words.close, inner);
  if (close == std::string_view::npos) return Quoted(words.close) + " is missing";
  const std::string_view inside = FirstTagWord(text, inner, close);
  if (inside == words.open && tag == PolicyTag::kThink && inner == 0) return "there is text before <think>";
  if (!inside.empty()) return Quoted(inside) + " occurs inside " + Quoted(words.open);
  pos = close + words.close.size();
  part = {tag, Range(outer, pos), Range(inner, close)};
  return "";
}

std::string CheckRest(std::string_view text, size_t pos, std::string_view last) {
  if (SkipSpace(text, pos) == text.size()) return "";
  const std::string_view word = FirstTagWord(text, pos, text.size());
  return word.empty() ? "there is text after " + Quoted(last) : Quoted(word) + " occurs after " + Quoted(last);
}

std::string_view Inner(std::string_view text, const TagPart& part) {
  return text.substr(static_cast<size_t>(part.inner.begin), static_cast<size_t>(part.inner.size()));
}

ParsedTags WholeAsAnswer(std::string_view text) {
  ParsedTags parsed;
  parsed.valid = true;
  parsed.answer = std::string(Trim(text));
  parsed.parts.push_back({PolicyTag::kAnswer, Range(0, text.size()), Range(0, text.size())});
  return parsed;
}

}  // namespace

const char* Name(PolicyTag tag) { return Words(tag).name; }
std::string_view OpenTag(PolicyTag tag) { return Words(tag).open; }
std::string_view CloseTag(PolicyTag tag) { return Words(tag).close; }
Segment SegmentOf(PolicyTag tag) { return Words(tag).segment; }

std::optional<PolicyTag> PolicyTagFromName(std::string_view name) {
  for (size_t i = 0; i < kWords.size(); ++i) {
    if (name == kWords[i].name) return static_cast<PolicyTag>(i);
  }
  return std::nullopt;
}

bool TagFormat::Has(PolicyTag tag) const { return std::find(tags.begin(), tags.end(), tag) != tags.end(); }

Result<TagFormat> TagFormat::From(std::span<const std::string> tags, std::string_view confidence) {
  TagFormat format;
  for (const std::string& name : tags) {
    const auto tag = PolicyTagFromName(name);
    if (!tag) {
      return Fail(ErrorCode::kInvalidInput, "there is no tag \"" + name + "\"", "format.tags",
                  "the tags are think, answer, analysis, confidence");
    }
    if (format.Has(*tag))
      return Fail(ErrorCode::kInvalidInput, "the tag \"" + name + "\" is listed twice", "format.tags", "list each tag once");
    format.tags.push_back(*tag);
  }
  if (confidence == "verbal")
    format.confidence = ConfidenceSource::kVerbal;
  else if (confidence == "slot")
    format.confidence = ConfidenceSource::kSlot;
  else if (confidence != "none") {
    return Fail(ErrorCode::kInvalidInput, "unknown confidence \"" + std::string(confidence) + "\"", "format.confidence",
                "say \"verbal\", \"slot\" or \"none\"");
  }
  if (!format.tags.empty() && !format.Has(PolicyTag::kAnswer)) {
    return Fail(ErrorCode::kInvalidInput, "no tag holds the answer", "format.tags",
                "add \"answer\", or leave the list empty to grade the whole reply");
  }
  if (format.confidence == ConfidenceSource::kVerbal && !format.Has(PolicyTag::kConfidence)) {
    return Fail(ErrorCode::kInvalidInput, "a verbal confidence needs a tag to stand in", "format.tags",
                "add \"confidence\" to format.tags, or set format.confidence to \"none\" or \"slot\"");
  }
  return format;
}

std::string TagFormat::Instructions() const {
  if (tags.empty()) return "";
  std::string text = "Reply in exactly this form:\n";
  for (const PolicyTag tag : tags) {
    const bool read = tag == PolicyTag::kConfidence && confidence == ConfidenceSource::kSlot;
    const std::string what = read ? "whether your answer is more likely right than wrong" : Words(tag).instruction;
    text += Quoted(Words(tag).open) + what + Quoted(Words(tag).close) + "\n";
  }
  text += tags.size() == 1 ? "Use the tag exactly once and write nothing after it."
                           : "Use each tag exactly once, in this order, and write nothing after the last one.";
  return text;
}

const TagPart* ParsedTags::Find(PolicyTag tag) const {
  for (const TagPart& part : parts) {
    if (part.tag == tag) return &part;
  }
  return nullptr;
}

ParsedTags ParseTags(const TagFormat& format, std::string_view text) {
  if (format.tags.empty()) return WholeAsAnswer(text);
  ParsedTags parsed;
  size_t pos = 0;
  for (size_t i = 0; i < format.tags.size() && parsed.error.empty(); ++i) {
    TagPart part;
    parsed.error = ScanPart(text, format.tags[i], i == 0, pos, part);
    if (parsed.error.empty()) parsed.parts.push_back(part);
  }
  if (const TagPart* answer = parsed.Find(PolicyTag::kAnswer)) parsed.answer = std::string(Trim(Inner(text, *answer)));
  if (parsed.error.empty()) parsed.error = CheckRest(text, pos, Words(format.tags.back()).close);
  if (parsed.error.empty() && format.confidence == ConfidenceSource::kVerbal) {
    const Result<Confidence> confidence = ParseConfidence(Inner(text, *parsed.Find(PolicyTag::kConfidence)));
    if (confidence)
      parsed.confidence = *confidence;
    else
      parsed.error = confidence.error().what;
  }
  parsed.valid = parsed.error.empty();
  return parsed;
}

Result<Confidence> ParseConfidence(std::string_view text) {
  constexpr size_t kMaxShown = 40;
  const std::string_view number = Trim(text);
  const auto refuse = [&](const std::string& why) {
    const std::string shown = number.size() <= kMaxShown ? std::string(number) : std::string(number.substr(0, kMaxShown)) + "...";
    return Fail(ErrorCode::kInvalidInput, "the confidence \"" + shown + "\" " + why, "", "write a number between 0 and 1, such as 0.85");
  };
  if (number.empty()) return refuse("is empty");
  if (number.back() == '%') return refuse("is a percentage, not a number between 0 and 1");
  // from_chars also reads "nan", "inf" and "-1"; a digit or a point must come first.
  const bool plain = number.find_first_not_of("0123456789.eE+-") == std::string_view::npos &&
                     std::string_view("0123456789.").find(number[0]) != std::string_view::npos;
  double value = 0.0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (!plain || error != std::errc() || end != number.data() + number.size()) return refuse("is not a plain decimal number");
  const std::optional<Confidence> confidence = Confidence::From(value);
  if (!confidence) return refuse("is not between 0 and 1");
  return *confidence;
}

std::vector<Segment> TokenSegments(const TagFormat& format, const ParsedTags& parsed, std::span<const int64_t> token_end_bytes_T) {
  const size_t found = parsed.parts.size();
  Segment rest = Segment::kAnswer;
  if (!format.tags.empty()) rest = SegmentOf(format.tags[std::min(found, format.tags.size() - 1)]);
  std::vector<Segment> segments_T;
  segments_T.reserve(token_end_bytes_T.size());
  size_t part = 0;
  int64_t begin = 0;
  for (const int64_t end : token_end_bytes_T) {
    while (part < found && begin >= parsed.parts[part].outer.end) ++part;
    segments_T.push_back(part < found ? SegmentOf(parsed.parts[part].tag) : rest);
    begin = end;
  }
  return segments_T;
}

}  // namespace candor
