#include "reward/reward_heads.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/rng.h"

namespace candor {

namespace {

using Json = nlohmann::json;

constexpr double kStdClamp = 5.0;
constexpr double kLeastDeviation = 1e-6;
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kAdamEpsilon = 1e-8;

double Dot(const std::vector<double>& w, const std::vector<double>& x) {
  double sum = 0.0;
  for (size_t d = 0; d < w.size(); ++d) sum += w[d] * x[d];
  return sum;
}

std::vector<double> Standardised(const RewardHeads& heads, std::span<const float> features) {
  std::vector<double> x(features.size());
  for (size_t d = 0; d < x.size(); ++d) x[d] = (static_cast<double>(features[d]) - heads.feature_mean[d]) / heads.feature_scale[d];
  return x;
}

// The head's parameters in one row: mean_w, mean_b, std_w, std_b.
RewardHead HeadOf(const std::vector<double>& p, size_t width) {
  RewardHead head;
  const auto at = [&](size_t i) { return p.begin() + static_cast<std::ptrdiff_t>(i); };
  head.mean_w.assign(at(0), at(width)), head.mean_b = p[width];
  head.std_w.assign(at(width + 1), at(2 * width + 1)), head.std_b = p[2 * width + 1];
  return head;
}

// Adds one row's gradient of log std + (y - mean)^2 / (2 std^2) into g; the loss.
double AddNll(const std::vector<double>& p, const std::vector<double>& x, double y, double share, std::vector<double>& g) {
  const size_t width = x.size();
  double mean = p[width], raw = p[2 * width + 1];
  for (size_t d = 0; d < width; ++d) mean += p[d] * x[d], raw += p[width + 1 + d] * x[d];
  const double s = std::clamp(raw, -kStdClamp, kStdClamp), precision = std::exp(-2.0 * s), off = mean - y;
  const double dmean = share * off * precision;
  const double ds = raw == s ? share * (1.0 - off * off * precision) : 0.0;
  for (size_t d = 0; d < width; ++d) g[d] += dmean * x[d], g[width + 1 + d] += ds * x[d];
  g[width] += dmean, g[2 * width + 1] += ds;
  return share * (s + 0.5 * off * off * precision);
}

// The other way round, for features standardised anew: the same readings of the same states.
std::vector<double> ParametersOf(const RewardHeads& from, const RewardHead& head, const RewardHeads& to) {
  const size_t width = to.feature_mean.size();
  std::vector<double> p(2 * width + 2);
  p[width] = head.mean_b, p[2 * width + 1] = head.std_b;
  for (size_t d = 0; d < width; ++d) {
    const double scale = to.feature_scale[d] / from.feature_scale[d],
                 shift = (to.feature_mean[d] - from.feature_mean[d]) / from.feature_scale[d];
    p[d] = head.mean_w[d] * scale, p[width + 1 + d] = head.std_w[d] * scale;
    p[width] += head.mean_w[d] * shift, p[2 * width + 1] += head.std_w[d] * shift;
  }
  return p;
}

struct Adam {
  std::vector<double> m, v;
  double correction1 = 1.0, correction2 = 1.0;
  void Step(std::vector<double>& p, const std::vector<double>& g, double lr) {
    m.resize(p.size()), v.resize(p.size());
    correction1 *= kBeta1, correction2 *= kBeta2;
    for (size_t i = 0; i < p.size(); ++i) {
      m[i] = kBeta1 * m[i] + (1.0 - kBeta1) * g[i], v[i] = kBeta2 * v[i] + (1.0 - kBeta2) * g[i] * g[i];
      p[i] -= lr * (m[i] / (1.0 - correction1)) / (std::sqrt(v[i] / (1.0 - correction2)) + kAdamEpsilon);
    }
  }
};

// How often each row is drawn of N draws with replacement.
std::vector<double> Resample(size_t n, uint64_t seed, uint64_t head) {
  std::vector<double> count(n, 0.0);
  for (size_t i = 0; i < n; ++i) count[RandomBits(seed, RngStream::kBootstrap, head, i) % n] += 1.0;
  return count;
}

Status CheckRows(const HeadRows& rows) {
  const auto bad = [](const std::string& what) { return Fail(ErrorCode::kInvalidInput, what, "the rows of a reward model"); };
  if (rows.size() == 0 || rows.width == 0) return bad("there is nothing to fit heads to");
  CANDOR_CHECK(rows.features.size() == rows.size() * rows.width, "one row of features per score");
  for (float x : rows.features)
    if (!std::isfinite(x)) return bad("a hidden state is not finite");
  for (double y : rows.scores)
    if (!std::isfinite(y)) return bad("a score is not finite");
  return {};
}

void Standardise(const HeadRows& rows, RewardHeads& heads) {
  const double n = static_cast<double>(rows.size());
  std::vector<double> sum(rows.width), squares(rows.width);
  double score_sum = 0.0, score_squares = 0.0;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t d = 0; d < rows.width; ++d) {
      const double x = static_cast<double>(rows.Row(i)[d]);
      sum[d] += x, squares[d] += x * x;
    }
    score_sum += rows.scores[i], score_squares += rows.scores[i] * rows.scores[i];
  }
  // What never varied here says nothing; divided by its noise it would drown everything else in a row where it does.
  const auto scale = [&](double s, double ss) {
    const double mean = s / n, deviation = std::sqrt(std::max(0.0, ss / n - mean * mean));
    return deviation > kLeastDeviation * std::max(1.0, std::abs(mean)) ? deviation : 1.0;
  };
  for (size_t d = 0; d < rows.width; ++d)
    heads.feature_mean.push_back(sum[d] / n), heads.feature_scale.push_back(scale(sum[d], squares[d]));
  heads.score_mean = score_sum / n, heads.score_scale = scale(score_sum, score_squares);
}

}  // namespace

