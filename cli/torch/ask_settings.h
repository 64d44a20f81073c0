// How a model is asked by a command: the settings of a recipe, of the run that the model stands for, or of how it was trained.
#pragma once
#include <string>
#include <vector>

#include "cli/recipe.h"
#include "core/result.h"
#include "eval/model/asker.h"

namespace candor::cli {

// The named recipe ("" = none), else the run's own, else the defaults with the format that the model was trained to write; then overrides.
Result<Recipe> AskSettingsOf(const std::string& model_or_run, const std::string& recipe, const std::vector<std::string>& overrides);
AskOptions AskOptionsOf(const Recipe& recipe);

}  // namespace candor::cli
