// Judges against a scripted endpoint that is right, wrong, slow, dead or talks nonsense: what cannot be read is unknown, never wrong.
#include <gmock/gmock.h>

#include <filesystem>

#include "reward/grading_pool.h"
#include "reward/judges/judge.h"
#include "reward/judges/judge_trial.h"
#include "reward/judges/votes.h"
#include "tests/unit/reward/scripted_judge.h"

namespace candor {
namespace {

using testing::Ask;
using ::testing::HasSubstr;
using testing::Row;
using testing::ScriptedJudge;
using testing::TempFolder;

class Judges : public ::testing::Test {
 protected:
  Verdict Grade(const JudgeOptions& options, const std::string& answer) const {
    auto judge = MakeJudge(options);
    EXPECT_TRUE(judge) << judge.error().Message();
    const DataRow row = Row({"France", "French Republic"});
    return judge ? (*judge)->Grade(Ask(row, answer)) : Verdict{};
  }
  TempFolder folder_;
  ScriptedJudge server_{folder_};
};

TEST_F(Judges, RightAndWrongAnswersAreLabels) {
  EXPECT_EQ(Grade(server_.Options("grade", "fair"), "France").label, Label::kCorrect);
  EXPECT_EQ(Grade(server_.Options("grade", "fair"), "French Republic").label, Label::kCorrect);
  EXPECT_EQ(Grade(server_.Options("grade", "fair"), "Spain").label, Label::kWrong);
  EXPECT_EQ(Grade(server_.Options("grade", "liar"), "France").label, Label::kWrong) << "the control: the judge decides";
}

TEST_F(Judges, WhatIsNotAnsweredOrNotReadablyIsUnknown) {
  const std::pair<const char*, const char*> cases[] = {
      {"slow", "no reply"},          {"garbage", "rather not say"}, {"html", "not a JSON object"},  {"empty", "no choices"},
      {"deep", "nested too deeply"}, {"dead", "no reply"},          {"refuses", "HTTP status 401"}, {"down", "HTTP status 503"}};
  for (const auto& [model, reason] : cases) {
    const Verdict verdict = Grade(server_.Options("grade", model), "France");
    EXPECT_EQ(verdict.label, Label::kUnknown) << model;
    EXPECT_THAT(verdict.reason, HasSubstr(reason)) << model;
    EXPECT_TRUE(verdict.rewards.empty()) << model;
  }
  JudgeOptions nobody = server_.Options("grade", "fair");
  nobody.url = "http://127.0.0.1:1/v1";
  EXPECT_EQ(Grade(nobody, "France").label, Label::kUnknown);
}

TEST_F(Judges, ABusyEndpointIsAskedAgainARefusalIsNot) {
  JudgeOptions busy = server_.Options("grade", "busy");
  busy.retries = 2;
  EXPECT_EQ(Grade(busy, "France").label, Label::kCorrect);  // the third time
  JudgeOptions refuses = server_.Options("grade", "refuses");
  refuses.retries = 5;
  EXPECT_EQ(Grade(refuses, "France").label, Label::kUnknown);
  const std::string asked = folder_.path() + "/asked";
  ASSERT_EQ(std::system(("python3 -S -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:" + server_.port +
                         "').read().decode())\" > " + asked)
                            .c_str()),
            0);
  std::ifstream in(asked);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  EXPECT_THAT(text, HasSubstr("\"busy\": 3"));
  EXPECT_THAT(text, HasSubstr("\"refuses\": 1"));
}

TEST_F(Judges, TheKeyIsSentAndNeverTold) {
  JudgeOptions keyed = server_.Options("grade", "keyed");
  keyed.api_key_file = folder_.Write("key", "s3cret-key\n");
  EXPECT_EQ(Grade(keyed, "France").label, Label::kCorrect);
  keyed.model = "refuses";  // an endpoint that repeats what it was sent
  const Verdict told = Grade(keyed, "France");
  EXPECT_THAT(told.reason, HasSubstr("no such key"));
  EXPECT_THAT(told.reason, ::testing::Not(HasSubstr("s3cret")));
  keyed.api_key_file = folder_.path() + "/none";
  EXPECT_FALSE(MakeJudge(keyed));
  keyed.api_key_file = "", keyed.api_key_env = "CANDOR_TEST_NO_SUCH_KEY";
  EXPECT_THAT(MakeJudge(keyed).error().where, HasSubstr("CANDOR_TEST_NO_SUCH_KEY"));
  JudgeOptions strange = server_.Options("grade", "fair");
  strange.allow_hosts.clear();
  EXPECT_THAT(MakeJudge(strange).error().fix, HasSubstr("allow_hosts"));
}

TEST_F(Judges, VotesHaveAMeanAndASpread) {
  JudgeOptions split = server_.Options("grade", "split");
  split.votes = 4, split.temperature = 1.0;
  Verdict verdict = Grade(split, "France");
  EXPECT_EQ(verdict.label, Label::kCorrect);
  EXPECT_DOUBLE_EQ(verdict.soft_label, 0.75);
  EXPECT_NEAR(verdict.rewards["J/spread"], 0.4330127, 1e-6);
  EXPECT_NEAR(verdict.rewards["J/confidence"], 0.1339746, 1e-6);
  EXPECT_EQ(verdict.rewards["J/answered"], 1.0);
  split.model = "mumbles";
  verdict = Grade(split, "France");
  EXPECT_EQ(verdict.soft_label, 1.0) << "votes that cannot be read are left out, not counted as no";
  EXPECT_EQ(verdict.rewards["J/answered"], 0.5);
  split.min_votes = 3;
  EXPECT_EQ(Grade(split, "France").label, Label::kUnknown);
  split.temperature = 0.0;
  EXPECT_THAT(MakeJudge(split).error().what, HasSubstr("one vote"));
}

TEST_F(Judges, AProbabilityIsReadFromTheTokens) {
  const Verdict verdict = Grade(server_.Options("thinkprm-outcome", "probable"), "France");
  EXPECT_NEAR(verdict.soft_label, 0.7 / 0.9, 1e-9);  // " Yes" and "yes" against " No"
  EXPECT_EQ(Grade(server_.Options("thinkprm-outcome", "fair"), "France").label, Label::kUnknown) << "no log-probabilities, no number";
}

TEST_F(Judges, StepsAreJudgedAllAtOnceOrEach) {
  const std::string solution = "2 + 2 = 4\n\nthis is wrong\n \nso 5";
  for (const auto& [file, model] : {std::pair{"thinkprm", "steps-all"}, {"stepwiser", "steps-each"}}) {
    JudgeOptions options = server_.Options(file, model);
    options.aggregate = "mean";
    Verdict verdict = Grade(options, solution);
    EXPECT_NEAR(verdict.soft_label, 2.0 / 3.0, 1e-9) << file << ": " << verdict.reason;
    EXPECT_THAT(verdict.reason, HasSubstr("1 0 1"));
    EXPECT_EQ(verdict.rewards["J/min"], 0.0);
    EXPECT_EQ(verdict.rewards["J/product"], 0.0);
    EXPECT_EQ(verdict.rewards["J/steps"], 3.0);
    options.aggregate = "min";
    EXPECT_EQ(Grade(options, solution).label, Label::kWrong);
    EXPECT_EQ(Grade(options, "one step").label, Label::kCorrect);
    EXPECT_EQ(Grade(options, " \n\n ").label, Label::kUnknown);
  }
  EXPECT_EQ(Grade(server_.Options("thinkprm", "steps-short"), solution).label, Label::kUnknown) << "a verdict for one of three steps";
}

TEST_F(Judges, AProgramIsRunAndTheJudgeGoesOnFromWhatItPrinted) {
  ::setenv("CANDOR_ADAPTERS", CANDOR_SOURCE_DIR "/reward/adapters", 1);
  JudgeOptions coder = server_.Options("genprm-code", "coder");
  coder.timeout_s = 5.0, coder.aggregate = "mean";
  if (const auto made = MakeJudge(coder); !made && made.error().code == ErrorCode::kUnavailable) GTEST_SKIP() << made.error().Message();
  const Verdict verdict = Grade(coder, "2 + 2 = 4\n\n2 + 2 = 5\n\n1 / 0 = 0");
  EXPECT_NEAR(verdict.soft_label, (.9 + .1 + .1) / 3, 1e-6) << verdict.reason << ": a program that fails supports nothing";
  EXPECT_NEAR(verdict.rewards.at("J/min"), .1, 1e-6);
  EXPECT_NEAR(Grade(coder, "2 + 2 = 4").soft_label, .9, 1e-6) << "not what it said behind its program, which was no";
  EXPECT_EQ(Grade(server_.Options("genprm", "coder"), "2 + 2 = 4").label, Label::kUnknown) << "the control: the same judge, nothing run";
  coder.code_timeout_s = 1.0;
  EXPECT_NEAR(Grade(coder, "[None for x in iter(int, 1)] = 1").soft_label, .1, 1e-6) << "a program that does not end is stopped";
}

TEST_F(Judges, AMetaJudgeKeepsTheVotesItTrusts) {
  JudgeOptions grm = server_.Options("deepseek-grm", "grm");
  grm.votes = 5, grm.temperature = 1.0;
  EXPECT_NEAR(Grade(grm, "France").soft_label, 4.0 / 9.0, 1e-9);  // scores 1 3 5 7 9 of 1 to 10
  grm.meta = std::string(CANDOR_SOURCE_DIR) + "/recipes/judges/deepseek-grm-meta.toml", grm.meta_keep = 2;
  EXPECT_NEAR(Grade(grm, "France").soft_label, 7.0 / 9.0, 1e-9);  // it trusts a judgement by its score: 7 and 9
  grm.meta_keep = 6;
  EXPECT_FALSE(MakeJudge(grm));
  grm.meta_keep = 2, grm.meta = grm.prompt;
  EXPECT_THAT(MakeJudge(grm).error().what, HasSubstr("pointwise"));
}

GroupChannels Compare(const JudgeOptions& options, std::vector<std::string_view> completions, std::vector<bool> plays) {
  const DataRow row = Row({"France"});
  auto judge = MakeGroupJudge(options);
  EXPECT_TRUE(judge) << judge.error().Message();
  return judge ? (*judge)->Judge({7, row.prompt, &row, std::move(completions), std::move(plays)}) : GroupChannels(8);
}

TEST_F(Judges, PairsMeetInBothOrders) {
  GroupChannels group =
      Compare(server_.Options("rrm", "longer"), {"aa", "aaaa", "greedy greedy", "a", "aa"}, {true, true, false, true, true});
  EXPECT_NEAR(group[0]["J"], (0 + 1 + .5) / 3, 1e-9);  // loses to aaaa, beats a, equals its twin
  EXPECT_EQ(group[1]["J"], 1.0);
  EXPECT_EQ(group[3]["J"], 0.0);
  EXPECT_TRUE(group[2].empty()) << "a greedy trace does not play";
  EXPECT_EQ(group[1]["J/consistent"], 1.0);
  EXPECT_EQ(group[1]["J/games"], 3.0);
  GroupChannels biased = Compare(server_.Options("rrm", "biased"), {"aa", "aaaa"}, {true, true});
  EXPECT_EQ(biased[0]["J"], 0.5) << "who stands first wins: swapped, that is a tie";
  EXPECT_EQ(biased[0]["J/consistent"], 0.0);
  for (const char* model : {"garbage", "dead", "once"}) {  // once: one order is answered, the other is not
    GroupChannels silent = Compare(server_.Options("rrm", model), {"aa", "aaaa"}, {true, true});
    EXPECT_FALSE(silent[0].contains("J")) << model;
    EXPECT_EQ(silent[0]["J/games"], 0.0) << model;
  }
  JudgeOptions knockout = server_.Options("rrm", "longer");
  knockout.tournament = "knockout";
  GroupChannels cup = Compare(knockout, {"aa", "aaaa", "a", "aaa"}, {true, true, true, true});
  EXPECT_EQ(cup[1]["J"], 1.0);
  EXPECT_EQ(cup[2]["J"], 0.0);
  EXPECT_FALSE(Compare(knockout, {"alone"}, {true})[0].contains("J"));
}

TEST_F(Judges, AGroupBecomesChannelsInThePool) {
  RewardOptions reward;
  reward.judges = {server_.Options("rrm", "longer"), server_.Options("grade", "fair"), server_.Options("grade", "garbage")};
  reward.judges[1].name = "grade", reward.judges[2].name = "silent";
  reward.verifier = "grade";
  auto verifiers = MakeVerifiers(reward);
  ASSERT_TRUE(verifiers) << verifiers.error().Message();
  auto judges = MakeGroupJudges(reward);
  ASSERT_TRUE(judges && judges->size() == 1);
  auto rules = ScoreRules::From(*TagFormat::From(std::vector<std::string>{"answer", "confidence"}, "verbal"), reward);
  ASSERT_TRUE(rules) << rules.error().Message();
  const DataRow row = Row({"France"});
  const auto score = [&](uint64_t id) {
    TraceGroup group;
    group.id = GroupId{id};
    group.traces_G = {testing::MakeTrace(0, testing::Verbal("France", "0.9")), testing::MakeTrace(1, testing::Verbal("Spain", "0.5"))};
    auto again = MakeGroupJudges(reward);
    GradingPool pool(**verifiers, *rules, 2, std::move(*again));
    pool.Submit(std::move(group), row);
    for (;;)
      if (auto scored = pool.TakeScored()) return *scored;
  };
  ScoredGroup scored = score(5);
  EXPECT_EQ(scored.traces_G[0].label, Label::kCorrect);
  EXPECT_EQ(scored.traces_G[1].label, Label::kWrong);
  EXPECT_EQ(scored.traces_G[0].channels["J"], 1.0);
  EXPECT_EQ(scored.traces_G[1].channels["J"], 0.0);
  EXPECT_EQ(scored.traces_G[1].channels["grade"], 0.0);
  EXPECT_FALSE(scored.traces_G[0].channels.contains("silent")) << "no answer, no channel";
  scored = score(uint64_t{1} << 63 | 5);  // an evaluation: only the label's judge is asked
  EXPECT_EQ(scored.traces_G[0].label, Label::kCorrect);
  EXPECT_FALSE(scored.traces_G[0].channels.contains("J"));
  reward.verifier = "J";
  EXPECT_THAT(MakeVerifiers(reward).error().what, HasSubstr("compares"));
  reward.verifier = "grade", reward.judges[2].name = "grade";
  EXPECT_THAT(MakeVerifiers(reward).error().what, HasSubstr("two [[judge]]"));
}

TEST_F(Judges, ATrialMeasuresWhatTheScriptGetsWrong) {
  const std::string gold = folder_.Write("gold.jsonl", R"({"prompt":"Lyon?","completion":"France","answer":"France","label":1}
{"prompt":"Lyon?","completion":"Gaul","answer":"France","label":"correct"}

{"prompt":"Bonn?","completion":"Spain","answer":"Germany","label":0}
{"prompt":"Bonn?","completion":"Germany","answer":"Germany","label":false}
{"prompt":"Rome?","completion":"Spain","answer":"Italy","label":"wrong"}
{"prompt":"Rome?","completion":"?","answer":"Italy","label":"unknown"}
{"question":"Oslo?","prompt":"q7","text":"Norway","answer":"Norway","accepted":["Norway"],"label":"correct"}
)");
  auto set = ReadGoldSet(gold, {}, false);
  ASSERT_TRUE(set) << set.error().Message();
  EXPECT_EQ(set->unlabelled, 1);
  const JudgeOptions options = server_.Options("grade", "fair");
  const JudgeTrial trial = TryJudge(options, **MakeJudge(options), *set, 3);
  EXPECT_EQ(trial.rows, 6);
  EXPECT_EQ(std::pair(trial.accuracy.count, trial.accuracy.n), std::pair(int64_t{4}, int64_t{6}));
  EXPECT_EQ(std::pair(trial.false_positive.count, trial.false_positive.n), std::pair(int64_t{1}, int64_t{3}));
  EXPECT_EQ(std::pair(trial.false_negative.count, trial.false_negative.n), std::pair(int64_t{1}, int64_t{3}));
  EXPECT_NEAR(trial.false_positive.interval().low, 0.0615, 5e-4);  // Wilson, 1 of 3
  EXPECT_NEAR(trial.false_positive.interval().high, 0.7923, 5e-4);
  auto toml = NoiseToml(trial, "J");
  ASSERT_TRUE(toml);
  RewardOptions read;
  OptionTable table;
  Declare(table, read);
  RecipeSource source;
  ASSERT_TRUE(source.AddText(*toml, "noise.toml"));
  ASSERT_TRUE(source.Bind(table));
  EXPECT_NEAR(read.label_false_positive, 1.0 / 3.0, 1e-5);
  EXPECT_NEAR(LabelNoiseOf(read)->false_negative, 1.0 / 3.0, 1e-5);
  const JudgeOptions silent = server_.Options("grade", "garbage");
  const JudgeTrial nothing = TryJudge(silent, **MakeJudge(silent), *set, 3);
  EXPECT_EQ(nothing.unknown, 6);
  EXPECT_FALSE(NoiseToml(nothing, "J"));
  const JudgeOptions liar = server_.Options("grade", "liar");
  EXPECT_THAT(NoiseToml(TryJudge(liar, **MakeJudge(liar), *set, 3), "J").error().what, HasSubstr("say nothing"));
}

}  // namespace
}  // namespace candor
