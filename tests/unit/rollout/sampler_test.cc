// The sampler against a naive twin in double precision, against the golden token signals, and what must never leak into what is recorded.
#include "rollout/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/rng.h"

namespace candor {
namespace {

std::vector<float> RandomLogits(int64_t n, uint64_t seed, double spread) {
  std::vector<float> z(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const double u = RandomUnit(seed, RngStream::kSynthetic, static_cast<uint64_t>(i)),
                 v = RandomUnit(seed, RngStream::kSynthetic, static_cast<uint64_t>(i), 1);
    z[static_cast<size_t>(i)] = static_cast<float>(spread * std::sqrt(-2.0 * std::log(1.0 - u)) * std::cos(6.283185307179586 * v));
  }
  return z;
}

struct Naive {
  double log_sum_exp = 0, entropy = 0, self_certainty = 0, token_confidence = 0, margin = 0;
  std::vector<double> log_p;
};

Naive ReadNaively(const std::vector<float>& z, size_t k) {
  Naive n;
  double max = z[0], sum = 0;
  for (float v : z) max = std::max(max, static_cast<double>(v));
  for (float v : z) sum += std::exp(static_cast<double>(v) - max);
  n.log_sum_exp = max + std::log(sum);
  for (float v : z) n.log_p.push_back(static_cast<double>(v) - n.log_sum_exp);
  double mean = 0;
  for (double lp : n.log_p) n.entropy -= std::exp(lp) * lp, mean += lp / static_cast<double>(z.size());
  n.self_certainty = -mean - std::log(static_cast<double>(z.size()));
  std::vector<double> sorted = n.log_p;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < k; ++i) n.token_confidence -= sorted[i] / static_cast<double>(k);
  n.margin = std::exp(sorted[0]) - std::exp(sorted[1]);
  return n;
}

// Temperature, min-p, top-k, top-p, each on what the one before kept; tokens of the result in the order that quantiles run through.
std::vector<std::pair<int32_t, double>> FilterNaively(const std::vector<float>& z, const SamplingOptions& s) {
  std::vector<int32_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  const bool filtered = s.top_k > 0 || s.top_p < 1 || s.min_p > 0;
  if (filtered)
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return z[static_cast<size_t>(a)] > z[static_cast<size_t>(b)]; });
  const double max = static_cast<double>(*std::max_element(z.begin(), z.end()));
  std::vector<std::pair<int32_t, double>> kept;
  for (int32_t id : order) kept.emplace_back(id, std::exp((static_cast<double>(z[static_cast<size_t>(id)]) - max) / s.temperature));
  if (s.min_p > 0) std::erase_if(kept, [&](const auto& t) { return t.second < s.min_p; });
  if (s.top_k > 0 && kept.size() > static_cast<size_t>(s.top_k)) kept.resize(static_cast<size_t>(s.top_k));
  double total = 0;
  for (const auto& t : kept) total += t.second;
  if (s.top_p < 1) {
    double mass = 0;
    size_t i = 0;
    while (i < kept.size() && mass < s.top_p * total) mass += kept[i++].second;
    kept.resize(i);
    total = mass;
  }
  for (auto& t : kept) t.second /= total;
  return kept;
}

// Every quantile that is not within rounding of a boundary gives the twin's token; returns how many were compared.
int CompareChoices(const std::vector<float>& z, const SamplingOptions& s) {
  SamplerScratch scratch;
  const auto size = static_cast<int64_t>(z.size());
  const RowReading reading = ReadRow(z.data(), size, 20, scratch);
  const auto kept = FilterNaively(z, s);
  int compared = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    const double u = RandomUnit(7, RngStream::kSample, i);
    double low = 0;
    size_t j = 0;
    while (j + 1 < kept.size() && u >= low + kept[j].second) low += kept[j++].second;
    if (u - low < 2e-5 || low + kept[j].second - u < 2e-5) continue;
    EXPECT_EQ(ChooseToken(z.data(), size, reading, s, u, scratch), kept[j].first) << "u=" << u << " V=" << size << " T=" << s.temperature;
    ++compared;
  }
  return compared;
}

