// What judges are asked and how they are read: the shipped files, the faults of a user's own, and the arithmetic of votes and tournaments.
#include <gmock/gmock.h>

#include <filesystem>

#include "reward/channels.h"
#include "reward/judges/judge_file.h"
#include "reward/judges/votes.h"

namespace candor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

JudgeFile Shipped(const std::string& name) {
  auto file = ReadJudgeFile(std::string(CANDOR_SOURCE_DIR) + "/recipes/judges/" + name + ".toml");
  EXPECT_TRUE(file) << file.error().Message();
  return file ? *file : JudgeFile{};
}

TEST(JudgeFiles, EveryShippedOneReadsAnAnswerOfItsPaper) {
  struct Case {
    const char *file, *answer;
    double verdict;
  };
  const Case cases[] = {{"grade", "Same country.\n**Verdict:** yes", 1.0},
                        {"grade", "Verdict: yes? No. Verdict: NO.", 0.0},
                        {"deepseek-grm", "weights ... score \\boxed{7}", 6.0 / 9.0},
                        {"deepseek-grm", "\\boxed{2} at first, then \\boxed{5.5}", 0.5},
                        {"deepseek-grm-meta", "\\boxed{ 4 }", 0.4},
                        {"rrm", "so \\boxed{Assistant 2}", 0.0},
                        {"rm-r1", "<eval>..</eval>\n<answer>[[A]]</answer>", 1.0},
                        {"stepwiser", "hence \\boxed{Positive}", 1.0}};
  for (const Case& one : cases) {
    const auto verdict = ReadVerdict(Shipped(one.file), {one.answer, {}});
    ASSERT_TRUE(verdict) << one.file << ": " << one.answer;
    EXPECT_NEAR(*verdict, one.verdict, 1e-12) << one.file << ": " << one.answer;
  }
  const std::pair<const char*, const char*> unreadable[] = {{"grade", "yes"},
                                                            {"grade", "Verdict: maybe"},
                                                            {"deepseek-grm", "\\boxed{11}"},
                                                            {"deepseek-grm", "\\boxed{0}"},
                                                            {"deepseek-grm", "7"},
                                                            {"rrm", "\\boxed{Assistant 3}"},
                                                            {"rm-r1", "[[A]]"},
                                                            {"stepwiser", ""},
                                                            {"genprm", "Is the step correct? Yes"}};
  for (const auto& [file, answer] : unreadable) EXPECT_FALSE(ReadVerdict(Shipped(file), {answer, {}})) << file << ": " << answer;
  size_t shipped = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(CANDOR_SOURCE_DIR) + "/recipes/judges"))
    shipped += Shipped(entry.path().stem().string()).user.empty() ? 0 : 1;
  EXPECT_EQ(shipped, 10u);
}

TEST(JudgeFiles, AProbabilityIsOfTheLastTokenThatDecides) {
  const JudgeFile file = Shipped("genprm");
  const AnswerToken early{"No", -0.1, {{"No", -0.1}}}, late{" Yes", std::log(.5), {{" Yes", std::log(.5)}, {" No", std::log(.3)}}};
  const std::string text = "No ... Is the step correct? Yes";
  EXPECT_NEAR(*ReadVerdict(file, {text, {early, late, {".", 0.0, {}}}}), .625, 1e-12);
  EXPECT_NEAR(*ReadVerdict(file, {text, {{"Yes", std::log(.5), {{" No", std::log(.3)}}}}}), .625, 1e-12)
      << "its own token, not in the list";
  EXPECT_FALSE(ReadVerdict(file, {text, {{"Yes", -2000.0, {}}}})) << "0 / 0 is no number";
  EXPECT_FALSE(ReadVerdict(file, {"I refuse", {late}}));
}

