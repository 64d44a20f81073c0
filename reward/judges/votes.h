// What several answers of a judge say together, and what several games of a tournament do. Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace candor {

// Votes in [0, 1]. The spread is their standard deviation (population), at most 1/2; 1 - 2 spread is how sure the judge is of itself. One
// vote has neither.
struct VoteSummary {
  double mean = 0.0;
  std::optional<double> spread, confidence;
};
VoteSummary SummariseVotes(std::span<const double> votes);  // at least one

// Indices of the `keep` votes that a meta judge trusts most, in their order; votes that it did not judge are left out, of equals the first
// stays. keep 0: all it judged.
std::vector<size_t> MostTrusted(std::span<const std::optional<double>> trust, size_t keep);

// Verdicts on steps, each in [0, 1]: the weakest step, the mean, all right at once if independent (ThinkPRM multiplies, GenPRM and others
// take the minimum).
struct StepAggregates {
  double min = 0.0, mean = 0.0, product = 1.0;
};
StepAggregates AggregateSteps(std::span<const double> steps);  // at least one

// A game of players a and b: a's share in [0, 1]; nullopt where nobody judged it.
struct Game {
  size_t a = 0, b = 0;
  std::optional<double> share;
};
std::vector<Game> RoundRobin(size_t players);
// Each player's mean share over its judged games; nullopt without any.
std::vector<std::optional<double>> RoundRobinScores(std::span<const Game> games, size_t players);

// Players meet in rounds, in an order drawn from the seed; who loses in round r of R (counted from 0) scores r/R, the winner 1. A tie is
// decided by the draw; of a game that nobody judged both leave without a score; an odd one out goes on without a game. Who is left without
// having won any game has no score either.
class Knockout {
 public:
  Knockout(size_t players, uint64_t seed);
  bool over() const { return left_.size() <= 1; }
  std::vector<Game> NextRound() const;  // shares to be filled
  void Take(std::span<const Game> judged);
  std::vector<std::optional<double>> Scores() const;

 private:
  std::vector<size_t> left_;
  std::vector<std::optional<double>> scores_;
  std::vector<bool> won_;  // a game that was judged
  size_t round_ = 0, rounds_ = 0;
};

}  // namespace candor
