// The claims of docs/science.md about objectives, each with what must not show it, on tables that learn by Candor's own rewards, filters
// and advantages. The transformer's runs are recipes/compare/urn-arms.toml.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/science/tabular.h"

namespace candor::science {
namespace {

ObjectiveOptions Aim(const std::string& channel, const std::string& advantage = "group_mean", const std::string& segment = "all") {
  ObjectiveOptions options;
  options.channel = channel, options.advantage = advantage, options.segment = segment;
  return options;
}

ObjectiveOptions Slot(double target = 1.0) {
  ObjectiveOptions options = Aim("accuracy", "group_mean", "slot");
  options.loss = "squared_error", options.target = target;
  return options;
}

// CANDOR_SCIENCE_SEED shifts every seed: the claims must not hang on one.
Lesson With(std::vector<ObjectiveOptions> objectives, uint64_t seed = 1) {
  const char* shift = std::getenv("CANDOR_SCIENCE_SEED");
  Lesson lesson;
  lesson.objectives = std::move(objectives), lesson.seed = seed + (shift ? std::strtoull(shift, nullptr, 10) : 0);
  return lesson;
}

// The best answer is said wherever there is one: the first, from the second question on.
int BestSaid(const Learned& learned) {
  int best = 0;
  for (size_t s = 1; s < learned.said_S.size(); ++s) best += learned.said_S[s] == 0 ? 1 : 0;
  return best;
}

double WorstError(const std::vector<double>& confidence_S, const std::vector<double>& chance_S) {
  double worst = 0;
  for (size_t s = 0; s < confidence_S.size(); ++s) worst = std::max(worst, std::abs(confidence_S[s] - chance_S[s]));
  return worst;
}

struct SeedMean {
  double mean = 0, standard_error = 0;
};
SeedMean OverSeeds(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (double value : values) sum += value, squares += value * value;
  const double n = static_cast<double>(values.size()), mean = sum / n;
  return {mean, std::sqrt(std::max(0.0, squares / n - mean * mean) / (n - 1))};
}

TEST(Claims, AccuracyAloneFindsTheBestAnswerAndItsStatedNumberDriftsWithoutDirection) {
  std::vector<double> drift, moved;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Lesson lesson = With({Aim("accuracy")}, seed);
    lesson.steps = 300, lesson.rate = 10;
    const Learned learned = Learn(Urns(), lesson);
    EXPECT_EQ(BestSaid(learned), 9) << seed;
    EXPECT_GT(learned.answer_SA[8][0], .95) << "sure of an answer that is right eight times in nine";
    double change = 0, distance = 0;
    for (double stated : learned.stated_S) change += (stated - .5) / 10, distance += std::abs(stated - .5) / 10;
    drift.push_back(change), moved.push_back(distance);
    EXPECT_GT(WorstError(learned.stated_S, learned.chance_S), .3) << seed;
  }
  const SeedMean direction = OverSeeds(drift), distance = OverSeeds(moved);
  EXPECT_LT(std::abs(direction.mean), 4 * direction.standard_error + .01);
  EXPECT_GT(distance.mean, 3 * std::abs(direction.mean)) << "it moves, and not one way";
  const Learned paid = Learn(Urns(), With({Aim("accuracy + confidence")}));
  EXPECT_GT(paid.stated_S[5], .8) << "the control: a reward of the number itself has a direction";
}

TEST(Claims, RlcrAndTheReadOutReachTheTrueProbabilitiesAtTheBestAnswer) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const Learned rlcr = Learn(Urns(), With({Aim("accuracy + brier")}, seed));
    EXPECT_EQ(BestSaid(rlcr), 9) << seed;
    EXPECT_LT(WorstError(rlcr.stated_S, rlcr.chance_S), .15) << seed;
    const Learned decoupled = Learn(Urns(), With({Aim("accuracy", "group_mean", "answer"), Slot()}, seed));
    EXPECT_EQ(BestSaid(decoupled), 9) << seed;
    EXPECT_LT(WorstError(decoupled.slot_S, decoupled.chance_S), .1) << seed;
    EXPECT_GT(WorstError(decoupled.stated_S, decoupled.chance_S), .3) << "the control: the number that nothing trains";
  }
}

// Every answer's confidence is learned before the answers move: what is at stake is which answer pays, not which is found first.
Lesson FromCalibrated(std::vector<ObjectiveOptions> objectives) {
  Lesson lesson = With(std::move(objectives));
  lesson.calibrated_first = 300, lesson.steps = 900;
  return lesson;
}

TEST(Claims, TheLogScoreWithCorrectnessAnswersWronglyWithConfidenceNothing) {
  const Learned log = Learn(Urns(), FromCalibrated({Aim("accuracy + log")}));
  const Learned brier = Learn(Urns(), FromCalibrated({Aim("accuracy + brier")}));
  for (int s = 2; s <= 4; ++s) {
    EXPECT_EQ(log.said_S[s], 2) << s;
    EXPECT_LT(log.stated_S[s], .15) << s;
    EXPECT_EQ(brier.said_S[s], 0) << "the control, " << s;
  }
  EXPECT_EQ(log.said_S[8], 0) << "above .648 an honest answer pays";
}

