// The points of a sweep: from `key=v1,v2` lists to runs, and what has become of each.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "cli/recipe.h"
#include "core/result.h"
#include "eval/sweep.h"

namespace candor::cli {

// One key and the values it takes; a single value is a setting of all points.
struct SweepAxis {
  std::string key;
  std::vector<std::string> values;
};
// "trainer.lr=1e-5,2e-5": split at commas outside quotes, brackets and braces. Errors: an empty value, one that occurs twice.
Result<SweepAxis> ParseAxis(const std::string& text);

struct SweepPlan {
  std::vector<std::string> files, overrides;  // of every point
  std::vector<SweepAxis> axes;                // with two values or more
};
Result<SweepPlan> PlanSweep(const std::vector<std::string>& arguments);

// Every combination, the last axis fastest; folders under `folder`. At most kPointsMax.
inline constexpr size_t kSweepPointsMax = 1000;
Result<std::vector<SweepPoint>> PointsOf(const SweepPlan& plan, const std::string& folder);
// The overrides of one point, its run's name among them.
std::vector<std::string> OverridesOf(const SweepPlan& plan, const SweepPoint& point, const std::string& recipe_name);

// The first line in which two texts differ, as "now `..`, then `..`"; "" where they do not.
std::string FirstDifference(const std::string& now, const std::string& then);

// Finished, interrupted or waiting, by the run's folder; a finished one gets its figures. kInvalidInput: the folder holds a run of another
// recipe, whose first differing line is named.
Status LookAtPoint(Recipe& recipe, SweepPoint& point);

}  // namespace candor::cli
