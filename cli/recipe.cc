#include "cli/recipe.h"

#include <fmt/format.h>

#include "cli/recipe_check.h"
#include "cli/unread_keys.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

void DeclareRun(OptionTable& t, RunOptions& o) {
  t.Section("", "");
  t.String("name", &o.name, {.help = "the run's folder is runs/<name>", .required = true});
  t.String("title", &o.title, {.help = "one line for people: shown by the report"});
  t.String("model", &o.model, {.help = "the policy: a Hugging Face folder", .required = true});
  t.String("device", &o.device,
           {.help = "where every role that needs a model computes; auto takes a GPU where one can be used, else the CPU",
            .choices = {"auto", "cpu", "cuda"}});
  t.String("dtype", &o.dtype,
           {.help = "compute type of every role; auto times both on a CPU and takes the faster, and is bf16 on a GPU",
            .choices = {"auto", "bf16", "fp32"}});
  t.Int("seed", &o.seed, {.min = 0, .help = "every random number of the run follows from it"});
  t.Bool("deterministic", &o.deterministic, {.help = "bit-reproducible: fp32, fixed orders; slower"});
  t.StringList("stages", &o.stages, {.help = "what is done, in order", .choices = {"self_answers", "sft", "warm_up", "rl"}});
  t.StringList("allow", &o.allow, {.help = "names of findings of `candor check` that this recipe means on purpose"});
  t.String("stage_cache", &o.stage_cache,
           {.help = "results of the stages before RL are kept here and shared by recipes whose inputs are the same"});
  t.String("layout", &o.layout,
           {.help = "on Slurm: separate jobs for coordinator, learners, rollouts and rewards, or one job for all; auto = one_job where "
                    "everything fits one node or `candor run` finds itself inside an allocation",
            .choices = {"auto", "one_job", "jobs"}});
  t.String("state_dir", &o.state_dir,
           {.help = "folder of the ledger and of the fences, where the run's own folder is on a file system that cannot hold them; empty = "
                    "the run's folder"});
}

void DeclareStages(OptionTable& t, Recipe& r) {
  t.Section("prepare", "Makes the model and data when they are not there yet.");
  t.StringList("command", &r.prepare.command, {.help = "program and arguments, run without a shell"});
  t.StringList("creates", &r.prepare.creates, {.help = "paths; when all exist the command is not run"});
  t.Section("self_answers", "Stage: the model answers by few-shot prompting; its own answers become the format's training rows.");
  t.String("rows", &r.self_answers.rows, {.help = "JSONL of questions"});
  t.String("few_shot", &r.self_answers.few_shot, {.help = "JSONL of {prompt, answer} shown before each question"});
  t.String("answer_after", &r.self_answers.answer_after,
           {.help = "the answer begins behind this text of the reply; replies without it are left out; empty = the reply is the answer"});
  t.Int("max_new_tokens", &r.self_answers.max_new_tokens, {.min = 1, .unit = "tokens", .help = "longest answer"});
  t.Section("sft_rows", "Rows of the stage sft when no self_answers stage writes them.");
  t.String("path", &r.sft_rows.path, {.help = "JSONL of {prompt, completion}"});
  t.Section("warm_up",
            "Stage: the confidence slot is trained on the fine-tuned model's own labelled answers, which also anchor all other tokens.");
  t.String("rows", &r.warm_up.rows, {.help = "JSONL of questions; empty = the training rows"});
  t.Int("questions", &r.warm_up.questions, {.min = 1, .unit = "questions", .help = "how many of them are asked"});
  t.Int("samples", &r.warm_up.samples, {.min = 0, .unit = "answers", .help = "sampled answers per question, besides the greedy one"});
  t.Double("temperature", &r.warm_up.temperature, {.min = 0, .help = "of the sampled answers"});
  t.Double("lr", &r.warm_up.lr, {.min = 0, .max = 1, .help = "learning rate"});
  t.Int("epochs", &r.warm_up.epochs, {.min = 1, .help = "passes over the answers"});
  t.Double("anchor_weight", &r.warm_up.anchor_weight, {.min = 0, .help = "weight of the loss on the answers' own tokens"});
}

