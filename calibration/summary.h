// Everything a table about one set of rows needs, computed once: used by `candor calibration`, evaluation, reports and comparisons.
// Undefined numbers are NaN and become null in JSON; nothing undefined is ever 0.
#pragma once
#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "calibration/bins.h"
#include "calibration/calibration_tests.h"
#include "calibration/intervals.h"
#include "calibration/isotonic.h"
#include "calibration/ranking.h"
#include "calibration/rows.h"
#include "calibration/sequential.h"

namespace candor::calibration {

inline constexpr std::array<int, 3> kEceBins = {10, 15, 20};

struct SummaryOptions {
  bool intervals = true;  // bootstrap of Brier, AUROC, AUGRC, ECE
  int bootstrap_replicates = 200;
  bool null_quantile = true;  // simulate the ECE of a calibrated model
  bool smooth_ece = true;
  uint64_t seed = 0;
};

struct CalibrationSummary {
  // n counts rows with a confidence; all metrics below are over these, so that signed_gap = mean_confidence - accuracy.
  int64_t n = 0;
  int64_t rows = 0, missing = 0, prompts = 0;
  double accuracy_all_rows = 0.0;
  Interval accuracy_all_rows_interval;
  double brier_missing_as_0 = 0.0, brier_missing_as_half = 0.0;  // the policies others use, to be read beside, never instead

  ClusteredMean accuracy, confidence, gap;  // gap: p - y, the signed gap with its interval
  Interval accuracy_wilson;                 // as if rows were independent
  double oce = 0.0, uce = 0.0;              // at 15 bins
  // Index k: kEceBins[k] bins. Floor and null quantile are of one row per prompt (labels of one prompt are not independent), and so is
  // `ece_independent`, which is what may be compared with them; without repeated prompts it is `ece`.
  std::array<double, 3> ece{}, ece_floor{}, ece_null95{}, ece_independent{};
  double smooth_ece = 0.0, smooth_ece_sigma = 0.0;
  double ece_discrete = 0.0;  // one bin per stated value
  double ece_sweep = 0.0;
  double ece_debiased_l2_squared = 0.0;
  Ecce ecce;  // of one row per prompt
  Spiegelhalter spiegelhalter;
  EProcessRun e_process;  // one factor per prompt

  double brier = 0.0, brier_skill = 0.0, nll = 0.0, spherical = 0.0;
  int64_t clipped_mistakes = 0;
  Murphy murphy10, murphy15;
  Corp corp;

  double auroc = 0.0, auprc_success = 0.0, auprc_error = 0.0, aurc = 0.0, augrc = 0.0, augrc_optimal = 0.0;
  HeadlineEstimates estimates;                   // intervals; empty (NaN) when not asked for
  std::array<double, 3> accuracy_at_coverage{};  // 50, 80, 90 %
  std::array<double, 3> coverage_at_risk{};      // 1, 5, 10 %
  Sharpness sharpness;
  ConfidentWrong confident_wrong;  // p >= 0.9
  Bins bins10;                     // the reliability diagram

  // ECE (15 bins) above its null 95 % quantile: what calibrated labels show once in twenty.
  bool IsDistinguishable() const { return ece_independent[1] > ece_null95[1]; }
};
CalibrationSummary ComputeSummary(const std::vector<Row>& rows, const SummaryOptions& options = {});

struct SliceSummary {
  std::string name;
  CalibrationSummary summary;
  double confident_wrong_adjusted = 1.0;  // Benjamini-Hochberg over the slices
};
// In order of name; rows without a slice are in none.
std::vector<SliceSummary> ComputeSlices(const std::vector<Row>& rows, const SummaryOptions& options = {});

nlohmann::json ToJson(const CalibrationSummary& summary);
nlohmann::json ToJson(const std::vector<SliceSummary>& slices);
nlohmann::json ToJson(const PairedComparison& comparison);

// Readable tables (UTF-8, no colours), each ending with a newline.
std::string SummaryTable(const CalibrationSummary& summary);
std::string SliceTable(const std::vector<SliceSummary>& slices);
std::string ComparisonTable(const PairedComparison& comparison, const std::string& name_a, const std::string& name_b);

}  // namespace candor::calibration
