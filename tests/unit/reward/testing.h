// Small makers shared by the reward tests.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/trace.h"
#include "reward/verifiers/verifier.h"
#include "text/rows.h"

namespace candor::testing {

// A folder that is gone with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "candor-reward-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

inline DataRow Row(std::vector<std::string> answers, std::string json = "") {
  DataRow row;
  row.id = "row";
  row.prompt = "Which country is the city of Lyon in?";
  row.answers = std::move(answers);
  row.json = json.empty() ? R"({"prompt":"Which country is the city of Lyon in?","answer":"France"})" : std::move(json);
  return row;
}

inline GradeRequest Ask(const DataRow& row, std::string_view answer, const std::string& id = "1/0") {
  return {id, row.prompt, answer, answer, true, &row};
}

// A trace that keeps the format <answer>..</answer><confidence>..</confidence>, of one policy token per part.
inline Trace MakeTrace(int index, const std::string& text, uint64_t version = 3) {
  Trace trace;
  trace.index = index;
  trace.tokens_T = {10, 11, 12};
  trace.spans = {{Origin::kPolicy, Segment::kAnswer, 0, 0, 2}, {Origin::kPolicy, Segment::kConfidence, 0, 2, 3}};
  trace.log_probs_T = {-0.1f, -0.2f, -0.3f};
  trace.entropy_T = {0.5f, 0.5f, 0.5f};
  trace.version_T = {version, version, version};
  trace.text = text;
  return trace;
}
inline std::string Verbal(const std::string& answer, const std::string& confidence) {
  return "<answer>" + answer + "</answer><confidence>" + confidence + "</confidence>";
}

}  // namespace candor::testing
