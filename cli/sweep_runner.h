// One point of a sweep or of a protocol as a run of its own: a child `candor run` that is watched, and whose folder says what became of it.
#pragma once
#include <string>
#include <vector>

#include "cli/recipe.h"
#include "core/result.h"
#include "eval/sweep.h"

namespace candor::cli {

// What `candor run` is given for a point, and what it read from that.
struct PointRun {
  std::vector<std::string> files, overrides;
  Recipe recipe;
};
// Checks the recipe as `candor run` would and looks at what the point's folder holds; errors begin with the point's name.
Result<PointRun> PlanPoint(const std::vector<std::string>& files, const std::vector<std::string>& overrides, SweepPoint& point);

struct PointPlace {
  size_t number = 1, of = 1;
  bool quiet = false;
  size_t left = 0;        // points behind this one that have not finished
  double measured_s = 0;  // what `measured` others took
  size_t measured = 0;
  bool keep_checkpoints = false;  // of a run that has finished, too
};
// Runs it to its end, or goes on with it, and then removes what only going on would need (checkpoints and published weights, which are many
// times the policy's size); the policy and the record stay. A stop signal (stop_signals.h) leaves it interrupted. Its log goes to
// `logs`/<name>/run.log.
Status RunPoint(PointRun& run, SweepPoint& point, const std::string& logs, const PointPlace& place);
// "[3/8] lr-1e-5: finished in 5 min 12 s, about 26 min left" on stderr.
void TellPoint(const SweepPoint& point, const PointPlace& place);

}  // namespace candor::cli
