// What cannot be seen by looking at one part of a recipe alone, and whether what it names is there.
#pragma once
#include "cli/recipe.h"

namespace candor::cli {

// Stages in order, a format that can be parsed, objectives whose channels and segments exist, verifiers that can be made.
Status CheckRecipe(const Recipe& recipe);

// The channels that the objectives read, each once.
Result<std::vector<std::string>> ChannelsRead(const Recipe& recipe);

// What the policy-gradient objectives learn from, as expressions.
std::vector<std::string> ValuesLearned(const Recipe& recipe);

// Whether [prepare] still has something to make.
bool NeedsPreparing(const Recipe& recipe);
// The model's tokenizer, chat template and slot, and every row of every file that the recipe names. Costs reading them all.
Status CheckInputs(const Recipe& recipe);

}  // namespace candor::cli
