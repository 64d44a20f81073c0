// Summaries as JSON. Numbers that are not finite are null.
#include <cmath>
#include <nlohmann/json.hpp>

#include "calibration/summary.h"

namespace candor::calibration {
namespace {

using Json = nlohmann::json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Pair(const Interval& interval) { return Json::array({Number(interval.low), Number(interval.high)}); }

Json ByBins(const std::array<double, 3>& values) {
  Json json = Json::object();
  for (size_t k = 0; k < kEceBins.size(); ++k) json[std::to_string(kEceBins[k])] = Number(values[k]);
  return json;
}

Json MurphyJson(const Murphy& murphy) {
  return {{"reliability", Number(murphy.reliability)},
          {"resolution", Number(murphy.resolution)},
          {"uncertainty", Number(murphy.uncertainty)},
          {"within_bin_variance", Number(murphy.within_variance)},
          {"within_bin_covariance", Number(murphy.within_covariance)}};
}

Json IntervalsJson(const CalibrationSummary& s) {
  return {{"level", 0.95},
          {"accuracy", Pair(s.accuracy.interval)},
          {"accuracy_all_rows", Pair(s.accuracy_all_rows_interval)},
          {"accuracy_wilson", Pair(s.accuracy_wilson)},
          {"mean_confidence", Pair(s.confidence.interval)},
          {"signed_gap", Pair(s.gap.interval)},
          {"brier", Pair(s.estimates.brier.interval)},
          {"auroc", Pair(s.estimates.auroc.interval)},
          {"augrc", Pair(s.estimates.augrc.interval)},
          {"ece10", Pair(s.estimates.ece10.interval)},
          {"ece15", Pair(s.estimates.ece15.interval)}};
}

Json BinsJson(const Bins& bins) {
  Json list = Json::array();
  for (size_t b = 0; b < bins.size(); ++b) {
    const double width = 1.0 / static_cast<double>(bins.size());
    const Interval wilson = WilsonInterval(bins[b].sum_y, bins[b].n);
    list.push_back({{"low", static_cast<double>(b) * width},
                    {"high", static_cast<double>(b + 1) * width},
                    {"n", std::llrint(bins[b].n)},
                    {"confidence", Number(bins[b].mean_p())},
                    {"accuracy", Number(bins[b].mean_y())},
                    {"accuracy_interval", Pair(wilson)}});
  }
  return list;
}

Json TestsJson(const CalibrationSummary& s) {
  return {{"ecce", Number(s.ecce.value)},
          {"ecce_sigma", Number(s.ecce.in_sigmas)},
          {"ecce_p", Number(s.ecce.p_value)},
          {"spiegelhalter_z", Number(s.spiegelhalter.z)},
          {"spiegelhalter_p", Number(s.spiegelhalter.p_value)},
          {"e_value", Number(s.e_process.final_e)},
          {"e_value_max", Number(s.e_process.max_e)},
          {"ece_above_null95", std::isfinite(s.ece_null95[1]) ? Json(s.IsDistinguishable()) : Json(nullptr)}};
}

Json ConfidentWrongJson(const ConfidentWrong& tail) {
  return {{"threshold", 0.9},
          {"confident", tail.confident},
          {"wrong", tail.wrong},
          {"expected", Number(tail.expected)},
          {"p", Number(tail.p_value)}};
}

Json DifferenceJson(const Difference& difference) {
  return {{"a", Number(difference.a)},
          {"b", Number(difference.b)},
          {"delta", Number(difference.delta)},
          {"interval", Pair(difference.interval)},
          {"excludes_zero", difference.excludes_zero()}};
}

}  // namespace

Json ToJson(const CalibrationSummary& s) {
  Json json = {{"n", s.n}, {"rows", s.rows}, {"missing", s.missing}, {"prompts", s.prompts}};
  json["format_adherence"] = s.rows > 0 ? Json(static_cast<double>(s.n) / static_cast<double>(s.rows)) : Json(nullptr);
  json["accuracy"] = Number(s.accuracy.mean);
  json["accuracy_all_rows"] = Number(s.accuracy_all_rows);
  json["mean_confidence"] = Number(s.confidence.mean);
  json["signed_gap"] = Number(s.gap.mean);
  json["oce"] = Number(s.oce);
  json["uce"] = Number(s.uce);
  json["ece"] = ByBins(s.ece);
  json["ece_floor"] = ByBins(s.ece_floor);
  json["ece_null95"] = ByBins(s.ece_null95);
  json["ece_one_per_prompt"] = ByBins(s.ece_independent);
  json["ece_corrected"] = {{"10", Number(s.estimates.ece10.corrected)}, {"15", Number(s.estimates.ece15.corrected)}};
  json["smooth_ece"] = Number(s.smooth_ece);
  json["ece_discrete"] = Number(s.ece_discrete);
  json["ece_sweep"] = Number(s.ece_sweep);
  json["brier"] = Number(s.brier);
  json["brier_skill"] = Number(s.brier_skill);
  json["brier_missing_as_0"] = Number(s.brier_missing_as_0);
  json["brier_missing_as_half"] = Number(s.brier_missing_as_half);
  json["nll"] = Number(s.nll);
  json["nll_clipped_mistakes"] = s.clipped_mistakes;
  json["spherical"] = Number(s.spherical);
  json["murphy"] = {{"10", MurphyJson(s.murphy10)}, {"15", MurphyJson(s.murphy15)}};
  json["corp"] = {{"mcb", Number(s.corp.mcb)}, {"dsc", Number(s.corp.dsc)}, {"unc", Number(s.corp.unc)}};
  json["auroc"] = Number(s.auroc);
  json["auprc_success"] = Number(s.auprc_success);
  json["auprc_error"] = Number(s.auprc_error);
  json["aurc"] = Number(s.aurc);
  json["augrc"] = Number(s.augrc);
  json["augrc_optimal"] = Number(s.augrc_optimal);
  json["accuracy_at_coverage"] = {
      {"0.5", Number(s.accuracy_at_coverage[0])}, {"0.8", Number(s.accuracy_at_coverage[1])}, {"0.9", Number(s.accuracy_at_coverage[2])}};
  json["coverage_at_risk"] = {
      {"0.01", Number(s.coverage_at_risk[0])}, {"0.05", Number(s.coverage_at_risk[1])}, {"0.1", Number(s.coverage_at_risk[2])}};
  json["confidence_sd"] = Number(std::sqrt(s.sharpness.variance));
  json["distinct_levels"] = s.sharpness.distinct_levels;
  json["tests"] = TestsJson(s);
  json["confident_wrong"] = ConfidentWrongJson(s.confident_wrong);
  json["intervals"] = IntervalsJson(s);
  json["reliability"] = BinsJson(s.bins10);
  return json;
}

Json ToJson(const std::vector<SliceSummary>& slices) {
  Json json = Json::object();
  for (const SliceSummary& slice : slices) {
    Json one = ToJson(slice.summary);
    one["confident_wrong"]["p_adjusted"] = Number(slice.confident_wrong_adjusted);
    json[slice.name] = std::move(one);
  }
  return json;
}

Json ToJson(const PairedComparison& comparison) {
  return {{"prompts", comparison.prompts},
          {"prompts_without_confidence", comparison.without_confidence},
          {"accuracy", DifferenceJson(comparison.accuracy)},
          {"brier", DifferenceJson(comparison.brier)},
          {"auroc", DifferenceJson(comparison.auroc)},
          {"augrc", DifferenceJson(comparison.augrc)},
          {"ece15", DifferenceJson(comparison.ece15)},
          {"mean_confidence", DifferenceJson(comparison.mean_confidence)}};
}

}  // namespace candor::calibration