std::vector<HeadReading> RewardHeads::Read(std::span<const float> features) const {
  CANDOR_CHECK(features.size() == feature_mean.size(), "as many features as the heads were fitted to");
  const std::vector<double> x = Standardised(*this, features);
  std::vector<HeadReading> readings_H;
  for (const RewardHead& head : heads) {
    const double s = std::clamp(Dot(head.std_w, x) + head.std_b, -kStdClamp, kStdClamp);
    readings_H.push_back({score_mean + score_scale * (Dot(head.mean_w, x) + head.mean_b), score_scale * std::exp(s)});
  }
  return readings_H;
}

RobustReward Robust(std::span<const HeadReading> readings_H) {
  CANDOR_CHECK(!readings_H.empty(), "at least one head");
  const auto less_std = [](const HeadReading& a, const HeadReading& b) { return a.std < b.std; };
  const auto less_mean = [](const HeadReading& a, const HeadReading& b) { return a.mean < b.mean; };
  return {std::min_element(readings_H.begin(), readings_H.end(), less_std)->mean,
          std::min_element(readings_H.begin(), readings_H.end(), less_mean)->mean};
}

Result<RewardHeads> FitHeads(const HeadRows& rows, const HeadFitOptions& options, const std::function<void(int64_t, double)>& progress) {
  CANDOR_TRY(CheckRows(rows));
  RewardHeads heads;
  Standardise(rows, heads);
  std::vector<std::vector<double>> x_N;
  for (size_t i = 0; i < rows.size(); ++i) x_N.push_back(Standardised(heads, rows.Row(i)));
  const size_t width = rows.width, count = static_cast<size_t>(options.heads);
  std::vector<std::vector<double>> p_H(count, std::vector<double>(2 * width + 2)), draws_H;
  std::vector<Adam> adam_H(count);
  for (size_t h = 0; h < count; ++h) {
    for (size_t i = 0; i < width; ++i)
      p_H[h][i] = 0.02 * (2.0 * RandomUnit(options.seed, RngStream::kInit, h, i) - 1.0) / std::sqrt(static_cast<double>(width));
    if (options.start) p_H[h] = ParametersOf(*options.start, options.start->heads.at(h), heads);
    draws_H.push_back(Resample(rows.size(), options.seed, h));
  }
  std::vector<double> g(2 * width + 2);
  for (int64_t step = 0; step < options.steps; ++step) {
    const double lr = options.lr * (1.0 - static_cast<double>(step) / static_cast<double>(options.steps));
    double loss = 0.0;
    for (size_t h = 0; h < count; ++h) {
      std::fill(g.begin(), g.end(), 0.0);
      for (size_t i = 0; i < rows.size(); ++i)
        if (draws_H[h][i] > 0.0)
          loss += AddNll(p_H[h], x_N[i], (rows.scores[i] - heads.score_mean) / heads.score_scale,
                         draws_H[h][i] / static_cast<double>(rows.size()), g) /
                  static_cast<double>(count);
      for (size_t d = 0; d < width; ++d)
        g[d] += options.weight_decay * p_H[h][d], g[width + 1 + d] += options.weight_decay * p_H[h][width + 1 + d];
      adam_H[h].Step(p_H[h], g, lr);
    }
    if (progress) progress(step + 1, loss);
  }
  for (const std::vector<double>& p : p_H) heads.heads.push_back(HeadOf(p, width));
  return heads;
}

