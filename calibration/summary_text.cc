// Summaries as tables a person reads.
#include <algorithm>
#include <cmath>
#include <string>

#include "calibration/printf.h"
#include "calibration/summary.h"

namespace candor::calibration {
namespace {

std::string Between(const Interval& interval, int digits = 3) {
  if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) return "";
  return Printf("[%.*f, %.*f]", digits, interval.low, digits, interval.high);
}

// Characters on screen: UTF-8 continuation bytes take no column.
size_t Columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}
std::string Padded(const std::string& text, size_t width, bool right = false) {
  const std::string space(width > Columns(text) ? width - Columns(text) : 0, ' ');
  return right ? space + text : text + space;
}

std::string Line(const std::string& name, const std::string& value, const std::string& interval, const std::string& words) {
  std::string line = "  " + Padded(name, 17) + Padded(value, 7, true) + "  " + Padded(interval, 18) + words;
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line + "\n";
}

std::string Direction(const CalibrationSummary& s) {
  const Interval& gap = s.gap.interval;
  if (!std::isfinite(s.gap.mean)) return "";
  const std::string parts = Printf(" (over %.3f, under %.3f)", s.oce, s.uce);
  if (gap.low > 0.0) return "over-confident" + parts;
  if (gap.high < 0.0) return "under-confident" + parts;
  return std::string("neither over- nor under-confident on the whole") + parts;
}

std::string EceWords(const CalibrationSummary& s) {
  if (!std::isfinite(s.ece[1])) return "";
  std::string words = "floor " + Shown(s.ece_floor[1]);
  if (!std::isfinite(s.ece_null95[1])) return words;
  words += ", null 95 % " + Shown(s.ece_null95[1]) + ": ";
  words += s.IsDistinguishable() ? "not perfectly calibrated" : "cannot be told from perfect calibration with this many rows";
  if (s.ece_independent[1] != s.ece[1]) words += " (" + Shown(s.ece_independent[1]) + " with one row per prompt)";
  return words;
}

std::string CountLine(const CalibrationSummary& s) {
  std::string line = Printf("%lld rows", static_cast<long long>(s.rows));
  if (s.missing > 0) line += Printf(", %lld of them without a confidence (left out below)", static_cast<long long>(s.missing));
  if (s.prompts < s.rows) line += Printf(", %lld prompts (intervals resample prompts)", static_cast<long long>(s.prompts));
  return line + "\n";
}

std::string MissingLines(const CalibrationSummary& s) {
  if (s.missing == 0) return "";
  return Line("format adherence", Printf("%.3f", static_cast<double>(s.n) / static_cast<double>(s.rows)), "",
              Printf("accuracy of all rows %s; Brier with missing as 0: %s, as 0.5: %s", Shown(s.accuracy_all_rows).c_str(),
                     Shown(s.brier_missing_as_0).c_str(), Shown(s.brier_missing_as_half).c_str()));
}

}  // namespace

std::string SummaryTable(const CalibrationSummary& s) {
  std::string text = CountLine(s);
  if (s.n == 0) return text + "  nothing to measure: no row has a confidence\n";
  text += Line("", "", "95 % interval", "");
  text += Line("accuracy", Shown(s.accuracy.mean), Between(s.accuracy.interval), "");
  text += Line("mean confidence", Shown(s.confidence.mean), Between(s.confidence.interval), "");
  text += Line("signed gap", Shown(s.gap.mean, 3, true), Between(s.gap.interval), Direction(s));
  text += Line("Brier", Shown(s.brier), Between(s.estimates.brier.interval),
               Printf("= %s miscalibration - %s discrimination + %s uncertainty", Shown(s.corp.mcb).c_str(), Shown(s.corp.dsc).c_str(),
                      Shown(s.corp.unc).c_str()));
  text += Line(
      "log score", Shown(s.nll), "",
      s.clipped_mistakes > 0 ? Printf("nats; dominated by %lld certain mistakes", static_cast<long long>(s.clipped_mistakes)) : "nats");
  text += Line("ECE (15 bins)", Shown(s.ece[1]), Between(s.estimates.ece15.interval), EceWords(s));
  text += Line("smooth ECE", Shown(s.smooth_ece), "", "");
  text +=
      Line("AUROC", Shown(s.auroc), Between(s.estimates.auroc.interval),
           std::isfinite(s.auroc) ? "chance that a correct answer is more confident than a wrong one" : "undefined: all labels are alike");
  text += Line("AUGRC", Shown(s.augrc), Between(s.estimates.augrc.interval), "best possible at this accuracy " + Shown(s.augrc_optimal));
  text += Line("AURC", Shown(s.aurc), "", "");
  text += MissingLines(s);
  text += Line("answering", "", "",
               Printf("the surest 50 / 80 / 90 %%: accuracy %s / %s / %s", Shown(s.accuracy_at_coverage[0]).c_str(),
                      Shown(s.accuracy_at_coverage[1]).c_str(), Shown(s.accuracy_at_coverage[2]).c_str()));
  text += Line("at risk", "", "",
               Printf("1 / 5 / 10 %%: coverage %s / %s / %s", Shown(s.coverage_at_risk[0]).c_str(), Shown(s.coverage_at_risk[1]).c_str(),
                      Shown(s.coverage_at_risk[2]).c_str()));
  if (s.confident_wrong.confident > 0)
    text += Line("sure and wrong", Printf("%d", s.confident_wrong.wrong), "",
                 Printf("of %d prompts with confidence >= 0.9; %.1f expected if calibrated (p = %.2g)", s.confident_wrong.confident,
                        s.confident_wrong.expected, s.confident_wrong.p_value));
  if (s.sharpness.top3_level_share > 0.8 && s.n >= 30)
    text += Line("collapse", Shown(s.sharpness.top3_level_share), "",
                 Printf("of the rows state one of three values; %d values in all", s.sharpness.distinct_levels));
  return text;
}