TEST(Sampler, ReadingsEqualTheNaiveTwin) {
  SamplerScratch scratch;
  for (int64_t size : {2, 5, 63, 64, 65, 1000, 49152})
    for (double spread : {0.1, 2.0, 8.0}) {
      const std::vector<float> z = RandomLogits(size, static_cast<uint64_t>(size), spread);
      const auto k = static_cast<size_t>(std::min<int64_t>(20, size));
      const Naive twin = ReadNaively(z, k);
      const RowReading reading = ReadRow(z.data(), size, 20, scratch);
      ASSERT_TRUE(reading.finite);
      EXPECT_NEAR(reading.log_sum_exp, twin.log_sum_exp, 1e-5);
      EXPECT_NEAR(reading.entropy, twin.entropy, 2e-5);
      EXPECT_NEAR(reading.self_certainty, twin.self_certainty, 2e-5);
      EXPECT_NEAR(reading.token_confidence, twin.token_confidence, 1e-5);
      EXPECT_NEAR(reading.margin, twin.margin, 1e-5);
      EXPECT_EQ(reading.argmax, std::max_element(z.begin(), z.end()) - z.begin());
    }
}

TEST(Sampler, GoldenTokenSignals) {
  std::ifstream file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/metrics.json");
  ASSERT_TRUE(file) << "tests/golden/metrics.json";
  const nlohmann::json golden = nlohmann::json::parse(file);
  SamplerScratch scratch;
  bool found = false;
  for (const auto& test_case : golden["cases"]) {
    if (test_case["id"] != "token_signals") continue;
    found = true;
    const auto& want = test_case["expected"];
    const auto rows = test_case["inputs"]["logits"].get<std::vector<std::vector<float>>>();
    const auto chosen = test_case["inputs"]["chosen"].get<std::vector<int32_t>>();
    for (size_t i = 0; i < rows.size(); ++i) {
      const RowReading r = ReadRow(rows[i].data(), static_cast<int64_t>(rows[i].size()), test_case["inputs"]["topk"], scratch);
      EXPECT_NEAR(r.entropy, want["entropy"][i].get<double>(), 1e-6);
      EXPECT_NEAR(r.self_certainty, want["self_certainty_kl"][i].get<double>(), 1e-6);
      EXPECT_NEAR(r.token_confidence, want["deepconf_topk"][i].get<double>(), 1e-6);
      EXPECT_NEAR(rows[i][static_cast<size_t>(chosen[i])] - r.log_sum_exp, want["chosen_logprob"][i].get<double>(), 1e-6);
    }
  }
  EXPECT_TRUE(found);
}

TEST(Sampler, ChoicesEqualTheNaiveTwinUnderEveryFilter) {
  for (int64_t size : {3, 64, 200, 4096})
    for (double spread : {0.5, 3.0}) {
      const std::vector<float> z = RandomLogits(size, static_cast<uint64_t>(size) + 99, spread);
      int compared = 0;
      for (double temperature : {0.5, 1.0, 1.7})
        for (int64_t top_k : {0, 1, 5, 150})
          for (double top_p : {1.0, 0.9, 0.3})
            for (double min_p : {0.0, 0.05})
              compared += CompareChoices(z, {.temperature = temperature, .top_p = top_p, .top_k = top_k, .min_p = min_p});
      EXPECT_GT(compared, 20000);  // the twin was really asked
    }
}

// The nucleus of a flat row is wider than the tokens that are gathered at first.
TEST(Sampler, TopPOverAFlatRowWithOneLowPlateau) {
  std::vector<float> z(50000, -20.0f);
  z[17] = 0.0f;  // weight 1; the plateau holds 50000 * e^-20 = 1e-4
  EXPECT_GT(CompareChoices(z, {.top_p = 0.99}), 300);
  for (float& v : z) v = v < -1 ? -17.0f : v;  // the plateau holds 2e-3
  EXPECT_GT(CompareChoices(z, {.top_p = 0.9985}), 300);
}

