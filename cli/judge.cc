// candor judge test: a judge against rows whose truth is known, before a run depends on what it says.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/recipe.h"
#include "core/fs.h"
#include "core/log.h"
#include "reward/judges/judge_trial.h"

namespace candor::cli {
namespace {

constexpr const char* kJudgeExamples = R"(
Prints how often the judge is right, how often it errs in each direction with 95 % intervals, and its calibration. --write FILE saves both error rates as the
recipe keys that the channels denoised and denoised_brier read: candor run recipe.toml FILE.

Gold rows, one JSON object a line:
  {"prompt": "2 + 2?", "completion": "It is 4.", "label": 1, "answer"?: "4"}    label: 1, 0, "correct", "wrong"
  {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}                          for judges of pairs
  what `candor eval --out` wrote (runs/cities/eval/after.jsonl): the policy's own answers with the verifier's labels, the best gold set for a run
  {"prompt": "2 + 2?", "answer": "4"}                                           data rows: their own answers, and other rows' as wrong ones

Examples:
  candor judge test recipe.toml --rows gold.jsonl --write noise.toml
  candor judge test --prompt recipes/judges/grade.toml --url http://127.0.0.1:8000/v1 --allow-host 127.0.0.1 --rows gold.jsonl
  candor judge test --prompt recipes/judges/rrm.toml --url https://api.example.com/v1 --model judge --api-key-env JUDGE_KEY --rows pairs.jsonl --n 100
)";

struct JudgeArguments {
  std::vector<std::string> recipes;
  std::string name, rows, write;
  int64_t n = 0;
  bool json = false;
  JudgeOptions judge;
};

struct JudgeAndFormat {
  JudgeOptions judge;
  TagFormat format;
};

Result<JudgeAndFormat> ChooseJudge(const JudgeArguments& a) {
  if (a.recipes.empty()) return JudgeAndFormat{a.judge, {}};
  CANDOR_ASSIGN(const RecipeArguments given, SplitRecipeArguments(a.recipes));
  CANDOR_ASSIGN(const Recipe recipe, LoadSettings(given.files, given.overrides));
  CANDOR_ASSIGN(TagFormat format, TagFormat::From(recipe.format.tags, recipe.format.confidence));
  std::vector<std::string> names;
  for (const JudgeOptions& judge : recipe.reward.judges) {
    names.push_back(judge.name);
    if (judge.name == a.name || (a.name.empty() && recipe.reward.judges.size() == 1)) return JudgeAndFormat{judge, std::move(format)};
  }
  return Fail(ErrorCode::kInvalidInput,
              names.empty()    ? "the recipe has no [[judge]]"
              : a.name.empty() ? "the recipe has several judges"
                               : "no judge is called '" + a.name + "'",
              "", names.empty() ? "add one, or name --prompt and --url" : fmt::format("--judge, one of: {}", fmt::join(names, ", ")));
}

nlohmann::json RateJson(const Rate& rate) {
  if (rate.n == 0) return nullptr;
  return {{"value", rate.value()}, {"low", rate.interval().low}, {"high", rate.interval().high}, {"count", rate.count}, {"n", rate.n}};
}

std::string TrialJson(const JudgeTrial& trial, bool pairs) {
  nlohmann::json json = {{"rows", trial.rows}, {"unknown", trial.unknown}, {"accuracy", RateJson(trial.accuracy)}};
  if (pairs) {
    json["ties"] = RateJson(trial.ties), json["consistent"] = RateJson(trial.consistent);
  } else {
    json["false_positive"] = RateJson(trial.false_positive), json["false_negative"] = RateJson(trial.false_negative);
    json["calibration"] = calibration::ToJson(calibration::ComputeSummary(trial.said));
    if (!trial.sure.empty()) json["confidence"] = calibration::ToJson(calibration::ComputeSummary(trial.sure));
  }
  return json.dump(2);
}

Status TestJudge(const JudgeArguments& a) {
  CANDOR_ASSIGN(const JudgeAndFormat chosen, ChooseJudge(a));
  CANDOR_ASSIGN(const JudgeKind kind, KindOfJudge(chosen.judge));
  const bool pairs = kind == JudgeKind::kPairwise;
  if (pairs && !a.write.empty())
    return Fail(ErrorCode::kInvalidInput, "a judge of pairs labels no answers, so that it has no such error rates", "--write",
                "leave it out");
  CANDOR_ASSIGN(const GoldSet gold, ReadGoldSet(a.rows, chosen.format, pairs, a.n));
  if (!a.write.empty()) CANDOR_TRY(PrepareOutput(a.write));
  JudgeTrial trial;
  if (pairs) {
    CANDOR_ASSIGN(const std::unique_ptr<GroupJudge> judge, MakeGroupJudge(chosen.judge));
    trial = TryGroupJudge(chosen.judge, *judge, gold, chosen.judge.concurrency);
  } else {
    CANDOR_ASSIGN(const std::unique_ptr<Verifier> judge, MakeJudge(chosen.judge));
    trial = TryJudge(chosen.judge, *judge, gold, chosen.judge.concurrency);
  }
  if (a.json) {
    std::puts(TrialJson(trial, pairs).c_str());
  } else {
    if (gold.unlabelled > 0) std::printf("%ld rows without a label are left out\n", static_cast<long>(gold.unlabelled));
    if (gold.made)
      std::puts(
          "no labelled completions: each row's own answer stands for a right one, another row's for a wrong one; a policy's mistakes are "
          "harder to see");
    std::fputs(JudgeTrialTable(trial, pairs).c_str(), stdout);
  }
  if (trial.accuracy.n == 0)
    return Fail(ErrorCode::kUnavailable, "the judge judged nothing", chosen.judge.url, trial.reasons.empty() ? "" : trial.reasons.front());
  if (a.write.empty()) return {};
  CANDOR_ASSIGN(const std::string noise, NoiseToml(trial, chosen.judge.name));
  CANDOR_TRY(WriteFileAtomic(a.write, noise));
  std::fprintf(stderr, "%s holds both rates: candor run RECIPE %s, with an objective that reads denoised or denoised_brier\n",
               a.write.c_str(), a.write.c_str());
  return {};
}

}  // namespace

