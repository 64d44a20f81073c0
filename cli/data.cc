// `candor data hotpotqa|bigmath`: Candor's rows from public files that somebody has downloaded; nothing is fetched.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "core/fs.h"
#include "reward/verifiers/normalise.h"
#include "text/bigmath.h"
#include "text/hotpotqa.h"

namespace candor::cli {

namespace {

constexpr const char* kHotpotExamples =
    R"(HotpotQA-Modified of the RLCR paper (arXiv 2507.16806): of ten paragraphs two are taken out; none, one or both of them hold a part
of the answer. Writes train.jsonl and dev.jsonl from the train file, test.jsonl and vanilla.jsonl (no such part taken out) from the dev file,
and prepared.json, which says how. No question stands in two of them.

Examples:
  wget http://curtis.ml.cmu.edu/datasets/hotpot/hotpot_train_v1.1.json http://curtis.ml.cmu.edu/datasets/hotpot/hotpot_dev_distractor_v1.json
  candor data hotpotqa hotpot_train_v1.1.json hotpot_dev_distractor_v1.json --out data/hotpotqa
  candor data hotpotqa train.jsonl validation.jsonl --out data/hotpotqa        as Hugging Face's datasets exports hotpotqa/hotpot_qa, distractor
  candor data hotpotqa train.json dev.json --out small --train-rows 200 --dev-rows 50 --test-rows 50 --vanilla-rows 50)";

constexpr const char* kBigMathExamples =
    R"~(Big-Math-digits of the RLCR paper (arXiv 2507.16806): answers that are one number, to problems that Llama-3.1-8B solves with a rate
between --above and --below. Writes train.jsonl, dev.jsonl, test.jsonl and prepared.json, which says how. No problem stands in two of them.
The set is published as Parquet behind a form; as JSON lines:
  python3 -c "import datasets; datasets.load_dataset('SynthLabsAI/Big-Math-RL-Verified', split='train').to_json('big-math.jsonl')"

Examples:
  candor data bigmath big-math.jsonl --out data/bigmath
  candor data bigmath big-math.jsonl --out data/bigmath-all --above -1 --below 2   easy and impossible ones too: they teach the confidence its ends
  candor data bigmath big-math.jsonl --out small --train-rows 200 --dev-rows 50 --test-rows 50)~";

std::string SameQuestion(const std::string& text) { return NormaliseAnswer(text); }
// Signs are what a problem is made of: case and white space only.
std::string SameProblem(const std::string& text) {
  std::string words;
  for (const std::string& word : SplitWords(FoldCase(text))) words += word + " ";
  return words;
}

Status PrepareFolder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_empty(folder, error))
    return Fail(ErrorCode::kInvalidInput, "the folder is not empty, and nothing is overwritten", folder, "name a new folder");
  return PrepareOutput(folder + "/prepared.json");
}

Status WritePublicRows(const std::string& folder, const PublicRows& rows, nlohmann::ordered_json how,
                       const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    CANDOR_ASSIGN(const std::string hash, HashFileHex(file));
    how["files"].push_back({{"path", file}, {"xxh3_128", hash}});
  }
  how["records_read"] = rows.read;
  how["left_out"] = rows.dropped;
  for (const PublicSplit& split : rows.splits) {
    std::string text;
    for (const std::string& line : split.lines) text += line + "\n";
    CANDOR_TRY(WriteFileAtomic(fmt::format("{}/{}.jsonl", folder, split.name), text));
    how["splits"][split.name] = {{"rows", split.lines.size()}, {"xxh3_128", HashHex(text)}};
    std::printf("%s/%s.jsonl: %zu rows\n", folder.c_str(), split.name.c_str(), split.lines.size());
  }
  for (const auto& [reason, records] : rows.dropped) std::printf("left out: %ld %s\n", static_cast<long>(records), reason.c_str());
  return WriteFileAtomic(folder + "/prepared.json", how.dump(1) + "\n");
}

Status PrepareHotpot(const HotpotOptions& options, const std::string& folder) {
  CANDOR_TRY(PrepareFolder(folder));
  CANDOR_ASSIGN(const PublicRows rows, PrepareHotpotQa(options, SameQuestion));
  return WritePublicRows(folder, rows,
                         {{"set", "hotpotqa"}, {"setting", "modified"}, {"seed", options.seed}, {"max_chars", options.max_characters}},
                         {options.train_file, options.dev_file});
}

