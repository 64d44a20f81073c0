#include "cli/state_dir.h"

#include <fmt/format.h>

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
  std::error_code error;
  const auto target = std::filesystem::absolute(state + "/ledger").lexically_normal();
  if (std::filesystem::is_symlink(ledger, error)) {
    const auto there = std::filesystem::read_symlink(ledger, error);
    if (there.lexically_normal() == target) return {};
    return Fail(ErrorCode::kInvalidInput, "the run's ledger is in another folder: " + there.string(), ledger,
                fmt::format("go on with run.state_dir as it was, or move ledger and epoch.* from {} to {} and remove this link",
                            there.parent_path().string(), state));
  }
  if (state == run.path) return {};
  if (FileExists(ledger))
    return Fail(ErrorCode::kInvalidInput, "the run's ledger is in its own folder already", ledger,
                "go on without state_dir, or move the folder's ledger and epoch.* to " + state);
  CANDOR_TRY(MakeFolders(target.string()));
  std::filesystem::create_directory_symlink(target, ledger, error);
  if (error) return Fail(ErrorCode::kIo, "cannot point to the ledger: " + error.message(), ledger);
  return {};
}

}  // namespace candor::cli
