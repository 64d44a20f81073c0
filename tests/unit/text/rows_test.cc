// Data rows: every documented shape, errors with file:line and field, weights, hashes, hostile lines.
#include "text/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/fs.h"
#include "core/rng.h"

namespace candor {
namespace {

Result<DataRow> Parse(const std::string& line, const RowNeeds& needs = {}, const FieldNames& fields = {}) {
  return ParseRow(line, "f.jsonl:3", fields, needs);
}

std::string Folder(const std::string& name) {
  const std::string folder = testing::TempDir() + "/candor_rows_" + name;
  (void)RemoveTree(folder);
  EXPECT_TRUE(MakeFolders(folder));
  return folder;
}
std::string WriteRows(const std::string& path, const std::string& text) {
  EXPECT_TRUE(WriteFileAtomic(path, text, false));
  return path;
}

TEST(Rows, OurShape) {
  const std::string line = R"({"prompt": "Where?", "answer": ["France", 7, 2.5], "id": "q1", "slice": ["big", "eu"], "x": {"y": 1}})";
  const DataRow row = Parse(line, {.answer = true}).value();
  EXPECT_EQ(row.prompt, "Where?");
  EXPECT_EQ(row.messages_json, "");
  EXPECT_EQ(row.answers, (std::vector<std::string>{"France", "7", "2.5"}));
  EXPECT_EQ(row.id, "q1");
  EXPECT_EQ(row.slices, (std::vector<std::string>{"big", "eu"}));
  EXPECT_EQ(row.json, line);
  EXPECT_EQ(row.where, "f.jsonl:3");
  const DataRow plain = Parse(R"({"prompt": "a", "answer": 42, "slice": "s", "id": 9})").value();
  EXPECT_EQ(plain.answers, std::vector<std::string>{"42"});
  EXPECT_EQ(plain.slices, std::vector<std::string>{"s"});
  EXPECT_EQ(plain.id, "9");
  EXPECT_EQ(Parse(R"({"prompt": "a"})").value().id, "f.jsonl:3");
}

TEST(Rows, MessagesKeepTheirKeysInOrder) {
  const DataRow row =
      Parse(
          R"({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "q", "b": 1, "a": {"z": 1, "y": 2}}], "answer": "x"})")
          .value();
  EXPECT_EQ(row.prompt, "q");
  EXPECT_EQ(row.messages_json, R"([{"role":"system","content":"S"},{"role":"user","content":"q","b":1,"a":{"z":1,"y":2}}])");
}

TEST(Rows, VerlsShape) {
  const DataRow row =
      Parse(
          R"({"data_source": "gsm8k", "prompt": [{"role": "user", "content": "2+2?"}], "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"index": 5}})",
          {.answer = true}, {.prompt = "", .answer = "", .completion = "", .id = "extra_info.index", .slice = "data_source"})
          .value();
  EXPECT_EQ(row.prompt, "2+2?");
  EXPECT_EQ(row.answers, std::vector<std::string>{"4"});
  EXPECT_EQ(row.source, "gsm8k");
  EXPECT_EQ(row.id, "5");
  EXPECT_EQ(row.slices, std::vector<std::string>{"gsm8k"});
}

TEST(Rows, TrlsShapes) {
  const RowNeeds sft{.answer = false, .completion = true};
  EXPECT_EQ(Parse(R"({"prompt": "p", "completion": "c"})", sft).value().completion, "c");
  EXPECT_EQ(Parse(R"({"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}]})", sft)
                .value()
                .completion,
            "c");
  const DataRow chat = Parse(R"({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]})", sft).value();
  EXPECT_EQ(chat.prompt, "p");
  EXPECT_EQ(chat.completion, "c");
  EXPECT_EQ(chat.messages_json, R"([{"role":"user","content":"p"}])");
  EXPECT_EQ(Parse(R"({"prompt": "p", "completion": ""})", sft).value().has_completion, true);
}

TEST(Rows, FieldsCanBeRenamed) {
  const FieldNames fields{.prompt = "q.text", .answer = "a", .completion = "", .id = "n", .slice = ""};
  const DataRow row = Parse(R"({"q": {"text": "Where?"}, "a": "x", "n": "r", "prompt": "no"})", {.answer = true}, fields).value();
  EXPECT_EQ(row.prompt, "Where?");
  EXPECT_EQ(row.id, "r");
  // A key with a dot in it wins over a path.
  EXPECT_EQ(Parse(R"({"q.text": "dot", "q": {"text": "path"}, "a": "x"})", {}, fields).value().prompt, "dot");
}

TEST(Rows, AnEmptyListOfAnswersSaysThatEveryAnswerIsWrong) {
  const auto row = Parse(R"({"prompt": "Which country is the city of Zosodar in?", "answer": []})", {.answer = true});
  ASSERT_TRUE(row.has_value());
  EXPECT_TRUE(row.value().answers.empty());
}

