// Statistics of several answers to one prompt: pass rates, votes, diversity, semantic entropy.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace candor::calibration {

// Probability that one of k draws without replacement from n answers (c correct) is correct (Chen et al. 2021). NaN when n < k.
double PassAtK(int n, int c, int k);
// Probability that all k are correct. NaN when n < k.
double PassHatK(int n, int c, int k);

// nullopt: no answer could be read; it does not vote.
using Answers = std::vector<std::optional<std::string>>;

struct Votes {
  std::optional<std::string> majority;  // ties: the larger summed weight, then the earlier answer
  double majority_share = 0.0;          // of the answers that voted
  std::optional<std::string> weighted;  // the largest summed weight
  double consensus = 0.0;               // its share of all weight
  std::map<std::string, double> weight_by_answer;
};
// No weights: each counts 1.
Votes CountVotes(const Answers& answers, const std::vector<double>& weights = {});
// Answer at confidence rank r (0 the highest) casts (N - r)^power votes (Kang et al., Self-Certainty).
std::map<std::string, double> BordaVotes(const Answers& answers, const std::vector<double>& confidences, double power = 0.5);

// Different answers to one question exclude each other where only one can be right: then their confidences add up to at most 1.
struct Coherence {
  double sum = 0.0;       // over the distinct answers, each with the mean of the confidences it was given with
  int distinct = 0;       // answers with a confidence
  double excess() const;  // what is above 1, else 0
};
// One prompt's answers; those that could not be read or have no confidence are left out.
Coherence ComputeCoherence(const Answers& answers, const std::vector<std::optional<double>>& confidences);

struct GroupRewards {
  std::vector<double> mean_P, population_variance_P, sample_deviation_P, bernoulli_variance_P;  // per prompt
  double degenerate_share = 0.0;  // prompts without any variance: no advantage
};
GroupRewards ComputeGroupRewards(const std::vector<std::vector<double>>& rewards_PG);

// Distinct n-grams over all n-grams (Li et al. 2016).
double DistinctNgrams(const std::vector<std::vector<std::string>>& texts, size_t n);

// Answers grouped by meaning (Kuhn et al. 2023). Natural logarithms unless the name says bits.
struct SemanticEntropy {
  int clusters = 0;
  double discrete = 0.0, discrete_bits = 0.0;
  double miller_madow = 0.0;              // discrete + (clusters - 1) / 2N: compare different N with this one
  double good_turing_coverage = 0.0;      // 1 - singletons / N
  double collision = 0.0;                 // 1 - sum of squared shares
  double rao = 0.0;                       // from probabilities: clusters weighted by their answers' length-normalised likelihoods
  double mean_log_cluster = 0.0;          // -mean_i ln of the summed sequence likelihood of i's cluster
  double naive_entropy = 0.0;             // -mean of the length-normalised log-likelihoods
  std::vector<double> cluster_log_probs;  // normalised, in order of first appearance
};
SemanticEntropy ComputeSemanticEntropy(const std::vector<int>& cluster_of, const std::vector<double>& mean_token_log_probs,
                                       const std::vector<double>& sequence_log_probs);

}  // namespace candor::calibration
