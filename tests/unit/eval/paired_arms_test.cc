// Arms of several seeds: differences that are there are found, others are not, pairing counts, and what cannot be compared is refused.
#include "eval/paired_arms.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/rng.h"

namespace candor {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// Questions of difficulty p; an answer is right with probability p + better, its confidence is p + shift (plus noise by seed).
std::vector<AnswerRow> Answers(uint64_t world, uint64_t seed, int questions, double better = 0, double shift = 0, double seed_noise = 0) {
  std::vector<AnswerRow> rows;
  const double noise = seed_noise * (RandomUnit(world, RngStream::kSynthetic, 1, seed) - 0.5);
  for (int i = 0; i < questions; ++i) {
    const auto q = static_cast<uint64_t>(i);
    const double p = 0.1 + 0.8 * RandomUnit(world, RngStream::kSynthetic, 2, q);
    AnswerRow row;
    row.dataset = "test", row.role = "held_out", row.prompt = "q" + std::to_string(i);
    row.label = RandomUnit(world, RngStream::kSynthetic, 3 + seed, q) < p + better + noise ? Label::kCorrect : Label::kWrong;
    row.confidence = std::clamp(p + shift, 0.0, 1.0);
    rows.push_back(std::move(row));
  }
  return rows;
}

Arm MakeArm(const std::string& name, uint64_t first_seed, double better = 0, double shift = 0, double seed_noise = 0, uint64_t world = 1) {
  Arm arm{name, {}};
  for (uint64_t s = 0; s < 3; ++s) arm.answers_by_seed.push_back(Answers(world, first_seed + s, 400, better, shift, seed_noise));
  return arm;
}

json Difference(const json& comparison, const std::string& metric) {
  for (const json& d : comparison["differences"])
    if (d["metric"] == metric) return d;
  return {};
}

TEST(PairedArms, ADifferenceThatIsThereIsFound) {
  const auto compared = ComparePairedArms({MakeArm("honest", 0), MakeArm("overconfident", 10, 0, 0.3)}, {{1, 0}}, {.replicates = 400});
  ASSERT_TRUE(compared) << compared.error().Message();
  const json brier = Difference(*compared, "brier");
  EXPECT_TRUE(brier["significant"]);
  EXPECT_GT(brier["low"].get<double>(), 0.02);
  EXPECT_NEAR(brier["delta"].get<double>(), 0.08, 0.03);  // .3 squared, less what is cut at 1
  EXPECT_FALSE(Difference(*compared, "accuracy")["significant"]);
  EXPECT_THAT(PairedArmsText(*compared), HasSubstr("overconfident - honest"));
  EXPECT_EQ((*compared)["arms"][1]["brier"]["by_seed"].size(), 3u);
}

TEST(PairedArms, SeedsThatScatterWidenTheInterval) {
  const auto width = [](double seed_noise) {
    const json d =
        Difference(*ComparePairedArms({MakeArm("a", 0), MakeArm("b", 10, 0, 0, seed_noise)}, {{1, 0}}, {.replicates = 400}), "accuracy");
    return d["high"].get<double>() - d["low"].get<double>();
  };
  EXPECT_GT(width(0.6), 1.5 * width(0.0));
}

// Twenty pairs of equal arms: at 5 % for each of a family of three, few families may hold a rejection.
TEST(PairedArms, EqualArmsAreSeldomCalledDifferent) {
  int called = 0;
  for (uint64_t world = 1; world <= 20; ++world) {
    const json compared =
        *ComparePairedArms({MakeArm("a", 0, 0, 0, 0.1, world), MakeArm("b", 10, 0, 0, 0.1, world)}, {{1, 0}}, {.replicates = 200});
    for (const char* metric : {"accuracy", "brier", "auroc"}) called += Difference(compared, metric)["significant"].get<bool>();
  }
  EXPECT_LE(called, 4);
}

TEST(PairedArms, HolmCountsTheWholeFamily) {
  const std::vector<Arm> arms = {MakeArm("a", 0), MakeArm("b", 10, 0.05), MakeArm("c", 20), MakeArm("d", 30)};
  const json one = *ComparePairedArms(arms, {{1, 0}}, {.replicates = 200}),
             all = *ComparePairedArms(arms, {{1, 0}, {2, 0}, {3, 0}}, {.replicates = 200});
  EXPECT_EQ(one["differences"].size(), 3u);
  EXPECT_EQ(all["differences"].size(), 9u);
  EXPECT_EQ(Difference(one, "accuracy")["p"], Difference(all, "accuracy")["p"]);
  EXPECT_GE(Difference(all, "accuracy")["p_holm"].get<double>(), Difference(one, "accuracy")["p_holm"].get<double>());
}

TEST(PairedArms, BrokenFormatsCountAsHalfAndUnknownLabelsLeaveAllArms) {
  Arm a = MakeArm("a", 0), b = MakeArm("b", 0);
  for (int i = 0; i < 40; ++i) b.answers_by_seed[0][static_cast<size_t>(i)].confidence.reset();
  b.answers_by_seed[1][50].label = Label::kUnknown;
  const json compared = *ComparePairedArms({a, b}, {{1, 0}}, {.replicates = 100});
  EXPECT_EQ(compared["questions"], 399);
  EXPECT_EQ(compared["left_out"], 1);
  EXPECT_EQ(compared["arms"][1]["without_confidence"], 40);
  EXPECT_EQ(Difference(compared, "accuracy")["delta"], 0.0);
  AnswerRow lone = a.answers_by_seed[0][0];
  lone.confidence.reset(), lone.label = Label::kCorrect;
  EXPECT_DOUBLE_EQ(BrierOf({lone}), 0.25);
  EXPECT_TRUE(std::isnan(BrierOf({})));
}

TEST(PairedArms, WhatCannotBePairedIsRefused) {
  Arm a = MakeArm("a", 0), fewer = MakeArm("b", 10), other = MakeArm("c", 10);
  fewer.answers_by_seed.pop_back();
  other.answers_by_seed[2][7].prompt = "another";
  EXPECT_THAT(ComparePairedArms({a, fewer}, {{1, 0}}).error().Message(), HasSubstr("2 seeds of b, 3 of a"));
  EXPECT_THAT(ComparePairedArms({a, other}, {{1, 0}}).error().Message(), HasSubstr("c and a were not asked the same questions"));
  EXPECT_FALSE(ComparePairedArms({}, {}));
}

}  // namespace
}  // namespace candor
