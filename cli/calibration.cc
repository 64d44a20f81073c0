// candor calibration FILE.jsonl: measures anybody's rows {"confidence": .., "correct": .., "slice"?, "prompt"?} and draws the reliability
// diagram.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "calibration/decisions.h"
#include "calibration/summary.h"
#include "calibration/svg_chart.h"
#include "calibration/terminal_chart.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "core/result.h"

namespace candor::cli {
namespace {

constexpr const char* kCalibrationExamples = R"(Rows, one JSON object per line:
  {"confidence": 0.8, "correct": true, "slice": "geography", "prompt": "q17"}
  confidence  a probability from 0 to 1; null or absent: none was given (counted, left out)
  correct     true, false, or a number from 0 to 1 for partial credit
  slice       optional, a string or a list: each gets a line of its own
  prompt      optional: rows with the same prompt are correlated, intervals resample prompts

Examples:
  candor calibration answers.jsonl
  candor calibration runs/cities/eval/after.jsonl
  candor calibration answers.jsonl --json > metrics.json
  candor calibration dev.jsonl --risk 0.1        from which confidence on at most 10 % of the answers are wrong
  candor calibration after.jsonl --versus before.jsonl --svg reliability.svg
)";

struct CalibrationArguments {
  std::string path, versus, svg, risk_svg;
  bool json = false, ascii = false;
  int replicates = 200;
  double risk = 0.0;  // 0: no threshold is looked for
};

constexpr double kGuaranteeDelta = 0.05;

Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return Fail(ErrorCode::kIo, "cannot write the picture", path, "check the folder and its permissions");
  return {};
}

// From which confidence on the answers may be given (`--abstain-below` of candor generate and candor serve).
std::string GuaranteeText(const std::vector<calibration::Row>& rows, double risk) {
  const auto found = calibration::FindGuarantee(calibration::PointsOf(rows), risk, kGuaranteeDelta);
  if (!found)
    return fmt::format(
        "No confidence is known from which on at most {:.4g} % of the answers are wrong: measure more rows, or allow more.\n", 100 * risk);
  return fmt::format(
      "Answers with a confidence of {:.6g} or more: {:.1f} % of all, {:.1f} % of them wrong, at most {:.4g} % with probability {:.2f} "
      "(--abstain-below {:.6g}).\n",
      found->threshold, 100 * found->coverage, 100 * found->empirical_risk, 100 * risk, 1 - kGuaranteeDelta, found->threshold);
}

nlohmann::json GuaranteeJson(const std::vector<calibration::Row>& rows, double risk) {
  const auto found = calibration::FindGuarantee(calibration::PointsOf(rows), risk, kGuaranteeDelta);
  if (!found) return nullptr;
  return {{"risk", risk},
          {"confidence", 1 - kGuaranteeDelta},
          {"threshold", found->threshold},
          {"coverage", found->coverage},
          {"empirical_risk", found->empirical_risk},
          {"risk_bound", found->risk_bound}};
}

