// A reward model's heads: several small readings of one hidden state, each a mean and a standard deviation of the score that a completion
// would get, on standardised features x (D numbers):
//
//   mean_h = w_h x + b_h      std_h = exp(clamp(v_h x + c_h, -5, 5))
//
// They are fitted by maximum likelihood of a normal distribution, each from its own start on its own resample of the rows, so that they
// disagree where the rows say little. Robust rewards of them (BRME, arXiv 2409.15360, as read from a note on it):
//
//   nominal  the mean of the head with the least standard deviation, the most certain one
//   worst    the least mean of all heads
//
// and a recipe mixes them: a*nominal + (1 - a)*worst. Pure, any thread.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct RewardHead {
  std::vector<double> mean_w, std_w;  // D
  double mean_b = 0.0, std_b = 0.0;
};
struct HeadReading {
  double mean = 0.0;
  double std = 1.0;
};
struct RewardHeads {
  std::vector<double> feature_mean, feature_scale;  // D: features are standardised by them
  double score_mean = 0.0, score_scale = 1.0;       // heads read standardised scores; Read gives them back in the scores' own unit
  std::vector<RewardHead> heads;

  std::vector<HeadReading> Read(std::span<const float> features) const;
};
std::string ToJson(const RewardHeads& heads);
Result<RewardHeads> ParseRewardHeads(const std::string& text, const std::string& where);

struct RobustReward {
  double nominal = 0.0, worst = 0.0;
};
RobustReward Robust(std::span<const HeadReading> readings_H);

// Features [N, D] row by row, a score per row.
struct HeadRows {
  size_t width = 0;
  std::vector<float> features;
  std::vector<double> scores;
  size_t size() const { return scores.size(); }
  std::span<const float> Row(size_t i) const { return std::span(features).subspan(i * width, width); }
};
struct HeadFitOptions {
  int64_t heads = 5;
  int64_t steps = 300;
  double lr = 0.02;
  double weight_decay = 1e-2;  // of the weights, pulls them to 0: there are often more features than rows tell
  uint64_t seed = 1;
  const RewardHeads* start = nullptr;  // heads of as many features and the same scores to go on from; null: each from its own start
};
// `progress` is called after each step with the mean negative log-likelihood of all heads (may be empty). Errors: no rows, no width, a
// number that is not finite.
Result<RewardHeads> FitHeads(const HeadRows& rows, const HeadFitOptions& options,
                             const std::function<void(int64_t step, double loss)>& progress = nullptr);

// Half the squared error of the heads' means, averaged over heads, in standardised scores; adds its gradient in the features times `share`
// into `gradient`: what a trunk is trained by. Not the likelihood: a head that grows certain multiplies its gradient, and a trunk that
// follows it breaks.
double AddHeadLoss(const RewardHeads& heads, std::span<const float> features, double score, double share, std::span<float> gradient);

// How well heads tell unseen rows' scores: root mean squared error of the nominal reward, that of always saying the rows' mean, and the
// share of pairs of different scores that it orders rightly (1/2 = none), nullopt where all scores are equal.
struct HeadFigures {
  double error = 0.0, constant_error = 0.0;
  std::optional<double> ordered;
};
HeadFigures MeasureHeads(const RewardHeads& heads, const HeadRows& rows);

}  // namespace candor
