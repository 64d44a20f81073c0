#include "cli/torch/ask_settings.h"

#include "cli/run_dir.h"
#include "cli/torch/trained_format.h"
#include "core/fs.h"

namespace candor::cli {

Result<Recipe> AskSettingsOf(const std::string& model_or_run, const std::string& recipe, const std::vector<std::string>& overrides) {
  if (!recipe.empty()) return LoadSettings({recipe}, overrides);
  const std::string resolved = RunDir{model_or_run}.Resolved();
  if (FileExists(resolved)) return LoadSettings({resolved}, overrides);
  CANDOR_ASSIGN(const std::string folder, ModelFolderOf(model_or_run));
  CANDOR_ASSIGN(const std::optional<ConfidenceSpec> spec, ReadConfidenceSpec(folder));
  Recipe defaults;  // only for its text: an exported policy is asked as it was trained
  defaults.run.name = "eval", defaults.run.model = folder, defaults.run.stages = {};
  defaults.format.tags = {"answer", "confidence"};
  if (spec) defaults.format = FormatOfSpec(*spec);
  return LoadSettings({}, overrides, ResolvedText(defaults));
}

AskOptions AskOptionsOf(const Recipe& recipe) {
  return {recipe.rollout.engine,
          recipe.rollout.sampling,
          recipe.rollout.stop,
          recipe.format,
          recipe.reward,
          recipe.reward.signal,
          0,
          static_cast<uint64_t>(recipe.run.seed)};
}

}  // namespace candor::cli
