#include "reward/channels.h"

#include <algorithm>
#include <cmath>

#include "calibration/scoring_rules.h"
#include "core/channel_expression.h"

namespace candor {

namespace {

// A scoring rule as a gain: the more the better, and what a broken format gets.
struct Rule {
  const char* name;
  const char* soft_name;
  double (*gain)(double confidence, double label);
  double least;
};
const Rule kRules[] = {
    {"brier", "soft_brier", [](double c, double y) { return 1.0 - calibration::BrierScore(c, y); }, 0.0},
    {"spherical", "soft_spherical", [](double c, double y) { return calibration::SphericalScore(c, y); }, 0.0},
    {"log", "soft_log", [](double c, double y) { return -calibration::LogScore(c, y, kLogRewardClip); }, std::log(kLogRewardClip)},
};

void AddRules(const ChannelInputs& in, const std::set<std::string>& wanted, std::map<std::string, double>& channels) {
  if (!in.wants_confidence) return;
  for (const Rule& rule : kRules) {
    const bool hard = wanted.contains(rule.name), soft = wanted.contains(rule.soft_name);
    if (!in.format_ok) {
      if (hard) channels[rule.name] = rule.least;
      if (soft) channels[rule.soft_name] = rule.least;
    } else if (in.confidence && in.label != Label::kUnknown) {
      const double c = in.confidence->value(), right = rule.gain(c, 1.0), wrong = rule.gain(c, 0.0);
      if (hard) channels[rule.name] = in.label == Label::kCorrect ? right : wrong;
      if (soft) channels[rule.soft_name] = in.soft_label * right + (1.0 - in.soft_label) * wrong;
    }
  }
}

}  // namespace

std::map<std::string, double> ComputeChannels(const ChannelInputs& inputs) {
  std::map<std::string, double> channels;
  channels["format"] = inputs.format_ok ? 1.0 : 0.0;
  if (!inputs.format_ok) channels["accuracy"] = channels["soft"] = 0.0;
  if (inputs.format_ok && inputs.label != Label::kUnknown) {
    channels["accuracy"] = inputs.label == Label::kCorrect ? 1.0 : 0.0;
    channels["soft"] = inputs.soft_label;
  }
  AddRules(inputs, {"brier"}, channels);
  return channels;
}

void AddWantedChannels(const ChannelInputs& in, const std::set<std::string>& wanted, std::map<std::string, double>& channels) {
  AddRules(in, wanted, channels);
  const double alpha = in.noise.false_positive, beta = in.noise.false_negative, scale = 1.0 / (1.0 - alpha - beta);
  const double right = in.label == Label::kCorrect ? 1.0 : 0.0;
  const bool known = in.format_ok && in.label != Label::kUnknown;
  if (wanted.contains("denoised") && (known || !in.format_ok)) channels["denoised"] = (right - alpha) * scale;
  if (wanted.contains("denoised_brier") && in.wants_confidence && !in.format_ok) channels["denoised_brier"] = -alpha * scale;
  if (wanted.contains("denoised_brier") && known && in.confidence) {
    const double seen = calibration::BrierScore(in.confidence->value(), right),
                 flipped = calibration::BrierScore(in.confidence->value(), 1.0 - right);
    const double same = right == 1.0 ? alpha : beta, other = right == 1.0 ? beta : alpha;
    channels["denoised_brier"] = ((1.0 - same) * (1.0 - seen) - other * (1.0 - flipped)) * scale;
  }
  if (wanted.contains("confidence") && in.wants_confidence && (in.confidence || !in.format_ok))
    channels["confidence"] = in.format_ok ? in.confidence->value() : 0.0;
  if (wanted.contains("abstained")) channels["abstained"] = in.format_ok && in.abstained ? 1.0 : 0.0;
  if (wanted.contains("ungated_accuracy") && in.answer_label != Label::kUnknown)
    channels["ungated_accuracy"] = in.answer_label == Label::kCorrect ? 1.0 : 0.0;
  if (wanted.contains("thresholded")) {
    const double penalty = in.answer_threshold / (1.0 - in.answer_threshold);
    if (in.format_ok && in.abstained)
      channels["thresholded"] = 0.0;
    else if (!in.format_ok || in.label != Label::kUnknown)
      channels["thresholded"] = in.format_ok && in.label == Label::kCorrect ? 1.0 : -penalty;
  }
}

Result<LabelNoise> LabelNoiseOf(const RewardOptions& options) {
  LabelNoise noise{options.label_false_positive, options.label_false_negative};
  if (options.label_noise > 0.0 && (noise.false_positive > 0.0 || noise.false_negative > 0.0))
    return Fail(ErrorCode::kInvalidInput, "label_noise stands beside label_false_positive or label_false_negative", "[reward] label_noise",
                "keep the two rates, or the one that stands for both");
  if (options.label_noise > 0.0) noise = {options.label_noise, options.label_noise};
  if (noise.false_positive + noise.false_negative < 1.0) return noise;
  return Fail(ErrorCode::kInvalidInput, "labels that are wrong this often say nothing: the two rates sum to 1 or more",
              "[reward] label_false_positive", "measure them again, or take another judge");
}

std::vector<std::string> FilledChannels(const RewardOptions& options, bool has_confidence) {
  std::vector<std::string> names = {"format", "accuracy", "soft", "ungated_accuracy", "denoised", "majority", "majority_true"};
  if (has_confidence)
    for (const Rule& rule : kRules) names.insert(names.end(), {rule.name, rule.soft_name});
  if (has_confidence) names.insert(names.end(), {"denoised_brier", "confidence", "hybrid_brier", "hybrid_gap"});
  names.insert(names.end(), PolicyChannels().begin(), PolicyChannels().end());
  if (!options.abstain.empty()) names.insert(names.end(), {"abstained", "thresholded", "tiar"});
  if (!options.criteria.empty()) names.push_back("rubric");
  if (!options.baseline_field.empty()) names.insert(names.end(), {"contrast", "baseline"});
  return names;
}

const std::vector<std::string>& ReservedChannels() {
  static const std::vector<std::string> names = [] {
    RewardOptions all;
    all.abstain = {""}, all.criteria = {{}}, all.baseline_field = "scores";
    return FilledChannels(all, true);
  }();
  return names;
}

}  // namespace candor
