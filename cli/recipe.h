// A recipe: the settings of every part of a run, bound from TOML. This is where the folders' option structs meet.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/slurm_options.h"
#include "coordinator/options.h"
#include "core/options.h"
#include "core/result.h"
#include "reward/options.h"
#include "rollout/options.h"
#include "text/data_options.h"
#include "trainer/options.h"

namespace candor::cli {

// One [[eval]]: a fixed, unfiltered set that is asked of the policy and never trained on.
struct EvalSetOptions {
  std::string name;
  std::string path;
  std::string role = "held_out";  // held_out | out_of_domain | dev
  int64_t every = 0;              // during training: after every so many steps, greedily; 0 = only before and after RL
  int64_t n = 0;                  // rows used; 0 = all
  int64_t samples = 0;            // sampled answers per row before and after RL, besides the greedy one
};

// [prepare]: makes what the recipe needs and the disk lacks.
struct PrepareOptions {
  std::vector<std::string> command;
  std::vector<std::string> creates;  // paths: when all exist, nothing is run
};

// [self_answers]: stage that lets the model answer by few-shot prompting and writes rows for format fine-tuning (and, later, labelled rows
// for the slot's warm-up).
struct SelfAnswerOptions {
  std::string rows;          // questions
  std::string few_shot;      // JSONL {"prompt","answer"}: shown before each question
  std::string answer_after;  // the answer begins behind this text ("is in "); "" = the reply is the answer
  int64_t max_new_tokens = 16;
};

// [sft_rows]: rows {prompt, completion} for the stage sft when no self_answers stage writes them.
struct SftRowsOptions {
  std::string path;
};

// [warm_up]: stage that samples answers of the fine-tuned model, verifies them and trains the slot on the labels, with the answers
// themselves as anchor.
struct WarmUpOptions {
  std::string rows;  // questions; "" = the training rows
  int64_t questions = 600;
  int64_t samples = 2;
  double temperature = 1.0;
  double lr = 2e-5;
  int64_t epochs = 1;
  double anchor_weight = 1.0;
};

struct RunOptions {
  std::string name;
  std::string title;
  std::string model;
  std::string device = "auto";
  std::string dtype = "auto";
  int64_t seed = 1;
  bool deterministic = false;
  std::vector<std::string> stages = {"rl"};
  std::vector<std::string> allow;
  std::string stage_cache = "runs/.stages";
  std::string layout = "auto";
  std::string state_dir;
};

struct Recipe {
  RunOptions run;
  PrepareOptions prepare;
  DataOptions data;
  FormatOptions format;
  SelfAnswerOptions self_answers;
  SftRowsOptions sft_rows;
  SftOptions sft;
  WarmUpOptions warm_up;
  RolloutOptions rollout;
  RewardOptions reward;
  std::vector<ObjectiveOptions> objectives;
  TrainerOptions trainer;
  CurriculumOptions curriculum;
  CoordinatorOptions coordinator;
  PlacementOptions placement;
  SlurmOptions slurm;
  std::vector<EvalSetOptions> evals;
};

void Declare(OptionTable& table, Recipe& recipe);
// Files merged left to right, then overrides. A whole recipe: its parts fit together (recipe_check.h) and every key is read
// (unread_keys.h).
Result<Recipe> LoadRecipe(const std::vector<std::string>& files, const std::vector<std::string>& overrides);
// For a command that needs some of the settings only: over `defaults` (TOML), without the checks of a whole recipe.
Result<Recipe> LoadSettings(const std::vector<std::string>& files, const std::vector<std::string>& overrides,
                            std::string_view defaults = "");
// RUN_DIR/resolved.toml, as `candor run` wrote and checked it.
Result<Recipe> LoadResolvedRecipe(const std::string& run_dir);
std::string ResolvedText(Recipe& recipe);
// A recipe that was written down before, as ResolvedText writes it now: keys that an earlier program did not have are at their defaults.
// The text itself where this program does not understand it.
std::string AsWrittenNow(const std::string& stored);

}  // namespace candor::cli
