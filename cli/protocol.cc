#include "cli/protocol.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/dry_run.h"
#include "cli/progress.h"
#include "cli/protocol_baselines.h"
#include "cli/run_dir.h"
#include "cli/run_recipe.h"
#include "cli/stop_signals.h"
#include "cli/sweep_points.h"
#include "core/fs.h"
#include "eval/select.h"

namespace candor::cli {

namespace {

using nlohmann::json;

std::string InToml(const std::string& text) { return json(text).dump(); }  // a JSON string is a TOML basic string

// What one arm has been through.
struct ArmProgress {
  std::vector<double> dev_brier;  // of each configuration
  size_t chosen = 0;
  std::vector<ProtocolTrial> runs;  // one for each seed
};

class Protocol {
 public:
  Protocol(ProtocolFile file, const ProtocolArguments& arguments) : file_(std::move(file)), arguments_(arguments) {
    const std::string stem = std::filesystem::path(file_.path).stem().string();
    folder_ = arguments.folder.empty() ? "runs/protocol-" + stem : arguments.folder;
    file_.settings.insert(file_.settings.end(), arguments.settings.begin(), arguments.settings.end());
  }

  // Makes the data, plans every trial and writes the protocol down; a dry run writes nothing.
  Status Prepare();
  Status Run();
  Status Show() const;

 private:
  Result<ProtocolTrial> Plan(const ProtocolArm& arm, size_t configuration, int64_t seed, const std::string& name, bool dev_only) const;
  Result<std::string> DevOnly(const ProtocolArm& arm, const std::vector<EvalSetOptions>& evals) const;
  Status CheckBudgets() const;
  Status WriteDown();
  void PrintPlan() const;
  Status RunTrial(ProtocolTrial& trial, size_t number);
  Status Tune();
  Status RunSeeds();
  Status Compare();
  size_t Count() const { return file_.arms.size() * (file_.arms[0].configurations.size() + static_cast<size_t>(file_.seeds)); }

