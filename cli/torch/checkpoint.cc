// `candor checkpoint ls | verify | export`: what a run's checkpoints are, whether they are whole, and one of them as a Hugging Face folder.
#include "trainer/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/command_line.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "cli/torch/trained_format.h"
#include "core/collective.h"
#include "core/fs.h"
#include "trainer/policy_start.h"
#include "trainer/publisher.h"

namespace candor::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kCheckpointExamples = R"(Examples:
  candor checkpoint ls runs/cities                       step, age, size, state and figures of each
  candor checkpoint verify runs/cities                   reads every byte; names each damaged file
  candor checkpoint verify runs/cities/checkpoints/step_00000040
  candor checkpoint export runs/cities exported/best --step 40
  candor checkpoint export runs/cities/checkpoints/step_00000040 out --dtype fp32)";
constexpr const char* kFigures[] = {"brier", "ece", "auroc", "accuracy"};

std::string CheckpointsOf(const std::string& run_dir) { return RunDir{run_dir}.Checkpoints(); }
bool IsCheckpoint(const std::string& path) { return FileExists(path + "/manifest.json"); }

uint64_t BytesIn(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.is_regular_file(ignored)) bytes += entry.file_size(ignored);
  return bytes;
}

double AgeSeconds(const std::string& path) {
  std::error_code failed;
  const auto written = fs::last_write_time(path, failed);
  return failed ? 0.0 : std::chrono::duration<double>(fs::file_time_type::clock::now() - written).count();
}

std::string AgeText(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 172800) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.1f} d", seconds / 86400);
}

Status NoCheckpoints(const std::string& path) {
  return Fail(ErrorCode::kNotFound, "there is no checkpoint", path, "give the folder of a run that has written one, or a checkpoint's own");
}

// One row per checkpoint, newest first. The current one is what the next start of the learner loads: the newest that is whole.
Result<json> Rows(const std::string& run_dir) {
  const std::vector<CheckpointFolder> folders = FindCheckpoints(CheckpointsOf(run_dir));
  if (folders.empty()) return Fail(NoCheckpoints(CheckpointsOf(run_dir)).error());
  CheckpointOptions keep;
  if (Result<Recipe> recipe = LoadResolvedRecipe(run_dir)) keep = recipe->trainer.checkpoint;
  std::map<std::string, std::map<int64_t, double>> figures;
  for (const char* metric : kFigures) figures[metric] = ReadFigures(run_dir, metric);
  std::vector<int64_t> whole;
  json rows = json::array();
  for (const CheckpointFolder& one : folders) {
    const std::string folder = CheckpointsOf(run_dir) + "/" + one.name;
    const std::vector<Error> problems = VerifyCheckpoint(folder);
    json row{{"step", one.step},
             {"folder", folder},
             {"bytes", BytesIn(folder)},
             {"age_s", AgeSeconds(folder + "/manifest.json")},
             {"state", problems.empty() ? "complete" : "damaged"},
             {"problems", json::array()},
             {"current", false},
             {"best", false},
             {"figures", json::object()}};
    for (const Error& problem : problems) row["problems"].push_back(problem.Message());
    if (const Result<CheckpointManifest> manifest = ReadCheckpointManifest(folder)) {
      row["ranks"] = manifest->ranks, row["slices"] = manifest->slices, row["manifest_hash"] = manifest->hash;
      row["ledger_sequence"] = manifest->LedgerSequence();
    }
    for (const auto& [metric, by_step] : figures)
      if (by_step.count(one.step)) row["figures"][metric] = by_step.at(one.step);
    if (problems.empty()) row["current"] = whole.empty(), whole.push_back(one.step);
    rows.push_back(std::move(row));
  }
  for (int64_t best : BestSteps(whole, figures[keep.keep_best == "none" ? "brier" : keep.keep_best], keep))
    for (json& row : rows)
      if (row["step"] == best) row["best"] = true;
  return rows;
}

Status List(const std::string& run_dir, bool as_json) {
  CANDOR_ASSIGN(const json rows, Rows(run_dir));
  if (as_json) return std::printf("%s\n", rows.dump(2).c_str()), Status{};
  std::printf("%8s %9s %10s %6s  %-26s", "step", "age", "MiB", "ranks", "state");
  for (const char* metric : kFigures) std::printf(" %9s", metric);
  std::printf("\n");
  for (const json& row : rows) {
    std::string state = row["state"].get<std::string>();
    if (row["current"].get<bool>()) state += ", current";
    if (row["best"].get<bool>()) state += ", best";
    std::printf("%8ld %9s %10.1f %6s  %-26s", static_cast<long>(row["step"].get<int64_t>()), AgeText(row["age_s"].get<double>()).c_str(),
                row["bytes"].get<double>() / 1048576, row.contains("ranks") ? row["ranks"].dump().c_str() : "?", state.c_str());
    for (const char* metric : kFigures)
      std::printf(" %9s", row["figures"].contains(metric) ? fmt::format("{:.4f}", row["figures"][metric].get<double>()).c_str() : "-");
    std::printf("\n");
    for (const json& problem : row["problems"]) std::printf("         %s\n", problem.get<std::string>().c_str());
  }
  return {};
}

