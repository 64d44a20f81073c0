// `candor submit RECIPE...`: the run as jobs of a Slurm cluster.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/deploy_files.h"
#include "cli/done_record.h"
#include "cli/run_recipe.h"
#include "cli/slurm_client.h"
#include "cli/slurm_plan.h"
#include "cli/supervisor.h"
#include "cli/workers.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

struct SubmitArguments {
  std::vector<std::string> recipes;
  std::string run_dir;
  bool resume = false, dry_run = false;
};

constexpr char kSubmitExamples[] = R"(Examples:
  candor submit recipes/cities.toml                             coordinator, learners, rollouts and rewards as jobs of their own
  candor submit recipes/cities.toml --dry-run                   the plan and every script; nothing is written or submitted
  candor submit recipes/cities.toml slurm.partition=gpu slurm.time=04:00:00 'slurm.extra=["learners: --nodes=2"]'
  candor submit recipes/cities.toml --resume                    go on: submits the jobs that are gone, and keeps those that are still there
Then: squeue --me; tail -f RUN_DIR/logs/job-learners.log; candor job verdict --run-dir RUN_DIR)";

void Print(const SlurmPlan& plan, const RunDir& run) {
  std::printf("layout %s: %s\nrun folder %s\n", plan.layout.c_str(), plan.why.c_str(), run.path.c_str());
  for (const SlurmJob& job : plan.jobs)
    std::printf("job %-12s %s%s\n", job.role.c_str(),
                job.role == "rollouts" || job.role == "rewards" ? fmt::format("array of {}", job.count).c_str() : "one",
                job.after.empty() ? "" : (", after the " + job.after + " has started").c_str());
  for (const SlurmJob& job : plan.jobs) std::printf("\n--- %s\n%s", job.file.c_str(), job.script.c_str());
}

Result<SlurmSite> SiteOf(const Recipe& recipe, const RunDir& run) {
  SlurmSite site{ProgramFolder() + "candor", run.path, std::filesystem::current_path().string(), kJobTemplate};
  if (!recipe.slurm.template_file.empty()) {
    CANDOR_ASSIGN(site.template_text, ReadFile(recipe.slurm.template_file, size_t{1} << 20));
  }
  return site;
}

const SlurmJob* JobOfFile(const SlurmPlan& plan, const std::string& file) {
  const auto found = std::find_if(plan.jobs.begin(), plan.jobs.end(), [&](const SlurmJob& job) { return job.file == file; });
  return found == plan.jobs.end() ? nullptr : &*found;
}

// Jobs from before that are still there. --resume keeps them (a controller that lost its state has forgotten some jobs and not others; what
// candor join submitted) when they are what would be submitted now; else nothing may be there.
Result<std::vector<SubmittedJob>> StillThere(const SlurmPlan& plan, Recipe& recipe, const RunDir& run, bool resume) {
  CANDOR_ASSIGN(const std::vector<SubmittedJob> before, ReadSubmitted(run));
  const bool same_recipe = AsWrittenNow(ReadFile(run.Recipe(), size_t{1} << 22).value_or("")) == ResolvedText(recipe);
  std::vector<SubmittedJob> kept;
  size_t planned = 0;
  for (const SubmittedJob& job : before) {
    CANDOR_ASSIGN(const Presence presence, FindJob(job.id));
    if (presence == Presence::kGone) continue;
    const std::string there = fmt::format("job {} ({}) of this run is still there", job.id, job.role);
    const std::string end = "wait for it, or end it: scancel " + job.id;
    if (!resume) return Fail(ErrorCode::kInvalidInput, there, run.path, end + "; --resume submits only what is gone");
    const SlurmJob* plan_of_it = JobOfFile(plan, job.file);
    if (!same_recipe || (plan_of_it && ReadFile(job.file, size_t{1} << 20).value_or("") != plan_of_it->script))
      return Fail(ErrorCode::kInvalidInput, there + ", and its recipe or script would be another one now", run.path, end);
    planned += plan_of_it ? 1 : 0;
    kept.push_back(job);
  }
  if (planned == plan.jobs.size())
    return Fail(ErrorCode::kInvalidInput, fmt::format("all {} jobs of this run are still there", planned), run.path,
                "wait for them, or end them with scancel");
  return kept;
}

