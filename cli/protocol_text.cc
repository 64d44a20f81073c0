// The protocol in words, before anything runs.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "cli/protocol.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

namespace fs = std::filesystem;

constexpr const char* kProtocolRules = R"(
## What will be done

1. **Tuning.** Every arm is run once with each of its configurations from seed {tune}, with no evaluation but `{dev}`. The configuration with the least Brier score on its greedy answers there is taken; of
   equal ones the first. An answer without a confidence counts as confidence 1/2, here and below.
2. **Runs.** Every arm is run with the configuration it chose from the seeds {seeds}. The arms of one seed share every stage before RL whose settings are the same, and with it the checkpoint that RL starts from;
   they see the same prompts in the same order, and as many steps, prompts and answers.
3. **Test.** Held-out sets are asked by the runs of step 2 alone, greedily, before and after RL. Nothing is chosen by them.
4. **Baselines without RL**, on the answers of the policy that `{reference}` starts from, seed by seed: the share of right answers on `{dev}`; how often the given answer was right on `{dev}`; the answer's own probability, raw
   and Platt-scaled on `{dev}`{readout}.
5. **Statistics.** Accuracy, Brier score and AUROC; a difference is paired by question and by seed. {replicates} bootstrap replicates draw questions (Poisson weights) and seeds (with replacement; their scatter stretched by
   sqrt(S/(S - 1))). Every arm is compared with `{reference}` and with the baseline of the least Brier score on the held-out set (a choice in its favour). All these differences are one family, adjusted by Holm's method at 5 %.
6. **Verdict.** An arm beats another in a figure where the adjusted p-value is at most .05 and the difference points that way. Every arm is reported, whatever comes out.
)";

std::string FilledIn(std::string text, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values)
    for (size_t at; (at = text.find("{" + name + "}")) != std::string::npos;) text.replace(at, name.size() + 2, value);
  return text;
}

std::string HashOrMissing(const std::string& path, bool& complete) {
  const auto hash = FileExists(path) ? HashFileHex(path) : Result<std::string>(Fail(ErrorCode::kNotFound, "missing"));
  if (hash) return *hash;
  complete = false;
  return "not there yet";
}

// Files that decide a run, besides its recipe.
std::vector<std::string> InputsOf(const Recipe& r, const std::vector<EvalSetOptions>& evals) {
  std::vector<std::string> paths;
  for (const DataFile& file : r.data.train) paths.push_back(file.path);
  for (const EvalSetOptions& eval : evals) paths.push_back(eval.path);
  for (const std::string& path : {r.self_answers.rows, r.self_answers.few_shot, r.sft_rows.path, r.warm_up.rows})
    if (!path.empty()) paths.push_back(path);
  std::error_code error;
  std::vector<std::string> model;
  for (const auto& entry : fs::directory_iterator(r.run.model, error))
    if (entry.is_regular_file()) model.push_back(entry.path().string());
  if (error || model.empty()) model.push_back(r.run.model + "/config.json");
  std::sort(model.begin(), model.end());
  paths.insert(paths.end(), model.begin(), model.end());
  return paths;
}

std::string SeedList(const ProtocolFile& p) {
  std::vector<std::string> seeds;
  for (int64_t s = 0; s < p.seeds; ++s) seeds.push_back(std::to_string(p.first_seed + s));
  return fmt::format("{}", fmt::join(seeds, ", "));
}

}  // namespace

std::string ProtocolRecipePath(const std::string& folder, const std::string& run) { return folder + "/recipes/" + run + ".toml"; }

ProtocolText DescribeProtocol(const ProtocolFile& p, const std::vector<std::vector<ProtocolTrial>>& trials_AK, const std::string& folder) {
  ProtocolText described;
  std::string& text = described.text;
  text = "# " + p.title + "\n\nWritten by `candor sweep` before the first run; the protocol's hash is the XXH3-128 of this text.\n";
  const std::string readout = p.readout_questions == 0 ? ""
                                                       : fmt::format(
                                                             "; a linear reading of that policy's hidden state behind the answer, fitted "
                                                             "on its own {} labelled answers to {} training questions and scaled on `{}`",
                                                             p.readout_questions * (p.readout_samples + 1), p.readout_questions, p.dev);
  text += FilledIn(kProtocolRules, {{"tune", std::to_string(p.tune_seed)},
                                    {"dev", p.dev},
                                    {"seeds", SeedList(p)},
                                    {"reference", p.reference},
                                    {"readout", readout},
                                    {"replicates", "2000"}});
  text +=
      "\n## Arms\n\n| arm | configuration | settings | steps x prompts x answers | its recipe, resolved, with the tuning seed "
      "|\n|---|---|---|---|---|\n";
  std::map<std::string, std::string> files;
  for (size_t a = 0; a < trials_AK.size(); ++a)
    for (size_t k = 0; k < trials_AK[a].size(); ++k) {
      Recipe recipe = trials_AK[a][k].run.recipe;
      const std::string& run = trials_AK[a][k].point.name;
      const std::string now = ResolvedText(recipe), then = ReadFile(ProtocolRecipePath(folder, run)).value_or("");
      described.recipes[run] = AsWrittenNow(then) == now ? then : now;
      const TrainerOptions& t = recipe.trainer;
      text += fmt::format("| {} ({}) | {} | `{}` | {} x {} x {} | {} |\n", p.arms[a].name, p.arms[a].recipe, k + 1,
                          p.arms[a].configurations[k], t.steps, t.prompts_per_step, t.group_size, HashHex(described.recipes[run]));
      for (const std::string& path : InputsOf(recipe, trials_AK[a][k].evals))
        if (!files.contains(path)) files[path] = HashOrMissing(path, described.complete);
    }
  text += "\n## Files\n\n| file | XXH3-128 |\n|---|---|\n";
  for (const auto& [path, hash] : files) text += fmt::format("| {} | {} |\n", path, hash);
  described.hash = HashHex(text);
  return described;
}

}  // namespace candor::cli
