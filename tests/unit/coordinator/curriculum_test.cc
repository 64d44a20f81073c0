// Prompts chosen by their past: the worked numbers of GRESO and ScaleRL, weights that make up for random skips, waves that are filled up,
// and a replay that chooses the same.
#include "coordinator/curriculum.h"

#include <gmock/gmock.h>

#include "coordinator/accounting.h"
#include "state_fixture.h"

namespace candor {
namespace {

using state_fixture::Fixture;
using state_fixture::Plan;

RunPlan Rows(uint32_t rows, CurriculumPlan curriculum) {
  RunPlan plan = Plan();
  plan.datasets = {{"train", rows, 1.0}};
  plan.curriculum = curriculum;
  return plan;
}
constexpr CurriculumPlan kSkip{true, 0.0, 0.0, 1}, kRetire{false, 0.9, 0.25, 1};

// One step in which every row was visited, with these right of 8.
std::vector<PromptOutcome> Visits(const std::vector<uint32_t>& correct) {
  std::vector<PromptOutcome> outcomes;
  for (uint32_t row = 0; row < correct.size(); ++row) outcomes.push_back({{"train", row}, correct[row], 8});
  return outcomes;
}

TEST(Curriculum, TheWorkedNumbersOfGreso) {
  EXPECT_EQ(SkipProbability(0.5, 0), 0.0);
  EXPECT_DOUBLE_EQ(SkipProbability(0.5, 1), 0.5);
  EXPECT_DOUBLE_EQ(SkipProbability(0.5, 2), 0.75);
  EXPECT_DOUBLE_EQ(SkipProbability(0.5, 3), 0.875);
  EXPECT_DOUBLE_EQ(SkipProbability(0.5, 7), 0.99);  // .5^7 is below the floor
  EXPECT_LT(SkipProbability(0.9, 3), SkipProbability(0.5, 3));
}

TEST(Curriculum, WithoutOneTheOrderIsTheOrder) {
  const RunPlan plan = Rows(7, {});
  Curriculum curriculum(plan);
  PromptOrder order(plan);
  curriculum.Learned({1}, Visits({8, 8, 8, 8, 8, 8, 8}));
  for (uint64_t visit = 0; visit < 40; ++visit) EXPECT_EQ(curriculum.Next().prompt.row, order.AtVisit(visit).row);
}

// Row 0 was easy and row 1 hard in their last three visits, row 2 easy in the last one only, row 3 never twice the same, row 4 middling.
TEST(Curriculum, WhatSaysTheSameAgainAndAgainIsPassedOverMoreOften) {
  Curriculum curriculum(Rows(5, kSkip));
  curriculum.Learned({1}, Visits({8, 0, 0, 8, 8}));
  curriculum.Learned({2}, Visits({8, 0, 0, 0, 8}));
  curriculum.Learned({3}, Visits({8, 0, 8, 4, 4}));
  const double easy = curriculum.explore_easy(), hard = curriculum.explore_hard();
  EXPECT_NEAR(easy, 0.47, 1e-12);  // three steps with more than a twelfth easy
  EXPECT_NEAR(hard, 0.47, 1e-12);
  constexpr int kTaken = 20000;
  std::map<uint32_t, int> taken;
  std::map<uint32_t, double> weight, keep;
  for (int i = 0; i < kTaken; ++i) {
    const PromptChoice choice = curriculum.Next();
    ++taken[choice.prompt.row], weight[choice.prompt.row] += 1.0 / choice.keep, keep[choice.prompt.row] = choice.keep;
    EXPECT_FALSE(choice.retired);
  }
  EXPECT_DOUBLE_EQ(keep[0], 1.0 - SkipProbability(easy, 3));
  EXPECT_DOUBLE_EQ(keep[1], 1.0 - SkipProbability(hard, 3));
  EXPECT_DOUBLE_EQ(keep[2], easy);
  EXPECT_EQ(keep[3], 1.0);
  EXPECT_EQ(keep[4], 1.0);
  const double passes = static_cast<double>(curriculum.cursor()) / 5.0;
  for (uint32_t row = 0; row < 5; ++row) {
    EXPECT_NEAR(taken[row], keep[row] * passes, 5.0 * std::sqrt(passes)) << row;
    EXPECT_NEAR(weight[row], passes, 25.0 * std::sqrt(passes)) << row;  // weighed by 1 / keep, every row counts as without skips
  }
  EXPECT_LT(taken[0], 0.2 * passes);  // the control: unweighted they do not
  EXPECT_EQ(curriculum.skipped() + kTaken, curriculum.cursor());
}

TEST(Curriculum, ExplorationMovesTowardsItsTargetsWithinItsBounds) {
  Curriculum curriculum(Rows(10, kSkip));
  for (uint64_t step = 1; step <= 100; ++step) curriculum.Learned({step}, Visits({8, 8, 4, 4, 4, 4, 4, 4, 4, 4}));
  EXPECT_NEAR(curriculum.explore_easy(), 0.05, 1e-12);  // a fifth is easy, a twelfth is wanted
  EXPECT_NEAR(curriculum.explore_hard(), 0.95, 1e-12);
  curriculum.Learned({101}, {{{"train", 0}, 0, 0}});  // no label is known: nothing is learned from it
  EXPECT_NEAR(curriculum.explore_easy(), 0.05, 1e-12);
}

TEST(Curriculum, SolvedPromptsRestButForASlice) {
  Curriculum curriculum(Rows(4, kRetire));
  curriculum.Learned({1}, Visits({8, 6, 8, 0}));
  EXPECT_EQ(curriculum.retired(), 2u);
  curriculum.Learned({2}, {{{"train", 0}, 7, 8}, {{"train", 2}, 6, 8}});  // 15/16 and 14/16
  EXPECT_EQ(curriculum.retired(), 1u);
  std::map<uint32_t, int> taken;
  for (int i = 0; i < 6000; ++i) {
    const PromptChoice choice = curriculum.Next();
    ++taken[choice.prompt.row];
    EXPECT_EQ(choice.retired, choice.prompt.row == 0);
    EXPECT_EQ(choice.keep, 1.0);  // this selection follows outcomes: no weight is put on it
  }
  EXPECT_NEAR(taken[0], 0.25 * taken[1], 150);
  EXPECT_NEAR(taken[3], taken[1], 1);
}

TEST(Curriculum, WhereEverythingRestsOneIsTakenAllTheSame) {
  Curriculum curriculum(Rows(3, {false, 0.5, 0.0, 1}));
  curriculum.Learned({1}, Visits({8, 8, 8}));
  curriculum.Next();
  EXPECT_EQ(curriculum.cursor(), 6u);  // two passes in vain
}

TEST(Curriculum, GoingBackForgetsWhatTheStepsTaught) {
  constexpr CurriculumPlan both{true, 0.9, 0.1, 1};
  Curriculum once(Rows(5, both)), again(Rows(5, both));
  const auto learn = [](Curriculum& c, uint64_t step, const std::vector<uint32_t>& correct) { c.Learned({step}, Visits(correct)); };
  for (Curriculum* c : {&once, &again}) learn(*c, 1, {8, 0, 8, 4, 0}), learn(*c, 2, {8, 0, 7, 4, 1});
  learn(again, 3, {0, 8, 0, 8, 8}), learn(again, 4, {8, 8, 8, 8, 8});
  again.Undo({3});
  EXPECT_EQ(again.retired(), once.retired());
  EXPECT_EQ(again.explore_easy(), once.explore_easy());
  learn(once, 3, {8, 0, 8, 4, 0}), learn(again, 3, {8, 0, 8, 4, 0});
  for (int i = 0; i < 200; ++i) {
    const PromptChoice a = once.Next(), b = again.Next();
    ASSERT_EQ(a.prompt.row, b.prompt.row);
    ASSERT_EQ(a.keep, b.keep);
    ASSERT_EQ(a.retired, b.retired);
  }
}

// --- in the coordinator's state ---

RunPlan Filling(uint32_t batches) {
  RunPlan plan = Plan(0);
  plan.curriculum.fill_batches = batches;
  return plan;
}

TEST(Curriculum, AStepIsFilledUpUntilEnoughPassTheFilter) {
  Fixture f(Filling(3));
  f.Score(MakeGroupId(1, 0));
  f.Score(MakeGroupId(1, 1), DropReason::kNoVariance);
  EXPECT_THAT(f.PlanOf(1).waiting_for, testing::HasSubstr("2 of 4 groups are not scored"));  // one lacks, half pass: 1.25 * 1 / .5
  EXPECT_EQ(f.state.WaveSize({1}), 4u);
  EXPECT_THAT(f.PlanOf(1).waiting_for, testing::HasSubstr("2 of 4"));  // asked again, it is not extended again
  EXPECT_EQ(f.Lease().leases.size(), 2u);
  f.Score(MakeGroupId(1, 2), DropReason::kNoVariance);
  f.Score(MakeGroupId(1, 3));
  const StepPlan plan = f.PlanOf(1);
  ASSERT_TRUE(plan.ready);
  EXPECT_EQ(plan.groups.size(), 4u);  // filtered ones train their slots
  f.Done(1, plan.plan);
  EXPECT_EQ(f.state.WaveBatches({1}), 2u);
  f.Learn(2);
  EXPECT_EQ(f.state.WaveSize({2}), 2u);
  Auditor auditor(f.state.plan());
  for (const LedgerRecord& record : f.ledger) auditor.Add(record);
  const Balance balance = auditor.Result();
  EXPECT_TRUE(balance.Balances()) << BalanceText(balance);
  EXPECT_EQ(balance.trained, 6u);
}

TEST(Curriculum, AStepThatCannotBeFilledEndsWithAnErrorThatNamesIt) {
  Fixture f(Filling(2));
  for (uint32_t p = 0; p < 2; ++p) f.Score(MakeGroupId(1, p), DropReason::kNoVariance);
  EXPECT_FALSE(f.PlanOf(1).ready);
  for (uint32_t p = 2; p < f.state.WaveSize({1}); ++p) f.Score(MakeGroupId(1, p), DropReason::kNoVariance);
  const MessageBody reply = f.Send(Role::kTrainer, PlanRequest{{1}, {1}, 2});
  const Error* error = std::get_if<Error>(&reply);
  ASSERT_TRUE(error);
  EXPECT_THAT(error->Message(), testing::HasSubstr("step 1: 0 of 2 groups passed the filter after 2 generation batches"));
  EXPECT_THAT(error->Message(), testing::HasSubstr("curriculum.fill_batches"));
  Fixture short_step(Filling(1));  // the control: without filling the step is short
  for (uint32_t p = 0; p < 2; ++p) short_step.Score(MakeGroupId(1, p), DropReason::kNoVariance);
  EXPECT_TRUE(short_step.PlanOf(1).ready);
}

RunPlan Choosy(uint64_t seed) {
  RunPlan plan = Plan(1);
  plan.steps = 40, plan.seed = seed;
  plan.curriculum = {true, 0.9, 0.2, 12};
  return plan;
}

// Learns `steps` steps in which the row decides how many of 5 are right.
void Live(Fixture& f, uint64_t from, uint64_t through, uint64_t incarnation = 1) {
  for (uint64_t step = from; step <= through; ++step) {
    StepPlan plan;
    while (!(plan = f.PlanOf(step, incarnation)).ready)
      for (uint32_t p = 0; p < f.state.WaveSize({step}); ++p) {
        const GroupId id = MakeGroupId(step, p);
        if (f.state.groups().at(id).phase != GroupPhase::kOpen) continue;
        GroupScored header = f.Header(id);
        header.correct = std::min(5u, f.state.groups().at(id).prompt.row), header.wrong = 5 - header.correct;
        header.drop = header.correct == 0 || header.correct == 5 ? DropReason::kNoVariance : DropReason::kNone;
        f.Say<Ack>(Role::kReward, header);
      }
    f.Done(step, plan.plan);
  }
}

std::vector<std::pair<uint64_t, std::string>> Choices(const CoordinatorState& state) {
  std::vector<std::pair<uint64_t, std::string>> choices;
  for (const auto& [id, group] : state.groups())
    choices.emplace_back(id.value, std::to_string(group.prompt.row) + (group.retired ? " retired " : " ") + std::to_string(group.keep));
  return choices;
}

TEST(Curriculum, AReplayOfTheLedgerChoosesTheSamePrompts) {
  Fixture f(Choosy(3));
  Live(f, 1, 30);
  EXPECT_GT(f.state.curriculum().skipped() + f.state.curriculum().resting(), 20u);
  CoordinatorState replayed(Choosy(3), {1000, 5000, 3, 100}, 2);
  for (const LedgerRecord& record : f.ledger) ASSERT_TRUE(replayed.Replay(DecodeRecord(EncodeRecord(record)).value()));
  EXPECT_EQ(Choices(replayed), Choices(f.state));
  EXPECT_EQ(replayed.curriculum().cursor(), f.state.curriculum().cursor());
  Fixture other(Choosy(4));
  Live(other, 1, 30);
  EXPECT_NE(Choices(other.state), Choices(f.state));  // the control: another seed
}

TEST(Curriculum, ALearnerThatGoesBackMeetsTheSamePrompts) {
  Fixture straight(Choosy(5)), back(Choosy(5));
  Live(straight, 1, 30);
  Live(back, 1, 22);
  back.PlanOf(19, 2);  // a new life at step 19
  for (uint64_t step = 19; step <= 22; ++step) back.Done(step, back.PlanOf(step, 2).plan);
  Live(back, 23, 30, 2);
  EXPECT_EQ(Choices(back.state), Choices(straight.state));
}

TEST(Curriculum, TheSliceOfRetiredPromptsTrainsTheSlotAlone) {
  RunPlan plan = Plan(0);
  plan.steps = 40;
  plan.curriculum = {false, 0.9, 1.0, 1};
  Fixture f(plan);
  for (uint64_t step = 1; step <= 12; ++step) {
    for (uint32_t p = 0; p < 2; ++p) {
      GroupScored header = f.Header(MakeGroupId(step, p));
      header.correct = 10, header.wrong = 1;
      f.Say<Ack>(Role::kReward, header);
    }
    const StepPlan learned = f.PlanOf(step);
    for (const PlannedGroup& group : learned.groups)  // ten rows: from the sixth step on every prompt has been seen
      EXPECT_EQ(group.drop, step > 5 ? DropReason::kRetired : DropReason::kNone) << step;
    f.Done(step, learned.plan);
  }
  EXPECT_TRUE(IsFiltered(DropReason::kRetired));
}

TEST(Curriculum, TheInverseProbabilityReachesThePlanAndTheLedger) {
  Fixture f(Choosy(3));
  Live(f, 1, 30);
  double most = 1.0;
  for (const LedgerRecord& record : f.ledger)
    if (auto* logged = std::get_if<PlanLogged>(&record))
      for (const PlannedGroup& group : logged->plan.groups) {
        EXPECT_DOUBLE_EQ(group.slot_weight, 1.0 / f.state.groups().at(group.group).keep);
        most = std::max(most, group.slot_weight);
      }
  EXPECT_GT(most, 1.5);
}

}  // namespace
}  // namespace candor
