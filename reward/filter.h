// The zero-variance filter: a group whose accuracy does not vary among its sampled traces teaches the answer nothing and is kept out of the
// policy gradient. It looks at accuracy alone (a total with confidence in it varies always), and never at greedy traces. A dropped group is
// still trained on its slot and still observed: the filter selects on outcomes, so calibration must see what it removes (kept groups hold
// labels in [1/G, 1 − 1/G] only).
#pragma once
#include <span>

#include "core/trace.h"

namespace candor {

// kAllUnknown: no trace has a label. kNoVariance: the labelled sampled traces agree (or there are none, but a greedy trace is labelled).
// Pure.
DropReason FilterByAccuracy(std::span<const ScoredTrace> traces_G);

// A group of an [[eval]] (top bit of the id): recorded, never trained.
constexpr bool IsEvaluation(GroupId id) { return (id.value >> 63) != 0; }

}  // namespace candor
