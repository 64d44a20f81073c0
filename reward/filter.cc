#include "reward/filter.h"

namespace candor {

DropReason FilterByAccuracy(std::span<const ScoredTrace> traces_G) {
  int correct = 0, wrong = 0, greedy_labelled = 0;
  for (const ScoredTrace& scored : traces_G) {
    if (scored.label == Label::kUnknown) continue;
    if (scored.trace.greedy)
      ++greedy_labelled;
    else
      ++(scored.label == Label::kCorrect ? correct : wrong);
  }
  if (correct > 0 && wrong > 0) return DropReason::kNone;
  return correct + wrong + greedy_labelled > 0 ? DropReason::kNoVariance : DropReason::kAllUnknown;
}

}  // namespace candor
