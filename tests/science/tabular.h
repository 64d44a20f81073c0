// A learner small enough to be a table, for claims about objectives that need thousands of steps and many seeds. What is Candor's own: the
// reward channels, the filter, the values of an objective and their advantages, and which tokens it reaches. What stands in for the
// transformer: a softmax over answers and one over stated confidences for each question, a logistic slot, and plain gradient steps.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "trainer/options.h"

namespace candor::science {

// S questions, A answers each.
struct World {
  std::vector<std::vector<double>> chance_SA;  // that an answer is right
  bool one_is_right = true;                    // a draw makes one answer right, or none; else each is right on its own
};
// Best answers with 0, 1/9, ... 1, a second one with half of what is left at most, and a surely wrong one.
World Urns();
// One question with eight answers, the first four always right.
World SeveralSolutions();

// Confidences that can be stated: 0, 1/18, ... 1.
inline constexpr int kLevels = 19;

struct Lesson {
  std::vector<ObjectiveOptions> objectives;
  std::string filter = "none";
  bool own_draw = false;  // each trace draws for itself; else a group shares its draw
  int group = 4, groups = 200, steps = 600;
  double rate = 5.0;         // at first
  int calibrated_first = 0;  // steps at the beginning that leave the answers alone
  uint64_t seed = 1;
};

struct Learned {
  std::vector<std::vector<double>> answer_SA;  // probabilities
  std::vector<int> said_S;                     // the most probable answer
  std::vector<double> chance_S;                // that it is right
  std::vector<double> stated_S;                // mean of the confidence stated with it
  std::vector<double> slot_S;                  // the slot's confidence in it
};

Learned Learn(const World& world, const Lesson& lesson);

// Least squares of logit confidence on logit chance, over the questions whose said answer has a chance between 0 and 1.
double SlopeOf(const Learned& learned);

}  // namespace candor::science
