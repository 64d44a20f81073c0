// Rows from public data sets: both published layouts, what is taken out and left out, splits that share no question, errors that name the
// place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/fs.h"
#include "text/bigmath.h"
#include "text/hotpotqa.h"
#include "text/json_records.h"
#include "text/rows.h"

namespace candor {
namespace {

using testing::HasSubstr;
using PublicJson = nlohmann::ordered_json;

std::string PublicFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  EXPECT_TRUE(WriteFileAtomic(path, text, false));
  return path;
}

// As on hotpotqa.github.io: ten paragraphs, the third and the eighth hold the facts.
PublicJson OriginalQuestion(int number, const std::string& question = "") {
  PublicJson context = PublicJson::array();
  for (int i = 0; i < 10; ++i) {
    const std::string title = "Title " + std::to_string(number) + "." + std::to_string(i);
    context.push_back({title, {"Sentence one of " + title + ".", " Two \"quoted\" [brackets} of " + title + "."}});
  }
  const auto fact = [&](size_t paragraph, int sentence) { return PublicJson::array({context[paragraph][0], sentence}); };
  return {{"_id", "id" + std::to_string(number)},
          {"answer", "answer " + std::to_string(number)},
          {"question", question.empty() ? "Which is number " + std::to_string(number) + "?" : question},
          {"supporting_facts", PublicJson::array({fact(2, 0), fact(7, 1), fact(2, 1)})},
          {"context", context},
          {"type", number % 2 ? "bridge" : "comparison"},
          {"level", "hard"}};
}
// The same as Hugging Face's datasets exports it.
PublicJson ExportedQuestion(const PublicJson& original) {
  PublicJson row = {{"id", original["_id"]},
                    {"question", original["question"]},
                    {"answer", original["answer"]},
                    {"type", original["type"]},
                    {"level", original["level"]}};
  for (const PublicJson& one : original["context"])
    row["context"]["title"].push_back(one[0]), row["context"]["sentences"].push_back(one[1]);
  for (const PublicJson& one : original["supporting_facts"])
    row["supporting_facts"]["title"].push_back(one[0]), row["supporting_facts"]["sent_id"].push_back(one[1]);
  return row;
}
std::string Array(int first, int count) {
  PublicJson all = PublicJson::array();
  for (int i = first; i < first + count; ++i) all.push_back(OriginalQuestion(i));
  return all.dump();
}
std::string Lines(int first, int count) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += ExportedQuestion(OriginalQuestion(i)).dump() + "\n";
  return text;
}
std::string AsItIs(const std::string& text) { return text; }

TEST(JsonRecords, ArraysAndLinesGiveTheSameRecordsWithTheirPlaces) {
  const auto read = [](const std::string& text) {
    std::vector<std::string> seen;
    const Status status =
        ForEachRecord(PublicFile("records.json", text), [&](const PublicJson& record, const std::string& where) -> Result<bool> {
          seen.push_back(where.substr(where.rfind('/') + 1) + " " + record["a"].dump());
          return seen.size() < 3;
        });
    if (!status) seen.push_back(status.error().Message());
    return seen;
  };
  EXPECT_THAT(read("[{\"a\": 1},\n {\"a\": [\"]}\\\"\"]}]"),
              testing::ElementsAre("records.json:1, record 1 1", "records.json:2, record 2 [\"]}\\\"\"]"));
  EXPECT_THAT(read("{\"a\": 1}\n\n{\"a\": 2}\r\n{\"a\": 3}\n{\"a\": 4}\n"),
              testing::ElementsAre("records.json:1 1", "records.json:3 2", "records.json:4 3"));
  EXPECT_THAT(read("[{\"a\": 1},\n{\"a\": 2").back(), testing::AllOf(HasSubstr("records.json:2, record 2"), HasSubstr("cut off")));
  EXPECT_THAT(read("[{\"a\": 1}, 5]").back(), testing::AllOf(HasSubstr("record 2"), HasSubstr("not a JSON object")));
  EXPECT_THAT(read("{\"a\": 1}\n{\"a\": }\n").back(), testing::AllOf(HasSubstr("records.json:2"), HasSubstr("not JSON")));
  EXPECT_THAT(read(" \n").back(), HasSubstr("empty"));
  EXPECT_THAT(read("[" + std::string(200, '[') + "]").back(), HasSubstr("not a JSON object"));
  EXPECT_THAT(read("[{\"a\":" + std::string(200, '[') + std::string(200, ']') + "}]").back(), HasSubstr("nested too deeply"));
  EXPECT_THAT(ForEachRecord("x.parquet", {}).error().Message(), HasSubstr("to_json"));
}

