// The arms of an experiment: a file that names several recipes, each run once for every seed.
//
//   title = "Urns"
//   seeds = 5                       # 1 to 5, where an arm does not say otherwise
//   [[arm]]
//   recipe = "urn-rlvr.toml"        # beside this file
//   seeds  = 10
//   [[arm]]
//   recipe = "urn-rlcr.toml"
//   name   = "urn-rlcr-slow"        # else the recipe file's own
//   settings = ["trainer.lr=5e-4"]
#pragma once
#include <string>
#include <vector>

#include "cli/sweep_points.h"

namespace candor::cli {

struct SweepArm {
  std::string name;  // "": the only one, of a recipe that is swept over itself
  SweepPlan plan;
};
struct SweepArms {
  std::string title;  // "": the recipe's
  std::string name;   // "": the recipe's
  std::vector<SweepArm> arms;
};

// `candor sweep`'s arguments: recipes with lists, as PlanSweep takes them, or one file of arms with settings of all of them; a list of
// seeds there replaces the file's. `only`: names of the arms that are wanted; empty = all. Errors name file and line.
Result<SweepArms> PlanArms(const std::vector<std::string>& arguments, const std::vector<std::string>& only);

// The points of all arms, round by round: every arm's first, then every arm's second, so that a stopped experiment has equal shares. `arm`:
// parallel to the points, an index of arms.
Result<std::vector<SweepPoint>> PointsOf(const SweepArms& arms, const std::string& folder, std::vector<size_t>* arm);

}  // namespace candor::cli
