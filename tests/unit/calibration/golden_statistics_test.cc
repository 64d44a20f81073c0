// Golden cases of intervals, sequential tests, decisions, recalibration and rollout statistics.
#include "calibration/bins.h"
#include "calibration/decisions.h"
#include "calibration/intervals.h"
#include "calibration/recalibration.h"
#include "calibration/rollout_stats.h"
#include "calibration/scoring_rules.h"
#include "calibration/sequential.h"
#include "calibration/token_signals.h"
#include "core/rng.h"
#include "golden.h"

namespace candor::calibration {
namespace {

TEST(GoldenStatistics, ClusteredStandardError) {
  const Case golden("clustered_se");
  std::vector<double> values;
  std::vector<uint64_t> clusters;
  for (size_t c = 0; c < golden.inputs().at("clusters").size(); ++c)
    for (const Json& value : golden.inputs().at("clusters")[c]) values.push_back(value), clusters.push_back(c);
  const ClusteredMean mean = ComputeClusteredMean(values, clusters);
  golden.Expect("mean", mean.mean);
  golden.Expect("naive_se", mean.naive_standard_error);
  golden.Expect("clustered_se", mean.standard_error);
  golden.Expect("icc1", mean.icc1);
  EXPECT_NEAR(golden.expected().at("t95")[0].get<double>(), mean.interval.low, 1e-10);
  EXPECT_NEAR(golden.expected().at("t95")[1].get<double>(), mean.interval.high, 1e-10);
}

TEST(GoldenStatistics, BinomialIntervals) {
  for (const char* id : {"binom_ci_0_12", "binom_ci_3_12", "binom_ci_12_12"}) {
    const Case golden(id);
    const double k = golden.inputs().at("k"), n = golden.inputs().at("n");
    const Interval wilson = WilsonInterval(k, n), clopper = ClopperPearsonInterval(k, n), jeffreys = JeffreysInterval(k, n);
    golden.ExpectAll("wilson95", {wilson.low, wilson.high});
    golden.ExpectAll("clopper95", {clopper.low, clopper.high});
    golden.ExpectAll("jeffreys95", {jeffreys.low, jeffreys.high});
  }
}

TEST(GoldenStatistics, HashPoissonWeights) {
  const Case golden("poisson_bootstrap");
  for (size_t i = 0; i < golden.inputs().at("ids").size(); ++i)
    for (size_t b = 0; b < golden.inputs().at("replicates").size(); ++b)
      EXPECT_EQ(golden.expected()[i][b], PoissonWeight(golden.inputs().at("ids")[i], golden.inputs().at("replicates")[b]));
  const Case mixer("splitmix64");
  for (size_t i = 0; i < mixer.expected().size(); ++i)
    EXPECT_EQ(mixer.expected()[i], std::to_string(SplitMix64(mixer.inputs().at("x")[i])));
}

TEST(GoldenStatistics, PoissonBootstrap) {
  const Case golden("poisson_bootstrap_ci_B");
  Points points = golden.points();
  for (size_t i = 0; i < points.size(); ++i) points[i].cluster = i / 4;
  std::vector<double> brier, ece10;
  for (const HeadlineMetrics& replicate : BootstrapReplicates(points, golden.params().at("B")))
    brier.push_back(replicate.brier), ece10.push_back(replicate.ece10);
  golden.ExpectAll("brier_ci95", {Percentile(brier, 0.025), Percentile(brier, 0.975)});
  golden.ExpectAll("ece10_ci95_percentile", {Percentile(ece10, 0.025), Percentile(ece10, 0.975)});
  const HeadlineEstimates estimates = BootstrapHeadline(points, {200, 0.95});
  golden.Expect("brier", estimates.brier.value);
  golden.Expect("brier_se", estimates.brier.standard_error);
  golden.Expect("ece10", estimates.ece10.value);
  golden.Expect("ece10_bias_corrected", estimates.ece10.corrected);
  // The basic interval mirrors the percentiles around the value.
  EXPECT_NEAR(2 * estimates.ece10.value - Percentile(ece10, 0.975), estimates.ece10.interval.low, 1e-12);
}

TEST(GoldenStatistics, Conformal) {
  for (const char* id : {"conformal_q_0.1", "conformal_q_0.2"}) {
    const Case golden(id);
    golden.Expect("q", ConformalQuantile(golden.inputs().at("scores").get<std::vector<double>>(), golden.inputs().at("alpha")));
  }
  const Case golden("conformal_p");
  std::vector<double> p_values;
  for (double score : golden.inputs().at("test").get<std::vector<double>>())
    p_values.push_back(ConformalPValue(golden.inputs().at("cal").get<std::vector<double>>(), score));
  golden.ExpectAll(golden.expected(), p_values, "p");
}

TEST(GoldenStatistics, MeanShiftDetectors) {
  const Case golden("drift_mean_shift");
  const auto x = golden.inputs().at("x").get<std::vector<double>>();
  PageHinkley page_hinkley;
  Cusum cusum(golden.expected().at("mu0"), golden.expected().at("sd0"));
  std::vector<double> detections;
  int first_alarm = -1;
  for (size_t i = 0; i < x.size(); ++i) {
    if (page_hinkley.Add(x[i])) detections.push_back(static_cast<double>(i));
    if (cusum.Add(x[i]) && first_alarm < 0) first_alarm = static_cast<int>(i);
  }
  golden.ExpectAll("page_hinkley_detections", detections);
  golden.Expect("cusum_first_alarm", first_alarm);
  golden.Expect("cusum_final", cusum.value());
}

TEST(GoldenStatistics, EProcess) {
  for (const char* id : {"eprocess_A", "eprocess_B", "eprocess_tilt_A", "eprocess_tilt_B"}) {
    const Case golden(id);
    const bool with_tilt = std::string(id).find("tilt") != std::string::npos;
    EProcess process;
    for (const Point& point : golden.points()) process.AddPrompt({point});
    const std::vector<double> level(process.log_level().begin(), process.log_level().end()),
        tilt(process.log_tilt().begin(), process.log_tilt().end());
    golden.ExpectAll(with_tilt ? "log_wealth_level" : "log_wealth_by_lambda", level);
    if (with_tilt) golden.ExpectAll("log_wealth_tilt", tilt);
    const EProcessRun run = RunEProcess(golden.points(), golden.params().at("alpha"), with_tilt);
    EXPECT_NEAR(1.0, run.final_e / golden.expected().at("final_e").get<double>(), 1e-9);
    EXPECT_NEAR(1.0, run.max_e / golden.expected().at("max_e").get<double>(), 1e-9);
    const Json& first = golden.expected().at("first_index_e_ge_20");
    EXPECT_EQ(first.is_null() ? -1 : first.get<int>(), run.first_alarm);
  }
}

TEST(GoldenStatistics, PassRates) {
  const auto check = [](const std::string& id, double (*rate)(int, int, int)) {
    const Case golden(id);
    std::vector<double> rates;
    for (const std::string text : golden.inputs().at("n_c_k")) {
      int n, c, k;
      ASSERT_EQ(3, std::sscanf(text.c_str(), "%d,%d,%d", &n, &c, &k));
      rates.push_back(rate(n, c, k));
    }
    golden.ExpectAll(golden.expected(), rates, "rate");
  };
  check("pass_at_k", PassAtK);
  check("pass_hat_k", PassHatK);
  EXPECT_TRUE(std::isnan(PassAtK(3, 3, 4)));
}

TEST(GoldenStatistics, TokenSignals) {
  const Case golden("token_signals");
  const auto logits = golden.inputs().at("logits").get<std::vector<std::vector<double>>>();
  std::vector<double> entropy, self_certainty, intuitor, top_k, chosen;
  double margin = 0.0, mean_self_certainty = 0.0;
  for (size_t t = 0; t < logits.size(); ++t) {
    const TokenSignals token = ComputeTokenSignals(logits[t], golden.inputs().at("chosen")[t], golden.inputs().at("topk"));
    entropy.push_back(token.entropy), self_certainty.push_back(token.self_certainty), intuitor.push_back(token.intuitor);
    top_k.push_back(token.top_k_confidence), chosen.push_back(token.chosen_log_prob);
    margin += token.margin / 4, mean_self_certainty += token.self_certainty / 4;
  }
  golden.ExpectAll("entropy", entropy);
  golden.ExpectAll("self_certainty_kl", self_certainty);
  golden.ExpectAll("self_certainty_intuitor", intuitor);
  golden.ExpectAll("deepconf_topk", top_k);
  golden.ExpectAll("chosen_logprob", chosen);
  golden.Expect("cot_decoding_margin", margin);
  golden.Expect("mean_self_certainty", mean_self_certainty);
  const SequenceSignals sequence = ComputeSequenceSignals(chosen);
  golden.Expect("mean_logprob", sequence.mean_log_prob);
  golden.Expect("seq_logprob", sequence.log_prob);
  golden.Expect("perplexity", sequence.perplexity);
  golden.Expect("min_prob", sequence.min_prob);
  golden.Expect("mean_prob", sequence.mean_prob);
}

TEST(GoldenStatistics, DeepConf) {
  const Case golden("deepconf_trace");
  const TraceConfidence trace = ComputeTraceConfidence(golden.inputs().at("confs").get<std::vector<double>>(), golden.inputs().at("window"),
                                                       golden.inputs().at("tail"));
  golden.Expect("mean", trace.mean);
  golden.Expect("tail", trace.tail);
  golden.Expect("bottom10", trace.bottom10);
  golden.Expect("min_window", trace.lowest_group);
  ASSERT_EQ(golden.expected().at("group").size(), trace.group_means.size());
  for (size_t i = 0; i < trace.group_means.size(); ++i)  // the reference rounds group means to 3 decimals
    EXPECT_NEAR(golden.expected().at("group")[i].get<double>(), trace.group_means[i], 0.00051);
  const Case threshold("deepconf_threshold");
  const auto warmup = threshold.inputs().at("warmup_min_confs").get<std::vector<double>>();
  threshold.Expect("low_eta10", DeepConfThreshold(warmup, 10));
  threshold.Expect("high_eta90", DeepConfThreshold(warmup, 90));
}

Answers ReadAnswers(const Json& list) {
  Answers answers;
  for (const Json& answer : list) answers.push_back(answer.is_null() ? std::nullopt : std::optional(answer.get<std::string>()));
  return answers;
}

TEST(GoldenStatistics, VotesAndBorda) {
  const Case golden("votes");
  const Votes votes = CountVotes(ReadAnswers(golden.inputs().at("answers")), golden.inputs().at("weights").get<std::vector<double>>());
  EXPECT_EQ(golden.expected().at("majority"), *votes.majority);
  EXPECT_EQ(golden.expected().at("weighted"), *votes.weighted);
  golden.Expect("majority_share", votes.majority_share);
  golden.Expect("consensus_beta", votes.consensus);
  for (const auto& [answer, weight] : golden.expected().at("weights_by_answer").items())
    EXPECT_EQ(weight.get<double>(), votes.weight_by_answer.at(answer));
  const Case borda("borda");
  for (const auto& [answer, count] : BordaVotes(ReadAnswers(borda.inputs().at("answers")),
                                                borda.inputs().at("conf").get<std::vector<double>>(), borda.inputs().at("power")))
    borda.Expect(answer, count);
}

TEST(GoldenStatistics, GroupRewardsAndDiversity) {
  const Case golden("rollout_var");
  const GroupRewards groups = ComputeGroupRewards(golden.inputs().at("rewards").get<std::vector<std::vector<double>>>());
  golden.ExpectAll("mean", groups.mean_P);
  golden.ExpectAll("var_pop", groups.population_variance_P);
  golden.ExpectAll("std_sample", groups.sample_deviation_P);
  golden.ExpectAll("p1mp", groups.bernoulli_variance_P);
  golden.Expect("frac_degenerate", groups.degenerate_share);
  const Case diversity("diversity");
  const auto texts = diversity.inputs().at("texts").get<std::vector<std::vector<std::string>>>();
  diversity.Expect("distinct1", DistinctNgrams(texts, 1));
  diversity.Expect("distinct2", DistinctNgrams(texts, 2));
}

TEST(GoldenStatistics, SemanticEntropy) {
  const Case golden("semantic_entropy");
  const SemanticEntropy entropy = ComputeSemanticEntropy(golden.inputs().at("semantic_ids").get<std::vector<int>>(),
                                                         golden.inputs().at("mean_token_logprobs").get<std::vector<double>>(),
                                                         golden.inputs().at("seq_logprobs").get<std::vector<double>>());
  golden.Expect("discrete_nats", entropy.discrete);
  golden.Expect("discrete_bits", entropy.discrete_bits);
  golden.Expect("miller_madow", entropy.miller_madow);
  golden.Expect("good_turing_coverage", entropy.good_turing_coverage);
  golden.Expect("n_clusters", entropy.clusters);
  golden.Expect("rao_sum_normalized", entropy.rao);
  golden.ExpectAll("cluster_logprobs", entropy.cluster_log_probs);
  golden.Expect("naive_predictive_entropy", entropy.naive_entropy);
  golden.Expect("lm_polygraph_mean_sum", entropy.mean_log_cluster);
  golden.Expect("predictive_collision", entropy.collision);
}

TEST(GoldenStatistics, Abstention) {
  const Case golden("abstention");
  std::vector<AbstentionRow> rows;
  for (size_t i = 0; i < golden.inputs().at("should").size(); ++i)
    rows.push_back({golden.inputs().at("should")[i] == 1, golden.inputs().at("abstained")[i] == 1, golden.inputs().at("correct")[i] == 1});
  const Abstention result = ComputeAbstention(rows);
  golden.Expect("precision", result.precision);
  golden.Expect("recall", result.recall);
  golden.Expect("f1", result.f1);
  golden.Expect("over_abstention", result.over);
  golden.Expect("under_abstention", result.under);
  golden.Expect("direction_index", result.direction);
  golden.Expect("accuracy_on_answerable", result.accuracy_on_answerable);
  golden.Expect("appropriate", result.appropriate);
  golden.Expect("coverage", result.coverage);
  golden.Expect("selective_accuracy", result.selective_accuracy);
  golden.Expect("hallucination_rate", result.hallucination_rate);
}

TEST(GoldenStatistics, UtilityAndItsRegret) {
  for (const char* id : {"utility_0.0", "utility_0.5", "utility_0.75"}) {
    const Case golden(id);
    const Utility utility = ComputeUtility(golden.points(), golden.inputs().at("t"));
    golden.Expect("penalty", utility.penalty);
    golden.Expect("mean_utility_answer_if_p_ge_t", utility.own);
    golden.Expect("always_answer", utility.always);
    golden.Expect("oracle", utility.oracle);
    golden.Expect("coverage", utility.coverage);
  }
  const Case golden("utility_opt_threshold");
  const Utility utility = ComputeUtility(golden.points(), 0.75);
  golden.Expect("threshold", utility.best_threshold);
  golden.Expect("utility", utility.best);
}

TEST(GoldenStatistics, SelectiveGuaranteeBound) {
  const Case golden("selective_guarantee");
  std::vector<double> bounds;
  for (size_t i = 0; i < golden.inputs().at("k").size(); ++i)
    bounds.push_back(ClopperPearsonUpper(golden.inputs().at("k")[i], golden.inputs().at("n")[i], golden.inputs().at("delta")));
  golden.ExpectAll(golden.expected(), bounds, "bound");
}

TEST(GoldenStatistics, Recalibration) {
  const Case golden("recal_B");
  const Points points = golden.points();
  const auto map = [&](RecalibratorKind kind) { return FitRecalibrator(kind, points).value(); };
  const auto outputs = [&](const Recalibrator& fitted) {
    std::vector<double> result;
    for (double p : golden.inputs().at("test").get<std::vector<double>>()) result.push_back(fitted.Apply(p));
    return result;
  };
  const auto mean_nll = [](const Points& set) {
    double sum = 0.0;
    for (const Point& point : set) sum += LogScore(point.p, point.y);
    return sum / static_cast<double>(set.size());
  };
  const Recalibrator temperature = map(RecalibratorKind::kTemperature);
  golden.Expect("temperature", temperature.a);
  golden.ExpectAll("temp_out", outputs(temperature));
  golden.Expect("nll_before", mean_nll(points));
  golden.Expect("nll_after_temp", mean_nll(temperature.Apply(points)));
  const Recalibrator platt = map(RecalibratorKind::kPlatt);
  EXPECT_NEAR(golden.expected().at("platt_sk").at("a").get<double>(), platt.a, 1e-4);
  EXPECT_NEAR(golden.expected().at("platt_sk").at("b").get<double>(), platt.b, 1e-4);
  golden.ExpectAll(golden.expected().at("platt_sk").at("out"), outputs(platt), "platt");
  const Recalibrator logistic = map(RecalibratorKind::kLogistic);
  EXPECT_NEAR(golden.expected().at("logistic_mle").at("w").get<double>(), logistic.a, 1e-4);
  EXPECT_NEAR(golden.expected().at("logistic_mle").at("b").get<double>(), logistic.b, 1e-4);
  golden.ExpectAll(golden.expected().at("logistic_mle").at("out"), outputs(logistic), "logistic");
  const Recalibrator beta = map(RecalibratorKind::kBeta);
  EXPECT_NEAR(golden.expected().at("beta_via_unregularised_LR").at("a").get<double>(), beta.a, 1e-4);
  EXPECT_NEAR(golden.expected().at("beta_via_unregularised_LR").at("b").get<double>(), beta.b, 1e-4);
  EXPECT_NEAR(golden.expected().at("beta_via_unregularised_LR").at("c").get<double>(), beta.c, 1e-4);
  golden.ExpectAll(golden.expected().at("beta_abm").at("out"), outputs(beta), "beta");
  const Recalibrator isotonic = map(RecalibratorKind::kIsotonic);
  golden.ExpectAll("isotonic_out", outputs(isotonic));
  golden.Expect("brier_iso_insample", ComputeMurphy(DiscreteBins(isotonic.Apply(points))).brier());
}

}  // namespace
}  // namespace candor::calibration
