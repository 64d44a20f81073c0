#include "cli/protocol_baselines.h"

#include <fmt/format.h>

#include <cstdio>

#include "calibration/recalibration.h"
#include "cli/frozen_readout.h"
#include "cli/recipe.h"
#include "core/fs.h"
#include "eval/baselines.h"
#include "eval/select.h"

namespace candor::cli {

namespace {

// Confidences of the held-out answers by a linear reading of the hidden state, scaled on dev.
Result<std::vector<std::optional<double>>> FrozenReadout(const ProtocolFile& p, const RunDir& run, const std::vector<AnswerRow>& dev,
                                                         const std::vector<AnswerRow>& held_out, const std::string& folder, bool quiet) {
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run.path));
  const FrozenPolicy policy{recipe.run.model, run.Resolved()};
  CANDOR_TRY(MakeFolders(folder));
  if (!quiet && !FileExists(folder + "/held_out-readings.jsonl")) std::fprintf(stderr, "frozen read-out: %s\n", folder.c_str());
  const std::string labelled = folder + "/labelled.jsonl";
  CANDOR_TRY(LabelAnswers(policy, recipe.data.train.front().path, p.readout_questions, p.readout_samples, labelled, quiet));
  CANDOR_ASSIGN(const std::vector<AnswerRow> answers, ReadAnswers(labelled));
  CANDOR_TRY(FitReadout(policy, answers, folder));
  CANDOR_ASSIGN(const auto dev_readings, ReadReadout(folder, dev, "dev"));
  CANDOR_ASSIGN(auto readings, ReadReadout(folder, held_out, "held_out"));
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

std::string FrozenFolder(const std::string& folder, int64_t seed) { return fmt::format("{}/frozen-readout/seed-{}", folder, seed); }

struct Asked {
  std::vector<AnswerRow> dev, held_out;
};
// The greedy answers of the policy that RL starts from.
Result<Asked> AskedBefore(const ProtocolFile& p, const RunDir& run) {
  CANDOR_ASSIGN(const std::vector<AnswerRow> before, ReadAnswers(run.Answers("before")));
  return Asked{Select(before, {.dataset = p.dev, .greedy = true}), Select(before, {.role = "held_out", .greedy = true})};
}

}  // namespace

Status KeepFrozenReadout(const ProtocolFile& p, const RunDir& run, int64_t seed, const std::string& folder, bool quiet) {
  if (p.readout_questions == 0) return {};
  CANDOR_ASSIGN(const Asked asked, AskedBefore(p, run));
  CANDOR_ASSIGN(const auto readings, FrozenReadout(p, run, asked.dev, asked.held_out, FrozenFolder(folder, seed), quiet));
  return {};
}

Result<std::vector<Arm>> ProtocolBaselines(const ProtocolFile& p, const std::vector<RunDir>& runs, const std::string& folder, bool quiet) {
  std::vector<Arm> baselines;
  const auto add = [&](const std::string& name, std::vector<AnswerRow> rows) {
    for (Arm& arm : baselines)
      if (arm.name == name) return arm.answers_by_seed.push_back(std::move(rows));
    baselines.push_back({name, {std::move(rows)}});
  };
  for (size_t s = 0; s < runs.size(); ++s) {
    CANDOR_ASSIGN(const Asked asked, AskedBefore(p, runs[s]));
    for (const Baseline& baseline : ComputeBaselines(asked.dev, asked.held_out))
      add(baseline.name, WithConfidences(asked.held_out, baseline.confidences));
    if (p.readout_questions == 0) continue;
    CANDOR_ASSIGN(const auto readings, FrozenReadout(p, runs[s], asked.dev, asked.held_out,
                                                     FrozenFolder(folder, p.first_seed + static_cast<int64_t>(s)), quiet));
    add("frozen_readout", WithConfidences(asked.held_out, readings));
  }
  // One that could not be fitted for some seed (one class on dev) cannot be paired.
  std::erase_if(baselines, [&](const Arm& arm) { return arm.answers_by_seed.size() != runs.size(); });
  return baselines;
}

}  // namespace candor::cli
