// A run's folder: what is where, and how a MODEL argument that names a run is understood. docs/run-dir.md says of every file whose it is
// and whether it may be deleted.
#pragma once
#include <string>

#include "core/result.h"

namespace candor::cli {

struct RunDir {
  std::string path;
  std::string Resolved() const { return path + "/resolved.toml"; }  // what the roles read
  std::string Recipe() const { return path + "/recipe.toml"; }      // the recipe as asked, every key
  std::string Logs() const { return path + "/logs"; }
  std::string Metrics() const { return path + "/metrics.jsonl"; }
  std::string Stages() const { return path + "/stages.json"; }     // which folder each stage before RL made
  std::string Unfinished() const { return path + "/unfinished"; }  // what stopped stages left; they go on from it
  std::string Checkpoints() const { return path + "/checkpoints"; }
  std::string Weights() const { return path + "/weights"; }   // published policy versions
  std::string FinalModel() const { return path + "/final"; }  // the trained policy (averaged weights), a Hugging Face folder
  std::string Answers(const std::string& when) const { return path + "/eval/" + when + ".jsonl"; }  // "before", "after"
  std::string Summary() const { return path + "/summary.json"; }
  std::string Report() const { return path + "/report.html"; }
  std::string RlDone() const { return path + "/rl-done.json"; }
  std::string TrainerDone() const { return path + "/trainer-done.json"; }  // signed, as done.json is (done_record.h)
  std::string Done() const { return path + "/done.json"; }
  std::string Jobs() const { return path + "/jobs"; }  // scripts, fences and numbers of its Slurm jobs
};

// The folder that holds this program, with a slash: candor-torch stands there too.
std::string ProgramFolder();
// MODEL or RUN_DIR -> a model folder: a run's final model, else the newest weights it published. Errors say what was looked for.
Result<std::string> ModelFolderOf(const std::string& model_or_run);

}  // namespace candor::cli
