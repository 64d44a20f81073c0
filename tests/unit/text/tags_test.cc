// The tag parser: the rule by cases, an exhaustive comparison with a naive twin, and confidences.
#include "text/tags.h"

#include <gtest/gtest.h>

#include <functional>
#include <regex>

namespace candor {
namespace {

TagFormat Format(const std::vector<std::string>& tags, const std::string& confidence) { return TagFormat::From(tags, confidence).value(); }
TagFormat Full() { return Format({"think", "answer", "analysis", "confidence"}, "verbal"); }

std::string Slice(const std::string& text, const ByteRange& range) {
  return text.substr(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
}

TEST(Tags, AValidTextInAllItsParts) {
  const std::string text = "<think>a b</think>\n<answer> Zürich </answer> <analysis>x</analysis>\n\n<confidence> 0.75 </confidence>\n ";
  const ParsedTags parsed = ParseTags(Full(), text);
  ASSERT_TRUE(parsed.valid) << parsed.error;
  EXPECT_EQ(parsed.answer, "Zürich");
  EXPECT_EQ(parsed.confidence->value(), 0.75);
  ASSERT_EQ(parsed.parts.size(), 4u);
  EXPECT_EQ(Slice(text, parsed.Find(PolicyTag::kThink)->inner), "a b");
  EXPECT_EQ(Slice(text, parsed.Find(PolicyTag::kThink)->outer), "<think>a b</think>");
  EXPECT_EQ(Slice(text, parsed.Find(PolicyTag::kAnswer)->inner), " Zürich ");
  EXPECT_EQ(Slice(text, parsed.Find(PolicyTag::kConfidence)->outer), "<confidence> 0.75 </confidence>");
}

TEST(Tags, ThinksOpeningTagMayBeMissing) {
  const std::string text = " a b</think><answer>c</answer><analysis></analysis><confidence>1</confidence>";
  const ParsedTags parsed = ParseTags(Full(), text);
  ASSERT_TRUE(parsed.valid) << parsed.error;
  EXPECT_EQ(Slice(text, parsed.Find(PolicyTag::kThink)->inner), " a b");
}

TEST(Tags, InvalidTextsHaveReasons) {
  const std::string tail = "<analysis>n</analysis><confidence>.5</confidence>";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "</think> is missing"},
      {"<think>a", "</think> is missing"},
      {"<think>a</think>", "<answer> is missing"},
      {"<think>a</think>so <answer>b</answer>" + tail, "there is text before <answer>"},
      {"<think>a</think><answer>b" + tail, "</answer> is missing"},
      {"<think>a</think><analysis>n</analysis><answer>b</answer><confidence>1</confidence>", "<analysis> stands where <answer> was due"},
      {"<think>a</think><answer>b</answer><confidence>1</confidence>", "<analysis> is missing"},
      {"hm <think>a</think><answer>b</answer>" + tail, "there is text before <think>"},
      {"<think>a<think></think><answer>b</answer>" + tail, "<think> occurs inside <think>"},
      // The graded answer must not be replaced by a later one.
      {"<think>a</think><answer>b</answer><analysis>or <answer>c</answer></analysis><confidence>1</confidence>",
       "<answer> occurs inside <analysis>"},
      {"<think><answer>z</answer></think><answer>b</answer>" + tail, "<answer> occurs inside <think>"},
      {"<think>a</think><answer>b</answer>" + tail + "<answer>c</answer>", "<answer> occurs after </confidence>"},
      {"<think>a</think><answer>b</answer>" + tail + " bye", "there is text after </confidence>"},
      {"<think>a</think><answer>b</answer><analysis>n</analysis><confidence>90%</confidence>",
       "the confidence \"90%\" is a percentage, not a number between 0 and 1"},
      {"<think>a</think><answer>b</answer><analysis>n</analysis><confidence>nan</confidence>",
       "the confidence \"nan\" is not a plain decimal number"},
      {"<think>a</think><answer>b</answer><analysis>n</analysis><confidence>1.01</confidence>",
       "the confidence \"1.01\" is not between 0 and 1"},
      {"<think>a</think><answer>b</answer><analysis>n</analysis><confidence> </confidence>", "the confidence \"\" is empty"},
      {"<Think>a</Think><answer>b</answer>" + tail, "</think> is missing"},
  };
  for (const auto& [text, reason] : cases) {
    const ParsedTags parsed = ParseTags(Full(), text);
    EXPECT_FALSE(parsed.valid) << text;
    EXPECT_EQ(parsed.error, reason) << text;
    EXPECT_FALSE(parsed.confidence) << text;
  }
}

TEST(Tags, TagsThatAreNotAskedForAreInvalid) {
  const TagFormat format = Format({"answer"}, "none");
  EXPECT_TRUE(ParseTags(format, "<answer>b</answer>").valid);
  EXPECT_FALSE(ParseTags(format, "<answer>b</answer><confidence>1</confidence>").valid);
  EXPECT_FALSE(ParseTags(format, "<think>x</think><answer>b</answer>").valid);
  EXPECT_FALSE(ParseTags(format, "<answer>b<confidence>1</confidence></answer>").valid);
}

TEST(Tags, NoTagsGradeTheWholeReply) {
  const ParsedTags parsed = ParseTags(Format({}, "none"), "  Paris \n");
  EXPECT_TRUE(parsed.valid);
  EXPECT_EQ(parsed.answer, "Paris");
}

TEST(Tags, ASlotsTextIsNotParsed) {
  const TagFormat format = Format({"answer", "confidence"}, "slot");
  const ParsedTags parsed = ParseTags(format, "<answer>b</answer><confidence>high</confidence>");
  EXPECT_TRUE(parsed.valid) << parsed.error;
  EXPECT_FALSE(parsed.confidence);
}

// The naive twin: one regular expression for the shape, then counting. Every text of up to 7 pieces is tried.
bool NaiveValid(const std::string& text) {
  static const std::regex shape(R"(^\s*<answer>([^]*?)</answer>\s*<confidence>\s*(0\.5|1)\s*</confidence>\s*$)");
  if (!std::regex_match(text, shape)) return false;
  for (const std::string tag :
       {"<answer>", "</answer>", "<confidence>", "</confidence>", "<think>", "</think>", "<analysis>", "</analysis>"}) {
    size_t count = 0;
    for (size_t at = text.find(tag); at != std::string::npos; at = text.find(tag, at + 1)) ++count;
    const bool asked = tag.find("answer") != std::string::npos || tag.find("confidence") != std::string::npos;
    if (count != (asked ? 1u : 0u)) return false;
  }
  return true;
}

TEST(Tags, EqualsANaiveTwinOnAllShortTexts) {
  const std::vector<std::string> pieces = {"<answer>", "</answer>", "<confidence>", "</confidence>", "0.5", " ", "<think>"};
  const TagFormat format = Format({"answer", "confidence"}, "verbal");
  int valid = 0;
  std::function<void(const std::string&, int)> extend = [&](const std::string& text, int left) {
    const ParsedTags parsed = ParseTags(format, text);
    ASSERT_EQ(parsed.valid, NaiveValid(text)) << text << " " << parsed.error;
    ASSERT_EQ(parsed.valid, parsed.error.empty());
    valid += parsed.valid;
    if (left == 0) return;
    for (const std::string& piece : pieces) extend(text + piece, left - 1);
  };
  for (const std::string start : {"", "<answer>", "<answer>0.5</answer>", "<answer>0.5</answer><confidence>"}) extend(start, 5);
  EXPECT_GT(valid, 20);
}

TEST(Tags, ConfidenceGrammar) {
  const std::vector<std::pair<std::string, double>> good = {
      {"0", 0},    {"1", 1},   {"0.9", .9},  {" 0.9\n", .9}, {".5", .5},
      {"1.", 1},   {"1.0", 1}, {"1e-1", .1}, {"5E-1", .5},   {"0.123456789", .123456789},
      {"00.5", .5}};
  for (const auto& [text, value] : good) {
    const auto confidence = ParseConfidence(text);
    ASSERT_TRUE(confidence) << text << ": " << confidence.error().Message();
    EXPECT_EQ(confidence->value(), value) << text;
  }
  for (const std::string text :
       {"",    " ",     "90%", "90", "1.0001", "-0.1", "-0",  "+0.5",      "nan",  "NaN",   "inf",    "-inf",   "infinity",
        "0,9", "0.5.5", "0x1", "1e", "e1",     ".",    "1_0", "0.5 or so", "high", "1e400", "1e-400", "nan(1)", "０.５"}) {
    EXPECT_FALSE(ParseConfidence(text)) << text;
  }
  EXPECT_FALSE(ParseConfidence(std::string("0.9\0", 4)));
  EXPECT_FALSE(ParseConfidence(std::string(100000, '9')));
}

TEST(Tags, TokensGetTheSegmentOfTheirFirstByte) {
  const std::string text = "<think>t</think>\n<answer>Paris</answer><confidence>0.5</confidence>";
  const TagFormat format = Format({"think", "answer", "confidence"}, "verbal");
  const ParsedTags parsed = ParseTags(format, text);
  ASSERT_TRUE(parsed.valid);
  // One token per byte, and an end token without bytes.
  std::vector<int64_t> ends;
  for (size_t i = 1; i <= text.size(); ++i) ends.push_back(static_cast<int64_t>(i));
  ends.push_back(static_cast<int64_t>(text.size()));
  const std::vector<Segment> segments = TokenSegments(format, parsed, ends);
  ASSERT_EQ(segments.size(), text.size() + 1);
  EXPECT_EQ(segments[0], Segment::kReasoning);
  EXPECT_EQ(segments[15], Segment::kReasoning);  // the ">" of </think>
  EXPECT_EQ(segments[16], Segment::kAnswer);     // the line break before <answer>
  EXPECT_EQ(segments[text.find("Paris")], Segment::kAnswer);
  EXPECT_EQ(segments[text.find("<confidence>") - 1], Segment::kAnswer);
  EXPECT_EQ(segments[text.find("<confidence>")], Segment::kConfidence);
  EXPECT_EQ(segments.back(), Segment::kConfidence);
  // A token that straddles "</answer><conf" belongs to the answer.
  EXPECT_EQ(TokenSegments(format, parsed, std::vector<int64_t>{30, 45, 46})[1], Segment::kAnswer);
}

TEST(Tags, ABrokenOffTextCountsForThePartThatWasDue) {
  const TagFormat format = Format({"think", "answer", "confidence"}, "verbal");
  const std::string text = "<think>t</think><answer>Par";
  const ParsedTags parsed = ParseTags(format, text);
  EXPECT_FALSE(parsed.valid);
  ASSERT_EQ(parsed.parts.size(), 1u);
  const std::vector<Segment> segments = TokenSegments(format, parsed, std::vector<int64_t>{10, 16, 27});
  EXPECT_EQ(segments, (std::vector<Segment>{Segment::kReasoning, Segment::kReasoning, Segment::kAnswer}));
  EXPECT_EQ(TokenSegments(Format({}, "none"), ParseTags(Format({}, "none"), "ab"), std::vector<int64_t>{1, 2, 2}),
            std::vector<Segment>(3, Segment::kAnswer));
}

TEST(Tags, FormatsThatDoNotHoldTogetherAreRefused) {
  const auto refused = [](std::vector<std::string> tags, std::string confidence) { return !TagFormat::From(tags, confidence).has_value(); };
  EXPECT_TRUE(refused({"answer", "answer"}, "none"));
  EXPECT_TRUE(refused({"reason", "answer"}, "none"));
  EXPECT_TRUE(refused({"think"}, "none"));
  EXPECT_TRUE(refused({"answer"}, "verbal"));
  EXPECT_TRUE(refused({"answer"}, "loud"));
  EXPECT_FALSE(refused({"answer"}, "slot"));
}

// The instructions show the very form that the parser takes, once its words stand for content.
TEST(Tags, InstructionsShowTheForm) {
  for (const std::string confidence : {"none", "slot"}) {
    const TagFormat format = Format({"think", "answer", "analysis", "confidence"}, confidence);
    const std::string text = format.Instructions();
    const size_t begin = text.find("<think>");
    const size_t end = text.find("</confidence>") + std::string("</confidence>").size();
    EXPECT_TRUE(ParseTags(format, text.substr(begin, end - begin)).valid) << text;
  }
  EXPECT_EQ(Format({}, "none").Instructions(), "");
}

}  // namespace
}  // namespace candor
