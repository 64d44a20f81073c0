#include "trainer/losses.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/logistic.h"
#include "trainer/token_covariance.h"

namespace candor {

namespace {

constexpr double kMaxSequenceLogRatio = 10.0;

struct TokenLoss {
  double loss = 0.0;
  double gradient = 0.0;  // with respect to the new log-probability
  double ratio = 1.0;
  bool clipped = false;
};

TokenLoss ClippedSurrogate(const LossSettings& s, double advantage, double ratio, double dual_clip) {
  double bounded = std::clamp(ratio, 1.0 - s.clip_low, 1.0 + s.clip_high);
  double plain = -advantage * ratio, cut = -advantage * bounded;
  TokenLoss out{plain, plain, ratio, false};
  if (cut > plain) out = {cut, 0.0, ratio, true};
  if (advantage < 0.0 && dual_clip > 0.0 && -advantage * dual_clip < out.loss) out = {-advantage * dual_clip, 0.0, ratio, true};
  return out;
}

// -min(ratio, cap) A p with a constant factor; cap 0: no cap.
TokenLoss WeightedLogProb(double advantage, double log_prob, double ratio, double cap) {
  double factor = cap > 0.0 ? std::min(ratio, cap) : ratio;
  return {-factor * advantage * log_prob, -factor * advantage, ratio, factor < ratio};
}

TokenLoss SoftGate(const LossSettings& s, double advantage, double ratio) {
  double t = advantage > 0.0 ? s.sapo_positive : s.sapo_negative, gate = Sigmoid(t * (ratio - 1.0));
  return {-advantage * gate * 4.0 / t, -advantage * gate * (1.0 - gate) * 4.0 * ratio, ratio, false};
}

// What the losses compare a batch's tokens with.
struct Compared {
  std::vector<double> log_ratio_M;     // new - old; gspo: its mean over the sequence
  std::vector<double> importance_M;    // what w is made of
  std::vector<double> disagreement_M;  // what rejection looks at: between the rollout and the learner as it started the step
};

double OldLogProb(const LossSettings& s, const LossInputs& in, size_t i) {
  double rollout = in.rollout_log_probs_M[i], now = in.new_log_probs_M[i];
  if (s.old_policy == OldPolicy::kRollout) return rollout;
  if (s.old_policy == OldPolicy::kLearner) return in.old_log_probs_M.empty() ? now : static_cast<double>(in.old_log_probs_M[i]);
  double lag = in.lag_M.empty() ? 0.0 : static_cast<double>(in.lag_M[i]);
  return rollout + (lag > 1.0 ? (lag - 1.0) / lag : 0.0) * (now - rollout);
}

Compared Compare(const LossSettings& s, const LossInputs& in) {
  const size_t m = in.new_log_probs_M.size();
  Compared c{std::vector<double>(m), std::vector<double>(m), std::vector<double>(m)};
  for (size_t i = 0; i < m; ++i) {
    if (in.weights_M[i] == 0.0f) continue;
    double now = in.new_log_probs_M[i], rollout = in.rollout_log_probs_M[i], old = OldLogProb(s, in, i);
    c.log_ratio_M[i] = s.loss == PolicyLoss::kRloo ? now - rollout : now - old;
    c.importance_M[i] = s.loss == PolicyLoss::kRloo ? now - rollout : old - rollout;
    c.disagreement_M[i] = s.old_policy == OldPolicy::kLearner && !in.old_log_probs_M.empty() ? old - rollout : now - rollout;
  }
  if (s.loss != PolicyLoss::kGspo) return c;
  ForEachSequence(in.starts, m, [&](size_t begin, size_t end) {
    double sum = 0.0, count = 0.0;
    for (size_t i = begin; i < end; ++i)
      if (in.weights_M[i] != 0.0f) sum += c.log_ratio_M[i], count += 1.0;
    for (size_t i = begin; i < end; ++i) c.log_ratio_M[i] = count > 0.0 ? std::min(sum / count, kMaxSequenceLogRatio) : 0.0;
  });
  return c;
}

// Tokens that clip_cov or kl_cov treats apart.
std::vector<uint8_t> ChooseTokens(const LossSettings& s, const LossInputs& in, const Compared& c) {
  CovarianceInputs inputs{in.new_log_probs_M, in.advantages_M, in.weights_M};
  if (s.loss == PolicyLoss::kKlCov) return ChooseKlCov(s.cov_fraction, inputs);
  std::vector<uint8_t> may_M(in.weights_M.size(), 0);
  if (s.loss != PolicyLoss::kClipCov) return may_M;
  for (size_t i = 0; i < may_M.size(); ++i)
    may_M[i] = ClippedSurrogate(s, in.advantages_M[i], BoundedRatio(c.log_ratio_M[i]), s.dual_clip).clipped ? 0 : 1;
  return ChooseClipCov({s.cov_fraction, s.cov_low, s.cov_high, in.draw}, inputs, may_M);
}

TokenLoss OneToken(const LossSettings& s, double advantage, double log_prob, double log_ratio, bool chosen) {
  double ratio = BoundedRatio(log_ratio);
  switch (s.loss) {
    case PolicyLoss::kCispo:
      return WeightedLogProb(advantage, log_prob, ratio, s.clip_max);
    case PolicyLoss::kRloo:
      return {-advantage * log_prob, -advantage, ratio, s.correction.tis_max > 0.0 && ratio > s.correction.tis_max};
    case PolicyLoss::kGspo:
      return ClippedSurrogate(s, advantage, ratio, 0.0);
    case PolicyLoss::kSapo:
      return SoftGate(s, advantage, ratio);
    case PolicyLoss::kClipCov:
      if (chosen) return {0.0, 0.0, ratio, true};
      return ClippedSurrogate(s, advantage, ratio, s.dual_clip);
    case PolicyLoss::kKlCov: {
      double slope = log_ratio > 0.0 ? s.cov_kl : log_ratio < 0.0 ? -s.cov_kl : 0.0, plain = -advantage * ratio;
      if (chosen) return {plain + s.cov_kl * std::abs(log_ratio), plain + slope, ratio, true};
      return {plain, plain, ratio, false};
    }
    case PolicyLoss::kPpoClip:
    case PolicyLoss::kDrGrpo:
    case PolicyLoss::kDecoupledPpo:
      break;
  }
  return ClippedSurrogate(s, advantage, ratio, s.dual_clip);
}

}  // namespace

LossOutputs ComputePolicyLoss(const LossSettings& s, const LossInputs& in) {
  size_t m = in.new_log_probs_M.size();
  CANDOR_CHECK(in.rollout_log_probs_M.size() == m && in.advantages_M.size() == m && in.weights_M.size() == m, "arrays of one length");
  CANDOR_CHECK(in.old_log_probs_M.empty() || in.old_log_probs_M.size() == m, "arrays of one length");
  CANDOR_CHECK(in.lag_M.empty() || in.lag_M.size() == m, "arrays of one length");
  const Compared compared = Compare(s, in);
  const Corrections corrections =
      ComputeCorrections(s.correction, {compared.importance_M, compared.disagreement_M, in.weights_M, in.starts});
  const std::vector<uint8_t> chosen_M = ChooseTokens(s, in, compared);
  LossOutputs out;
  out.gradient_M.assign(m, 0.0f);
  out.counts.rejected = corrections.rejected;
  for (size_t i = 0; i < m; ++i) {
    double weight = in.weights_M[i], factor = corrections.factor_M[i];
    if (weight == 0.0) continue;
    TokenLoss token = OneToken(s, in.advantages_M[i], in.new_log_probs_M[i], compared.log_ratio_M[i], chosen_M[i] != 0);
    out.weight += weight;
    out.counts.tokens += 1.0;
    out.counts.clipped += token.clipped ? 1.0 : 0.0;
    out.counts.ratio_sum += token.ratio;
    out.counts.ratio_max = std::max(out.counts.ratio_max, token.ratio);
    out.counts.tis_sum += factor;
    if (factor == 0.0) continue;
    out.sum += weight * factor * token.loss;
    out.gradient_M[i] = static_cast<float>(weight * factor * token.gradient);
  }
  return out;
}

namespace {

template <typename Loss>
SlotOutputs OverSlots(const SlotInputs& in, Loss loss) {
  size_t n = in.margins_S.size();
  CANDOR_CHECK(in.targets_S.size() == n && in.weights_S.size() == n, "arrays of one length");
  SlotOutputs out;
  out.gradient_S.assign(n, 0.0f);
  out.confidence_S.assign(n, 0.0f);
  for (size_t i = 0; i < n; ++i) {
    double weight = in.weights_S[i], margin = in.margins_S[i], c = Sigmoid(margin);
    out.confidence_S[i] = static_cast<float>(c);
    if (weight == 0.0) continue;
    auto [value, gradient] = loss(margin, c, static_cast<double>(in.targets_S[i]));
    out.sum += weight * value;
    out.weight += weight;
    out.gradient_S[i] = static_cast<float>(weight * gradient);
  }
  return out;
}

}  // namespace

SlotOutputs ComputeSlotSquaredError(const SlotInputs& inputs) {
  return OverSlots(inputs, [](double, double c, double t) { return std::pair((c - t) * (c - t), 2.0 * (c - t) * c * (1.0 - c)); });
}

SlotOutputs ComputeSlotCrossEntropy(const SlotInputs& inputs) {
  return OverSlots(inputs, [](double margin, double c, double t) {
    return std::pair(SoftPlus(margin) - t * margin, c - t);  // SoftPlus(margin) = -ln(1 - c)
  });
}

}  // namespace candor