TEST(Sampler, GreedyTakesTheLowestOfEqualIds) {
  SamplerScratch scratch;
  std::vector<float> z(300, 1.0f);
  z[250] = z[130] = z[131] = 4.0f;
  const RowReading reading = ReadRow(z.data(), 300, 20, scratch);
  EXPECT_EQ(ChooseToken(z.data(), 300, reading, {.temperature = 0.0}, 0.999, scratch), 130);
}

TEST(Sampler, FiltersAndTemperatureDoNotTouchWhatIsRecorded) {
  SamplerScratch scratch;
  const std::vector<float> z = RandomLogits(1000, 5, 2.0);
  const RowReading before = ReadRow(z.data(), 1000, 20, scratch);
  const int32_t id = ChooseToken(z.data(), 1000, before, {.temperature = 0.3, .top_p = 0.5, .top_k = 7}, 0.4, scratch);
  const double recorded = static_cast<double>(z[static_cast<size_t>(id)] - before.log_sum_exp);
  EXPECT_NEAR(recorded, ReadNaively(z, 20).log_p[static_cast<size_t>(id)], 1e-5);
  // Negative control: at T = 0.3 the same token would have another log-probability.
  std::vector<float> cold = z;
  for (float& v : cold) v /= 0.3f;
  EXPECT_GT(std::abs(recorded - ReadNaively(cold, 20).log_p[static_cast<size_t>(id)]), 0.1);
}

TEST(Sampler, NotFiniteLogitsAreNoticed) {
  SamplerScratch scratch;
  for (float bad : {std::nanf(""), INFINITY}) {
    std::vector<float> z = RandomLogits(200, 3, 1.0);
    EXPECT_TRUE(ReadRow(z.data(), 200, 20, scratch).finite);
    z[150] = bad;
    EXPECT_FALSE(ReadRow(z.data(), 200, 20, scratch).finite);
  }
}

TEST(Sampler, TokenAtQuantileFollowsTheDistribution) {
  SamplerScratch scratch;
  const std::vector<float> z = {1.0f, 0.0f, 2.0f, -1.0f};
  const RowReading reading = ReadRow(z.data(), 4, 20, scratch);
  const Naive twin = ReadNaively(z, 4);
  std::vector<double> counts(4, 0.0);
  constexpr int kDraws = 40000;
  for (uint64_t i = 0; i < kDraws; ++i)
    counts[static_cast<size_t>(ChooseToken(z.data(), 4, reading, {}, RandomUnit(11, RngStream::kSample, i), scratch))] += 1.0 / kDraws;
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(counts[i], std::exp(twin.log_p[i]), 0.01);
}

TEST(Sampler, TopLogProbsAreTheSortedRow) {
  const std::vector<float> logits = {0.5f, 2.0f, -1.0f, 2.0f, 1.0f};
  SamplerScratch scratch;
  const RowReading reading = ReadRow(logits.data(), 5, 2, scratch);
  const auto top = TopLogProbs(logits.data(), 5, reading, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].first, 1);  // of equals the lower id
  EXPECT_EQ(top[1].first, 3);
  EXPECT_EQ(top[2].first, 4);
  for (const auto& [id, log_prob] : top) EXPECT_FLOAT_EQ(log_prob, logits[static_cast<size_t>(id)] - reading.log_sum_exp);
  double sum = 0.0;
  for (const auto& [id, log_prob] : TopLogProbs(logits.data(), 5, reading, 9)) sum += std::exp(static_cast<double>(log_prob));
  EXPECT_NEAR(sum, 1.0, 1e-6);
  EXPECT_TRUE(TopLogProbs(logits.data(), 5, reading, 0).empty());
}

}  // namespace
}  // namespace candor