TEST(JudgeFiles, AProgramIsTheFirstPythonBlockAndWhatStoodBeforeIt) {
  const auto program = ProgramIn("First.\n```python\nprint(1)\n```\nIt prints 2.\n```python\nprint(3)\n```");
  ASSERT_TRUE(program);
  EXPECT_EQ(program->code, "print(1)\n");
  EXPECT_EQ(program->said, "First.\n```python\nprint(1)\n```");
  for (const char* none : {"", "no code", "```python\nprint(1)", "```python", "```text\nprint(1)\n```"})
    EXPECT_FALSE(ProgramIn(none)) << none;
  EXPECT_TRUE(Shipped("genprm-code").runs_code);
  EXPECT_FALSE(Shipped("genprm").runs_code);
  const std::string head = "kind = \"pointwise\"\nuser = \"{completion}\"\n",
                    parse = "[parse]\nread = \"word\"\npattern = '(y|n)'\npositive = [\"y\"]\nnegative = [\"n\"]\n";
  EXPECT_THAT(ParseJudgeFile(head + "execute = \"python\"\nafter_code = \"go on\"\n" + parse, "mine.toml").error().fix,
              HasSubstr("{output}"));
  EXPECT_THAT(ParseJudgeFile(head + "after_code = \"{output}\"\n" + parse, "mine.toml").error().fix, HasSubstr("execute"));
  EXPECT_EQ(ParseJudgeFile(head + "execute = \"python\"\n" + parse, "mine.toml")->after_code.substr(0, 23), "Your program printed:\n{");
}

TEST(JudgeFiles, FaultsNameThePlaceAndTheFix) {
  const std::string good =
      "kind = \"pointwise\"\nuser = \"{completion}\"\n[parse]\nread = \"word\"\npattern = '(y|n)'\npositive = [\"y\"]\nnegative = "
      "[\"n\"]\n";
  ASSERT_TRUE(ParseJudgeFile(good, "mine.toml")) << ParseJudgeFile(good, "mine.toml").error().Message();
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    auto file = ParseJudgeFile(text, "mine.toml");
    return file ? std::string("taken") : file.error().Message();
  };
  EXPECT_THAT(with("{completion}", "{completion} {refrence}"), HasSubstr("{refrence}"));
  EXPECT_THAT(with("{completion}", "Is it right?"), HasSubstr("what is to be judged"));
  EXPECT_THAT(with("pointwise", "pairwise"), HasSubstr("{completion}"));
  EXPECT_THAT(with("pointwise", "pontwise"), HasSubstr("kind"));
  EXPECT_THAT(with("(y|n)", "y|n"), HasSubstr("( )"));
  EXPECT_THAT(with("(y|n)", "(y|n"), HasSubstr("cannot be read"));
  EXPECT_THAT(with("(y|n)", "(y|n|" + std::string(1000, 'x') + ")"), HasSubstr("1000 is the most"));
  EXPECT_THAT(with("(y|n)", "(y|n)" + std::string(1000, 'x')), HasSubstr("1000 is the most")) << "not cut to what would be read";
  EXPECT_THAT(with("positive = [\"y\"]", ""), HasSubstr("words for yes"));
  EXPECT_THAT(with("positive", "postive"), HasSubstr("postive"));
  EXPECT_THAT(with("\"word\"", "\"number\"\nleast = 1\nmost = 1"), HasSubstr("same number"));
  EXPECT_FALSE(ReadJudgeFile("/nonexistent/judge.toml"));
}

TEST(JudgeFiles, WhatAPolicyWroteIsNoTemplate) {
  const JudgeFields fields = {{"completion", "{reference} }{ {prompt}"}, {"reference", "secret"}, {"prompt", "P"}};
  EXPECT_EQ(FillJudgeTemplate("{prompt}{prompt} \\boxed{prompt} {", fields), "PP \\boxed{prompt} {");
  EXPECT_EQ(FillJudgeTemplate("{prompt}: {completion} \\boxed{7} {unknown} {", fields),
            "P: {reference} }{ {prompt} \\boxed{7} {unknown} {");
}

TEST(JudgeFiles, StepsAreParagraphs) {
  const JudgeFile file = Shipped("thinkprm");
  EXPECT_THAT(SplitSteps(file, " a\nb \n\n\n c\n  \nd"), ElementsAre("a\nb", "c", "d"));
  EXPECT_TRUE(SplitSteps(file, " \n\n").empty());
  std::string many;
  for (int i = 0; i < 100; ++i) many += "x\n\n";
  EXPECT_EQ(SplitSteps(file, many).size(), kMaxJudgedSteps);
  EXPECT_FALSE(ReadStepVerdicts(file, {"\\boxed{correct} \\boxed{correct}", {}}, 3));
  EXPECT_THAT(*ReadStepVerdicts(file, {"\\boxed{correct} \\boxed{incorrect}", {}}, 2), ElementsAre(1.0, 0.0));
}