TEST(Rows, BadRowsNameFileLineAndField) {
  const RowNeeds both{.answer = true, .completion = true};
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"[1]", "not a JSON object"},
      {R"({"answer": "x"})", "\"prompt\" is missing"},
      {R"({"prompt": null, "answer": "x"})", "\"prompt\" is missing"},
      {R"({"prompt": "", "answer": "x"})", "\"prompt\" is empty"},
      {R"({"prompt": 3, "answer": "x"})", "\"prompt\" is neither"},
      {R"({"prompt": [], "answer": "x"})", "\"prompt\" has no messages"},
      {R"({"prompt": [{"content": "x"}], "answer": "x"})", "message 0 without a role"},
      {R"({"prompt": [{"role": "user", "content": 3}], "answer": "x"})", "message 0 whose content"},
      {R"({"prompt": [{"role": "assistant", "content": "x"}], "answer": "x"})", "no message of the user"},
      {R"({"prompt": "p"})", "\"answer\" is missing"},
      {R"({"prompt": "p", "answer": null})", "\"answer\" is missing"},
      {R"({"prompt": "p", "answer": ""})", "\"answer\" is empty"},
      {R"({"prompt": "p", "answer": true})", "\"answer\" is neither"},
      {R"({"prompt": "p", "answer": [["x"]]})", "\"answer\" has an entry"},
      {R"({"prompt": "p", "answer": "x"})", "\"completion\" is missing"},
      {R"({"prompt": "p", "answer": "x", "completion": 3.5, "id": {}})", "\"id\" is neither"},
      {R"({"prompt": "p", "answer": "x", "completion": {}})", "\"completion\" is neither"},
      {R"({"prompt": "p", "answer": "x", "completion": "c", "slice": {}})", "\"slice\" is neither"},
      {"{\"prompt\": \"\xff\", \"answer\": \"x\"}", "not JSON"},
      {R"({"prompt": "p", "answer": NaN})", "not JSON"},
      {"{\"prompt\": " + std::string(100000, '['), "nested deeper"},
      {"{\"prompt\": \"p\", \"answer\": " + std::string(100000, '[') + std::string(100000, ']') + "}", "nested deeper"},
  };
  for (const auto& [line, reason] : cases) {
    const auto row = Parse(line, both);
    ASSERT_FALSE(row) << line.substr(0, 100);
    EXPECT_NE(row.error().what.find(reason), std::string::npos) << line.substr(0, 100) << "\n" << row.error().Message();
    EXPECT_EQ(row.error().where, "f.jsonl:3");
    EXPECT_FALSE(row.error().fix.empty()) << reason;
  }
  // Brackets inside strings are not nesting.
  EXPECT_TRUE(Parse("{\"prompt\": \"" + std::string(1000, '[') + "\\\"[\"}"));
}

TEST(Rows, FlippedBytesNeverCrash) {
  const std::string good =
      R"({"prompt": [{"role": "user", "content": [{"type": "text", "text": "q é"}]}], "answer": ["a", 1], "slice": "s", "id": 3})";
  int parsed = 0;
  for (uint64_t i = 0; i < 5000; ++i) {
    std::string line = good;
    for (uint64_t k = 0; k < 2; ++k) {
      const uint64_t bits = RandomBits(3, RngStream::kSynthetic, i, k);
      line[bits % line.size()] = "{}[]\":,0\\n\xff"[(bits >> 32) % 11];
    }
    parsed += Parse(line, {.answer = true}).has_value();
  }
  EXPECT_GT(parsed, 0);
  EXPECT_LT(parsed, 5000);
}

TEST(DataSet, AFileWithByteOrderMarkBlankLinesAndCarriageReturns) {
  const std::string file = WriteRows(Folder("file") + "/a.jsonl", "\xEF\xBB\xBF{\"prompt\": \"a\"}\r\n\n  \n{\"prompt\": \"b\"}");
  const DataSet set = ReadDataSet(file, {}, {}).value();
  ASSERT_EQ(set.rows.size(), 2u);
  EXPECT_EQ(set.rows[0].json, R"({"prompt": "a"})");
  EXPECT_EQ(set.rows[1].where, file + ":4");
  EXPECT_EQ(set.hash.size(), 32u);
  EXPECT_EQ(ReadDataSet(file, {}, {}, 1).value().rows.size(), 1u);
}

TEST(DataSet, AFoldersFilesInNameOrder) {
  const std::string folder = Folder("folder");
  WriteRows(folder + "/b.jsonl", "{\"prompt\": \"2\"}\n");
  WriteRows(folder + "/a.jsonl", "{\"prompt\": \"1\"}\n");
  WriteRows(folder + "/notes.txt", "nothing");
  const DataSet set = ReadDataSet(folder, {}, {}).value();
  ASSERT_EQ(set.rows.size(), 2u);
  EXPECT_EQ(set.rows[0].prompt, "1");
  WriteRows(folder + "/b.jsonl", "{\"prompt\": \"3\"}\n");
  EXPECT_NE(ReadDataSet(folder, {}, {}).value().hash, set.hash);
}