TEST(HotpotQa, BothLayoutsGiveTheSameRow) {
  const PublicJson original = OriginalQuestion(3);
  const auto a = ReadHotpotQuestion(original, "f:1"), b = ReadHotpotQuestion(ExportedQuestion(original), "g:1");
  ASSERT_TRUE(a) << a.error().Message();
  ASSERT_TRUE(b) << b.error().Message();
  EXPECT_EQ(MakeHotpotRow(*a, -1, 7).json, MakeHotpotRow(*b, -1, 7).json);
}

TEST(HotpotQa, TakesTwoParagraphsOutOfWhichSoManyHoldAnAnswer) {
  const HotpotQuestion question = ReadHotpotQuestion(OriginalQuestion(3), "f:1").value();
  for (int gold = 0; gold <= 2; ++gold) {
    const HotpotRow row = MakeHotpotRow(question, gold, 1);
    const PublicJson json = PublicJson::parse(row.json);
    const std::string prompt = json["prompt"];
    EXPECT_EQ(json["gold_removed"], gold);
    ASSERT_EQ(json["removed"].size(), 2u);
    int gold_gone = 0, shown = 0;
    for (const HotpotParagraph& paragraph : question.paragraphs) {
      const bool in_prompt = prompt.find(paragraph.text) != std::string::npos;
      const bool removed = std::find(json["removed"].begin(), json["removed"].end(), paragraph.title) != json["removed"].end();
      EXPECT_NE(in_prompt, removed) << paragraph.title;
      shown += in_prompt, gold_gone += removed && paragraph.gold;
    }
    EXPECT_EQ(shown, 8);
    EXPECT_EQ(gold_gone, gold);
    EXPECT_THAT(prompt, testing::AllOf(HasSubstr("Question: Which is number 3?"), HasSubstr("Paragraph 8\n"),
                                       testing::Not(HasSubstr("Paragraph 9\n"))));
    EXPECT_THAT(json["slice"], testing::ElementsAre("gold_removed_" + std::to_string(gold), "bridge", "hard"));
  }
}

TEST(HotpotQa, TheNumberOfMissingPartsIsDrawnEvenly) {
  std::map<int, int> seen;
  for (int i = 0; i < 3000; ++i) ++seen[MakeHotpotRow(ReadHotpotQuestion(OriginalQuestion(i), "f:1").value(), -1, 1).gold_removed];
  for (int gold = 0; gold <= 2; ++gold) EXPECT_NEAR(seen[gold], 1000, 120) << gold;  // 4.6 standard deviations
}

TEST(HotpotQa, AQuestionWithTooFewParagraphsKeepsThemAll) {
  HotpotQuestion question = ReadHotpotQuestion(OriginalQuestion(3), "f:1").value();
  std::erase_if(question.paragraphs, [](const HotpotParagraph& paragraph) { return !paragraph.gold; });
  for (int gold = 0; gold <= 1; ++gold) {
    const PublicJson json = PublicJson::parse(MakeHotpotRow(question, gold, 1).json);
    EXPECT_TRUE(json["removed"].empty());
    EXPECT_EQ(json["gold_removed"], 0);
  }
  EXPECT_EQ(MakeHotpotRow(question, 2, 1).gold_removed, 2);
}

HotpotOptions SmallHotpot() {
  HotpotOptions options;
  options.train_file = PublicFile("train.json", Array(100, 30));
  options.dev_file = PublicFile("dev.jsonl", Lines(0, 20));
  options.train_rows = 20, options.dev_rows = 5, options.test_rows = 8, options.vanilla_rows = 6;
  return options;
}