double AddHeadLoss(const RewardHeads& heads, std::span<const float> features, double score, double share, std::span<float> gradient) {
  CANDOR_CHECK(features.size() == heads.feature_mean.size() && gradient.size() == features.size(), "as many features as were fitted to");
  const std::vector<double> x = Standardised(heads, features);
  const double y = (score - heads.score_mean) / heads.score_scale, of_head = 1.0 / static_cast<double>(heads.heads.size());
  double loss = 0.0;
  for (const RewardHead& head : heads.heads) {
    const double off = Dot(head.mean_w, x) + head.mean_b - y;
    loss += of_head * 0.5 * off * off;
    for (size_t d = 0; d < x.size(); ++d)
      gradient[d] += static_cast<float>(share * of_head * off * head.mean_w[d] / heads.feature_scale[d]);
  }
  return loss;
}

HeadFigures MeasureHeads(const RewardHeads& heads, const HeadRows& rows) {
  HeadFigures out;
  std::vector<double> said;
  double mean = 0.0, pairs = 0.0, right = 0.0;
  for (size_t i = 0; i < rows.size(); ++i) said.push_back(Robust(heads.Read(rows.Row(i))).nominal), mean += rows.scores[i];
  const double n = static_cast<double>(std::max<size_t>(1, rows.size()));
  mean /= n;
  for (size_t i = 0; i < rows.size(); ++i) {
    out.error += (said[i] - rows.scores[i]) * (said[i] - rows.scores[i]) / n;
    out.constant_error += (mean - rows.scores[i]) * (mean - rows.scores[i]) / n;
    for (size_t j = 0; j < i; ++j) {
      if (rows.scores[i] == rows.scores[j]) continue;
      pairs += 1.0;
      const double order = (said[i] - said[j]) * (rows.scores[i] - rows.scores[j]);
      right += order > 0.0 ? 1.0 : order == 0.0 ? 0.5 : 0.0;
    }
  }
  out.error = std::sqrt(out.error), out.constant_error = std::sqrt(out.constant_error);
  if (pairs > 0.0) out.ordered = right / pairs;
  return out;
}

std::string ToJson(const RewardHeads& heads) {
  Json json = {{"feature_mean", heads.feature_mean},
               {"feature_scale", heads.feature_scale},
               {"score_mean", heads.score_mean},
               {"score_scale", heads.score_scale},
               {"heads", Json::array()}};
  for (const RewardHead& head : heads.heads)
    json["heads"].push_back({{"mean_w", head.mean_w}, {"mean_b", head.mean_b}, {"std_w", head.std_w}, {"std_b", head.std_b}});
  return json.dump();
}

Result<RewardHeads> ParseRewardHeads(const std::string& text, const std::string& where) {
  const auto bad = [&](const std::string& what) {
    return Fail(ErrorCode::kInvalidInput, what, where, "make it anew with candor train-rm");
  };
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return bad("not a reward model's heads: no JSON object");
  RewardHeads heads;
  try {
    json.at("feature_mean").get_to(heads.feature_mean), json.at("feature_scale").get_to(heads.feature_scale);
    json.at("score_mean").get_to(heads.score_mean), json.at("score_scale").get_to(heads.score_scale);
    for (const Json& head : json.at("heads"))
      heads.heads.push_back({head.at("mean_w").get<std::vector<double>>(), head.at("std_w").get<std::vector<double>>(),
                             head.at("mean_b").get<double>(), head.at("std_b").get<double>()});
  } catch (const Json::exception& error) {
    return bad(std::string("not a reward model's heads: ") + error.what());
  }
  const size_t width = heads.feature_mean.size();
  const auto positive = [](double x) { return 0.0 < x && std::isfinite(x); };
  bool whole = width > 0 && !heads.heads.empty() && heads.feature_scale.size() == width && positive(heads.score_scale);
  whole = whole && std::all_of(heads.feature_scale.begin(), heads.feature_scale.end(), positive);
  for (const RewardHead& head : heads.heads) whole = whole && head.mean_w.size() == width && head.std_w.size() == width;
  if (!whole) return bad("its heads, features and scales do not fit together");
  return heads;
}

}  // namespace candor