TEST(Claims, CalibrationAboveAccuracyCollapses) {
  const Learned heavy = Learn(Urns(), FromCalibrated({Aim("accuracy + 3*brier")}));
  for (int s = 2; s <= 4; ++s) EXPECT_EQ(heavy.said_S[s], 2) << s;
  const Learned apart =
      Learn(Urns(), FromCalibrated({Aim("accuracy", "group_mean", "answer"), Aim("3*brier", "group_mean", "confidence")}));
  EXPECT_EQ(BestSaid(apart), 9) << "the control: behind the answer any weight is safe";
}

TEST(Claims, GroupStdExtremises) {
  for (bool own_draw : {false, true}) {
    Lesson by_group = With({Aim("accuracy + brier", "group_std")}), by_batch = With({Aim("accuracy + brier", "batch_std")});
    by_group.own_draw = by_batch.own_draw = own_draw;
    by_group.rate = by_batch.rate = 2;  // dividing by a deviation makes steps larger
    const Learned ends = Learn(Urns(), by_group), honest = Learn(Urns(), by_batch);
    EXPECT_GT(SlopeOf(ends), 2) << own_draw;
    EXPECT_GT(SlopeOf(ends), SlopeOf(honest) + .7) << "the control: one deviation for the whole step, " << own_draw;
    EXPECT_LT(WorstError(honest.stated_S, honest.chance_S), .2) << own_draw;
  }
}

TEST(Claims, AFilterConfinesTheLabelsAndTrainingOnAllGroupsFreesThem) {
  Lesson filtered = With({Aim("accuracy + brier")}), all = filtered;
  filtered.filter = "accuracy";
  filtered.own_draw = all.own_draw = true;
  const Learned confined = Learn(Urns(), filtered), unfiltered = Learn(Urns(), all);
  for (int s = 1; s <= 8; ++s) {
    EXPECT_GT(confined.stated_S[s], .25 - .08) << s;
    EXPECT_LT(confined.stated_S[s], .75 + .08) << s;
    EXPECT_NEAR(unfiltered.stated_S[s], s / 9.0, .13) << s;
  }
  const double p = 8 / 9.0, kept = (p - std::pow(p, 4)) / (1 - std::pow(p, 4) - std::pow(1 - p, 4));
  EXPECT_NEAR(confined.stated_S[8], kept, .13) << "E[k/G | kept]";
  Lesson slot = With({Aim("accuracy", "group_mean", "answer"), Slot()});
  slot.filter = "accuracy", slot.own_draw = true;
  const Learned read = Learn(Urns(), slot);
  EXPECT_NEAR(read.slot_S[8], p, .08) << "filtered groups train the slot";
}

TEST(Claims, AHybridTargetTrainsTheSampledRateIntoTheGreedyConfidence) {
  // No objective moves the answers: they stay at a third each, of which the first is right with 8/9, the second with 1/18.
  ObjectiveOptions still = Aim("accuracy", "group_mean", "answer");
  still.weight = 0;
  Lesson own = With({still, Slot(1.0)}), hybrid = With({still, Slot(0.5)});
  own.own_draw = hybrid.own_draw = true;
  const double mu = 8 / 9.0, p = (8 / 9.0 + 1 / 18.0) / 3, lambda = .5 + .5 / 4;
  EXPECT_NEAR(Learn(Urns(), hybrid).slot_S[8], lambda * mu + (1 - lambda) * p, .04);
  EXPECT_NEAR(Learn(Urns(), own).slot_S[8], mu, .04) << "the control";
}

double EntropyOfRight(const Learned& learned) {
  double right = 0, entropy = 0;
  for (int a = 0; a < 4; ++a) right += learned.answer_SA[0][a];
  for (int a = 0; a < 4; ++a) {
    const double p = learned.answer_SA[0][a] / right;
    entropy -= p > 0 ? p * std::log(p) : 0;
  }
  return entropy;
}

TEST(Claims, NegativeSamplesKeepSolutionsThatPositiveOnesLose) {
  std::vector<double> positive, negative;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Lesson psr = With({Aim("accuracy", "positive_only")}, seed), nsr = With({Aim("accuracy", "negative_only")}, seed);
    psr.groups = nsr.groups = 4;
    psr.steps = nsr.steps = 3000, psr.rate = nsr.rate = 0.5;
    const Learned by_right = Learn(SeveralSolutions(), psr), by_wrong = Learn(SeveralSolutions(), nsr);
    positive.push_back(EntropyOfRight(by_right)), negative.push_back(EntropyOfRight(by_wrong));
    EXPECT_LT(by_right.said_S[0], 4);
    EXPECT_LT(by_wrong.said_S[0], 4);
  }
  EXPECT_LT(OverSeeds(positive).mean, .4 * std::log(4.0));
  EXPECT_GT(OverSeeds(negative).mean, .8 * std::log(4.0));
}

}  // namespace
}  // namespace candor::science
