#include "reward/judges/votes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "core/rng.h"

namespace candor {

VoteSummary SummariseVotes(std::span<const double> votes) {
  const auto n = static_cast<double>(votes.size());
  VoteSummary summary;
  for (const double vote : votes) summary.mean += vote / n;
  if (votes.size() < 2) return summary;
  double variance = 0.0;
  for (const double vote : votes) variance += (vote - summary.mean) * (vote - summary.mean) / n;
  summary.spread = std::sqrt(variance);
  summary.confidence = std::max(0.0, 1.0 - 2.0 * *summary.spread);
  return summary;
}

std::vector<size_t> MostTrusted(std::span<const std::optional<double>> trust, size_t keep) {
  std::vector<size_t> order;
  for (size_t i = 0; i < trust.size(); ++i)
    if (trust[i]) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return *trust[a] > *trust[b]; });
  if (keep > 0 && order.size() > keep) order.resize(keep);
  std::sort(order.begin(), order.end());
  return order;
}

StepAggregates AggregateSteps(std::span<const double> steps) {
  StepAggregates all{1.0, 0.0, 1.0};
  for (const double step : steps) {
    all.min = std::min(all.min, step);
    all.mean += step / static_cast<double>(steps.size());
    all.product *= step;
  }
  return all;
}

std::vector<Game> RoundRobin(size_t players) {
  std::vector<Game> games;
  for (size_t a = 0; a < players; ++a)
    for (size_t b = a + 1; b < players; ++b) games.push_back({a, b, std::nullopt});
  return games;
}

std::vector<std::optional<double>> RoundRobinScores(std::span<const Game> games, size_t players) {
  std::vector<double> sums(players), counts(players);
  for (const Game& game : games) {
    if (!game.share) continue;
    sums[game.a] += *game.share, counts[game.a] += 1.0;
    sums[game.b] += 1.0 - *game.share, counts[game.b] += 1.0;
  }
  std::vector<std::optional<double>> scores(players);
  for (size_t i = 0; i < players; ++i)
    if (counts[i] > 0.0) scores[i] = sums[i] / counts[i];
  return scores;
}

Knockout::Knockout(size_t players, uint64_t seed) : left_(players), scores_(players), won_(players, false) {
  std::iota(left_.begin(), left_.end(), size_t{0});
  std::sort(left_.begin(), left_.end(), [&](size_t a, size_t b) {
    return std::pair(RandomBits(seed, RngStream::kOrder, a), a) < std::pair(RandomBits(seed, RngStream::kOrder, b), b);
  });
  rounds_ = players > 1 ? static_cast<size_t>(std::bit_width(players - 1)) : 0;
}

std::vector<Game> Knockout::NextRound() const {
  std::vector<Game> games;
  for (size_t i = 0; i + 1 < left_.size(); i += 2) games.push_back({left_[i], left_[i + 1], std::nullopt});
  return games;
}

void Knockout::Take(std::span<const Game> judged) {
  std::vector<size_t> stay;
  for (const Game& game : judged) {
    if (!game.share) continue;
    const bool first = *game.share >= 0.5;
    stay.push_back(first ? game.a : game.b);
    won_[stay.back()] = true;
    scores_[first ? game.b : game.a] = static_cast<double>(round_) / static_cast<double>(rounds_);
  }
  if (left_.size() % 2 == 1) stay.push_back(left_.back());
  left_ = std::move(stay);
  ++round_;
  if (left_.size() == 1 && won_[left_[0]]) scores_[left_[0]] = 1.0;
}

std::vector<std::optional<double>> Knockout::Scores() const { return scores_; }

}  // namespace candor
