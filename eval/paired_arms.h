// Arms of a comparison, each trained from several seeds: their held-out answers side by side, and differences between arms that are paired
// by question and by seed. Pure.
//
// One bootstrap replicate draws questions (a Poisson(1) weight each, the same in all arms and seeds) and seeds (with replacement, the same
// in all arms). An arm's number in it is the mean over the drawn seeds; since S drawn seeds scatter less than S new ones would, its
// distance from the mean over all seeds is stretched by sqrt(S / (S - 1)). Intervals are percentiles. All differences of all metrics are
// one family: p-values are adjusted by Holm's method and each interval has the level at which it is tested (calibration/multiple.h).
//
// An answer without a confidence (its format broke) counts as wrong, as it was graded, and with a confidence of 1/2: leaving it out would
// compare arms on different questions. Questions whose label is unknown anywhere are left out of all arms.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"
#include "eval/answers.h"

namespace candor {

struct Arm {
  std::string name;
  std::vector<std::vector<AnswerRow>> answers_by_seed;  // greedy, of one set; the k-th seeds of all arms belong together
};
// The difference arms[arm] - arms[against].
struct ArmPair {
  size_t arm = 0, against = 0;
};
struct PairedArmOptions {
  int replicates = 2000;
  double level = 0.95;
};

// {"questions", "left_out", "level", "replicates", "arms": [{"name", "seeds", "without_confidence", "accuracy", "brier", "auroc"}],
// "differences": [{"name", "against", "metric", "delta", "low", "high", "interval_level", "p", "p_holm", "significant"}]}; a metric is
// {"value", "low", "high", "by_seed"}. Errors: no arm, arms with other questions or another number of seeds.
Result<nlohmann::json> ComparePairedArms(const std::vector<Arm>& arms, const std::vector<ArmPair>& pairs,
                                         const PairedArmOptions& options = {});
std::string PairedArmsText(const nlohmann::json& comparison);

// Mean squared distance of confidence and label over the greedy answers with a known label; a missing confidence counts as 1/2. NaN without
// any.
double BrierOf(const std::vector<AnswerRow>& answers);

}  // namespace candor