TEST(DataSet, ErrorsNameTheLine) {
  const std::string folder = Folder("errors");
  const std::string file = WriteRows(folder + "/a.jsonl", "{\"prompt\": \"a\"}\n\n{\"prompt\": 3}\n");
  EXPECT_EQ(ReadDataSet(file, {}, {}).error().where, file + ":3");
  EXPECT_EQ(ReadDataSet(file, {}, {.answer = true}).error().where, file + ":1");
  EXPECT_EQ(ReadDataSet(folder + "/none.jsonl", {}, {}).error().code, ErrorCode::kNotFound);
  EXPECT_NE(ReadDataSet(WriteRows(folder + "/a.jsonl.zst", "x"), {}, {}).error().fix.find("zstd -d"), std::string::npos);
  EXPECT_FALSE(ReadDataSet(WriteRows(folder + "/empty.jsonl", "\n"), {}, {}));
  const std::string twice = WriteRows(folder + "/twice.jsonl", "{\"prompt\": \"a\", \"id\": 1}\n{\"prompt\": \"b\", \"id\": 1}\n");
  const auto repeated = ReadDataSet(twice, {}, {});
  ASSERT_FALSE(repeated);
  EXPECT_EQ(repeated.error().where, twice + ":2");
}

TEST(DataSet, WeightsInterleaveEvenlyAndDeterministically) {
  const std::string folder = Folder("weights");
  std::string many, few;
  for (int i = 0; i < 100; ++i) many += "{\"prompt\": \"m" + std::to_string(i) + "\"}\n";
  for (int i = 0; i < 10; ++i) few += "{\"prompt\": \"f" + std::to_string(i) + "\"}\n";
  const std::vector<DataFile> files = {{WriteRows(folder + "/many.jsonl", many), 0.5}, {WriteRows(folder + "/few.jsonl", few), 2.5}};
  const DataSet set = ReadDataSets(files, {}, {}).value();
  ASSERT_EQ(set.rows.size(), 50u + 25u);
  std::map<std::string, int> visits;
  int of_few = 0;
  for (size_t i = 0; i < set.rows.size(); ++i) {
    ++visits[set.rows[i].prompt];
    of_few += set.rows[i].prompt[0] == 'f';
    // After i + 1 rows, a third of them from `few`, within one row.
    EXPECT_LE(std::abs(static_cast<double>(of_few) - static_cast<double>(i + 1) / 3.0), 1.0) << i;
  }
  EXPECT_EQ(visits["f0"], 3);
  EXPECT_EQ(visits["f9"], 2);
  EXPECT_EQ(visits["m0"], 1);
  EXPECT_EQ(visits.count("m1"), 0u);
  EXPECT_EQ(visits["m2"], 1);
  EXPECT_EQ(ReadDataSets(files, {}, {}).value().hash, set.hash);
  EXPECT_FALSE(ReadDataSets(std::vector<DataFile>{{files[0].path, std::nan("")}}, {}, {}));
  EXPECT_FALSE(ReadDataSets(std::vector<DataFile>{{files[0].path, 1e300}}, {}, {}));
  EXPECT_FALSE(ReadDataSets(std::vector<DataFile>{{files[0].path, -1}}, {}, {}));
  EXPECT_FALSE(ReadDataSets({}, {}, {}));
}

TEST(DataOptions, BindFromARecipe) {
  DataOptions data;
  FormatOptions format;
  OptionTable table;
  Declare(table, data);
  Declare(table, format);
  RecipeSource source;
  ASSERT_TRUE(
      source.AddText("[data]\nanswer_field = \"a.b\"\n[[data.train]]\npath = \"x.jsonl\"\n[[data.train]]\npath = \"y\"\nweight = 2.0\n"
                     "[format]\ntags = [\"answer\"]\nconfidence = \"slot\"\n",
                     "r.toml"));
  const Status bound = source.Bind(table);
  ASSERT_TRUE(bound) << bound.error().Message();
  ASSERT_EQ(data.train.size(), 2u);
  EXPECT_EQ(data.train[0].weight, 1.0);
  EXPECT_EQ(data.train[1].path, "y");
  EXPECT_EQ(data.fields.answer, "a.b");
  EXPECT_EQ(format.tags, std::vector<std::string>{"answer"});
  RecipeSource wrong;
  ASSERT_TRUE(wrong.AddText("[format]\nconfidence = \"loud\"\n", "r.toml"));
  EXPECT_FALSE(wrong.Bind(table));
}

}  // namespace
}  // namespace candor
