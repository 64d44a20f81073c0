// CalSketch: calibration of any number of observations in 1200 cells of confidence, five exact integers each. Sketches add: over steps,
// slices, workers, policy versions, in any order, bit for bit. A per-step ECE cannot be averaged; a sketch can be summed and the ECE of the
// sum is right. 1200 is divisible by 10, 12, 15, 20, 24, 25, 30, 40, 50, 60 and 100, so that coarser ECEs are exact. From a sketch: exact
// are n, accuracy, signed gap, ECE for those bin counts, OCE, UCE, Brier and NLL (to 1e-9 rounding), Murphy, the reliability diagram.
// Bounded are AUROC and AUGRC (the order inside a cell is unknown), AURC (ties inside a cell averaged) and smooth ECE (cell masses at their
// means). Equal-mass bins, CORP and intervals need rows.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "calibration/bins.h"
#include "calibration/calibration_tests.h"
#include "calibration/ranking.h"
#include "calibration/smooth_ece.h"
#include "core/confidence.h"
#include "core/result.h"

namespace candor::calibration {

class CalSketch {
 public:
  static constexpr int kCells = 1200;
  // Sums of nano units stay far inside int64: the largest is the log score, at most 13.9e9 an observation.
  static constexpr int64_t kMaxObservations = 600'000'000;

  // Sums over a cell, in units of 1e-9 (n in ones).
  struct Cell {
    int64_t n = 0, y = 0, p = 0, py = 0, p2 = 0;
    friend bool operator==(const Cell&, const Cell&) = default;
  };

  // label in [0, 1].
  void Add(Confidence confidence, double label);
  void AddMissing(int64_t count = 1) { missing_ += count; }      // no confidence could be read
  void AddAbstained(int64_t count = 1) { abstained_ += count; }  // no answer was given
  // Says that this sketch is one shipped part made at `step`; merging keeps the range of steps and counts parts.
  void MarkPart(uint64_t step);

  // Exact sum; fails when it would hold more than kMaxObservations.
  Status Merge(const CalSketch& other);

  // Versioned bytes, non-empty cells only; equal sketches have equal bytes.
  std::string Encode() const;
  // Any bytes: malformed, truncated, overlong or impossible contents are errors.
  static Result<CalSketch> Decode(std::string_view bytes);

  int64_t n() const { return n_; }
  int64_t missing() const { return missing_; }
  int64_t abstained() const { return abstained_; }
  int64_t clipped_mistakes() const { return clipped_; }
  int64_t parts() const { return parts_; }
  uint64_t first_step() const { return first_step_; }
  uint64_t last_step() const { return last_step_; }
  const std::map<int, Cell>& cells() const { return cells_; }

  // `bins` must divide 1200.
  Bins EqualWidth(int bins) const;
  // One bin per non-empty cell, ascending.
  Bins CellBins() const;
  double Brier() const;
  double Nll() const;
  Murphy SplitMurphy(int bins) const;

  friend bool operator==(const CalSketch&, const CalSketch&) = default;

 private:
  Bin Sums(const Cell& cell) const;
  std::map<int, Cell> cells_;
  int64_t n_ = 0, missing_ = 0, abstained_ = 0;
  int64_t nll_nano_ = 0;
  int64_t clipped_ = 0;            // certain and wrong: they dominate the log score
  int64_t label_spread_nano_ = 0;  // sum of y (1 - y): 0 for labels that are 0 or 1
  int64_t parts_ = 0;
  uint64_t first_step_ = 0, last_step_ = 0;  // meaningful when parts > 0
};

// What a dashboard asks of a sketch. NaN where undefined.
struct SketchMetrics {
  int64_t n = 0, missing = 0, abstained = 0;
  double accuracy = 0.0, mean_confidence = 0.0, signed_gap = 0.0, oce = 0.0, uce = 0.0;
  double ece10 = 0.0, ece15 = 0.0, ece20 = 0.0;
  // As if all labels were independent: with several rollouts of a prompt the true floor is higher.
  double floor10 = 0.0, floor15 = 0.0, floor20 = 0.0;
  double brier = 0.0, nll = 0.0;
  Murphy murphy10, murphy15;
  AurocBounds auroc;
  double augrc_low = 0.0, augrc = 0.0, augrc_high = 0.0;
  double aurc = 0.0;
  double smooth_ece = 0.0;
  Ecce ecce;
};
SketchMetrics ComputeSketchMetrics(const CalSketch& sketch);

}  // namespace candor::calibration