int RunJudge(int argc, const char* const* argv) {
  JudgeArguments a;
  a.judge.name = "judge";
  CommandLine app{"Tries a judge on rows whose truth is known.", "candor judge"};
  CommandLine& test = app.AddSubcommand("test", "accuracy, error rates and calibration of a judge against a gold set");
  app.AddFooter(kJudgeExamples);
  test.AddFooter(kJudgeExamples);
  const Argument recipe = test.Add("RECIPE", &a.recipes, "recipe files, merged left to right, and overrides a.b=c");
  test.Add("--judge", &a.name, "which [[judge]] of the recipe").Needs(recipe);
  const Argument prompt =
      test.Add("--prompt", &a.judge.prompt, "without a recipe: what the judge is asked (recipes/judges/*.toml)").Excludes(recipe);
  Argument url = test.Add("--url", &a.judge.url, "base of its endpoint, http://host:port/v1").Excludes(recipe);
  url.Needs(prompt);
  test.Add("--model", &a.judge.model, "its name there").Needs(url);
  test.Add("--api-key-env", &a.judge.api_key_env, "environment variable with the endpoint's key").Needs(url);
  test.Add("--api-key-file", &a.judge.api_key_file, "or the file with it").Needs(url);
  test.Add("--allow-host", &a.judge.allow_hosts, "a host of --url that may lie on a loopback or private address").Needs(url);
  test.Add("--votes", &a.judge.votes, "answers asked for each row").Range(1, 256).ShowDefault();
  test.Add("--temperature", &a.judge.temperature, "of the judge").Range(0.0, 2.0).ShowDefault();
  test.Add("--max-tokens", &a.judge.max_tokens, "longest answer of the judge").Positive().ShowDefault();
  test.Add("--timeout", &a.judge.timeout_s, "seconds for one answer").Positive().ShowDefault();
  test.Add("--retries", &a.judge.retries, "repetitions of a question that nobody answered").Range(0, 20).ShowDefault();
  test.Add("--rows", &a.rows, "JSONL of gold rows").Required();
  test.Add("--n", &a.n, "at most so many rows (default: all)").Positive();
  test.Add("--write", &a.write, "save the error rates as recipe keys");
  test.AddFlag("--json", &a.json, "the numbers as JSON");
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (!recipe.Given() && !url.Given()) {
    std::fprintf(stderr, "candor judge test: name a recipe, or --prompt and --url; see candor judge test --help\n");
    return static_cast<int>(ExitCode::kUsage);
  }
  spdlog::set_level(spdlog::level::err);  // reasons are in the table
  return ExitWith("judge test", TestJudge(a));
}

}  // namespace candor::cli