TEST(HotpotQa, SplitsShareNoQuestionAndAreTheSameEachTime) {
  const HotpotOptions options = SmallHotpot();
  const auto rows = PrepareHotpotQa(options, AsItIs), again = PrepareHotpotQa(options, AsItIs);
  ASSERT_TRUE(rows) << rows.error().Message();
  std::set<std::string> questions;
  size_t total = 0;
  for (const PublicSplit& split : rows->splits) {
    EXPECT_EQ(split.lines, again->Split(split.name).lines);
    for (const std::string& line : split.lines) {
      const auto row = ParseRow(line, "r:1", {}, {.answer = true});
      ASSERT_TRUE(row) << row.error().Message();
      questions.insert(PublicJson::parse(line)["question"]), ++total;
      if (split.name == "vanilla") {
        EXPECT_EQ(PublicJson::parse(line)["gold_removed"], 0);
      }
    }
  }
  EXPECT_EQ(total, 39u);
  EXPECT_EQ(questions.size(), total);
  HotpotOptions other = options;
  other.seed = 2;
  EXPECT_NE(PrepareHotpotQa(other, AsItIs)->Split("train").lines, rows->Split("train").lines);
}

TEST(HotpotQa, WhatIsTooLongOrKnownIsLeftOutAndCounted) {
  HotpotOptions options = SmallHotpot();
  // Normalised, all train questions but one are those of the test.
  const QuestionNormaliser last_digit = [](const std::string& text) { return text.substr(text.size() - 2, 1); };
  options.test_rows = 3, options.vanilla_rows = 2, options.train_rows = 4, options.dev_rows = 1;
  const auto rows = PrepareHotpotQa(options, last_digit);
  ASSERT_TRUE(rows) << rows.error().Message();
  EXPECT_EQ(rows->dropped.at("of a question that was taken already"), 5);  // 100 .. 104 end like 0 .. 4
  options.dev_rows = 2;
  const auto too_few = PrepareHotpotQa(options, last_digit);
  ASSERT_FALSE(too_few);
  EXPECT_THAT(too_few.error().Message(),
              testing::AllOf(HasSubstr("2 rows were wanted for dev"), HasSubstr("dev 1"), HasSubstr("--dev-rows")));
  options.max_characters = 100;
  EXPECT_THAT(PrepareHotpotQa(options, last_digit).error().Message(), HasSubstr("50 too long"));
}

TEST(HotpotQa, BadRecordsNamePlaceAndField) {
  const auto message = [](const std::string& field, const PublicJson& value) {
    PublicJson record = OriginalQuestion(1);
    record[field] = value;
    const auto read = ReadHotpotQuestion(record, "hotpot.json:1, record 4");
    return read ? std::string("read") : read.error().Message();
  };
  EXPECT_EQ(message("level", nullptr), "read");
  for (const auto& [field, bad] :
       std::vector<std::pair<std::string, PublicJson>>{{"answer", nullptr},
                                                       {"answer", ""},
                                                       {"question", 3},
                                                       {"context", "text"},
                                                       {"context", {{"title", {"a"}}, {"sentences", PublicJson::array()}}},
                                                       {"context", {{"a", "b", "c"}}},
                                                       {"supporting_facts", nullptr},
                                                       {"supporting_facts", {1, 2}},
                                                       {"_id", 5},
                                                       {"type", 5}})
    EXPECT_THAT(message(field, bad), testing::AllOf(HasSubstr("hotpot.json:1, record 4"), HasSubstr("\"" + field + "\""))) << bad;
}

std::string Problems(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += PublicJson{{"problem", "What is " + std::to_string(i) + " - 1?"},
                       {"answer", std::to_string(i - 1)},
                       {"source", i % 2 ? "orca_math" : "cn_k12"},
                       {"domain", {"Mathematics -> Algebra"}},
                       {"llama8b_solve_rate", i % 5 == 0 ? PublicJson(nullptr) : PublicJson((i % 5) / 4.0 * 0.9)}}
                .dump() +
            "\n";
  return text;
}

