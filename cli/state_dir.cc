#include "cli/state_dir.h"

#include <cstdio>
#include <filesystem>

#include "core/fs.h"
#include "core/state_probe.h"

namespace candor::cli {

std::string StateDirOf(const Recipe& recipe, const RunDir& run) {
  return recipe.run.state_dir.empty() ? run.path : recipe.run.state_dir + "/" + recipe.run.name;
}

Status PrepareStateDir(const Recipe& recipe, const RunDir& run) {
  const std::string state = StateDirOf(recipe, run), ledger = run.path + "/ledger";
  CANDOR_ASSIGN(const StateProbe probe, ProbeStateDir(state));
  CANDOR_TRY(RequireSafeStateDir(state, probe));
  for (const std::string& warning : probe.warnings) std::fprintf(stderr, "note: %s: %s\n", state.c_str(), warning.c_str());
  if (state == run.path) return {};
  std::error_code error;
  const auto target = std::filesystem::absolute(state + "/ledger");
  if (std::filesystem::is_symlink(ledger, error)) return {};
  if (FileExists(ledger))
    return Fail(ErrorCode::kInvalidInput, "the run's ledger is in its own folder already", ledger,
                "go on without state_dir, or move the folder's ledger and epoch.* to " + state);
  CANDOR_TRY(MakeFolders(target.string()));
  std::filesystem::create_directory_symlink(target, ledger, error);
  if (error) return Fail(ErrorCode::kIo, "cannot point to the ledger: " + error.message(), ledger);
  return {};
}

}  // namespace candor::cli
