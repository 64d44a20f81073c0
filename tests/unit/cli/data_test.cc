// candor data: folders of rows that a recipe can name, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/fs.h"
#include "tests/unit/cli/outcome.h"
#include "text/rows.h"

namespace candor::cli {
namespace {

using testing::HasSubstr;

std::string ManyProblems() {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += nlohmann::json{{"problem", "Compute " + std::to_string(i) + (i % 2 ? " + 2." : " - 2.")},
                           {"answer", std::to_string(i)},
                           {"llama8b_solve_rate", 0.5}}
                .dump() +
            "\n";
  return text + R"({"problem": "COMPUTE  1 + 2.", "answer": "3", "llama8b_solve_rate": 0.5})" + "\n" +
         R"({"problem": "Compute 1 - 2.", "answer": "-1", "llama8b_solve_rate": 0.5})" + "\n";
}

TEST(DataCommand, WritesSplitsAndHowTheyWereMade) {
  const std::string folder = testing::TempDir() + "/math", file = testing::TempDir() + "/big-math.jsonl";
  ASSERT_TRUE(WriteFileAtomic(file, ManyProblems(), false));
  const std::vector<std::string> words = {"data", "bigmath",    file, "--out",       folder, "--train-rows",
                                          "30",   "--dev-rows", "6",  "--test-rows", "5"};
  const Outcome done = RunCommand(RunData, words);
  ASSERT_EQ(done.code, 0) << done.err;
  // A sign makes another problem, case and white space do not: 41 different ones.
  EXPECT_THAT(done.out, testing::AllOf(HasSubstr("train.jsonl: 30 rows"), HasSubstr("left out: 1 of a problem that was taken already")));
  for (const auto& [name, rows] : {std::pair{"train", 30u}, {"dev", 6u}, {"test", 5u}})
    EXPECT_EQ(ReadDataSet(folder + "/" + name + ".jsonl", {}, {.answer = true}).value().rows.size(), rows);
  const auto how = nlohmann::json::parse(ReadFile(folder + "/prepared.json").value());
  EXPECT_EQ(how["splits"]["train"]["rows"], 30);
  EXPECT_EQ(how["splits"]["train"]["xxh3_128"], HashFileHex(folder + "/train.jsonl").value());
  EXPECT_EQ(how["files"][0]["xxh3_128"], HashFileHex(file).value());
  const Outcome again = RunCommand(RunData, words);
  EXPECT_EQ(again.code, 3);
  EXPECT_THAT(again.err, HasSubstr("nothing is overwritten"));
}

TEST(DataCommand, RefusesWhatCannotBeMeant) {
  const std::string out = testing::TempDir() + "/nothing";
  EXPECT_EQ(RunCommand(RunData, {"data"}).code, 2);
  EXPECT_EQ(RunCommand(RunData, {"data", "hotpotqa", "one.json", "--out", out}).code, 2);
  const Outcome bounds = RunCommand(RunData, {"data", "bigmath", "x.jsonl", "--out", out, "--above", "0.9"});
  EXPECT_EQ(bounds.code, 3);
  EXPECT_THAT(bounds.err, HasSubstr("--above 0.9 --below 0.75"));
  const Outcome missing = RunCommand(RunData, {"data", "hotpotqa", "a.json", "b.json", "--out", out});
  EXPECT_EQ(missing.code, 3);
  EXPECT_THAT(missing.err, HasSubstr("no such file"));
  EXPECT_FALSE(FileExists(out + "/train.jsonl"));
}

}  // namespace
}  // namespace candor::cli