TEST(BigMath, OnlyPlainNumbersOfMiddlingDifficultyAreTaken) {
  for (const char* number : {"12", "-0.5", "1e3", ".5", "+7", "007"}) EXPECT_TRUE(IsPlainNumber(number)) << number;
  for (const char* other : {"1/2", "inf", "nan", "1,000", "", "12 ", "x", "+-1", "0x10", "\\text{A}"})
    EXPECT_FALSE(IsPlainNumber(other)) << other;
  BigMathOptions options;
  options.file =
      PublicFile("math.jsonl", Problems(50) + R"({"problem": "Half of one?", "answer": "1/2", "llama8b_solve_rate": 0.5})" + "\n" +
                                   R"({"problem": "What is 7 - 1?", "answer": "6", "llama8b_solve_rate": 0.45})" + "\n" +
                                   R"({"problem": "Long?", "answer": "12345678901234567890", "llama8b_solve_rate": 0.5})" + "\n");
  options.train_rows = 20, options.dev_rows = 5, options.test_rows = 5;
  const auto rows = PrepareBigMath(options, AsItIs);
  ASSERT_TRUE(rows) << rows.error().Message();  // rates .225, .45, .675 and .9 of four fifths: 30 of 50
  EXPECT_EQ(rows->dropped.at("with an answer that is no plain number"), 2);
  EXPECT_EQ(rows->dropped.at("without a solve rate"), 10);
  EXPECT_EQ(rows->dropped.at("with a solve rate outside the bounds"), 10);
  EXPECT_EQ(rows->dropped.count("of a problem that was taken already") + rows->dropped.count("more than wanted"), 1u);
  std::set<std::string> problems;
  for (const PublicSplit& split : rows->splits)
    for (const std::string& line : split.lines) {
      const auto row = ParseRow(line, "r:1", {}, {.answer = true});
      ASSERT_TRUE(row) << row.error().Message();
      problems.insert(row->prompt);
      EXPECT_EQ(row->slices.size(), 2u - (row->slices.front().starts_with("solved")));
    }
  EXPECT_EQ(problems.size(), 30u);
  options.any_answer = true, options.above = -1, options.below = 2, options.train_rows = 31;
  EXPECT_TRUE(PrepareBigMath(options, AsItIs));
}

TEST(BigMath, TheOrderIsThatOfTheSeedNotOfTheFile) {
  BigMathOptions options;
  options.train_rows = 20, options.dev_rows = 5, options.test_rows = 5;
  std::string backwards, forwards = Problems(50);
  for (size_t end = forwards.size() - 1; end != std::string::npos;) {
    const size_t begin = end == 0 ? std::string::npos : forwards.rfind('\n', end - 1);
    backwards += forwards.substr(begin + 1, end - begin);
    end = begin;
  }
  options.file = PublicFile("forwards.jsonl", forwards);
  const auto rows = PrepareBigMath(options, AsItIs);
  options.file = PublicFile("backwards.jsonl", backwards);
  ASSERT_TRUE(rows) << rows.error().Message();
  EXPECT_EQ(PrepareBigMath(options, AsItIs)->Split("train").lines, rows->Split("train").lines);
  options.seed = 2;
  EXPECT_NE(PrepareBigMath(options, AsItIs)->Split("train").lines, rows->Split("train").lines);
}

TEST(BigMath, BadRecordsNamePlaceAndField) {
  const auto message = [](const std::string& line) {
    BigMathOptions options;
    options.file = PublicFile("bad.jsonl", R"({"problem": "1?", "answer": "1", "llama8b_solve_rate": 0.5})"
                                           "\n" +
                                               line + "\n");
    return PrepareBigMath(options, AsItIs).error().Message();
  };
  for (const auto& [line, field] : {std::pair{R"({"answer": "1"})", "problem"},
                                    {R"({"problem": "a", "answer": 1})", "answer"},
                                    {R"({"problem": "a", "answer": "1", "llama8b_solve_rate": "high"})", "llama8b_solve_rate"},
                                    {R"({"problem": "a", "answer": "1", "llama8b_solve_rate": 1.5})", "llama8b_solve_rate"},
                                    {R"({"problem": "a", "answer": "1", "domain": "Algebra"})", "domain"}})
    EXPECT_THAT(message(line), testing::AllOf(HasSubstr("bad.jsonl:2"), HasSubstr("\"" + std::string(field) + "\""))) << line;
}

}  // namespace
}  // namespace candor