void PrintJson(const CalibrationArguments& arguments, const std::vector<calibration::Row>& rows,
               const calibration::CalibrationSummary& summary, const calibration::SummaryOptions& options,
               const calibration::PairedComparison* comparison) {
  nlohmann::json json = calibration::ToJson(summary);
  const auto slices = calibration::ComputeSlices(rows, options);
  if (!slices.empty()) json["slices"] = calibration::ToJson(slices);
  if (comparison != nullptr) json["versus"] = calibration::ToJson(*comparison);
  if (arguments.risk > 0) json["guarantee"] = GuaranteeJson(rows, arguments.risk);
  std::printf("%s\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

void PrintTables(const CalibrationArguments& arguments, const std::vector<calibration::Row>& rows,
                 const calibration::CalibrationSummary& summary, const calibration::SummaryOptions& options,
                 const calibration::PairedComparison* comparison) {
  const calibration::ChartOptions chart{40, arguments.ascii};
  std::printf("%s: %s", arguments.path.c_str(), calibration::SummaryTable(summary).c_str());
  if (summary.n > 0) {
    std::printf("\n%s", calibration::DrawReliability(summary.bins10, chart).c_str());
    std::printf("\n%s", calibration::DrawRiskCoverage(calibration::PointsOf(rows), chart).c_str());
  }
  if (arguments.risk > 0) std::printf("\n%s", GuaranteeText(rows, arguments.risk).c_str());
  const auto slices = calibration::ComputeSlices(rows, options);
  if (!slices.empty()) std::printf("\n%s", calibration::SliceTable(slices).c_str());
  if (comparison != nullptr)
    std::printf("\nagainst %s: %s", arguments.versus.c_str(), calibration::ComparisonTable(*comparison, "before", "after").c_str());
}

Status Run(const CalibrationArguments& arguments) {
  int64_t unknown = 0;
  CANDOR_ASSIGN(const std::vector<calibration::Row> rows, calibration::ReadRows(arguments.path, &unknown));
  std::vector<calibration::ChartSeries> series;
  std::optional<calibration::PairedComparison> comparison;
  if (!arguments.versus.empty()) {
    CANDOR_ASSIGN(const std::vector<calibration::Row> before, calibration::ReadRows(arguments.versus));
    CANDOR_ASSIGN(comparison, calibration::ComparePaired(before, rows, {arguments.replicates, 0.95}));
    series.push_back({"before", calibration::PointsOf(before)});
  }
  series.push_back({series.empty() ? "" : "after", calibration::PointsOf(rows)});
  calibration::SummaryOptions options;
  options.bootstrap_replicates = arguments.replicates;
  options.intervals = arguments.replicates > 0;
  const calibration::CalibrationSummary summary = calibration::ComputeSummary(rows, options);
  const calibration::PairedComparison* versus = comparison ? &*comparison : nullptr;
  if (unknown > 0)
    std::fprintf(stderr, "candor calibration: %ld rows are left out: their label is unknown (the verifier failed), which is not wrong\n",
                 static_cast<long>(unknown));
  if (arguments.json) {
    PrintJson(arguments, rows, summary, options, versus);
  } else {
    PrintTables(arguments, rows, summary, options, versus);
  }
  if (!arguments.svg.empty()) CANDOR_TRY(WriteFile(arguments.svg, calibration::ReliabilitySvg(series)));
  if (!arguments.risk_svg.empty()) CANDOR_TRY(WriteFile(arguments.risk_svg, calibration::RiskCoverageSvg(series)));
  return {};
}

}  // namespace

int RunCalibration(int argc, const char* const* argv) {
  CalibrationArguments arguments;
  CommandLine app(
      "How well do stated confidences match what turned out right? Accuracy, Brier score, ECE beside what chance alone gives, ranking, and "
      "a reliability diagram.",
      "candor calibration");
  app.Add("FILE", &arguments.path, "JSON lines with \"confidence\" and \"correct\"; - reads standard input").Required();
  app.AddFlag("--json", &arguments.json, "print every number as JSON; what is undefined is null");
  app.Add("--versus", &arguments.versus, "an earlier file over the same prompts: prints paired differences with intervals");
  app.Add("--svg", &arguments.svg, "write the reliability diagram to this file");
  app.Add("--risk-svg", &arguments.risk_svg, "write the risk-coverage curve to this file");
  app.Add("--replicates", &arguments.replicates, "bootstrap replicates of the intervals (0: none)").Range(0, 10000).ShowDefault();
  app.Add("--risk", &arguments.risk,
          "the share of given answers that may be wrong: prints the lowest confidence from which on that holds with probability 0.95")
      .Range(1e-6, 1.0);
  app.AddFlag("--ascii", &arguments.ascii, "draw with plain characters");
  app.AddFooter(kCalibrationExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("calibration", Run(arguments));
}

}  // namespace candor::cli