void DeclareEvals(OptionTable& t, std::vector<EvalSetOptions>& evals) {
  t.Section("", "");
  t.TableList<EvalSetOptions>(
      "eval", &evals,
      [](OptionTable& e, EvalSetOptions& o) {
        e.String("name", &o.name, {.help = "as it appears in tables", .required = true});
        e.String("path", &o.path, {.help = "JSONL of rows with answers", .required = true});
        e.String(
            "role", &o.role,
            {.help = "held_out is the headline; dev fits the baselines' recalibration", .choices = {"held_out", "out_of_domain", "dev"}});
        e.Int("every", &o.every,
              {.min = 0, .unit = "steps", .help = "asked during RL after every so many steps; 0 = only before and after"});
        e.Int("n", &o.n, {.min = 0, .unit = "rows", .help = "rows used; 0 = all"});
        e.Int("samples", &o.samples,
              {.min = 0, .unit = "answers", .help = "sampled answers per row before and after RL, besides the greedy one"});
      },
      {.help = "A fixed, unfiltered set that is asked of the policy and never trained on."});
}

}  // namespace

void Declare(OptionTable& table, Recipe& recipe) {
  DeclareRun(table, recipe.run);
  DeclareEvals(table, recipe.evals);
  Declare(table, recipe.objectives);
  DeclareStages(table, recipe);
  Declare(table, recipe.data);
  Declare(table, recipe.format);
  Declare(table, recipe.sft);
  Declare(table, recipe.rollout);
  Declare(table, recipe.reward);
  Declare(table, recipe.trainer);
  Declare(table, recipe.curriculum);
  Declare(table, recipe.coordinator);
  Declare(table, recipe.placement);
  Declare(table, recipe.slurm);
}

namespace {

Result<Recipe> BindRecipe(const RecipeSource& source) {
  Recipe recipe;
  OptionTable table;
  Declare(table, recipe);
  CANDOR_TRY(source.Bind(table));
  // device, dtype and deterministic are the whole run's; the engine has them as settings of its own.
  recipe.rollout.engine.device = recipe.run.device;
  recipe.rollout.engine.dtype = recipe.run.dtype;
  recipe.rollout.engine.deterministic = recipe.run.deterministic;
  return recipe;
}

Status RefuseUnread(const RecipeSource& source, Recipe& recipe) {
  const std::vector<UnreadKey> unread = FindUnreadKeys(recipe);
  if (unread.empty()) return {};
  const std::string name = unread.front().Name();
  return Fail(ErrorCode::kInvalidInput, fmt::format("nothing reads `{}`", name), source.PlaceOf(name),
              fmt::format("take it out; what would read it: {}", unread.front().why));
}

Result<RecipeSource> Merged(const std::vector<std::string>& files, const std::vector<std::string>& overrides, std::string_view defaults) {
  RecipeSource source;
  if (!defaults.empty()) CANDOR_TRY(source.AddText(defaults, "the defaults"));
  for (const std::string& file : files) CANDOR_TRY(source.AddFile(file));
  for (const std::string& one : overrides) CANDOR_TRY(source.AddOverride(one));
  return source;
}

}  // namespace

Result<Recipe> LoadRecipe(const std::vector<std::string>& files, const std::vector<std::string>& overrides) {
  CANDOR_ASSIGN(const RecipeSource source, Merged(files, overrides, ""));
  CANDOR_ASSIGN(Recipe recipe, BindRecipe(source));
  CANDOR_TRY(RefuseUnread(source, recipe));
  CANDOR_TRY(CheckRecipe(recipe));
  return recipe;
}

Result<Recipe> LoadSettings(const std::vector<std::string>& files, const std::vector<std::string>& overrides, std::string_view defaults) {
  CANDOR_ASSIGN(const RecipeSource source, Merged(files, overrides, defaults));
  return BindRecipe(source);
}

Result<Recipe> LoadResolvedRecipe(const std::string& run_dir) {
  const std::string path = run_dir + "/resolved.toml";
  if (!FileExists(path))
    return Fail(ErrorCode::kNotFound, "this is not a run: it has no resolved.toml", run_dir,
                "give the folder that `candor run` made, such as runs/<name>");
  return LoadSettings({path}, {});
}

std::string ResolvedText(Recipe& recipe) {
  OptionTable table;
  Declare(table, recipe);
  return ToToml(table);
}

std::string AsWrittenNow(const std::string& stored) {
  auto recipe = LoadSettings({}, {}, stored);
  return recipe ? ResolvedText(*recipe) : stored;
}

}  // namespace candor::cli
