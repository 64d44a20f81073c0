#include "cli/run_dir.h"

#include <filesystem>

#include "core/fs.h"
#include "weights/version_fetcher.h"

namespace candor::cli {

std::string ProgramFolder() {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return self.parent_path().string() + "/";
}

namespace {

// The newest published version as a model folder: RUN_DIR/weights/assembled_v<N>_<its manifest's hash>, made when somebody asks; older
// ones go.
Result<std::string> NewestWeights(const std::string& weights) {
  const std::vector<PolicyVersion> versions = PublishedVersions(weights);
  if (versions.empty())
    return Fail(ErrorCode::kNotFound, "the run has no model yet: neither final/ nor weights/v*/", weights,
                "wait for its first step, or resume it: candor run ... --resume");
  CANDOR_ASSIGN(const std::string hash, HashFileHex(VersionFolder(weights, versions.back()) + "/manifest.json"));
  const std::string folder = weights + "/assembled_v" + ToString(versions.back()) + "_" + hash.substr(0, 8);
  if (FileExists(folder + "/config.json")) return folder;
  CANDOR_TRY(AssembleVersion(weights, versions.back(), folder));
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(weights, ignored))
    if (entry.path().filename().string().starts_with("assembled_v") && entry.path() != folder) (void)RemoveTree(entry.path().string());
  return folder;
}

}  // namespace

Result<std::string> ModelFolderOf(const std::string& model_or_run) {
  if (FileExists(model_or_run + "/config.json")) return model_or_run;
  RunDir run{model_or_run};
  if (FileExists(run.FinalModel() + "/config.json")) return run.FinalModel();
  if (FileExists(run.Resolved())) return NewestWeights(run.Weights());
  return Fail(
      ErrorCode::kNotFound,
      FileExists(model_or_run) ? "this is neither a model folder (no config.json) nor a run (no resolved.toml)" : "there is no such folder",
      model_or_run, "give a Hugging Face folder or the folder of a run");
}

}  // namespace candor::cli
