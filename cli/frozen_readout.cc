#include "cli/frozen_readout.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

using nlohmann::json;

constexpr double kReadoutEdge = 1e-3;  // a regression may leave [0, 1]; Platt scaling wants logits

Status Torch(std::vector<std::string> words, const std::string& output, const std::string& what) {
  words.insert(words.begin(), ProgramFolder() + "candor-torch");
  CANDOR_ASSIGN(const int code, RunToEnd(words, {}, output));
  if (code == 0) return {};
  return Fail(ErrorCode::kUnavailable, fmt::format("{} ended with exit code {}", what, code), fmt::format("{}", fmt::join(words, " ")),
              "its own words stand above");
}

// The reading is taken behind the answer: what a verbal format writes after it is noise here.
std::string UpToTheAnswer(const std::string& text) {
  const std::string close = "</answer>";
  const size_t at = text.find(close);
  return at == std::string::npos ? text : text.substr(0, at + close.size());
}

// Which row a reading is for; nullopt where the line does not say so in the way it was asked (a damaged file).
std::optional<size_t> ReadingRow(const json& reply) {
  if (!reply.is_object() || !reply.contains("id") || !reply["id"].is_string()) return std::nullopt;
  const std::string& id = reply["id"].get_ref<const std::string&>();
  size_t row = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), row);
  if (error != std::errc() || end != id.data() + id.size()) return std::nullopt;
  return row;
}

}  // namespace

Status LabelAnswers(const FrozenPolicy& policy, const std::string& rows, int64_t questions, int64_t samples, const std::string& out,
                    bool quiet) {
  if (FileExists(out)) return {};
  std::vector<std::string> words = {
      "eval",  policy.model, rows, "--recipe", policy.recipe, "--limit", std::to_string(questions), "--samples", std::to_string(samples),
      "--out", out};
  if (quiet) words.push_back("--quiet");
  return Torch(words, "/dev/null", "labelling answers for the frozen read-out");
}

Status FitReadout(const FrozenPolicy& policy, const std::vector<AnswerRow>& labelled, const std::string& folder) {
  const std::string head = folder + "/head", rows_path = folder + "/rows.jsonl";
  if (FileExists(head + "/config.json")) return {};
  std::string rows;
  for (const AnswerRow& row : labelled)
    if (row.label != Label::kUnknown)
      rows +=
          json{{"prompt", row.question}, {"completion", UpToTheAnswer(row.text)}, {"score", row.label == Label::kCorrect ? 1.0 : 0.0}}.dump(
              -1, ' ', false, json::error_handler_t::replace) +
          "\n";
  CANDOR_TRY(WriteFileAtomic(rows_path, rows));
  return Torch({"train-rm", policy.model, rows_path, head, "--recipe", policy.recipe, "--heads", "1", "--holdout", "0", "--quiet"},
               folder + "/train-rm.txt", "fitting the frozen read-out");
}

Result<std::vector<std::optional<double>>> ReadReadout(const std::string& folder, const std::vector<AnswerRow>& rows,
                                                       const std::string& name) {
  std::string requests;
  for (size_t i = 0; i < rows.size(); ++i)
    requests += json{{"id", std::to_string(i)}, {"prompt", rows[i].question}, {"completion", UpToTheAnswer(rows[i].text)}}.dump(
                    -1, ' ', false, json::error_handler_t::replace) +
                "\n";
  const std::string asked = folder + "/" + name + "-requests.jsonl", read = folder + "/" + name + "-readings.jsonl";
  if (const auto before = ReadFile(asked); !FileExists(read) || !before || *before != requests) {
    CANDOR_TRY(RemoveTree(read));
    CANDOR_TRY(WriteFileAtomic(asked, requests));
    CANDOR_TRY(Torch({"reward-model", folder + "/head", "--requests", asked}, read + ".partial", "reading hidden states"));
    std::error_code error;
    std::filesystem::rename(read + ".partial", read, error);
    if (error) return Fail(ErrorCode::kUnavailable, "cannot rename: " + error.message(), read + ".partial", "is the folder writable?");
  }
  CANDOR_ASSIGN(const std::string text, ReadFile(read));
  std::vector<std::optional<double>> readings(rows.size());
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const json reply = json::parse(line, nullptr, false);
    const auto row = ReadingRow(reply);
    const auto nominal = "/rewards/rm_nominal"_json_pointer;
    if (row && *row < readings.size() && reply.contains(nominal) && reply[nominal].is_number())
      readings[*row] = std::clamp(reply[nominal].get<double>(), kReadoutEdge, 1 - kReadoutEdge);
  }
  return readings;
}

}  // namespace candor::cli
