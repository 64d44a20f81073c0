// Golden cases of calibration, ranking and selective prediction.
#include "calibration/bins.h"
#include "calibration/calibration_tests.h"
#include "calibration/intervals.h"
#include "calibration/isotonic.h"
#include "calibration/ranking.h"
#include "calibration/scoring_rules.h"
#include "calibration/smooth_ece.h"
#include "golden.h"

namespace candor::calibration {
namespace {

double MeanScore(const Points& points, double (*score)(double, double)) {
  double sum = 0.0;
  for (const Point& point : points) sum += score(point.p, point.y);
  return sum / static_cast<double>(points.size());
}

TEST(GoldenMetrics, EqualWidthEce) {
  for (const char* id : {"ece_ew_A_10", "ece_ew_A_15", "ece_ew_A_20", "ece_ew_B_10", "ece_ew_B_15", "ece_ew_B_20"}) {
    const Case golden(id);
    golden.Expect(Ece(EqualWidthBins(golden.points(), golden.params().at("bins"))));
  }
}

TEST(GoldenMetrics, IntegerBinsAvoidTheEdgeTrap) {
  const Case golden("edge_trap");
  const auto p = golden.inputs().at("p").get<std::vector<double>>();
  for (const auto& [bins, key] :
       {std::pair{10, "canonical_int_M10"}, {20, "canonical_int_M20"}, {100, "canonical_int_M100"}, {1200, "canonical_int_M1200"}})
    for (size_t i = 0; i < p.size(); ++i) EXPECT_EQ(golden.expected().at(key)[i], BinOf(p[i], bins)) << p[i] << " of " << bins;
  // Negative control: dividing by a floating width gives the other libraries' answer, so the case can tell them apart.
  int moved = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    EXPECT_EQ(golden.expected().at("divide_by_0_1_M10")[i], static_cast<int>(p[i] / 0.1));
    moved += static_cast<int>(p[i] / 0.1) != BinOf(p[i], 10);
  }
  EXPECT_EQ(4, moved);
}

TEST(GoldenMetrics, SignedGapAndItsParts) {
  for (const char* id : {"signed_A", "signed_B"}) {
    const Case golden(id);
    const Bins bins = EqualWidthBins(golden.points(), 15);
    golden.Expect("signed_gap", SignedGap(bins));
    if (golden.expected().contains("mean_conf")) {
      golden.Expect("mean_conf", MeanScore(golden.points(), [](double p, double) { return p; }));
      golden.Expect("accuracy", MeanScore(golden.points(), [](double, double y) { return y; }));
    }
    golden.Expect("oce", OverConfidence(bins));
    golden.Expect("uce", UnderConfidence(bins));
    golden.Expect("ece", Ece(bins));
  }
}

TEST(GoldenMetrics, EqualMassEceAndSweep) {
  for (const char* id : {"ece_em_A_10", "ece_em_A_15", "ece_em_B_10", "ece_em_B_15"}) {
    const Case golden(id);
    golden.Expect(Ece(EqualMassBins(golden.points(), golden.params().at("bins"))));
  }
  for (const char* id : {"ece_sweep_A", "ece_sweep_B"}) {
    const Case golden(id);
    const EceSweep sweep = ComputeEceSweep(golden.points());
    EXPECT_EQ(golden.expected().at("n_bins"), sweep.bins);
    golden.Expect("ece_l1", sweep.ece);
    golden.Expect("ece_l2", sweep.root_mean_square);
  }
}

TEST(GoldenMetrics, MaximumAndAverageGap) {
  for (const char* id : {"mce_A", "mce_B"}) {
    const Case golden(id);
    const Bins bins = EqualWidthBins(golden.points(), 15);
    golden.Expect("mce", MaxGap(bins, 0.0));
    golden.Expect("ace_equal_weight", AverageGap(bins));
  }
}

TEST(GoldenMetrics, DebiasedSquaredError) {
  for (const char* id : {"debiased_l2_A_10", "debiased_l2_A_15", "debiased_l2_B_10", "debiased_l2_B_15"}) {
    const Case golden(id);
    const Bins bins = MidpointBins(golden.points(), golden.params().at("bins"));
    golden.Expect("unbiased_sq", DebiasedSquareGap(bins).squared);
    golden.Expect("l2_debiased", DebiasedSquareGap(bins).value);
    golden.Expect("l2_plugin", RootMeanSquareGap(bins));
  }
  const Case golden("discrete_l2_A");
  golden.Expect("unbiased_sq", DebiasedSquareGap(DiscreteBins(golden.points())).squared);
  golden.Expect("plugin_l1", Ece(DiscreteBins(golden.points())));
}

TEST(GoldenMetrics, SmoothEce) {
  for (const char* id : {"smece_A", "smece_B"}) {
    const Case golden(id);
    const SmoothEce found = ComputeSmoothEce(golden.points());
    golden.Expect("smece", found.value);
    golden.Expect("sigma", found.sigma);
    golden.Expect("smece_sigma_0_05", SmoothEceAt(golden.points(), 0.05));
    golden.Expect("smece_sigma_0_1", SmoothEceAt(golden.points(), 0.1));
  }
}

TEST(GoldenMetrics, ProperScores) {
  for (const char* id : {"proper_A", "proper_B"}) {
    const Case golden(id);
    const Points points = golden.points();
    golden.Expect("brier", MeanScore(points, BrierScore));
    golden.Expect("nll_clip1e6", MeanScore(points, [](double p, double y) { return LogScore(p, y); }));
    golden.Expect("spherical", MeanScore(points, SphericalScore));
    golden.Expect("brier_skill", 1.0 - MeanScore(points, BrierScore) / ComputeCorp(points).unc);
  }
  const Case rlcr("rlcr_reward");
  std::vector<double> rewards;
  for (const Json& pair : rlcr.inputs().at("correct_conf")) rewards.push_back(RlcrReward(pair[1], pair[0]));
  rlcr.ExpectAll(rlcr.expected(), rewards, "reward");
}

TEST(GoldenMetrics, MurphySplitIsExact) {
  for (const char* id : {"murphy_A_10", "murphy_A_15", "murphy_B_10", "murphy_B_15"}) {
    const Case golden(id);
    const Murphy murphy = ComputeMurphy(EqualWidthBins(golden.points(), golden.params().at("bins")));
    golden.Expect("reliability", murphy.reliability);
    golden.Expect("resolution", murphy.resolution);
    golden.Expect("uncertainty", murphy.uncertainty);
    golden.Expect("within_bin_variance", murphy.within_variance);
    golden.Expect("within_bin_covariance_x2", murphy.within_covariance);
    golden.Expect("generalized_resolution", murphy.generalized_resolution());
    golden.Expect("brier", murphy.brier());
  }
}

TEST(GoldenMetrics, CorpSplit) {
  for (const char* id : {"corp_A", "corp_B"}) {
    const Case golden(id);
    const Corp corp = ComputeCorp(golden.points());
    golden.Expect("mcb", corp.mcb);
    golden.Expect("dsc", corp.dsc);
    golden.Expect("unc", corp.unc);
    golden.Expect("brier", corp.mcb - corp.dsc + corp.unc);
    if (golden.expected().at("pav").is_null()) continue;
    std::vector<double> fitted;
    for (const Point& point : golden.points()) fitted.push_back(FitIsotonic(golden.points()).At(point.p));
    golden.ExpectAll("pav", fitted);
  }
}

TEST(GoldenMetrics, Ranking) {
  for (const char* id : {"rank_A", "rank_B"}) {
    const Case golden(id);
    golden.Expect("auroc", Auroc(golden.points()));
    golden.Expect("auprc_success", AuprcSuccess(golden.points()));
    golden.Expect("auprc_error", AuprcError(golden.points()));
  }
}

TEST(GoldenMetrics, SelectivePrediction) {
  for (const char* id : {"selective_A", "selective_B"}) {
    const Case golden(id);
    const Points points = golden.points();
    golden.Expect("aurc_mean_tie_averaged", Aurc(points));
    golden.Expect("augrc_fdshifts", Augrc(points));
    for (const auto& [coverage, accuracy] : golden.expected().at("acc_at_cov").items())
      EXPECT_NEAR(accuracy.get<double>(), AccuracyAtCoverage(points, std::stod(coverage)), 1e-10) << id << coverage;
    golden.Expect("cov_at_risk_0_1", CoverageAtRisk(points, 0.1));
    golden.Expect("aurc_opt_disc", Aurc(points) - ExcessAurc(points));
    golden.Expect("aurc_opt_cont", Aurc(points) - ExcessAurcContinuous(points));
    // The libraries' excess starts from their order-dependent mean.
    const double stable = golden.expected().at("aurc_mean_stable").get<double>();
    golden.Expect("e_aurc_geifman_cont", stable - (Aurc(points) - ExcessAurcContinuous(points)));
    golden.Expect("e_aurc_discrete", stable - (Aurc(points) - ExcessAurc(points)));
  }
  for (const char* id : {"augrc_identity_A", "augrc_identity_B"}) Case(id).Expect("augrc", Augrc(Case(id).points()));
}

TEST(GoldenMetrics, Sharpness) {
  for (const char* id : {"sharp_A", "sharp_B"}) {
    const Case golden(id);
    const Sharpness sharpness = ComputeSharpness(golden.points());
    golden.Expect("variance_conf", sharpness.variance);
    golden.Expect("mean_entropy_bits", sharpness.mean_entropy_bits);
    golden.Expect("mean_p1mp", sharpness.mean_p_one_minus_p);
    golden.Expect("frac_ge_0_9", sharpness.share_above_90);
  }
}

TEST(GoldenMetrics, EcceAndSpiegelhalter) {
  for (const char* id : {"ecce_A", "ecce_B"}) {
    const Case golden(id);
    const Ecce ecce = ComputeEcce(golden.points());
    golden.Expect("ecce", ecce.value);
    golden.Expect("ecce_sigma", ecce.in_sigmas);
    golden.Expect("ecce_pvalue", ecce.p_value);
    golden.Expect("spiegelhalter_z", ComputeSpiegelhalter(golden.points()).z);
    golden.Expect("spiegelhalter_p", ComputeSpiegelhalter(golden.points()).p_value);
  }
}

TEST(GoldenMetrics, NoiseFloor) {
  for (const char* id : {"ece_null_A", "ece_null_B"}) {
    const Case golden(id);
    for (int bins : {10, 15, 20}) golden.Expect(std::to_string(bins), EceFloor(EqualWidthBins(golden.points(), bins)));
  }
}

TEST(GoldenMetrics, EdgeSets) {
  for (const char* id : {"edge_all_correct", "edge_all_wrong", "edge_single"}) {
    const Case golden(id);
    const Points points =
        MakePoints(golden.inputs().at("p").get<std::vector<double>>(), golden.inputs().at("y").get<std::vector<double>>());
    golden.Expect("ece10", Ece(EqualWidthBins(points, 10)));
    golden.Expect("brier", MeanScore(points, BrierScore));
    golden.Expect("auroc", Auroc(points));
    golden.Expect("signed", SignedGap(EqualWidthBins(points, 10)));
    golden.Expect("aurc_mean", Aurc(points));
  }
}

TEST(GoldenMetrics, MissingConfidencePolicies) {
  const Case golden("missing_conf_policy");
  std::vector<Row> rows;
  for (size_t i = 0; i < golden.inputs().at("conf").size(); ++i) {
    const Json& confidence = golden.inputs().at("conf")[i];
    rows.push_back(
        {confidence.is_null() ? std::nullopt : Confidence::From(confidence.get<double>()), golden.inputs().at("correct")[i].get<double>()});
  }
  golden.Expect("drop", MeanScore(PointsOf(rows), BrierScore));
  golden.Expect("impute0_rlcr", MeanScore(PointsOf(rows, 0.0), BrierScore));
  golden.Expect("impute_half", MeanScore(PointsOf(rows, 0.5), BrierScore));
  golden.Expect("format_adherence", static_cast<double>(PointsOf(rows).size()) / static_cast<double>(rows.size()));
}

TEST(GoldenMetrics, SlicesShowWhatTheGlobalNumberHides) {
  const Case golden("slices");
  const auto p = golden.inputs().at("p").get<std::vector<double>>(), y = golden.inputs().at("y").get<std::vector<double>>();
  std::map<std::string, Points> slices;
  for (size_t i = 0; i < p.size(); ++i) slices[golden.inputs().at("slice")[i]].push_back({p[i], y[i], i});
  EXPECT_NEAR(golden.expected().at("global_ece15").get<double>(), Ece(EqualWidthBins(MakePoints(p, y), 15)), 1e-8);
  std::vector<double> p_values;
  std::vector<std::string> names;
  for (const auto& [name, points] : slices) {
    const Json& expected = golden.expected().at("per_slice").at(name);
    const Ecce ecce = ComputeEcce(points);
    const ConfidentWrong tail = CountConfidentWrong(points, 0.9);
    const Bins bins = EqualWidthBins(points, 15);
    EXPECT_NEAR(expected.at("ece15").get<double>(), Ece(bins), 1e-8);
    EXPECT_NEAR(expected.at("null15").get<double>(), EceFloor(bins), 1e-8);
    EXPECT_NEAR(expected.at("signed").get<double>(), SignedGap(bins), 1e-8);
    EXPECT_NEAR(expected.at("ecce_sigma").get<double>(), ecce.in_sigmas, 1e-8);
    EXPECT_NEAR(expected.at("ecce_p").get<double>(), ecce.p_value, 1e-8);
    EXPECT_EQ(expected.at("n_hiconf"), tail.confident);
    EXPECT_EQ(expected.at("cw"), tail.wrong);
    EXPECT_NEAR(expected.at("cw_expected").get<double>(), tail.expected, 1e-8);
    EXPECT_NEAR(1.0, tail.p_value / expected.at("cw_pvalue").get<double>(), 1e-8) << name;  // relative: the rare slice's is 1.7e-17
    p_values.push_back(tail.p_value);
    names.push_back(name);
  }
  const auto adjusted = AdjustBenjaminiHochberg(p_values);
  for (size_t i = 0; i < names.size(); ++i)
    EXPECT_NEAR(1.0, adjusted[i] / golden.expected().at("bh_adjusted").at(names[i]).get<double>(), 1e-8);
}

TEST(GoldenMetrics, MulticalibrationNeedsEverySliceAsASegment) {
  const Case golden("mcgrad_mce");
  const Case slices("slices");
  const auto p = slices.inputs().at("p").get<std::vector<double>>(), y = slices.inputs().at("y").get<std::vector<double>>();
  const Json& expected = golden.expected().at("max_values_10");
  const Ecce global = ComputeEcce(MakePoints(p, y));
  EXPECT_NEAR(expected.at("global_ecce").get<double>(), global.value, 1e-6);
  EXPECT_NEAR(expected.at("global_sigma").get<double>(), global.in_sigmas, 1e-6);
  std::map<std::string, Points> by_slice;
  for (size_t i = 0; i < p.size(); ++i) by_slice[slices.inputs().at("slice")[i]].push_back({p[i], y[i], i});
  double worst = global.in_sigmas;
  for (size_t s = 0; s < expected.at("segments").size(); ++s) {
    const Ecce ecce = ComputeEcce(by_slice.at(expected.at("segments")[s]));
    EXPECT_NEAR(expected.at("segments_ecce")[s + 1].get<double>(), ecce.value, 1e-6);
    worst = std::max(worst, ecce.in_sigmas);
  }
  EXPECT_NEAR(expected.at("mce_sigma").get<double>(), worst, 1e-6);
}

TEST(GoldenMetrics, EceOfPooledRowsIsNotTheMeanOfChunks) {
  const Case golden("ece_not_averageable");
  const Points all = golden.points();
  double sum = 0.0, brier = 0.0;
  const size_t chunk = all.size() / 20;
  for (size_t c = 0; c < 20; ++c) {
    const Points part(all.begin() + c * chunk, all.begin() + (c + 1) * chunk);
    sum += Ece(EqualWidthBins(part, 15)) / 20;
    brier += MeanScore(part, BrierScore) / 20;
  }
  golden.Expect("mean_of_chunk_ece15", sum);
  golden.Expect("pooled_ece15", Ece(EqualWidthBins(all, 15)));
  golden.Expect("mean_of_chunk_brier", brier);
  golden.Expect("pooled_brier", MeanScore(all, BrierScore));
}

}  // namespace
}  // namespace candor::calibration
