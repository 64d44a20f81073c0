// What each token of a scored group teaches: who gets a policy gradient, who trains the slot, and on what target.
#include "trainer/train_batch.h"

#include "tiny.h"

namespace candor {
namespace {

std::vector<Objective> AnswerAndSlot(double target = 1.0) {
  ObjectiveOptions answer, slot;
  answer.segment = "answer";
  slot.segment = "slot", slot.loss = "squared_error", slot.weight = 0.5, slot.target = target;
  return CheckObjectives({answer, slot}).value();
}

const TraceTask* Find(const GroupTask& task, size_t trace) {
  for (const TraceTask& one : task.traces)
    if (one.trace == trace) return &one;
  return nullptr;
}

// Accuracy 1, 0, 1 sampled; the fourth trace is greedy and wrong.
ScoredGroup FourTraces() {
  ScoredGroup group = tiny::Group(1, 0, 3);
  const double accuracy[] = {1, 0, 1, 0};
  for (size_t i = 0; i < 4; ++i)
    group.traces_G[i].channels["accuracy"] = accuracy[i], group.traces_G[i].label = accuracy[i] > 0 ? Label::kCorrect : Label::kWrong;
  return group;
}

TEST(TrainBatch, AnswerTokensGetTheAdvantageAndTheSlotItsLabel) {
  std::vector<ScoredGroup> groups{FourTraces()};
  auto objectives = AnswerAndSlot();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  ASSERT_EQ(tasks[0].traces.size(), 4u);
  for (size_t i = 0; i < 3; ++i) {
    const TraceTask& task = *Find(tasks[0], i);
    const Trace& trace = groups[0].traces_G[i].trace;
    int32_t answer = trace.spans[0].end;
    EXPECT_EQ(task.trained, answer);
    for (size_t t = 0; t < trace.tokens_T.size(); ++t) {
      EXPECT_EQ(task.trained_T[t], static_cast<int32_t>(t) < answer ? 1 : 0);
      EXPECT_NEAR(task.advantage_T[t], static_cast<int32_t>(t) < answer ? groups[0].traces_G[i].channels["accuracy"] - 2.0 / 3 : 0.0, 1e-6);
    }
    ASSERT_EQ(task.slots.size(), 1u);
    EXPECT_EQ(task.slots[0].token, answer + 1);
    EXPECT_EQ(task.slots[0].target, groups[0].traces_G[i].channels["accuracy"]);
    EXPECT_EQ(task.slots[0].weight, 0.5f);
  }
}

TEST(TrainBatch, DiscrepancyScalesTheAdvantageBehindItsBaseline) {
  std::vector<ScoredGroup> groups{FourTraces()};
  for (size_t i = 0; i < 3; ++i) groups[0].traces_G[i].confidence = Confidence::From(0.5);
  groups[0].traces_G[0].confidence = Confidence::From(0.2);  // distances .8, .5, .5
  auto objectives = AnswerAndSlot();
  objectives[0].kappa = 1.0;
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  EXPECT_NEAR(Find(tasks[0], 0)->advantage_T[0], (1 - 2.0 / 3) * (1 + .8 - .6), 1e-6);
  EXPECT_NEAR(Find(tasks[0], 1)->advantage_T[0], (0 - 2.0 / 3) * (1 + .5 - .6), 1e-6);
}

TEST(TrainBatch, AnAnswerThatWasCutOffStaysInTheBaselineAlone) {
  std::vector<ScoredGroup> groups{FourTraces()};
  groups[0].traces_G[1].trace.finish = FinishReason::kLength;
  auto objectives = AnswerAndSlot();
  EXPECT_GT(Find(PlanTasks(objectives, groups, ComputeMoments(objectives, groups))[0], 1)->trained, 0);
  objectives[0].mask_truncated = true;
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  EXPECT_EQ(Find(tasks[0], 1)->trained, 0);  // its slot is left
  EXPECT_NEAR(Find(tasks[0], 0)->advantage_T[0], 1 - 2.0 / 3, 1e-6);
  EXPECT_EQ(CountDenominators(tasks).sequences, 2.0);
}

TEST(TrainBatch, AGreedyTraceTrainsOnlyItsSlot) {
  std::vector<ScoredGroup> groups{FourTraces()};
  auto objectives = AnswerAndSlot();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  const TraceTask& greedy = *Find(tasks[0], 3);
  EXPECT_EQ(greedy.trained, 0);
  ASSERT_EQ(greedy.slots.size(), 1u);
  EXPECT_EQ(greedy.slots[0].target, 0.0f);
  EXPECT_EQ(CountDenominators(tasks).sequences, 3.0);
  EXPECT_EQ(CountDenominators(tasks).slots, 4.0);
}

TEST(TrainBatch, TheHybridTargetMixesInTheSampledMean) {
  std::vector<ScoredGroup> groups{FourTraces()};
  auto objectives = AnswerAndSlot(0.5);
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  EXPECT_NEAR(Find(tasks[0], 0)->slots[0].target, 0.5 + 0.5 * 2 / 3, 1e-6);
  EXPECT_NEAR(Find(tasks[0], 3)->slots[0].target, 0.5 * 2 / 3, 1e-6);  // the greedy trace itself is not in the mean
}

TEST(TrainBatch, AnUnknownLabelTeachesNothing) {
  std::vector<ScoredGroup> groups{FourTraces()};
  groups[0].traces_G[1].label = Label::kUnknown;
  auto objectives = AnswerAndSlot();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  EXPECT_EQ(Find(tasks[0], 1), nullptr);
  EXPECT_EQ(Find(tasks[0], 0)->advantage_T[0], 0.0f);  // both known ones are right
  EXPECT_EQ(CountDenominators(tasks).sequences, 2.0);
}

TEST(TrainBatch, AFilteredGroupTrainsOnlyItsSlots) {
  std::vector<ScoredGroup> groups{FourTraces(), FourTraces(), FourTraces()};
  groups[1].drop = DropReason::kNoVariance;
  groups[2].drop = DropReason::kAllUnknown;
  auto objectives = AnswerAndSlot();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  EXPECT_EQ(tasks[1].trained, 0);
  EXPECT_EQ(tasks[1].traces.size(), 4u);
  EXPECT_TRUE(tasks[2].traces.empty());
  EXPECT_EQ(CountDenominators(tasks).prompts, 1.0);
  EXPECT_EQ(CountDenominators(tasks).slots, 8.0);
}

TEST(TrainBatch, ObjectivesAddUpWhereTheyOverlap) {
  std::vector<ScoredGroup> groups{FourTraces()};
  ObjectiveOptions all, answer;
  answer.segment = "answer", answer.weight = 2.0;
  auto objectives = CheckObjectives({all, answer}).value();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  EXPECT_NEAR(Find(tasks[0], 0)->advantage_T[0], 3.0 / 3, 1e-6);
}

TEST(ValidateGroup, RefusesWhatWouldBreakTheModel) {
  ScoredGroup good = tiny::Group(1, 0);
  EXPECT_TRUE(ValidateGroup(good, 67, 128));
  auto refused = [&](const std::function<void(ScoredGroup&)>& damage) {
    ScoredGroup group = good;
    damage(group);
    return !ValidateGroup(group, 67, 128);
  };
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.prompt_tokens_P.clear(); }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.prompt_tokens_P[0] = 67; }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.traces_G[0].trace.tokens_T[0] = -1; }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.traces_G[0].trace.log_probs_T.pop_back(); }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.traces_G[0].trace.version_T.pop_back(); }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.traces_G[0].trace.log_probs_T[1] = std::nanf(""); }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.traces_G[1].trace.spans[1].end += 1; }));
  EXPECT_TRUE(refused([](ScoredGroup& g) { g.traces_G[1].trace.spans.pop_back(); }));
  EXPECT_FALSE(ValidateGroup(good, 67, 12));
}

