#include "cli/protocol_baselines.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "calibration/recalibration.h"
#include "cli/recipe.h"
#include "cli/supervisor.h"
#include "core/fs.h"
#include "eval/baselines.h"
#include "eval/select.h"

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

Status WriteLabelledRows(const std::string& answers_path, const std::string& rows_path) {
  CANDOR_ASSIGN(const std::vector<AnswerRow> answers, ReadAnswers(answers_path));
  std::string rows;
  for (const AnswerRow& row : answers)
    if (row.label != Label::kUnknown)
      rows +=
          json{{"prompt", row.question}, {"completion", UpToTheAnswer(row.text)}, {"score", row.label == Label::kCorrect ? 1.0 : 0.0}}.dump(
              -1, ' ', false, json::error_handler_t::replace) +
          "\n";
  return WriteFileAtomic(rows_path, rows);
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

// The reading of every answer, in order; nullopt where there is none.
Result<std::vector<std::optional<double>>> ReadStates(const std::string& model, const std::vector<AnswerRow>& rows,
                                                      const std::string& folder, const std::string& name) {
  std::string requests;
  for (size_t i = 0; i < rows.size(); ++i)
    requests += json{{"id", std::to_string(i)}, {"prompt", rows[i].question}, {"completion", UpToTheAnswer(rows[i].text)}}.dump(
                    -1, ' ', false, json::error_handler_t::replace) +
                "\n";
  const std::string asked = folder + "/" + name + "-requests.jsonl", read = folder + "/" + name + "-readings.jsonl";
  CANDOR_TRY(WriteFileAtomic(asked, requests));
  CANDOR_TRY(Torch({"reward-model", model, "--requests", asked}, read, "reading hidden states"));
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

// Confidences of the held-out answers by a linear reading of the hidden state, scaled on dev.
Result<std::vector<std::optional<double>>> FrozenReadout(const ProtocolFile& p, const RunDir& run, const std::vector<AnswerRow>& dev,
                                                         const std::vector<AnswerRow>& held_out, const std::string& folder, bool quiet) {
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run.path));
  const std::string &model = recipe.run.model, labelled = folder + "/labelled.jsonl", head = folder + "/head";
  CANDOR_TRY(MakeFolders(folder));
  if (!quiet) std::fprintf(stderr, "frozen read-out: %s\n", folder.c_str());
  if (!FileExists(labelled)) {
    std::vector<std::string> words = {"eval",
                                      model,
                                      recipe.data.train.front().path,
                                      "--recipe",
                                      run.Resolved(),
                                      "--limit",
                                      std::to_string(p.readout_questions),
                                      "--samples",
                                      std::to_string(p.readout_samples),
                                      "--out",
                                      labelled};
    if (quiet) words.push_back("--quiet");
    CANDOR_TRY(Torch(words, "/dev/null", "labelling answers for the frozen read-out"));
  }
  if (!FileExists(head + "/config.json")) {
    CANDOR_TRY(WriteLabelledRows(labelled, folder + "/rows.jsonl"));
    CANDOR_TRY(
        Torch({"train-rm", model, folder + "/rows.jsonl", head, "--recipe", run.Resolved(), "--heads", "1", "--holdout", "0", "--quiet"},
              folder + "/train-rm.txt", "fitting the frozen read-out"));
  }
  CANDOR_ASSIGN(const auto dev_readings, ReadStates(head, dev, folder, "dev"));
  CANDOR_ASSIGN(auto readings, ReadStates(head, held_out, folder, "held_out"));
  CANDOR_ASSIGN(const calibration::Recalibrator platt,
                calibration::FitRecalibrator(calibration::RecalibratorKind::kPlatt, calibration::PointsOf(ToRows(dev, dev_readings))));
  for (std::optional<double>& reading : readings)
    if (reading) reading = platt.Apply(*reading);
  return readings;
}

std::vector<AnswerRow> WithConfidences(std::vector<AnswerRow> rows, const std::vector<std::optional<double>>& confidences) {
  for (size_t i = 0; i < rows.size(); ++i) rows[i].confidence = confidences[i];
  return rows;
}

}  // namespace

Result<std::vector<Arm>> ProtocolBaselines(const ProtocolFile& p, const std::vector<RunDir>& runs, const std::string& folder, bool quiet) {
  std::vector<Arm> baselines;
  const auto add = [&](const std::string& name, std::vector<AnswerRow> rows) {
    for (Arm& arm : baselines)
      if (arm.name == name) return arm.answers_by_seed.push_back(std::move(rows));
    baselines.push_back({name, {std::move(rows)}});
  };
  for (size_t s = 0; s < runs.size(); ++s) {
    CANDOR_ASSIGN(const std::vector<AnswerRow> before, ReadAnswers(runs[s].Answers("before")));
    const auto dev = Select(before, {.dataset = p.dev, .greedy = true}), held_out = Select(before, {.role = "held_out", .greedy = true});
    for (const Baseline& baseline : ComputeBaselines(dev, held_out)) add(baseline.name, WithConfidences(held_out, baseline.confidences));
    if (p.readout_questions == 0) continue;
    CANDOR_ASSIGN(const auto readings,
                  FrozenReadout(p, runs[s], dev, held_out,
                                fmt::format("{}/frozen-readout/seed-{}", folder, p.first_seed + static_cast<int64_t>(s)), quiet));
    add("frozen_readout", WithConfidences(held_out, readings));
  }
  // One that could not be fitted for some seed (one class on dev) cannot be paired.
  std::erase_if(baselines, [&](const Arm& arm) { return arm.answers_by_seed.size() != runs.size(); });
  return baselines;
}

}  // namespace candor::cli
