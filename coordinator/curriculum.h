// Which prompts are worth a rollout, from what their earlier rollouts gave: pass over those that said the same thing again and again,
// retire those that are solved. A part of the coordinator's state: it changes only with ledger records (a step done, a learner that goes
// back, a wave issued), so that a replay chooses the same prompts. Without I/O, one thread.
//
// Skips before the rollout (GRESO, arXiv 2506.02177, ttis/presampling_selector.py): z counts a prompt's last visits in a row that were easy
// (pass rate >= .98), or in a row that were hard (<= .11). It is passed over with probability 1 - max(p^z, .01); p starts at .5, one for
// easy and one for hard ones, and moves by .01 after every step within [.05, .95]: down where more of the step's groups than .25/3 were
// easy (.5/3 hard), up where fewer were. The choice is random and made before anything is generated: `keep`, the probability with which the
// prompt was kept, lets the learner weigh its calibration by 1 / keep.
//
// Retirement (No-Positive-Resampling, ScaleRL arXiv 2510.13786): a prompt whose pass rate over all its visits is at least `retire_at` is
// not taken any more, but for a share `retired_share` of its visits, drawn at random, which train the confidence alone: without them
// nothing near p = 1 would. That selection follows outcomes, so that no weight is put on it.
#pragma once
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "coordinator/run_plan.h"

namespace candor {

// 1 - max(p^z, .01); 0 where z = 0. p = .5: z = 1, 2, 3, 7 give .5, .75, .875, .99.
double SkipProbability(double p, uint32_t z);

struct PromptChoice {
  PromptRef prompt;
  double keep = 1.0;     // the probability with which a random skip left it in
  bool retired = false;  // of the slice that trains the confidence alone
};

// What a visit gave: of the sampled traces with a known label.
struct PromptOutcome {
  PromptRef prompt;
  uint32_t correct = 0, known = 0;
};

class Curriculum {
 public:
  explicit Curriculum(const RunPlan& plan) : plan_(plan), order_(plan) {}

  // The next prompt in order that is not passed over. After two passes over all rows in vain the one at hand is taken.
  PromptChoice Next();
  // Steps in order; outcomes in any order that a replay repeats.
  void Learned(StepId step, const std::vector<PromptOutcome>& outcomes);
  // Forgets what steps from this one on taught. What was chosen stays chosen.
  void Undo(StepId from);

  // --- views, for the metrics ---
  uint64_t cursor() const { return cursor_; }    // visits of the order that were taken or passed over
  uint64_t skipped() const { return skipped_; }  // of them, passed over at random
  uint64_t resting() const { return resting_; }  // passed over because retired
  uint64_t retired() const { return retired_; }  // prompts that are retired now
  double explore_easy() const { return explore_[kEasy]; }
  double explore_hard() const { return explore_[kHard]; }

 private:
  enum Class { kEasy = 0, kHard = 1, kMiddling = 2 };
  struct Past {
    uint64_t correct = 0, known = 0;
    std::vector<Class> visits;  // in order
    bool retired = false;
  };
  struct Lesson {  // of a group; kept for the whole run
    uint64_t prompt;
    uint32_t correct, known;
  };
  struct StepMemory {
    std::vector<Lesson> lessons;
    double explore[2];  // before the step
  };
  uint64_t KeyOf(const PromptRef& prompt) const;
  bool Keeps(uint64_t visit, PromptChoice& choice);
  void SetRetired(Past& past);

  RunPlan plan_;
  PromptOrder order_;
  uint64_t cursor_ = 0, skipped_ = 0, resting_ = 0, retired_ = 0;
  double explore_[2] = {0.5, 0.5};
  std::map<uint64_t, Past> past_;
  std::map<StepId, StepMemory> steps_;
};

}  // namespace candor