// Rewards (correct, calibrated) (1,.9), (1,.2), (0,.9), (0,.2): each normalised in the group, summed and whitened 1.224658, 0, 0,
// -1.224658 (GDPO); summed first they would be .85 and .15 over a deviation of .704746: 1.206107, .212842, ... (GRPO; with 1e-4 instead of
// our 1e-6 beside the deviation, as in GDPO's code, 1.205937 and .212812).
TEST(TrainBatch, GdpoNormalisesEachChannelAndThenTheSum) {
  ScoredGroup group = tiny::Group(1, 0, 4);
  const double correct[] = {1, 1, 0, 0}, calibrated[] = {.9, .2, .9, .2};
  for (size_t i = 0; i < 4; ++i) {
    group.traces_G[i].label = correct[i] > 0 ? Label::kCorrect : Label::kWrong;
    group.traces_G[i].channels = {{"accuracy", correct[i]}, {"cal", calibrated[i]}};
  }
  group.traces_G[4].label = Label::kUnknown;
  std::vector<ScoredGroup> groups{group};
  const auto advantages = [&](const std::vector<std::string>& channels, Whiten whiten) {
    std::vector<ObjectiveOptions> options;
    for (const std::string& channel : channels) options.push_back({.channel = channel, .segment = "answer", .advantage = "group_std"});
    auto objectives = CheckObjectives(options).value();
    auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
    if (whiten != Whiten::kNone) WhitenAdvantages(ComputeWhitening(whiten, tasks), tasks);
    std::vector<double> got;
    for (size_t i = 0; i < 4; ++i) got.push_back(Find(tasks[0], i)->advantage_T[0]);
    return got;
  };
  const double gdpo[] = {1.224658, 0, 0, -1.224658}, grpo[] = {1.206107, .212842, -.212842, -1.206107};
  const auto got = advantages({"accuracy", "cal"}, Whiten::kSequences), summed = advantages({"accuracy + cal"}, Whiten::kNone);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(got[i], gdpo[i], 2e-6);
    EXPECT_NEAR(summed[i], grpo[i], 4e-6);
  }
  // Over tokens: mean 0 and deviation 1 by their number, not by traces.
  auto objectives = CheckObjectives({{.channel = "accuracy", .segment = "answer"}}).value();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  WhitenAdvantages(ComputeWhitening(Whiten::kTokens, tasks), tasks);
  Moments after = ComputeWhitening(Whiten::kTokens, tasks);
  EXPECT_NEAR(after.sum, 0.0, 1e-5);
  EXPECT_NEAR(after.Std(), 1.0, 1e-3);
}

