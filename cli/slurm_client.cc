#include "cli/slurm_client.h"

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/supervisor.h"
#include "core/fs.h"
#include "core/log.h"

namespace candor::cli {

namespace {
using nlohmann::json;
std::string ListPath(const RunDir& run) { return run.Jobs() + "/submitted.json"; }
}  // namespace

Result<std::vector<SubmittedJob>> ReadSubmitted(const RunDir& run) {
  std::vector<SubmittedJob> jobs;
  if (!FileExists(ListPath(run))) return jobs;
  CANDOR_ASSIGN(const std::string text, ReadFile(ListPath(run), size_t{1} << 20));
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return Fail(ErrorCode::kInvalidInput, "this is no list of jobs", ListPath(run), "remove it and submit again");
  for (const json& one : list)
    if (one.is_object()) jobs.push_back({one.value("role", ""), one.value("id", ""), one.value("file", "")});
  return jobs;
}

Status WriteSubmitted(const RunDir& run, const std::vector<SubmittedJob>& jobs) {
  json list = json::array();
  for (const SubmittedJob& job : jobs) list.push_back({{"role", job.role}, {"id", job.id}, {"file", job.file}});
  return WriteFileAtomic(ListPath(run), list.dump(1) + "\n");
}

Result<std::string> SubmitScript(const std::string& file, const std::string& after) {
  std::vector<std::string> command = {"sbatch", "--parsable"};
  if (!after.empty()) command.insert(command.end(), {"--dependency=after:" + after, "--kill-on-invalid-dep=yes"});
  command.push_back(file);
  CANDOR_ASSIGN(const std::string answer, RunForOutput(command));
  return answer.substr(0, answer.find(';'));  // "12" or "12;cluster"
}

Result<bool> IsJobAlive(const std::string& id) {
  Result<std::string> listed = RunForOutput({"squeue", "--noheader", "--format=%T", "--jobs=" + id});
  if (!listed && listed.error().what.find("Invalid job id") != std::string::npos) return false;
  CANDOR_TRY(listed);
  return !listed->empty();
}

Status CancelJob(const std::string& id) {
  CANDOR_TRY(RunForOutput({"scancel", id}));
  return {};
}

void CancelSteps(const std::string& name) {
  const char* job = std::getenv("SLURM_JOB_ID");
  if (!job) return;
  const Result<std::string> steps = RunForOutput({"squeue", "--noheader", "--steps", "--format=%i %j", "--jobs=" + std::string(job)});
  if (!steps) return LogError(steps.error(), "looking for steps that were left");
  std::istringstream lines(*steps);
  for (std::string id, step_name; lines >> id >> step_name;)
    if (step_name == name)
      if (Status ended = CancelJob(id); !ended) LogError(ended.error(), "ending step " + id);
}

NodeSize AskLargestNode(const std::string& partition) {
  std::vector<std::string> command = {"sinfo", "--noheader", "--format=%c %G"};
  if (!partition.empty()) command.push_back("--partition=" + partition);
  const Result<std::string> lines = RunForOutput(command);
  return lines ? LargestNode(*lines) : NodeSize{};
}

Status CallBack(const RunDir& run) {
  CANDOR_ASSIGN(std::vector<SubmittedJob> jobs, ReadSubmitted(run));
  bool changed = false;
  for (SubmittedJob& job : jobs) {
    if (job.role == "learners" || job.role == "all") continue;
    CANDOR_ASSIGN(const bool alive, IsJobAlive(job.id));
    if (alive) continue;
    CANDOR_ASSIGN(const std::string id, SubmitScript(job.file, ""));
    std::fprintf(stderr, "calling the %s back: job %s has left, job %s takes its place\n", job.role.c_str(), job.id.c_str(), id.c_str());
    job.id = id;
    changed = true;
  }
  return changed ? WriteSubmitted(run, jobs) : Status{};
}

}  // namespace candor::cli
