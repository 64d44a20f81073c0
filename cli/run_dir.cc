#include "cli/run_dir.h"

#include <charconv>
#include <filesystem>

#include "core/fs.h"

namespace candor::cli {

std::string ProgramFolder() {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return self.parent_path().string() + "/";
}

namespace {

// The newest of <folder>/v<number> that holds a model, or "".
std::string NewestVersion(const std::string& folder) {
  std::string newest;
  long best = -1;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    std::string name = entry.path().filename().string();
    long number = -1;
    if (name.size() < 2 || name[0] != 'v') continue;
    std::from_chars(name.data() + 1, name.data() + name.size(), number);
    if (number > best && FileExists(entry.path().string() + "/config.json")) best = number, newest = entry.path().string();
  }
  return newest;
}

}  // namespace

Result<std::string> ModelFolderOf(const std::string& model_or_run) {
  if (FileExists(model_or_run + "/config.json")) return model_or_run;
  RunDir run{model_or_run};
  if (FileExists(run.FinalModel() + "/config.json")) return run.FinalModel();
  if (FileExists(run.Resolved())) {
    if (std::string newest = NewestVersion(model_or_run + "/weights"); !newest.empty()) return newest;
    return Fail(ErrorCode::kNotFound, "the run has no model yet: neither final/ nor weights/v*/", model_or_run,
                "wait for its first step, or resume it: candor run ... --resume");
  }
  return Fail(
      ErrorCode::kNotFound,
      FileExists(model_or_run) ? "this is neither a model folder (no config.json) nor a run (no resolved.toml)" : "there is no such folder",
      model_or_run, "give a Hugging Face folder or the folder of a run");
}

}  // namespace candor::cli
