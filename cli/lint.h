// What is known to miscalibrate, found in a recipe before it costs a week. Pure.
#pragma once
#include <string>
#include <vector>

#include "cli/recipe.h"

namespace candor::cli {

struct Finding {
  std::string name;      // what `allow` would hold
  bool refuses = false;  // else it warns
  bool allowed = false;  // the recipe says that it is meant
  std::string what, why, fix;
};

std::vector<Finding> Lint(const Recipe& recipe);
// Where the objectives lead, in a sentence or two.
std::string ExplainOptimum(const Recipe& recipe);
std::string Describe(const Finding& finding);
bool Refused(const std::vector<Finding>& findings);

}  // namespace candor::cli
