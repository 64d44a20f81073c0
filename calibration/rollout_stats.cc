// Pass rates, votes, diversity, semantic entropy.
#include "calibration/rollout_stats.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <set>

#include "calibration/undefined.h"

namespace candor::calibration {
namespace {

double LogSumExp(const std::vector<double>& values) {
  const double max = *std::max_element(values.begin(), values.end());
  double sum = 0.0;
  for (double value : values) sum += std::exp(value - max);
  return max + std::log(sum);
}

}  // namespace

double PassAtK(int n, int c, int k) {
  if (n < k || k < 1 || c < 0 || c > n) return kNaN;
  if (n - c < k) return 1.0;
  double all_wrong = 1.0;
  for (int i = n - c + 1; i <= n; ++i) all_wrong *= 1.0 - static_cast<double>(k) / i;
  return 1.0 - all_wrong;
}

double PassHatK(int n, int c, int k) {
  if (n < k || k < 1 || c < 0 || c > n) return kNaN;
  double all_right = 1.0;
  for (int i = 0; i < k; ++i) all_right *= std::max(0.0, static_cast<double>(c - i)) / (n - i);
  return all_right;
}

double Coherence::excess() const { return std::max(0.0, sum - 1.0); }

Coherence ComputeCoherence(const Answers& answers, const std::vector<std::optional<double>>& confidences) {
  std::map<std::string, std::pair<double, int>> stated;
  for (size_t i = 0; i < answers.size() && i < confidences.size(); ++i) {
    if (!answers[i] || !confidences[i]) continue;
    auto& [sum, count] = stated[*answers[i]];
    sum += *confidences[i], ++count;
  }
  Coherence result;
  for (const auto& [answer, sum_count] : stated) result.sum += sum_count.first / sum_count.second;
  result.distinct = static_cast<int>(stated.size());
  return result;
}

Votes CountVotes(const Answers& answers, const std::vector<double>& weights) {
  struct Tally {
    double count = 0.0, weight = 0.0;
    size_t first = 0;
  };
  std::map<std::string, Tally> tallies;
  double voters = 0.0, total_weight = 0.0;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i]) continue;
    const double weight = i < weights.size() ? weights[i] : 1.0;
    Tally& tally = tallies.try_emplace(*answers[i], Tally{0.0, 0.0, i}).first->second;
    tally.count += 1.0;
    tally.weight += weight;
    voters += 1.0;
    total_weight += weight;
  }
  Votes votes;
  if (tallies.empty()) {
    votes.majority_share = votes.consensus = kNaN;
    return votes;
  }
  const auto best = [&](auto key) {
    return std::max_element(tallies.begin(), tallies.end(), [&](auto& a, auto& b) { return key(a.second) < key(b.second); });
  };
  const auto by_count = best([](const Tally& t) { return std::tuple(t.count, t.weight, -static_cast<double>(t.first)); });
  const auto by_weight = best([](const Tally& t) { return std::tuple(t.weight, -static_cast<double>(t.first)); });
  votes.majority = by_count->first;
  votes.majority_share = by_count->second.count / voters;
  votes.weighted = by_weight->first;
  votes.consensus = by_weight->second.weight / total_weight;
  for (const auto& [answer, tally] : tallies) votes.weight_by_answer[answer] = tally.weight;
  return votes;
}

std::map<std::string, double> BordaVotes(const Answers& answers, const std::vector<double>& confidences, double power) {
  std::vector<size_t> order(std::min(answers.size(), confidences.size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return confidences[a] > confidences[b]; });
  std::map<std::string, double> votes;
  for (size_t rank = 0; rank < order.size(); ++rank)
    if (answers[order[rank]]) votes[*answers[order[rank]]] += std::pow(static_cast<double>(order.size() - rank), power);
  return votes;
}

GroupRewards ComputeGroupRewards(const std::vector<std::vector<double>>& rewards_PG) {
  GroupRewards result;
  double degenerate = 0.0;
  for (const auto& rewards_G : rewards_PG) {
    const double n = static_cast<double>(rewards_G.size());
    const double mean = std::accumulate(rewards_G.begin(), rewards_G.end(), 0.0) / n;
    double squares = 0.0;
    for (double reward : rewards_G) squares += (reward - mean) * (reward - mean);
    result.mean_P.push_back(mean);
    result.population_variance_P.push_back(squares / n);
    result.sample_deviation_P.push_back(n > 1.0 ? std::sqrt(squares / (n - 1.0)) : kNaN);
    result.bernoulli_variance_P.push_back(mean * (1.0 - mean));
    const bool has_variance = std::any_of(rewards_G.begin(), rewards_G.end(), [&](double reward) { return reward != rewards_G.front(); });
    if (!has_variance) degenerate += 1.0;
  }
  result.degenerate_share = rewards_PG.empty() ? kNaN : degenerate / static_cast<double>(rewards_PG.size());
  return result;
}

double DistinctNgrams(const std::vector<std::vector<std::string>>& texts, size_t n) {
  std::set<std::vector<std::string>> distinct;
  double total = 0.0;
  for (const auto& text : texts) {
    for (size_t i = 0; i + n <= text.size(); ++i) {
      distinct.insert(std::vector<std::string>(text.begin() + i, text.begin() + i + n));
      total += 1.0;
    }
  }
  return total > 0.0 ? static_cast<double>(distinct.size()) / total : kNaN;
}

SemanticEntropy ComputeSemanticEntropy(const std::vector<int>& cluster_of, const std::vector<double>& mean_token_log_probs,
                                       const std::vector<double>& sequence_log_probs) {
  SemanticEntropy result;
  if (cluster_of.empty()) return {0, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, {}};
  const double n = static_cast<double>(cluster_of.size());
  std::vector<int> ids;  // in order of first appearance
  for (int id : cluster_of)
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  result.clusters = static_cast<int>(ids.size());
  const double log_total = LogSumExp(mean_token_log_probs);
  double singletons = 0.0;
  result.collision = 1.0;
  for (int id : ids) {
    std::vector<double> means, sequences;
    for (size_t i = 0; i < cluster_of.size(); ++i)
      if (cluster_of[i] == id) means.push_back(mean_token_log_probs[i]), sequences.push_back(sequence_log_probs[i]);
    const double size = static_cast<double>(means.size()), share = size / n;
    if (means.size() == 1) singletons += 1.0;
    result.discrete -= share * std::log(share);
    result.collision -= share * share;
    const double log_p = LogSumExp(means) - log_total;
    result.cluster_log_probs.push_back(log_p);
    result.rao -= std::exp(log_p) * log_p;
    result.mean_log_cluster -= size * LogSumExp(sequences) / n;
  }
  for (double log_prob : mean_token_log_probs) result.naive_entropy -= log_prob / n;
  result.discrete_bits = result.discrete / std::numbers::ln2;
  result.miller_madow = result.discrete + (result.clusters - 1) / (2.0 * n);
  result.good_turing_coverage = 1.0 - singletons / n;
  return result;
}

}  // namespace candor::calibration
