// Arms of an experiment: runs of one recipe that differ in their seed, as figures with intervals over seeds and questions. Pure.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/result.h"
#include "eval/run_summary.h"
#include "eval/truth.h"

namespace candor {

// The arm of a run's name: "urn-rlcr_seed-3" and "urn-rlcr" are "urn-rlcr", "seed-3" is "seed".
std::string ArmOf(const std::string& run_name);

// Runs by arm, in order of first appearance: {"arms": [{name, runs: [names], questions, figures: {key: {value, low, high, by_run: [..]}},
// deciles: [{n, confidence_error, mean_confidence, mean_chance, by_run}]}]}. Held-out answers after RL, or before it where a recipe has
// none. A value is the mean over an arm's runs, its interval a bootstrap over runs and questions (over questions alone for a single run);
// what is not defined is missing. `chances`: null where the truth is not known. Figures, of greedy answers unless said otherwise:
//   accuracy, brier, mcb, dsc, auroc, augrc, ece, ece_null95, mean_confidence, answer_prob (the signal)
//   dsc_shuffled       the discrimination when the confidences of the questions are exchanged at random: what remains is noise
//   drift, moved       mean and mean absolute change of the confidence since before RL
// of the sampled answers:
//   pass_1, pass_k     one of 1, or of all samples, is right         entropy  of the answers of one question, in nats
//   entropy_right, entropy_wrong   the same where the greedy answer is right or wrong, of questions with at least two readable samples
//   coherence_excess   mean of what the confidences of different answers to one question add up to above 1
// and of the known truth (p* = chance of the answer that was given, best = the largest of the row):
//   expected_accuracy, bayes_accuracy, surely_wrong, confidence_error, slope  as in MeasureAgainstTruth
//   worst_decile       the largest confidence_error in a tenth of best
//   regret, regret_worst   of acting on the confidence (calibration::ComputeRegret)
//   abstention         share of answers with p* >= 1/2 that a threshold of 1/2 withholds, less the share of others that it gives
// Errors: as MeasureAgainstTruth's.
Result<nlohmann::json> CompareArms(const std::vector<RunAnswers>& runs, const KnownChances* chances);

// Tables for the terminal, and a self-contained page with them and, where the truth is known, a picture: what each arm's runs state against
// the chance of what they answer.
std::string ArmsText(const nlohmann::json& arms);
std::string ArmsHtml(const nlohmann::json& arms);

}  // namespace candor
