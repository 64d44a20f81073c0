// The summary, its JSON and its drawings.
#include "calibration/summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "calibration/svg_chart.h"
#include "calibration/terminal_chart.h"
#include "core/rng.h"
#include "golden.h"

namespace candor::calibration {
namespace {

std::vector<Row> RowsOf(const Points& points, int per_prompt = 1) {
  std::vector<Row> rows;
  for (size_t i = 0; i < points.size(); ++i)
    rows.push_back({Confidence::From(points[i].p), points[i].y, "q" + std::to_string(i / per_prompt), {i % 3 == 0 ? "a & b" : "c"}});
  return rows;
}

TEST(Summary, JsonHasEveryNamedKeyWithTheGoldenNumbers) {
  const Json json = ToJson(ComputeSummary(RowsOf(DatasetPoints("B"))));
  for (const char* key : {"n", "accuracy", "mean_confidence", "signed_gap", "oce", "uce", "ece", "ece_floor", "smooth_ece", "brier", "nll",
                          "murphy", "corp", "auroc", "aurc", "augrc", "ece_null95", "intervals"})
    ASSERT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(200, json["n"]);
  const auto near = [&](const Json& actual, const char* id, const std::string& key) {
    const Json& golden = GoldenCase(id);
    EXPECT_NEAR((key.empty() ? golden.at("expected") : golden.at("expected").at(key)).get<double>(), actual.get<double>(),
                golden.at("tol").get<double>())
        << id << key;
  };
  for (const char* bins : {"10", "15", "20"}) {
    near(json["ece"][bins], ("ece_ew_B_" + std::string(bins)).c_str(), "");
    near(json["ece_floor"][bins], "ece_null_B", bins);
    EXPECT_GT(json["ece_null95"][bins].get<double>(), json["ece_floor"][bins].get<double>());
  }
  for (const char* key : {"signed_gap", "oce", "uce", "accuracy"}) near(json[key], "signed_B", key);
  near(json["mean_confidence"], "signed_B", "mean_conf");
  near(json["brier"], "proper_B", "brier");
  near(json["nll"], "proper_B", "nll_clip1e6");
  near(json["smooth_ece"], "smece_B", "smece");
  for (const char* key : {"mcb", "dsc", "unc"}) near(json["corp"][key], "corp_B", key);
  for (const char* key : {"reliability", "resolution", "uncertainty"}) {
    near(json["murphy"]["10"][key], "murphy_B_10", key);
    near(json["murphy"]["15"][key], "murphy_B_15", key);
  }
  near(json["auroc"], "rank_B", "auroc");
  near(json["aurc"], "selective_B", "aurc_mean_tie_averaged");
  near(json["augrc"], "augrc_identity_B", "augrc");
}

TEST(Summary, UndefinedIsNullAndEmptyHasNoZeros) {
  const Json one_class = ToJson(ComputeSummary(RowsOf(MakePoints({0.9, 0.8, 0.7}, {1, 1, 1}))));
  EXPECT_TRUE(one_class["auroc"].is_null());
  EXPECT_EQ(0.0, one_class["augrc"].get<double>());
  EXPECT_EQ(3, one_class["n"]);
  const Json empty = ToJson(ComputeSummary({}));
  EXPECT_EQ(0, empty["n"]);
  for (const char* key :
       {"accuracy", "mean_confidence", "signed_gap", "oce", "uce", "smooth_ece", "brier", "nll", "auroc", "aurc", "augrc"})
    EXPECT_TRUE(empty[key].is_null()) << key << empty[key];
  for (const char* key : {"ece", "ece_floor", "ece_null95"}) EXPECT_TRUE(empty[key]["15"].is_null()) << key;
  EXPECT_TRUE(empty["murphy"]["10"]["reliability"].is_null());
  EXPECT_TRUE(empty["corp"]["mcb"].is_null());
  EXPECT_NE(std::string::npos, SummaryTable(ComputeSummary({})).find("nothing to measure"));
}

TEST(Summary, MissingConfidencesAreCountedNotImputed) {
  std::vector<Row> rows = {{Confidence::From(0.9), 1}, {std::nullopt, 1}, {Confidence::From(0.8), 0}, {std::nullopt, 0}};
  const Json json = ToJson(ComputeSummary(rows));
  EXPECT_EQ(2, json["n"]);
  EXPECT_EQ(2, json["missing"]);
  EXPECT_NEAR(0.325, json["brier"].get<double>(), 1e-12);
  EXPECT_NEAR(0.4125, json["brier_missing_as_0"].get<double>(), 1e-12);
  EXPECT_NEAR(0.5, json["format_adherence"].get<double>(), 1e-12);
}

TEST(Summary, RepeatingRolloutsDoesNotLowerTheFloor) {
  const Points points = DatasetPoints("B");
  Points repeated;
  for (const Point& point : points)
    for (int copy = 0; copy < 4; ++copy) repeated.push_back(point);
  const CalibrationSummary once = ComputeSummary(RowsOf(points)), four = ComputeSummary(RowsOf(repeated, 4));
  EXPECT_NEAR(once.ece_floor[1], four.ece_floor[1], 1e-12);
  EXPECT_NEAR(once.ece_null95[1], four.ece_null95[1], 1e-12);
  EXPECT_NEAR(once.ece[1], four.ece[1], 1e-12);
  EXPECT_LT(EceFloor(EqualWidthBins(PointsOf(RowsOf(repeated)), 15)), 0.6 * once.ece_floor[1])
      << "negative control: rows taken for independent";
}

TEST(Summary, ShufflingConfidencesDestroysDiscrimination) {
  Points points = DatasetPoints("C");
  const CalibrationSummary before = ComputeSummary(RowsOf(points));
  std::vector<double> confidences;
  for (const Point& point : points) confidences.push_back(point.p);
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [](size_t a, size_t b) { return SplitMix64(a) < SplitMix64(b); });
  for (size_t i = 0; i < points.size(); ++i) points[i].p = confidences[order[i]];
  const CalibrationSummary after = ComputeSummary(RowsOf(points));
  EXPECT_LT(after.corp.dsc, 0.3 * before.corp.dsc);
  EXPECT_NEAR(0.5, after.auroc, 0.06);
}

TEST(Summary, WordsFollowTheNumbers) {
  std::vector<double> p(400, 0.9), y(400, 0.0);
  for (size_t i = 0; i < 200; ++i) y[i] = 1.0;
  const std::string over = SummaryTable(ComputeSummary(RowsOf(MakePoints(p, y))));
  EXPECT_NE(std::string::npos, over.find("over-confident"));
  EXPECT_NE(std::string::npos, over.find("not perfectly calibrated"));
  EXPECT_NE(std::string::npos, over.find("state one of three values"));
  std::fill(p.begin(), p.end(), 0.5);
  const std::string fine = SummaryTable(ComputeSummary(RowsOf(MakePoints(p, y))));
  EXPECT_NE(std::string::npos, fine.find("cannot be told from perfect calibration"));
  std::fill(p.begin(), p.end(), 0.1);
  EXPECT_NE(std::string::npos, SummaryTable(ComputeSummary(RowsOf(MakePoints(p, y)))).find("  under-confident"));
}

TEST(Summary, SlicesAreSeparateAndTheRareOneIsFlagged) {
  const Case golden("slices");
  std::vector<Row> rows;
  for (size_t i = 0; i < golden.inputs().at("p").size(); ++i)
    rows.push_back({Confidence::From(golden.inputs().at("p")[i]),
                    golden.inputs().at("y")[i],
                    "",
                    {golden.inputs().at("slice")[i].get<std::string>()}});
  const auto slices = ComputeSlices(rows);
  ASSERT_EQ(4u, slices.size());
  for (const SliceSummary& slice : slices) {
    EXPECT_EQ(golden.expected().at("per_slice").at(slice.name).at("n"), slice.summary.n);
    EXPECT_EQ(slice.name == "rare" || slice.name == "code", slice.confident_wrong_adjusted < 0.05) << slice.name;
  }
  EXPECT_NE(std::string::npos, SliceTable(slices).find("rare"));
  EXPECT_EQ("", SliceTable({}));
}

TEST(TerminalChart, DrawsALinePerBinWithBarsToScale) {
  const std::string chart = DrawReliability(RowsOf(MakePoints({0.95, 0.95, 0.95, 0.95, 0.15}, {1, 1, 0, 0, 1})), 10, {40, true});
  EXPECT_EQ(13, std::count(chart.begin(), chart.end(), '\n'));
  EXPECT_NE(std::string::npos, chart.find(std::string(20, '#') + std::string(18, '.') + "| "));  // accuracy 0.5 of 40, mark at 0.95
  EXPECT_NE(std::string::npos, chart.find("|+++"));                                              // under-confident at 0.15
  EXPECT_TRUE(std::all_of(chart.begin(), chart.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
  EXPECT_NE(std::string::npos, DrawReliability(RowsOf(DatasetPoints("A"))).find("█"));
  EXPECT_EQ("", DrawRiskCoverage({}));
  EXPECT_NE(std::string::npos, DrawReliability(std::vector<Row>{}).find("0.00"));
}

// Tags open and close in order and no raw ampersand is left.
void ExpectWellFormed(const std::string& svg) {
  std::vector<std::string> open;
  for (size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at + 1)) {
    const size_t end = svg.find('>', at);
    ASSERT_NE(std::string::npos, end);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty());
  for (size_t at = svg.find('&'); at != std::string::npos; at = svg.find('&', at + 1)) EXPECT_LT(svg.find(';', at), at + 7);
  EXPECT_EQ(std::string::npos, svg.find("nan"));
}

TEST(SvgChart, IsWellFormedAndEscapesNames) {
  const std::vector<ChartSeries> both = {{"before <b> & \"x\"", DatasetPoints("A")}, {"after", DatasetPoints("B")}};
  ExpectWellFormed(ReliabilitySvg(both, {"Cities & <towns>", 10}));
  ExpectWellFormed(RiskCoverageSvg(both));
  ExpectWellFormed(ReliabilitySvg({{"", {}}}));
  ExpectWellFormed(RiskCoverageSvg({{"", {}}}));
  ExpectWellFormed(ReliabilitySvg({}));
  ExpectWellFormed(RiskCoverageSvg({{"all right", MakePoints({0.5, 1.0}, {1, 1})}}));
  EXPECT_NE(std::string::npos, ReliabilitySvg(both).find("prefers-color-scheme:dark"));
}

}  // namespace
}  // namespace candor::calibration