TEST(TrainBatch, LeftOutTracesTrainNothing) {
  std::vector<ScoredGroup> groups{FourTraces()};
  auto objectives = CheckObjectives({{.segment = "answer", .advantage = "negative_only"}}).value();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  ASSERT_EQ(tasks[0].traces.size(), 1u);  // the wrong one alone, and it alone is in the denominators
  EXPECT_EQ(tasks[0].traces[0].trace, 1u);
  EXPECT_EQ(CountDenominators(tasks).sequences, 1.0);
}

TEST(TrainBatch, APreferencePairsTheBestWithTheWorstAndNeedsNoLabel) {
  std::vector<ScoredGroup> groups{FourTraces()};
  const double certainty[] = {.3, .8, .1, .99};  // the last is greedy
  for (size_t i = 0; i < 4; ++i) groups[0].traces_G[i].label = Label::kUnknown, groups[0].traces_G[i].channels["sure"] = certainty[i];
  auto objectives = CheckObjectives({{.channel = "sure", .segment = "answer", .loss = "preference"}}).value();
  auto tasks = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  ASSERT_EQ(tasks[0].pairs.size(), 1u);
  EXPECT_EQ(tasks[0].pairs[0].chosen, 1u);
  EXPECT_EQ(tasks[0].pairs[0].rejected, 2u);
  EXPECT_EQ(tasks[0].pairs[0].chosen_tokens.size(), static_cast<size_t>(groups[0].traces_G[1].trace.spans[0].end));
  EXPECT_EQ(tasks[0].traces.size(), 2u);
  EXPECT_EQ(CountDenominators(tasks).pairs, 1.0);
  EXPECT_EQ(CountDenominators(tasks).tokens, 0.0);
  groups[0].drop = DropReason::kStale;
  EXPECT_TRUE(PlanTasks(objectives, groups, ComputeMoments(objectives, groups))[0].pairs.empty());
}

// A group that a random skip left in with probability 1/4 stands for four: its slots weigh four times as much, over the sum of weights.
TEST(TrainBatch, AGroupsWeightReachesItsSlotsAndTheirDenominatorAlone) {
  std::vector<Objective> objectives = CheckObjectives({{.channel = "accuracy", .segment = "answer"},
                                                       {.channel = "accuracy", .segment = "slot", .loss = "squared_error", .weight = 0.5}})
                                          .value();
  std::vector<ScoredGroup> groups = {tiny::Group(1, 0), tiny::Group(1, 1)};
  const auto plain = PlanTasks(objectives, groups, ComputeMoments(objectives, groups));
  std::vector<ScoredGroup> heavy = groups;  // tasks point at their groups
  heavy[1].slot_weight = 4.0;
  const auto weighted = PlanTasks(objectives, heavy, ComputeMoments(objectives, heavy));
  const double slots = static_cast<double>(groups[0].traces_G.size());
  EXPECT_DOUBLE_EQ(CountDenominators(plain).slots, 2.0 * slots);
  EXPECT_DOUBLE_EQ(CountDenominators(weighted).slots, 5.0 * slots);
  EXPECT_DOUBLE_EQ(CountDenominators(weighted).tokens, CountDenominators(plain).tokens);
  for (size_t i = 0; i < weighted[1].traces.size(); ++i) {
    EXPECT_FLOAT_EQ(weighted[1].traces[i].slots[0].weight, 4.0f * plain[1].traces[i].slots[0].weight);
    EXPECT_EQ(weighted[1].traces[i].advantage_T, plain[1].traces[i].advantage_T);
    EXPECT_EQ(weighted[0].traces[i].slots[0].weight, plain[0].traces[i].slots[0].weight);
  }
}

}  // namespace
}  // namespace candor