Status PrepareMath(const BigMathOptions& options, const std::string& folder) {
  if (!(options.above < options.below))
    return Fail(ErrorCode::kInvalidInput, "no solve rate lies between the bounds",
                fmt::format("--above {:g} --below {:g}", options.above, options.below), "--above must be the smaller one");
  CANDOR_TRY(PrepareFolder(folder));
  CANDOR_ASSIGN(const PublicRows rows, PrepareBigMath(options, SameProblem));
  return WritePublicRows(folder, rows,
                         {{"set", "bigmath"},
                          {"setting", options.any_answer ? "any answer" : "digits"},
                          {"seed", options.seed},
                          {"above", options.above},
                          {"below", options.below}},
                         {options.file});
}

}  // namespace

int RunData(int argc, const char* const* argv) {
  HotpotOptions hotpot;
  BigMathOptions math;
  std::string folder;
  CommandLine app{"Prepares the rows of a published run from public files that you have downloaded; nothing is fetched.", "candor data"};
  app.AddFooter(
      "Examples:\n  candor data hotpotqa hotpot_train_v1.1.json hotpot_dev_distractor_v1.json --out data/hotpotqa\n"
      "  candor data bigmath big-math.jsonl --out data/bigmath\n"
      "candor data hotpotqa --help and candor data bigmath --help say where the files come from.");
  CommandLine& hotpotqa = app.AddSubcommand("hotpotqa", "HotpotQA-Modified: questions over paragraphs of which some are missing");
  hotpotqa.AddFooter(kHotpotExamples);
  hotpotqa.Add("TRAIN_FILE", &hotpot.train_file, "hotpot_train_v1.1.json, or the same rows as JSON lines").Required();
  hotpotqa.Add("DEV_FILE", &hotpot.dev_file, "hotpot_dev_distractor_v1.json, or the same rows as JSON lines").Required();
  hotpotqa.Add("--out", &folder, "folder to make").Required();
  hotpotqa.Add("--seed", &hotpot.seed, "which paragraphs are taken out follows from it").ShowDefault();
  hotpotqa.Add("--train-rows", &hotpot.train_rows, "rows of train.jsonl").Range(0, 1e9).ShowDefault();
  hotpotqa.Add("--dev-rows", &hotpot.dev_rows, "rows of dev.jsonl, behind those of train.jsonl in the same file")
      .Range(0, 1e9)
      .ShowDefault();
  hotpotqa.Add("--test-rows", &hotpot.test_rows, "rows of test.jsonl").Range(0, 1e9).ShowDefault();
  hotpotqa.Add("--vanilla-rows", &hotpot.vanilla_rows, "rows of vanilla.jsonl").Range(0, 1e9).ShowDefault();
  hotpotqa.Add("--max-chars", &hotpot.max_characters, "prompts of so many characters and more are left out").Positive().ShowDefault();
  CommandLine& bigmath = app.AddSubcommand("bigmath", "Big-Math-digits: problems of middling difficulty whose answer is a number");
  bigmath.AddFooter(kBigMathExamples);
  bigmath.Add("FILE", &math.file, "Big-Math-RL-Verified as JSON lines or one array").Required();
  bigmath.Add("--out", &folder, "folder to make").Required();
  bigmath.Add("--seed", &math.seed, "the order of the problems follows from it").ShowDefault();
  bigmath.Add("--train-rows", &math.train_rows, "rows of train.jsonl").Range(0, 1e9).ShowDefault();
  bigmath.Add("--dev-rows", &math.dev_rows, "rows of dev.jsonl").Range(0, 1e9).ShowDefault();
  bigmath.Add("--test-rows", &math.test_rows, "rows of test.jsonl").Range(0, 1e9).ShowDefault();
  bigmath.Add("--above", &math.above, "least llama8b_solve_rate, itself left out").ShowDefault();
  bigmath.Add("--below", &math.below, "largest llama8b_solve_rate, itself left out").ShowDefault();
  bigmath.AddFlag("--any-answer", &math.any_answer, "not only plain numbers (verifier kind math)");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("data", hotpotqa.Given() ? PrepareHotpot(hotpot, folder) : PrepareMath(math, folder));
}

}  // namespace candor::cli