std::string SliceTable(const std::vector<SliceSummary>& slices) {
  if (slices.empty()) return "";
  size_t width = 5;
  for (const SliceSummary& slice : slices) width = std::max(width, std::min<size_t>(Columns(slice.name), 40));
  std::string text =
      Padded("slice", width) + "       n  accuracy  [95 %, Wilson]   confidence     gap   Brier  AUROC  sure and wrong (expected)\n";
  for (const SliceSummary& slice : slices) {
    const CalibrationSummary& s = slice.summary;
    std::string name = slice.name;
    if (Columns(name) > width) {  // cut between characters
      size_t end = 0, columns = 0;
      while (end < name.size() && columns < width - 1)
        for (++end, ++columns; end < name.size() && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80;) ++end;
      name = name.substr(0, end) + "…";
    }
    text += Padded(name, width) + Printf("  %6lld", static_cast<long long>(s.n)) + Padded(Shown(s.accuracy.mean), 10, true) + "  " +
            Padded(Between(s.accuracy_wilson, 2), 15) + Padded(Shown(s.confidence.mean), 11, true) +
            Padded(Shown(s.gap.mean, 3, true), 8, true) + Padded(Shown(s.brier), 8, true) + Padded(Shown(s.auroc), 7, true) +
            Printf("  %d of %d (%.1f)", s.confident_wrong.wrong, s.confident_wrong.confident, s.confident_wrong.expected);
    if (slice.confident_wrong_adjusted < 0.05) text += Printf("  ! p = %.1g", slice.confident_wrong_adjusted);
    text += "\n";
  }
  return text;
}

std::string ComparisonTable(const PairedComparison& comparison, const std::string& name_a, const std::string& name_b) {
  const size_t width = std::max<size_t>({8, Columns(name_a), Columns(name_b)});
  std::string text = Printf("%d prompts in both", comparison.prompts);
  if (comparison.without_confidence > 0) text += Printf(", %d without a confidence in one of them", comparison.without_confidence);
  text += "\n  " + Padded("", 17) + Padded(name_a, width, true) + "  " + Padded(name_b, width, true) + "   difference  95 % interval\n";
  const auto line = [&](const char* name, const Difference& d, int better) {
    std::string verdict;
    if (d.excludes_zero() && better != 0) verdict = (d.delta > 0.0) == (better > 0) ? "  better" : "  worse";
    text += "  " + Padded(name, 17) + Padded(Shown(d.a), width, true) + "  " + Padded(Shown(d.b), width, true) +
            Padded(Shown(d.delta, 3, true), 13, true) + "  " + Padded(Between(d.interval), 16) + verdict + "\n";
  };
  line("accuracy", comparison.accuracy, 1);
  line("Brier", comparison.brier, -1);
  line("AUROC", comparison.auroc, 1);
  line("AUGRC", comparison.augrc, -1);
  line("ECE (15 bins)", comparison.ece15, -1);
  line("mean confidence", comparison.mean_confidence, 0);
  return text;
}

}  // namespace candor::calibration