  ProtocolFile file_;
  ProtocolArguments arguments_;
  std::string folder_;
  ProtocolText described_;
  std::vector<std::vector<ProtocolTrial>> trials_AK_;
  std::vector<ArmProgress> arms_;
  json result_;
  double measured_s_ = 0;  // what `measured_` runs took since this command began
  size_t measured_ = 0;
};

std::vector<std::string> ArmSettings(const ProtocolFile& file, const ProtocolArm& arm, size_t configuration) {
  std::vector<std::string> settings = file.settings;
  settings.insert(settings.end(), arm.settings.begin(), arm.settings.end());
  for (std::string& setting : SettingsOf(arm.configurations[configuration])) settings.push_back(std::move(setting));
  return settings;
}

// The recipe's [[eval]] list cut down to the one that tunes.
Result<std::string> Protocol::DevOnly(const ProtocolArm& arm, const std::vector<EvalSetOptions>& evals) const {
  for (const EvalSetOptions& eval : evals)
    if (eval.name == file_.dev)
      return fmt::format("eval=[{{name = {}, path = {}, role = \"dev\", n = {}}}]", InToml(eval.name), InToml(eval.path), eval.n);
  return Fail(ErrorCode::kInvalidInput, "the recipe has no [[eval]] called " + file_.dev, arm.recipe,
              "add it, or name another one: dev = \"..\"");
}

Result<ProtocolTrial> Protocol::Plan(const ProtocolArm& arm, size_t configuration, int64_t seed, const std::string& name,
                                     bool dev_only) const {
  std::vector<std::string> overrides = ArmSettings(file_, arm, configuration);
  ProtocolTrial trial;
  CANDOR_ASSIGN(const Recipe recipe, LoadSettings({arm.recipe}, overrides));
  trial.evals = recipe.evals;
  if (dev_only) {
    CANDOR_ASSIGN(std::string dev, DevOnly(arm, trial.evals));
    overrides.push_back(std::move(dev));
  }
  overrides.push_back(fmt::format("seed={}", seed));
  overrides.push_back("name=" + InToml(arm.name + "." + name));
  trial.point.name = name + "-" + arm.name;
  trial.point.folder = folder_ + "/" + trial.point.name;
  CANDOR_ASSIGN(trial.run, PlanPoint({arm.recipe}, overrides, trial.point));
  return trial;
}

// Arms that learn from more, or from something else, say nothing about what they are rewarded for.
Status Protocol::CheckBudgets() const {
  const auto budget = [](const Recipe& r) {
    std::string rows;
    for (const DataFile& file : r.data.train) rows += fmt::format(" {} x {:g}", file.path, file.weight);
    return fmt::format("{} steps of {} prompts with {} answers each, from{}", r.trainer.steps, r.trainer.prompts_per_step,
                       r.trainer.group_size, rows);
  };
  const std::string first = budget(trials_AK_[0][0].run.recipe);
  for (size_t a = 0; a < trials_AK_.size(); ++a)
    for (const ProtocolTrial& trial : trials_AK_[a])
      if (const std::string own = budget(trial.run.recipe); own != first)
        return Fail(ErrorCode::kInvalidInput, fmt::format("the arms do not learn from the same: {}, {}", first, own), trial.point.name,
                    "give all arms the same steps, prompts_per_step, group_size and training rows");
  return {};
}

Status Protocol::Prepare() {
  for (const ProtocolArm& arm : file_.arms) {
    CANDOR_ASSIGN(const Recipe recipe, LoadSettings({arm.recipe}, file_.settings));
    if (!arguments_.dry_run) CANDOR_TRY(MakeInputs(recipe));
  }
  for (const ProtocolArm& arm : file_.arms) {
    trials_AK_.emplace_back();
    for (size_t k = 0; k < arm.configurations.size(); ++k) {
      CANDOR_ASSIGN(ProtocolTrial trial, Plan(arm, k, file_.tune_seed, fmt::format("tune-{}", k + 1), true));
      trials_AK_.back().push_back(std::move(trial));
    }
  }
  CANDOR_TRY(CheckBudgets());
  described_ = DescribeProtocol(file_, trials_AK_, folder_);
  if (arguments_.dry_run) {
    PrintPlan();
    return {};
  }
  return WriteDown();
}

Status Protocol::WriteDown() {
  const std::string path = folder_ + "/protocol.md";
  if (!described_.complete)
    return Fail(ErrorCode::kNotFound, "a file that the arms name is not there", path, "candor sweep --dry-run lists them");
  CANDOR_TRY(PrepareOutput(path));
  if (FileExists(path)) {
    CANDOR_ASSIGN(const std::string then, ReadFile(path));
    if (then != described_.text)
      return Fail(ErrorCode::kInvalidInput, "this folder holds another protocol: " + FirstDifference(described_.text, then), path,
                  "a protocol is not changed once it has begun: choose another folder with --dir");
  }
  CANDOR_TRY(MakeFolders(folder_ + "/recipes"));
  for (const auto& [run, text] : described_.recipes) CANDOR_TRY(WriteFileAtomic(ProtocolRecipePath(folder_, run), text));
  CANDOR_TRY(WriteFileAtomic(path, described_.text));
  std::fprintf(stderr, "protocol %s (%s)\n", described_.hash.c_str(), path.c_str());
  result_ = {{"protocol", described_.hash}, {"title", file_.title}, {"reference", file_.reference}, {"arms", json::array()}};
  return {};
}

void Protocol::PrintPlan() const {
  std::printf("%s\nprotocol %s%s\n", described_.text.c_str(), described_.complete ? described_.hash.c_str() : "has no hash yet",
              described_.complete ? "" : ": some files are not there; the first run's [prepare] makes them");
  double tuning = 0, seeds = 0;
  bool known = true;
  for (const auto& trials : trials_AK_) {
    double most = 0;
    for (const ProtocolTrial& trial : trials) {
      const auto seconds = EstimateRlSeconds(trial.run.recipe);
      known = known && seconds.has_value();
      tuning += seconds.value_or(0), most = std::max(most, seconds.value_or(0));
    }
    seeds += most * static_cast<double>(file_.seeds);
  }
  std::printf("%zu runs under %s, one after the other%s\n", Count(), folder_.c_str(),
              known ? fmt::format(": RL computes for {} at most on two cores that are fast in bf16; starting and evaluating come on top",
                                  Duration(std::ceil(tuning + seeds)))
                          .c_str()
                    : "");
}

Status Protocol::RunTrial(ProtocolTrial& trial, size_t number) {
  const PointPlace place{number, Count(), arguments_.quiet, Count() - number, measured_s_, measured_, arguments_.keep_checkpoints};
  if (trial.point.state == PointState::kFinished) {
    TellPoint(trial.point, place);
    return {};
  }
  CANDOR_TRY(RunPoint(trial.run, trial.point, folder_ + "/logs", place));
  if (CatchStopSignals::Caught() != 0)
    return Fail(ErrorCode::kCancelled, fmt::format("stopped by signal {} in {}", CatchStopSignals::Caught(), trial.point.name), folder_,
                "the same command goes on");
  measured_s_ += trial.point.seconds, ++measured_;
  if (trial.point.state == PointState::kFinished) return {};
  return Fail(ErrorCode::kUnavailable, "the run ended early:\n" + trial.point.error, folder_ + "/logs/" + trial.point.name + "/run.log",
              "the same command tries it again");
}

Result<std::vector<AnswerRow>> LastAnswers(const SweepPoint& point) {
  const RunDir run{point.folder};
  return ReadAnswers(run.Answers(FileExists(run.Answers("after")) ? "after" : "before"));
}

Status Protocol::Tune() {
  size_t number = 0;
  for (size_t a = 0; a < file_.arms.size(); ++a) {
    ArmProgress arm;
    json tried = json::array();
    for (size_t k = 0; k < trials_AK_[a].size(); ++k) {
      CANDOR_TRY(RunTrial(trials_AK_[a][k], ++number));
      CANDOR_ASSIGN(const std::vector<AnswerRow> answers, LastAnswers(trials_AK_[a][k].point));
      arm.dev_brier.push_back(BrierOf(Select(answers, {.dataset = file_.dev, .greedy = true})));
      if (!std::isfinite(arm.dev_brier.back()))
        return Fail(ErrorCode::kInvalidInput, "no answer on dev has a known label", trials_AK_[a][k].point.folder,
                    "the verifier must work");
      if (arm.dev_brier.back() < arm.dev_brier[arm.chosen]) arm.chosen = k;
      tried.push_back(
          {{"settings", file_.arms[a].configurations[k]}, {"dev_brier", arm.dev_brier.back()}, {"folder", trials_AK_[a][k].point.folder}});
    }
    result_["arms"].push_back({{"name", file_.arms[a].name}, {"tried", tried}, {"chosen", arm.chosen}});
    arms_.push_back(std::move(arm));
  }
  return {};
}

// Sums over a run's steps.
double TokensOf(const SweepPoint& point, const char* metric) {
  std::ifstream metrics(RunDir{point.folder}.Metrics());
  double sum = 0;
  for (std::string line; std::getline(metrics, line);)
    if (const json step = json::parse(line, nullptr, false); step.is_object() && step.contains(metric)) sum += step[metric].get<double>();
  return sum;
}

// Round by round, so that a protocol that is stopped leaves whole seeds.
Status Protocol::RunSeeds() {
  size_t number = file_.arms.size() * file_.arms[0].configurations.size();
  for (int64_t seed = file_.first_seed; seed < file_.first_seed + file_.seeds; ++seed)
    for (size_t a = 0; a < file_.arms.size(); ++a) {
      CANDOR_ASSIGN(ProtocolTrial trial, Plan(file_.arms[a], arms_[a].chosen, seed, fmt::format("seed-{}", seed), false));
      CANDOR_TRY(RunTrial(trial, ++number));
      result_["arms"][a]["runs"].push_back({{"seed", seed},
                                            {"folder", trial.point.folder},
                                            {"completion_tokens", TokensOf(trial.point, "tokens/completion")},
                                            {"trained_tokens", TokensOf(trial.point, "tokens/trained")}});
      if (file_.arms[a].name == file_.reference)  // while the policy that it starts from is there
        CANDOR_TRY(KeepFrozenReadout(file_, {trial.point.folder}, seed, folder_, arguments_.quiet));
      arms_[a].runs.push_back(std::move(trial));
    }
  return {};
}

// The seeds' mean, of answers that are there.
double BrierOfArm(const Arm& arm) {
  double sum = 0;
  for (const auto& answers : arm.answers_by_seed) sum += BrierOf(answers);
  return sum / static_cast<double>(arm.answers_by_seed.size());
}

// In words: who beats whom by Brier score.
json VerdictOf(const json& comparison, const std::string& reference, const std::string& baseline) {
  json words = json::array();
  for (const json& d : comparison["differences"]) {
    if (d["metric"] != "brier" || !d["delta"].is_number()) continue;
    const std::string against = d["against"];
    const char* what = !d["significant"].get<bool>() ? "is not told apart from" : d["delta"].get<double>() < 0 ? "beats" : "is worse than";
    words.push_back(fmt::format("{} {} {}{} by Brier score ({:+.3f}, adjusted p {:.3f}).", d["name"].get<std::string>(), what,
                                against == reference  ? "the reference "
                                : against == baseline ? "the best baseline without RL, "
                                                      : "",
                                against, d["delta"].get<double>(), d["p_holm"].get<double>()));
  }
  return words;
}

Status Protocol::Compare() {
  std::vector<Arm> all;
  std::vector<RunDir> reference_runs;
  size_t reference = 0;
  for (size_t a = 0; a < file_.arms.size(); ++a) {
    Arm arm{file_.arms[a].name, {}};
    for (const ProtocolTrial& trial : arms_[a].runs) {
      CANDOR_ASSIGN(const std::vector<AnswerRow> answers, LastAnswers(trial.point));
      arm.answers_by_seed.push_back(Select(answers, {.role = "held_out", .greedy = true}));
      if (file_.arms[a].name == file_.reference) reference_runs.push_back({trial.point.folder}), reference = a;
    }
    all.push_back(std::move(arm));
  }
  CANDOR_ASSIGN(std::vector<Arm> baselines, ProtocolBaselines(file_, reference_runs, folder_, arguments_.quiet));
  size_t best = all.size();
  double least = std::numeric_limits<double>::infinity();
  for (Arm& baseline : baselines) {
    const double brier = BrierOfArm(baseline);
    if (brier < least) least = brier, best = all.size();
    all.push_back(std::move(baseline));
  }
  std::vector<ArmPair> pairs;
  for (size_t a = 0; a < file_.arms.size(); ++a) {
    if (a != reference) pairs.push_back({a, reference});
    if (best < all.size()) pairs.push_back({a, best});
  }
  CANDOR_ASSIGN(result_["comparison"], ComparePairedArms(all, pairs));
  result_["best_baseline"] = best < all.size() ? json(all[best].name) : json(nullptr);
  result_["verdict"] = VerdictOf(result_["comparison"], file_.reference, best < all.size() ? all[best].name : "");
  return WriteFileAtomic(folder_ + "/protocol.json", result_.dump(1) + "\n");
}

Status Protocol::Run() {
  CatchStopSignals signals;
  CANDOR_TRY(Tune());
  CANDOR_TRY(RunSeeds());
  return Compare();
}

Status Protocol::Show() const {
  if (arguments_.json) {
    std::printf("%s\n", result_.dump(1).c_str());
    return {};
  }
  std::printf("%s\nprotocol %s\n\n  chosen on %s\n", file_.title.c_str(), described_.hash.c_str(), file_.dev.c_str());
  for (const json& arm : result_["arms"]) {
    std::printf("  %-16s", arm["name"].get<std::string>().c_str());
    for (size_t k = 0; k < arm["tried"].size(); ++k)
      std::printf("  %s%.3f", k == arm["chosen"].get<size_t>() ? "*" : "", arm["tried"][k]["dev_brier"].get<double>());
    std::printf("   (%s)\n", arm["tried"][arm["chosen"].get<size_t>()]["settings"].get<std::string>().c_str());
  }
  std::printf("\n%s\n", PairedArmsText(result_["comparison"]).c_str());
  for (const json& sentence : result_["verdict"]) std::printf("  %s\n", sentence.get<std::string>().c_str());
  std::printf("\n%s/protocol.json holds all of it, %s/protocol.md what was fixed before the first run\n", folder_.c_str(), folder_.c_str());
  return {};
}

}  // namespace

Result<std::string> ProtocolAmong(const std::vector<std::string>& arguments) {
  CANDOR_ASSIGN(const RecipeArguments split, SplitRecipeArguments(arguments));
  std::string protocol;
  for (const std::string& file : split.files) {
    CANDOR_ASSIGN(const std::string text, ReadFile(file));
    const std::string lines = "\n" + text;  // a file of arms without configurations is no protocol (sweep_arms.h)
    if (lines.find("\n[[arm]]") != std::string::npos && lines.find("\nconfigurations") != std::string::npos) protocol = file;
  }
  if (!protocol.empty() && split.files.size() > 1)
    return Fail(ErrorCode::kInvalidInput, "a protocol names its recipes itself", protocol,
                "give the protocol alone, and settings for all arms");
  return protocol;
}

Status RunProtocol(const std::string& path, const ProtocolArguments& arguments) {
  CANDOR_ASSIGN(ProtocolFile file, ReadProtocol(path));
  Protocol protocol(std::move(file), arguments);
  CANDOR_TRY(protocol.Prepare());
  if (arguments.dry_run) return {};
  CANDOR_TRY(protocol.Run());
  return protocol.Show();
}

}  // namespace candor::cli
