// `candor sft MODEL DATA.jsonl OUT`: supervised fine-tuning, and the confidence slot's warm-up where rows have labels.
#include "trainer/sft.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>

#include "cli/command_line.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "core/clock.h"
#include "core/collective_join.h"
#include "core/fs.h"
#include "core/log.h"
#include "trainer/exchange.h"

namespace candor::cli {

namespace {

std::atomic<bool> g_stop = false;
void OnStop(int) { g_stop = true; }

struct SftArguments {
  std::string model, data, out, recipe, keep;
  std::vector<std::string> overrides;
  bool quiet = false;
};

constexpr char kSftExamples[] =
    R"(Rows: {"prompt": .., "completion": ..}; with "label" (1, 0, "correct", "wrong") a row also trains the confidence slot.
Examples:
  candor sft models/smollm2 rows.jsonl models/tuned                          one pass with the defaults
  candor sft models/smollm2 rows.jsonl models/tuned sft.lr=2e-5 sft.epochs=3
  candor sft models/tuned labelled.jsonl models/warm --recipe cities.toml    format, slot and [sft] settings of a recipe
  candor sft models/smollm2 rows.jsonl models/tuned --keep unfinished        stopped (Ctrl-C, SIGTERM, SIGUSR1), it goes on from there
  mpirun -n 2 candor-torch sft models/smollm2 rows.jsonl models/tuned sft.sharding=zero2
Without mpirun or srun --mpi=pmix each rank is started with CANDOR_RANK=0 (1, ...), CANDOR_WORLD_SIZE=2 and CANDOR_RENDEZVOUS=file:DIR, a folder
that all see, or tcp:HOST:PORT of rank 0 with CANDOR_RENDEZVOUS_SECRET_FILE, a file of mode 0600.)";

Result<Recipe> SettingsOf(const SftArguments& arguments) {
  if (!arguments.recipe.empty()) return LoadSettings({arguments.recipe}, arguments.overrides);
  return LoadSettings({}, arguments.overrides,
                      "name = 'sft'\nmodel = 'unused'\nstages = []\n[format]\ntags = []\nconfidence = 'none'\nsystem_prompt = ''\n");
}

std::string TimeText(double seconds) {
  const long whole = static_cast<long>(seconds + 0.5);
  char text[32];
  std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

// One line that is rewritten on a terminal, else a line for every tenth of the way.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(2) != 0), start_(SteadySeconds()) {}
  void Step(int64_t step, int64_t total, const SftStepResult& result) {
    if (rows_ == 0.0) {
      before_ = step - 1;
      if (step > 1 && !quiet_)
        std::fprintf(stderr, "sft goes on after step %ld of %ld\n", static_cast<long>(before_), static_cast<long>(total));
    }
    rows_ += result.rows;
    const double elapsed = SteadySeconds() - start_;
    if (quiet_ || (!terminal_ && step != total && step * 10 / total == (step - 1) * 10 / total)) return;
    std::string slot;
    if (result.slot_confidence > 0.0) {
      char text[64];
      std::snprintf(text, sizeof text, "  slot %.4f  confidence %.3f", result.slot_loss, result.slot_confidence);
      slot = text;
    }
    std::fprintf(stderr, "%ssft %ld/%ld  loss %.4f%s  lr %.1e  %.0f tok/s  %s left%s", terminal_ ? "\r\033[K" : "", static_cast<long>(step),
                 static_cast<long>(total), result.token_loss, slot.c_str(), result.lr, rows_ / elapsed,
                 TimeText(elapsed / static_cast<double>(step - before_) * static_cast<double>(total - step)).c_str(),
                 terminal_ && step != total ? "" : "\n");
  }

 private:
  bool quiet_, terminal_;
  double start_, rows_ = 0.0;
  int64_t before_ = 0;  // steps of earlier lives
};

// What is kept in a folder is of one training: its model, rows and settings.
Status ClaimKeepFolder(const SftArguments& arguments, Recipe recipe) {
  CANDOR_TRY(MakeFolders(arguments.keep));
  const std::string file = arguments.keep + "/of.txt";
  CANDOR_ASSIGN(const std::string model, ModelFolderOf(arguments.model));
  std::string of = model + "\n" + ResolvedText(recipe);
  std::error_code error;
  if (!std::filesystem::is_directory(arguments.data, error)) {
    CANDOR_ASSIGN(const std::string rows, HashFileHex(arguments.data));
    of += rows;
  }
  const std::string hash = HashHex(of) + "\n";
  if (!FileExists(file)) return WriteFileAtomic(file, hash);
  CANDOR_ASSIGN(const std::string before, ReadFile(file));
  if (before == hash) return {};
  return Fail(ErrorCode::kInvalidInput, "what is kept there belongs to another model, other rows or other settings", arguments.keep,
              "give the same arguments as before, or another folder");
}

Status Run(const SftArguments& arguments) {
  CANDOR_ASSIGN(Recipe recipe, SettingsOf(arguments));
  CANDOR_TRY(PrepareOutput(arguments.out));
  CANDOR_ASSIGN(DataSet rows, ReadDataSet(arguments.data, recipe.data.fields, {.answer = false, .completion = true}));
  CANDOR_ASSIGN(const std::unique_ptr<Collective> collective, JoinRanks());
  SftSetup setup;
  if (!arguments.keep.empty()) {
    CANDOR_TRY(AgreeOn(*collective, collective->rank() == 0 ? ClaimKeepFolder(arguments, recipe) : Status{}));
    setup.keep_folder = arguments.keep + "/checkpoints";
  }
  CANDOR_ASSIGN(setup.model_folder, ModelFolderOf(arguments.model));
  setup.out_folder = arguments.out;
  setup.base_model = arguments.model;
  setup.recipe_toml = arguments.recipe.empty() ? "" : ResolvedText(recipe);
  setup.device = recipe.run.device;
  setup.dtype = recipe.run.dtype;
  setup.deterministic = recipe.run.deterministic;
  setup.seed = static_cast<uint64_t>(recipe.run.seed);
  setup.format = recipe.format;
  setup.options = recipe.sft;
  setup.rows = &rows;
  setup.stop = &g_stop;
  Progress progress(arguments.quiet);
  setup.progress = [&](int64_t step, int64_t total, const SftStepResult& result) { progress.Step(step, total, result); };
  Status done = RunSupervised(setup, *collective);
  if (!done && done.error().code != ErrorCode::kCancelled && collective->size() > 1) collective->Abort();
  if (done && collective->rank() == 0 && !arguments.keep.empty()) done = RemoveTree(arguments.keep);
  if (done && collective->rank() == 0 && !arguments.quiet) std::fprintf(stderr, "wrote %s\n", arguments.out.c_str());
  return done;
}

}  // namespace

int RunSft(int argc, const char* const* argv) {
  SftArguments arguments;
  CommandLine app{"Fine-tunes a model on rows with a prompt and a completion and writes a Hugging Face folder.", "candor sft"};
  app.Add("MODEL", &arguments.model, "a Hugging Face folder, or a run's folder").Required();
  app.Add("DATA", &arguments.data, "rows: a .jsonl file or a folder of them").Required();
  app.Add("OUT", &arguments.out, "the folder to write").Required();
  app.Add("SETTINGS", &arguments.overrides, "key=value, as in a recipe: sft.lr=2e-5 sft.steps=100 format.confidence=slot ...");
  app.Add("--recipe", &arguments.recipe, "take format, [sft], device, dtype and seed from this recipe").ExistingFile();
  app.Add("--keep", &arguments.keep, "a folder for what is unfinished: a training that was stopped goes on from there");
  app.AddFlag("--quiet", &arguments.quiet, "no progress");
  app.AddFooter(kSftExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  struct sigaction action {};
  action.sa_handler = OnStop;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGUSR1, &action, nullptr);  // what launchers pass on to their ranks, and what Slurm sends before a job's end
  return ExitWith("sft", Run(arguments));
}

}  // namespace candor::cli