// All that are missing, or none.
Status SubmitMissing(const SlurmPlan& plan, const RunDir& run, const std::vector<SubmittedJob>& kept) {
  std::vector<SubmittedJob> listed = kept;
  std::vector<std::string> fresh;
  std::map<std::string, std::string> id_of;
  for (const SubmittedJob& job : kept)
    if (const SlurmJob* planned = JobOfFile(plan, job.file)) id_of[planned->role] = job.id;
  for (const SlurmJob& job : plan.jobs) {
    if (!id_of.count(job.role)) {
      Status written = WriteFileAtomic(job.file, job.script);
      Result<std::string> id = written ? SubmitScript(job.file, job.after.empty() ? "" : id_of[job.after]) : Fail(written.error());
      if (id) {
        fresh.push_back(*id), id_of[job.role] = *id;
        listed.push_back({job.role, *id, job.file});
        written = WriteSubmitted(run, listed);
      }
      if (!id || !written) {
        for (const std::string& one : fresh) (void)CancelJob(one);
        return Fail(id ? written.error() : id.error());
      }
    }
    std::printf("%-12s job %s\n", job.role.c_str(), id_of[job.role].c_str());
  }
  for (const SubmittedJob& job : kept) std::printf("kept         %s: job %s is still there\n", job.role.c_str(), job.id.c_str());
  return {};
}

Status Submit(const SubmitArguments& arguments) {
  CANDOR_ASSIGN(const RecipeArguments given, SplitRecipeArguments(arguments.recipes));
  CANDOR_ASSIGN(Recipe recipe, LoadRecipe(given.files, given.overrides));
  CANDOR_TRY(RefuseByLint(recipe));
  const std::string folder = arguments.run_dir.empty() ? "runs/" + recipe.run.name : arguments.run_dir;
  const RunDir run{std::filesystem::absolute(folder).lexically_normal().string()};
  CANDOR_ASSIGN(const SlurmSite site, SiteOf(recipe, run));
  CANDOR_ASSIGN(const SlurmPlan plan, PlanSlurm(recipe, site, AskLargestNode(recipe.slurm.partition)));
  if (arguments.dry_run) {
    Print(plan, run);
    return {};
  }
  if (IsRunDone(run)) {
    std::printf("%s.\n", DescribeFinished(run, recipe).c_str());
    return {};
  }
  CANDOR_ASSIGN(const auto kept, StillThere(plan, recipe, run, arguments.resume));
  CANDOR_TRY(PrepareRun(recipe, run, {arguments.resume, {}}));
  CANDOR_TRY(MakeFolders(run.Jobs()));
  ForgetFailure(run);  // of the last try: a job that starts before the learners would end on it
  CANDOR_TRY(SubmitMissing(plan, run, kept));
  std::printf("run folder   %s\nwatch        tail -f %s/job-%s.log\n", run.path.c_str(), run.Logs().c_str(),
              plan.layout == "one_job" ? "all" : "learners");
  return {};
}

}  // namespace

int RunSubmit(int argc, const char* const* argv) {
  SubmitArguments arguments;
  CommandLine app{
      "Submits a recipe to Slurm: the coordinator, the learners (one MPI job), an array of rollouts and one of rewards as separate jobs, "
      "so "
      "that the loss of a node costs what ran on it and no more. [prepare] runs here, all else in the jobs.",
      "candor submit"};
  app.Add("RECIPE", &arguments.recipes, "recipe files (merged left to right) and overrides such as slurm.partition=gpu").Required();
  app.Add("--run-dir", &arguments.run_dir, "the run's folder, which every node must see (default runs/<name>)");
  app.AddFlag("--resume", &arguments.resume, "go on with the run in that folder");
  app.AddFlag("--dry-run", &arguments.dry_run, "print the resolved plan and every script, and submit nothing");
  app.AddFooter(kSubmitExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("submit", Submit(arguments));
}

}  // namespace candor::cli
