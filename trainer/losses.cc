#include "trainer/losses.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace candor {

namespace {

constexpr double kMaxLogRatio = 20.0;

double Ratio(double log_ratio) { return std::exp(std::clamp(log_ratio, -kMaxLogRatio, kMaxLogRatio)); }

struct TokenLoss {
  double loss = 0.0;
  double gradient = 0.0;  // with respect to the new log-probability
  double ratio = 1.0;
  bool clipped = false;
};

TokenLoss ClippedSurrogate(const LossSettings& s, double advantage, double ratio) {
  double bounded = std::clamp(ratio, 1.0 - s.clip_low, 1.0 + s.clip_high);
  double plain = -advantage * ratio, cut = -advantage * bounded;
  TokenLoss out{plain, plain, ratio, false};
  if (cut > plain) out = {cut, 0.0, ratio, true};
  if (advantage < 0.0 && s.dual_clip > 0.0 && -advantage * s.dual_clip < out.loss) out = {-advantage * s.dual_clip, 0.0, ratio, true};
  return out;
}

// -min(ratio, cap) A p with a constant factor; cap 0: no cap.
TokenLoss WeightedLogProb(double advantage, double log_prob, double ratio, double cap) {
  double factor = cap > 0.0 ? std::min(ratio, cap) : ratio;
  return {-factor * advantage * log_prob, -factor * advantage, ratio, factor < ratio};
}

}  // namespace

Result<LossSettings> CheckLoss(const TrainerOptions& o) {
  LossSettings s;
  if (o.loss == "cispo")
    s.loss = PolicyLoss::kCispo;
  else if (o.loss == "ppo_clip")
    s.loss = PolicyLoss::kPpoClip;
  else if (o.loss == "dr_grpo")
    s.loss = PolicyLoss::kDrGrpo;
  else if (o.loss == "rloo")
    s.loss = PolicyLoss::kRloo;
  else
    return Fail(ErrorCode::kInvalidInput, "unknown loss \"" + o.loss + "\"", "trainer.loss", "cispo, ppo_clip, dr_grpo or rloo");
  if (o.dual_clip > 0.0 && !(o.dual_clip > 1.0))
    return Fail(ErrorCode::kInvalidInput, "dual_clip must be 0 (none) or more than 1", "trainer.dual_clip", "3 is the usual value");
  s.old_is_rollout = o.old_policy == "rollout";
  s.clip_low = o.clip_low, s.clip_high = o.clip_high, s.clip_max = o.clip_max;
  s.dual_clip = o.dual_clip, s.tis_max = o.tis_max;
  return s;
}

LossOutputs ComputePolicyLoss(const LossSettings& s, const LossInputs& in) {
  size_t m = in.new_log_probs_M.size();
  CANDOR_CHECK(in.rollout_log_probs_M.size() == m && in.advantages_M.size() == m && in.weights_M.size() == m, "arrays of one length");
  std::span<const float> old_M = s.old_is_rollout             ? in.rollout_log_probs_M
                                 : in.old_log_probs_M.empty() ? in.new_log_probs_M
                                                              : in.old_log_probs_M;
  CANDOR_CHECK(old_M.size() == m, "arrays of one length");
  LossOutputs out;
  out.gradient_M.assign(m, 0.0f);
  for (size_t i = 0; i < m; ++i) {
    double weight = in.weights_M[i];
    if (weight == 0.0) continue;
    double p = in.new_log_probs_M[i], old = old_M[i], rollout = in.rollout_log_probs_M[i], advantage = in.advantages_M[i];
    double tis = s.tis_max > 0.0 ? std::min(Ratio(old - rollout), s.tis_max) : 1.0;
    TokenLoss token;
    switch (s.loss) {
      case PolicyLoss::kCispo:
        token = WeightedLogProb(advantage, p, Ratio(p - old), s.clip_max);
        break;
      case PolicyLoss::kPpoClip:
      case PolicyLoss::kDrGrpo:
        token = ClippedSurrogate(s, advantage, Ratio(p - old));
        break;
      case PolicyLoss::kRloo:
        tis = 1.0;
        token = WeightedLogProb(advantage, p, s.tis_max > 0.0 ? Ratio(p - rollout) : 1.0, s.tis_max);
        break;
    }
    out.sum += weight * tis * token.loss;
    out.weight += weight;
    out.gradient_M[i] = static_cast<float>(weight * tis * token.gradient);
    out.counts.tokens += 1.0;
    out.counts.clipped += token.clipped ? 1.0 : 0.0;
    out.counts.ratio_sum += token.ratio;
    out.counts.ratio_max = std::max(out.counts.ratio_max, token.ratio);
    out.counts.tis_sum += tis;
  }
  return out;
}

namespace {

double Sigmoid(double x) { return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x)); }

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
    double softplus = std::max(margin, 0.0) + std::log1p(std::exp(-std::abs(margin)));  // -ln(1 - c)
    return std::pair(softplus - t * margin, c - t);
  });
}

}  // namespace candor
