// Golden cases of multi-class scores, disagreement with people, and repeated measurement.
#include "calibration/multiclass.h"
#include "calibration/replicates.h"
#include "golden.h"

namespace candor::calibration {
namespace {

using Matrix = std::vector<std::vector<double>>;

TEST(GoldenAgreement, Multiclass) {
  const Case brier("brier_multiclass");
  brier.Expect("lm_eval_sum", MulticlassBrier(brier.inputs().at("probs").get<Matrix>(), brier.inputs().at("gold").get<std::vector<int>>()));
  const Case ece("classwise_ece");
  const auto per_class =
      ClasswiseEce(ece.inputs().at("probs").get<Matrix>(), ece.inputs().at("gold").get<std::vector<int>>(), ece.params().at("bins"));
  ece.ExpectAll("per_class", per_class);
  ece.Expect("mean", (per_class[0] + per_class[1] + per_class[2]) / 3);
}

TEST(GoldenAgreement, Disagreement) {
  const Case golden("disagreement");
  const Disagreement result =
      ComputeDisagreement(golden.inputs().at("human_counts").get<Matrix>(), golden.inputs().at("model").get<Matrix>());
  golden.ExpectAll("tvd", result.total_variation_N);
  golden.ExpectAll("jsd_nats", result.jensen_shannon_N);
  golden.ExpectAll("soft_brier", result.soft_brier_N);
  golden.ExpectAll("soft_ce", result.cross_entropy_N);
  golden.ExpectAll("human_entropy", result.human_entropy_N);
  golden.ExpectAll("model_entropy", result.model_entropy_N);
  golden.ExpectAll("human_pair_disagreement", result.human_pair_disagreement_N);
  golden.Expect("entropy_pearson", result.entropy_correlation);
  golden.Expect("gini_var_corr", result.gini_correlation);
}

TEST(GoldenAgreement, McDonaldsOmega) {
  for (const char* id : {"omega_cont", "omega_judge"}) {
    const Case golden(id);
    const Replicates result = ComputeReplicates(golden.inputs().at("X").get<Matrix>());
    EXPECT_EQ(Replicates::Flag::kNone, result.flag);
    golden.ExpectAll("loadings_minres", result.loadings);
    EXPECT_NEAR(golden.expected().at("omega_total_corr").get<double>(), result.omega, 1e-6);
    EXPECT_NEAR(golden.expected().at("alpha").get<double>(), result.alpha, 1e-12);
    EXPECT_NEAR(golden.expected().at("icc").at("ICC(1,1)").get<double>(), result.icc1, 1e-12);
    EXPECT_NEAR(golden.expected().at("icc").at("ICC(1,k)").get<double>(), result.icck, 1e-12);
  }
  const Case golden("omega_degenerate");
  const Replicates same = ComputeReplicates(golden.inputs().at("X").get<Matrix>());
  EXPECT_EQ(Replicates::Flag::kDeterministic, same.flag);
  golden.Expect("omega", same.omega);
  golden.Expect("alpha", same.alpha);
  EXPECT_EQ(Replicates::Flag::kTooFew, ComputeReplicates({{1, 2, 3}}).flag);
  EXPECT_EQ(Replicates::Flag::kZeroVariance, ComputeReplicates({{1, 1, 1}, {1, 1, 1}}).flag);
  EXPECT_NEAR(11.25, RepetitionsFor(0.444444444444444, 0.9), 1e-9);
}

}  // namespace
}  // namespace candor::calibration
