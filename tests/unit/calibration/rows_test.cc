// Rows: what is read, what is refused and how the refusal reads.
#include "calibration/rows.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <set>

namespace candor::calibration {
namespace {

Error ErrorOf(const std::string& text) {
  const auto rows = ParseRows(text, "rows.jsonl");
  EXPECT_FALSE(rows) << text;
  return rows ? Error{} : rows.error();
}

TEST(Rows, ReadsEveryForm) {
  const auto rows = ParseRows(
      "{\"confidence\": 0.8, \"correct\": true, \"slice\": \"geo\", \"prompt\": \"q1\"}\r\n"
      "\n"
      "{\"confidence\": null, \"correct\": 0}\n"
      "{\"correct\": 0.25, \"prompt\": 7, \"slice\": null, \"more\": [1, 2]}\n"
      "{\"confidence\": 1, \"correct\": false}",
      "rows.jsonl");
  ASSERT_TRUE(rows) << rows.error().Message();
  ASSERT_EQ(4u, rows->size());
  EXPECT_EQ(0.8, (*rows)[0].confidence->value());
  EXPECT_EQ(std::vector<std::string>{"geo"}, (*rows)[0].slices);
  EXPECT_FALSE((*rows)[1].confidence);
  EXPECT_EQ(0.25, (*rows)[2].label);
  EXPECT_EQ("7", (*rows)[2].prompt);
  EXPECT_EQ(1.0, (*rows)[3].confidence->value()) << "1 is certainty, never 1 %";
  EXPECT_EQ(2u, PointsOf(*rows).size());
  EXPECT_EQ(4u, PointsOf(*rows, 0.5).size());
}

TEST(Rows, RefusalsNameFileLineAndValue) {
  const std::string good = "{\"confidence\": 0.5, \"correct\": true}\n";
  EXPECT_EQ("rows.jsonl:2", ErrorOf(good + "{\"confidence\": 1.2, \"correct\": true}").where);
  EXPECT_NE(std::string::npos, ErrorOf(good + "{\"confidence\": 1.2, \"correct\": true}").what.find("1.2"));
  EXPECT_EQ("rows.jsonl:3", ErrorOf(good + "\n{\"confidence\": NaN, \"correct\": true}").where);
  EXPECT_NE(std::string::npos, ErrorOf("{\"confidence\": NaN, \"correct\": true}").what.find("NaN"));
  for (const char* line :
       {"{\"confidence\": -0.1, \"correct\": true}", "{\"confidence\": \"0.8\", \"correct\": true}",
        "{\"confidence\": true, \"correct\": true}", "{\"confidence\": 1e999, \"correct\": true}", "{\"confidence\": 0.5}",
        "{\"confidence\": 0.5, \"correct\": null}", "{\"confidence\": 0.5, \"correct\": 2}", "{\"confidence\": 0.5, \"correct\": \"yes\"}",
        "{\"confidence\": 0.5, \"correct\": true", "[0.5, true]", "0.5", "\xff\xfe", "{\"confidence\": [0.5], \"correct\": true}",
        "{\"confidence\": 0.5, \"correct\": true, \"slice\": 1.5}", "{\"confidence\": 0.5, \"correct\": true, \"prompt\": [1]}"}) {
    const Error error = ErrorOf(line);
    EXPECT_EQ(ErrorCode::kInvalidInput, error.code) << line;
    EXPECT_EQ("rows.jsonl:1", error.where) << line;
    EXPECT_FALSE(error.fix.empty()) << line;
  }
}

// What `candor eval` writes: slices as a list, and no "correct" where the verifier failed.
TEST(Rows, SliceListsAndUnknownLabels) {
  int64_t unknown = 0;
  const auto rows = ParseRows(
      "{\"confidence\": 0.8, \"correct\": true, \"label\": \"correct\", \"slice\": [\"a\", 7]}\n"
      "{\"confidence\": 0.8, \"label\": \"unknown\", \"slice\": [\"a\"]}\n"
      "{\"confidence\": 0.3, \"correct\": false, \"slice\": []}",
      "rows.jsonl", &unknown);
  ASSERT_TRUE(rows) << rows.error().Message();
  ASSERT_EQ(2u, rows->size());
  EXPECT_EQ(1, unknown);
  EXPECT_EQ((std::vector<std::string>{"a", "7"}), (*rows)[0].slices);
  EXPECT_EQ(2u, RowsBySlice(*rows).size());
  EXPECT_EQ("rows.jsonl:1", ErrorOf("{\"confidence\": 0.8, \"label\": \"correct\"}").where) << "only an unknown label excuses it";
  EXPECT_EQ("rows.jsonl:1", ErrorOf("{\"confidence\": 0.8, \"correct\": 1, \"slice\": [1.5]}").where);
}

TEST(Rows, FilesThatCannotBeRead) {
  EXPECT_EQ(ErrorCode::kNotFound, ReadRows("/no/such/file.jsonl").error().code);
  EXPECT_FALSE(ReadRows(testing::TempDir()));  // a folder
  const std::string path = testing::TempDir() + "/candor_empty_rows.jsonl";
  std::ofstream(path).close();
  const auto rows = ReadRows(path);
  ASSERT_TRUE(rows) << rows.error().Message();
  EXPECT_TRUE(rows->empty());
  std::remove(path.c_str());
}

TEST(Rows, OnePerClusterTakesEachPromptOnceAndNotAlwaysTheFirst) {
  std::vector<Row> rows;
  for (int prompt = 0; prompt < 50; ++prompt)
    for (int rollout = 0; rollout < 4; ++rollout) rows.push_back({Confidence::From(rollout / 4.0), 1.0, "q" + std::to_string(prompt)});
  const Points chosen = OnePerCluster(PointsOf(rows));
  ASSERT_EQ(50u, chosen.size());
  std::set<uint64_t> clusters;
  std::set<double> confidences;
  for (const Point& point : chosen) clusters.insert(point.cluster), confidences.insert(point.p);
  EXPECT_EQ(50u, clusters.size());
  EXPECT_EQ(4u, confidences.size());
}

}  // namespace
}  // namespace candor::calibration
