#include "cli/slurm_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <sstream>
#include <string_view>

namespace candor::cli {

namespace {

const std::string kRoles[] = {"coordinator", "learners", "rollouts", "rewards", "all"};

int64_t GpusOf(int64_t asked, int64_t otherwise, const Recipe& recipe) {
  return asked > 0 ? asked : recipe.run.device == "cuda" ? otherwise : 0;
}

// tasks x CPUs of a job, and GPUs for each task.
struct Need {
  int64_t tasks = 1, cpus_per_task = 1, gpus = 0;
};
Need NeedOf(const std::string& role, const Recipe& r) {
  if (role == "learners") return {r.trainer.ranks, r.trainer.threads, GpusOf(r.placement.trainer_gpus, r.trainer.ranks, r)};
  if (role == "rollouts")
    return {1, r.rollout.engine.threads, GpusOf(r.placement.rollout_gpus, r.rollout.workers, r) > 0 ? int64_t{1} : int64_t{0}};
  if (role == "rewards") return {1, r.reward.threads, 0};
  if (role == "coordinator") return {1, 1, 0};
  const Need learners = NeedOf("learners", r);
  const int64_t rollout_gpus = r.placement.colocate ? 0 : GpusOf(r.placement.rollout_gpus, r.rollout.workers, r);
  return {1,
          1 + learners.tasks * learners.cpus_per_task + r.rollout.workers * r.rollout.engine.threads + r.reward.workers * r.reward.threads,
          learners.gpus + rollout_gpus};
}

// "learners: --nodes=2" is for the learners, "--mem=8G" for all.
std::string ExtraFor(const std::string& role, const std::string& extra) {
  for (const std::string& known : kRoles)
    if (extra.starts_with(known + ":")) {
      if (known != role) return "";
      const size_t begin = extra.find_first_not_of(' ', known.size() + 1);
      return begin == std::string::npos ? "" : extra.substr(begin);
    }
  return extra;
}

// One word of an #SBATCH line, which sbatch splits at blanks and cuts at a #; a backslash takes the next letter as it is, in quotes too.
std::string SbatchWord(const std::string& text) {
  constexpr std::string_view kPlain = "-_./:=,@%+";
  const auto plain = [&](char c) { return std::isalnum(static_cast<unsigned char>(c)) || kPlain.find(c) != kPlain.npos; };
  if (std::all_of(text.begin(), text.end(), plain)) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += (c == '"' || c == '\\' ? "\\" : "") + std::string(1, c);
  return quoted + "\"";
}

// For --output, where %a is the worker's number.
std::string LogFolder(const SlurmSite& site) {
  std::string folder;
  for (char c : site.run_dir) folder += c == '%' ? "%%" : std::string(1, c);
  return folder + "/logs/";
}

// A line ends an #SBATCH comment, and a backslash in a log's path turns off what % stands for.
Status CheckNames(const Recipe& recipe, const SlurmSite& site) {
  const std::pair<const char*, std::string> names[] = {{"the run's `name`", recipe.run.name},
                                                       {"the run's folder", site.run_dir},
                                                       {"the folder that this is submitted from", site.work_dir},
                                                       {"the path of candor", site.candor}};
  for (const auto& [what, name] : names)
    if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127 || c == '\\'; }))
      return Fail(ErrorCode::kInvalidInput, std::string(what) + " has a control character or a backslash, which a job script cannot hold",
                  name, "give it another name");
  return {};
}

std::string Directives(const SlurmJob& job, const Recipe& r, const SlurmSite& site) {
  const SlurmOptions& o = r.slurm;
  const Need need = NeedOf(job.role, r);
  const bool array = job.role == "rollouts" || job.role == "rewards", has_model = job.role != "coordinator" && job.role != "rewards";
  std::vector<std::string> lines = {
      "--job-name=" + SbatchWord(r.run.name + "-" + job.role),
      "--chdir=" + SbatchWord(site.work_dir),
      "--output=" + SbatchWord(LogFolder(site) + "job-" + job.role + (array ? "-%a.log" : ".log")),
      "--open-mode=append",
      "--requeue",
      fmt::format("--signal=B:USR1@{}", o.warn_s),
      fmt::format("--ntasks={}", need.tasks),
      fmt::format("--cpus-per-task={}", need.cpus_per_task),
  };
  if (array) lines.push_back(fmt::format("--array={}-{}", job.first, job.first + job.count - 1));
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) lines.push_back(std::string(option) + SbatchWord(value));
  };
  add("--account=", o.account), add("--partition=", o.partition), add("--qos=", o.qos), add("--time=", o.time);
  add("--constraint=", o.constraint);
  if (has_model && !o.gres.empty())
    add("--gres=", o.gres);
  else if (has_model && need.gpus > 0)
    lines.push_back(fmt::format("--gpus={}", need.gpus));
  for (const std::string& extra : o.extra)  // as it stands: it may be several words
    if (const std::string words = ExtraFor(job.role, extra); !words.empty()) lines.push_back(words);
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "#SBATCH " : "\n#SBATCH ") + line;
  return text;
}

