// Corrections for data that another policy wrote: a weight per token from how the learner's and the rollout's log-probabilities differ.
// Sequences are runs of tokens; a token of weight 0 in the loss belongs to none. Pure, any thread. With d = learner - rollout:
//   truncation  min(exp(d), tis_max) per token, or min(exp(sum of d), tis_max) for all tokens of a sequence   (TIS, verl rollout_is)
//   rejection   a token or a sequence whose measure lies outside [low, high] gets weight 0; its share of the denominator stays
//               token exp(d) | sequence exp(sum of d) | geometric exp(mean of d) | k2 mean of d^2 / 2 | k3 mean of exp(d) - d - 1
// The product grows with length: 1.1^10 = 2.6, but 1.1^100 = 13,780; geometric does not.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace candor {

enum class TisLevel : uint8_t { kToken = 0, kSequence = 1 };
enum class RejectBy : uint8_t { kNothing = 0, kToken = 1, kSequence = 2, kGeometric = 3, kK2 = 4, kK3 = 5 };

struct CorrectionSettings {
  double tis_max = 2.0;  // 0: none
  TisLevel tis_level = TisLevel::kToken;
  RejectBy reject = RejectBy::kNothing;
  double reject_low = 0.0, reject_high = 5.0;
};

struct CorrectionInputs {
  std::span<const double> importance_M;    // log weights that are truncated
  std::span<const double> disagreement_M;  // log ratios that decide about rejection
  std::span<const float> weights_M;
  std::span<const size_t> starts;  // first token of each sequence, ascending; empty: one sequence
};
struct Corrections {
  std::vector<double> factor_M;  // 1 where nothing is corrected, 0 where rejected
  double rejected = 0.0;         // tokens
};
Corrections ComputeCorrections(const CorrectionSettings& settings, const CorrectionInputs& inputs);

// exp of a log ratio that is first held within [-20, 20].
double BoundedRatio(double log_ratio);

// Calls body(begin, end) for each sequence of `count` tokens.
template <typename Body>
void ForEachSequence(std::span<const size_t> starts, size_t count, Body body) {
  for (size_t i = 0; i < starts.size(); ++i) body(starts[i], i + 1 < starts.size() ? starts[i + 1] : count);
  if (starts.empty() && count > 0) body(size_t{0}, count);
}

}  // namespace candor
