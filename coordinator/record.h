// The calibration record: what the policy said it believed and whether it was right, as integer sketches that add. A group's observations
// are kept under (stream, signal, slice, step, group), so that a group that is scored again overwrites itself and nothing is counted twice;
// when its result is taken back (the group is opened again) they go, for it may end as dropped;
// when a step is done they are merged into one sketch per (series, step, segment), and their own keys go once a checkpoint covers the step.
// Steps that were undone stay visible under their old segment until the new one has them again. Streams: "train" (step = the wave) and
// "eval/<name>" (step = the policy version that answered). Slice "" is everything.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "calibration/sketch.h"
#include "coordinator/run_plan.h"
#include "coordinator/store.h"
#include "proto/messages.h"

namespace candor {

struct SeriesKey {
  std::string stream, signal, slice;
  friend auto operator<=>(const SeriesKey&, const SeriesKey&) = default;
};
std::string StreamOf(const RunPlan& plan, GroupId group);

// Adds a group's sketches to a batch; broken or oversized ones are left out and named in `complaints`.
void PutObservations(const RunPlan& plan, const GroupScored& scored, StoreBatch& batch, std::vector<std::string>& complaints);

class CalibrationRecord {
 public:
  explicit CalibrationRecord(Store& store) : store_(store) {}
  // Every series of a step, "train" or "eval/<name>": merged from its groups.
  Result<std::map<SeriesKey, calibration::CalSketch>> MergeStep(const std::string& stream, StepId step) const;
  // The merged sketches of a done step, to be written.
  static void PutMerged(const std::map<SeriesKey, calibration::CalSketch>& merged, StepId step, SegmentId segment, StoreBatch& batch);
  // Series that an undone life of the step had and that are not in `merged`: empty from this segment on, or the old ones would be seen for
  // ever.
  Status PutEmptied(const std::string& stream, const std::map<SeriesKey, calibration::CalSketch>& merged, StepId step, SegmentId segment,
                    StoreBatch& batch) const;
  // Removes the groups' own keys of a stream's steps that a checkpoint covers (their merged sketches stay).
  Status DropCovered(const std::string& stream, StepId through, StoreBatch& batch) const;
  // Takes these groups' observations out again, also out of the batch itself, whose puts come before.
  Status DropGroups(const std::string& stream, const std::vector<std::pair<StepId, GroupId>>& groups, StoreBatch& batch) const;
  // Takes out all of a stream's groups from a step on, also out of the batch.
  Status DropFrom(const std::string& stream, StepId from, StoreBatch& batch) const;
  // The sum over steps from..to: of each step the merged sketch of its newest segment, or the groups so far.
  Result<calibration::CalSketch> Query(const SeriesKey& series, StepId from, StepId to) const;
  // Everything that has observations.
  Result<std::vector<SeriesKey>> List() const;

 private:
  Store& store_;
};

// The signal a recipe's confidence is read from: "slot" when there is one, else "verbal", else the first.
std::string MainSignal(const std::map<SeriesKey, calibration::CalSketch>& merged);
// n, accuracy, mean_confidence, signed_gap, brier, nll, ece (15 bins), ece_floor, auroc, ... under `prefix`; what is undefined is left out.
void AddSketchMetrics(const calibration::CalSketch& sketch, const std::string& prefix, std::map<std::string, double>& metrics);

}  // namespace candor