// {{name}} -> its value. Every name that a job cannot do without must be there.
Result<std::string> Fill(const std::string& text, const std::map<std::string, std::string>& values, const std::string& where) {
  std::string filled;
  std::map<std::string, int> used;
  for (size_t at = 0;;) {
    const size_t open = text.find("{{", at), close = open == std::string::npos ? open : text.find("}}", open);
    filled += text.substr(at, close == std::string::npos ? std::string::npos : open - at);
    if (close == std::string::npos) break;
    const std::string name = text.substr(open + 2, close - open - 2);
    const auto value = values.find(name);
    if (value == values.end())
      return Fail(ErrorCode::kInvalidInput, "the job template names {{" + name + "}}, which nothing fills", where,
                  "known: directives, name, role, candor, run_dir, prologue");
    filled += value->second;
    ++used[name];
    at = close + 2;
  }
  for (const char* needed : {"directives", "role", "candor", "run_dir"})
    if (!used.count(needed))
      return Fail(ErrorCode::kInvalidInput, std::string("the job template lacks {{") + needed + "}}", where,
                  "begin with a copy of deploy/slurm/job.sbatch");
  return filled;
}

Status Write(SlurmJob& job, const Recipe& recipe, const SlurmSite& site) {
  CANDOR_TRY(CheckNames(recipe, site));
  const std::string where = recipe.slurm.template_file.empty() ? "deploy/slurm/job.sbatch" : recipe.slurm.template_file;
  CANDOR_ASSIGN(job.script, Fill(site.template_text,
                                 {{"directives", Directives(job, recipe, site)},
                                  {"name", recipe.run.name},
                                  {"role", job.role},
                                  {"candor", ShellQuoted(site.candor)},
                                  {"run_dir", ShellQuoted(site.run_dir)},
                                  {"prologue", fmt::format("{}", fmt::join(recipe.slurm.prologue, "\n"))}},
                                 where));
  return {};
}

}  // namespace

std::string ShellQuoted(const std::string& text) {
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

NodeSize LargestNode(const std::string& sinfo_lines) {
  NodeSize largest;
  std::istringstream lines(sinfo_lines);
  for (std::string cpus, gres; lines >> cpus >> gres;) {
    NodeSize node;
    std::from_chars(cpus.data(), cpus.data() + cpus.size(), node.cpus);  // "8" or "8+"
    if (const size_t gpu = gres.find("gpu:"); gpu != std::string::npos) {
      std::string rest = gres.substr(gpu + 4);
      rest = rest.substr(0, rest.find_first_of(",("));
      if (const size_t colon = rest.rfind(':'); colon != std::string::npos) rest = rest.substr(colon + 1);
      std::from_chars(rest.data(), rest.data() + rest.size(), node.gpus);
    }
    if (node.cpus > largest.cpus) largest.cpus = node.cpus;
    if (node.gpus > largest.gpus) largest.gpus = node.gpus;
  }
  return largest;
}

Result<SlurmPlan> PlanSlurm(const Recipe& recipe, const SlurmSite& site, const NodeSize& largest) {
  SlurmPlan plan;
  const Need all = NeedOf("all", recipe);
  const bool fits = largest.cpus >= all.cpus_per_task && largest.gpus >= all.gpus;
  plan.layout = recipe.run.layout == "auto" ? (fits ? "one_job" : "jobs") : recipe.run.layout;
  plan.why = recipe.run.layout != "auto" ? "the recipe says so"
             : fits                      ? fmt::format("all processes ({} CPUs, {} GPUs) fit one node", all.cpus_per_task, all.gpus)
                                         : fmt::format("{} CPUs and {} GPUs are more than one node has", all.cpus_per_task, all.gpus);
  if (plan.layout == "one_job")
    plan.jobs = {{"all", "", "", "", 0, 1}};
  else
    plan.jobs = {{"coordinator", "", "", "", 0, 1},
                 {"learners", "", "", "coordinator", 0, 1},
                 {"rewards", "", "", "coordinator", 0, recipe.reward.workers},
                 {"rollouts", "", "", "coordinator", 0, recipe.rollout.workers}};
  for (SlurmJob& job : plan.jobs) {
    job.file = site.run_dir + "/jobs/" + job.role + ".sbatch";
    CANDOR_TRY(Write(job, recipe, site));
  }
  return plan;
}

Result<SlurmJob> PlanMoreRollouts(const Recipe& recipe, const SlurmSite& site, int64_t first, int64_t count) {
  SlurmJob job{"rollouts", "", fmt::format("{}/jobs/rollouts-{}.sbatch", site.run_dir, first), "", first, count};
  CANDOR_TRY(Write(job, recipe, site));
  return job;
}

std::vector<std::string> SrunLearners(int64_t ranks, int64_t threads) {
  return {"srun",      "--job-name=trainer", "--overlap",           "--mpi=pmix",      "--kill-on-bad-exit=1",
          "--wait=10", "--ntasks",           std::to_string(ranks), "--cpus-per-task", std::to_string(threads)};
}

}  // namespace candor::cli