TEST(Votes, MeanSpreadTrustAndSteps) {
  EXPECT_FALSE(SummariseVotes(std::vector{0.7}).spread);
  const VoteSummary split = SummariseVotes(std::vector{1.0, 1.0, 0.0, 1.0});
  EXPECT_NEAR(split.mean, .75, 1e-12);
  EXPECT_NEAR(*split.spread, .4330127, 1e-6);
  EXPECT_NEAR(*SummariseVotes(std::vector{0.0, 1.0}).confidence, 0.0, 1e-12);
  EXPECT_NEAR(*SummariseVotes(std::vector{.4, .4, .4}).confidence, 1.0, 1e-7);
  const std::vector<std::optional<double>> trust = {.2, std::nullopt, .9, .2, .5};
  EXPECT_THAT(MostTrusted(trust, 3), ElementsAre(0, 2, 4));
  EXPECT_THAT(MostTrusted(trust, 0), ElementsAre(0, 2, 3, 4));
  const StepAggregates all = AggregateSteps(std::vector{.9, .5, .8});
  EXPECT_NEAR(all.min, .5, 1e-12);
  EXPECT_NEAR(all.mean, 2.2 / 3, 1e-12);
  EXPECT_NEAR(all.product, .36, 1e-12);
}

TEST(Tournaments, TheStrongerPlayerEndsHigherWhateverTheDraw) {
  for (size_t players = 2; players <= 9; ++players)
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Knockout cup(players, seed);
      size_t games = 0;
      while (!cup.over()) {
        std::vector<Game> round = cup.NextRound();
        for (Game& game : round) game.share = game.a > game.b ? 1.0 : 0.0, ++games;  // the higher number is the stronger one
        cup.Take(round);
      }
      EXPECT_EQ(games, players - 1);
      EXPECT_EQ(cup.Scores()[players - 1], 1.0);
      for (size_t i = 0; i + 1 < players; ++i) EXPECT_LT(*cup.Scores()[i], 1.0);
    }
  Knockout silent(4, 1);
  std::vector<Game> round = silent.NextRound();
  round[0].share = 1.0;  // of the other game nothing is known: both leave
  silent.Take(round);
  EXPECT_TRUE(silent.over());
  EXPECT_EQ(silent.Scores()[round[0].a], 1.0);
  EXPECT_FALSE(silent.Scores()[round[1].a] || silent.Scores()[round[1].b]);
  Knockout unjudged(3, 1);
  while (!unjudged.over()) unjudged.Take(unjudged.NextRound());
  for (const auto& score : unjudged.Scores()) EXPECT_FALSE(score) << "the odd one out won nothing: the judge was away";
  std::vector<Game> games = RoundRobin(3);
  games[0].share = 1.0, games[1].share = .75;  // 0 beats 1, 0 against 2; 1 against 2 is not judged
  const auto scores = RoundRobinScores(games, 3);
  EXPECT_EQ(scores[0], .875);
  EXPECT_EQ(scores[1], 0.0);
  EXPECT_EQ(scores[2], .25);
}

TEST(LabelNoise, TwoRatesGiveTheTrueLabelsMean) {
  RewardOptions options;
  options.label_false_positive = 0.3, options.label_false_negative = 0.1;
  const LabelNoise noise = *LabelNoiseOf(options);
  const std::set<std::string> wanted = {"denoised", "denoised_brier"};
  const auto channels = [&](Label label, const LabelNoise& n) {
    ChannelInputs in{true, label, 0.0, true, Confidence::From(0.7)};
    in.noise = n;
    std::map<std::string, double> filled;
    AddWantedChannels(in, wanted, filled);
    return filled;
  };
  for (const double p : {0.0, 0.3, 0.9}) {
    const double seen = p * .9 + (1 - p) * .3, brier = p * (1 - .09) + (1 - p) * (1 - .49);
    const auto mean = [&](const std::string& name, const LabelNoise& n) {
      return seen * channels(Label::kCorrect, n)[name] + (1 - seen) * channels(Label::kWrong, n)[name];
    };
    EXPECT_NEAR(mean("denoised", noise), p, 1e-12);
    EXPECT_NEAR(mean("denoised_brier", noise), brier, 1e-12);
    EXPECT_GT(std::abs(mean("denoised_brier", {.2, .2}) - brier), 0.01) << "the control: one rate for both does not do";
  }
  options.label_noise = 0.1;
  EXPECT_FALSE(LabelNoiseOf(options));
  options.label_noise = 0.0, options.label_false_positive = 0.95, options.label_false_negative = 0.1;
  EXPECT_THAT(LabelNoiseOf(options).error().what, HasSubstr("say nothing"));
}

}  // namespace
}  // namespace candor