Status Verify(const std::string& path, bool as_json) {
  std::vector<std::string> folders;
  if (IsCheckpoint(path)) {
    folders.push_back(path);
  } else {
    for (const CheckpointFolder& one : FindCheckpoints(CheckpointsOf(path))) folders.push_back(CheckpointsOf(path) + "/" + one.name);
  }
  if (folders.empty()) return NoCheckpoints(path);
  json report = json::array();
  size_t damaged = 0;
  for (const std::string& folder : folders) {
    const std::vector<Error> problems = VerifyCheckpoint(folder);
    json one{{"folder", folder}, {"whole", problems.empty()}, {"problems", json::array()}};
    for (const Error& problem : problems) one["problems"].push_back(problem.Message());
    if (!as_json) std::printf("%s: %s\n", folder.c_str(), problems.empty() ? "whole" : "DAMAGED");
    for (const Error& problem : problems)
      if (!as_json) std::printf("  %s\n", problem.Message().c_str());
    damaged += problems.empty() ? 0 : 1;
    report.push_back(std::move(one));
  }
  if (as_json) std::printf("%s\n", report.dump(2).c_str());
  if (damaged == 0) return {};
  return Fail(ErrorCode::kInvalidInput, fmt::format("{} of {} checkpoints are damaged", damaged, folders.size()), path,
              "the learner starts from the newest that is whole");
}

struct CheckpointExportArguments {
  std::string source, out, dtype = "bf16", run_dir;
  int64_t step = -1;
};

// The checkpoint to export: the folder itself, or of a run the asked step, else the newest that is whole.
Result<std::string> ChooseFolder(const CheckpointExportArguments& a) {
  if (IsCheckpoint(a.source)) return a.source;
  for (const CheckpointFolder& one : FindCheckpoints(CheckpointsOf(a.source))) {
    const std::string folder = CheckpointsOf(a.source) + "/" + one.name;
    if (a.step >= 0 ? one.step == a.step : VerifyCheckpoint(folder).empty()) return folder;
  }
  if (a.step < 0) return Fail(NoCheckpoints(CheckpointsOf(a.source)).error());
  return Fail(ErrorCode::kNotFound, fmt::format("there is no checkpoint of step {}", a.step), CheckpointsOf(a.source),
              "candor checkpoint ls shows those that are kept");
}

Status Export(const CheckpointExportArguments& a) {
  CANDOR_TRY(PrepareOutput(a.out));
  CANDOR_ASSIGN(const std::string folder, ChooseFolder(a));
  const std::string run_dir = !a.run_dir.empty() ? a.run_dir : fs::absolute(folder).lexically_normal().parent_path().parent_path().string();
  Result<Recipe> recipe = LoadResolvedRecipe(run_dir);
  if (!recipe)
    return Fail(ErrorCode::kNotFound, "no run is known to which this checkpoint belongs: " + recipe.error().what, run_dir,
                "give it with --run-dir RUN_DIR: its recipe names the model and its tokenizer");
  CANDOR_ASSIGN(const CheckpointManifest manifest, ReadCheckpointManifest(folder));
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(recipe->run.model));
  CANDOR_ASSIGN(const DType dtype, ParseDType(a.dtype));
  PolicyFolderOptions options;
  options.tokenizer_folder = recipe->run.model;
  CANDOR_ASSIGN(options.confidence, SpecOfFormat(recipe->format, recipe->run.model));
  options.card.name = recipe->run.name, options.card.base_model = recipe->run.model;
  options.card.recipe_toml = ResolvedText(*recipe);
  const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  Placement placement;
  placement.dtype = dtype;
  CANDOR_ASSIGN(const std::unique_ptr<ShardedPolicy> policy, MakePolicy(config, Sharding::kNone, manifest.average, placement, *alone));
  CANDOR_TRY(LoadCheckpoint(*policy, folder));
  CANDOR_TRY(WriteFinalPolicy(*policy, a.out, options));
  std::printf("%s: the %s weights of step %ld in %s\n", a.out.c_str(), manifest.average ? "averaged" : "last",
              static_cast<long>(manifest.step), Name(dtype));
  return {};
}

}  // namespace

int RunCheckpoint(int argc, const char* const* argv) {
  CommandLine app{"The checkpoints of a run: list them, check every byte of them, export one.", "candor checkpoint"};
  app.AddFooter(kCheckpointExamples);
  std::string run_dir, path;
  bool as_json = false;
  CheckpointExportArguments out;
  CommandLine& list = app.AddSubcommand("ls", "step, age, size, number of ranks, complete or damaged, current, best, and figures of each");
  list.Add("RUN_DIR", &run_dir, "the run's folder").Required();
  list.AddFlag("--json", &as_json, "as JSON");
  CommandLine& verify = app.AddSubcommand("verify", "read all of each checkpoint; exits with 3 when something is damaged, and names it");
  verify.Add("RUN_DIR|FOLDER", &path, "the run's folder, or one checkpoint's").Required();
  verify.AddFlag("--json", &as_json, "as JSON");
  CommandLine& to_folder = app.AddSubcommand("export", "a checkpoint as a folder that Hugging Face transformers loads");
  to_folder.Add("RUN_DIR|FOLDER", &out.source, "the run's folder, or one checkpoint's").Required();
  to_folder.Add("OUT", &out.out, "the folder to write; replaced only if Candor wrote it").Required();
  to_folder.Add("--step", &out.step, "of a run: which checkpoint (default: the newest that is whole)");
  to_folder.Add("--dtype", &out.dtype, "number format of the weights").OneOf({"bf16", "fp32"});
  to_folder.Add("--run-dir", &out.run_dir, "of a checkpoint that was moved: the run it belongs to");
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (list.Given()) return ExitWith("checkpoint ls", List(run_dir, as_json));
  if (verify.Given()) return ExitWith("checkpoint verify", Verify(path, as_json));
  return ExitWith("checkpoint export", Export(out));
}

}  // namespace candor::cli
