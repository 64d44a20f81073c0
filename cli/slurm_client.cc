#include "cli/slurm_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/supervisor.h"
#include "core/fs.h"
#include "core/log.h"

namespace candor::cli {

namespace {
using nlohmann::json;
constexpr char kNodeList[] = "--nodelist=";
std::string ListPath(const RunDir& run) { return run.Jobs() + "/submitted.json"; }
// A controller that is away is not waited for.
Result<std::string> Ask(std::vector<std::string> command) {
  command.insert(command.begin(), {"timeout", "10"});
  return RunForOutput(command);
}

// "n[1-2]" -> n1, n2
std::set<std::string> HostNames(const std::string& list) {
  std::set<std::string> names;
  std::istringstream lines(Ask({"scontrol", "show", "hostnames", list}).value_or(""));
  for (std::string name; lines >> name;) names.insert(name);
  return names;
}

}  // namespace

Result<std::vector<SubmittedJob>> ReadSubmitted(const RunDir& run) {
  std::vector<SubmittedJob> jobs;
  if (!FileExists(ListPath(run))) return jobs;
  CANDOR_ASSIGN(const std::string text, ReadFile(ListPath(run), size_t{1} << 20));
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return Fail(ErrorCode::kInvalidInput, "this is no list of jobs", ListPath(run), "remove it and submit again");
  for (const json& one : list) {
    const auto text_of = [&](const char* key) { return one.is_object() && one.contains(key) && one[key].is_string(); };
    if (!text_of("role") || !text_of("id") || !text_of("file"))
      return Fail(ErrorCode::kInvalidInput, fmt::format("job {} of the list has no role, id and file", jobs.size() + 1), ListPath(run),
                  "remove it and submit again");
    jobs.push_back({one["role"].get<std::string>(), one["id"].get<std::string>(), one["file"].get<std::string>()});
  }
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

Result<Presence> FindJob(const std::string& id) {
  Result<std::string> listed = Ask({"squeue", "--noheader", "--format=%T", "--jobs=" + id});
  if (!listed && listed.error().what.find("Invalid job id") != std::string::npos) return Presence::kGone;
  CANDOR_TRY(listed);
  Presence presence = Presence::kGone;
  std::istringstream states(*listed);
  for (std::string state; states >> state;) {
    const bool queues = state == "PENDING" || state.starts_with("REQUEUE") || state == "SPECIAL_EXIT";
    presence = std::max(presence, queues ? Presence::kQueues : Presence::kRuns);
  }
  return presence;
}

Status CancelJob(const std::string& id) {
  CANDOR_TRY(RunForOutput({"scancel", id}));
  return {};
}

void CancelSteps(const std::string& name) {
  const char *job = std::getenv("SLURM_JOB_ID"), *ours = std::getenv("SLURM_JOB_NODELIST");
  if (!job || !ours) return;
  const Result<std::string> steps = Ask({"squeue", "--noheader", "--steps", "--format=%i %j %N", "--jobs=" + std::string(job)});
  if (!steps) return LogError(steps.error(), "looking for steps that were left");
  const std::set<std::string> our_nodes = HostNames(ours);
  std::istringstream lines(*steps);
  for (std::string id, step_name, list; lines >> id >> step_name >> list;) {
    if (step_name != name) continue;
    const std::set<std::string> nodes = HostNames(list);
    if (std::none_of(nodes.begin(), nodes.end(), [&](const std::string& node) { return our_nodes.count(node) > 0; })) continue;
    if (Status ended = CancelJob(id); !ended) LogError(ended.error(), "ending step " + id);
  }
}

void MoveFromDeadNodes(std::vector<std::string>& command, const std::vector<std::string>& nodes) {
  const auto listed = Ask({"sinfo", "--noheader", "--Node", "--format=%N %T", fmt::format("--nodes={}", fmt::join(nodes, ","))});
  if (!listed) return LogError(listed.error(), "looking for dead nodes");
  std::set<std::string> dead;
  std::istringstream lines(*listed);
  for (std::string node, state; lines >> node >> state;)
    if (state.starts_with("down") || state.ends_with('*')) dead.insert(node);
  for (std::string& word : command) {
    if (!word.starts_with(kNodeList)) continue;
    std::istringstream names(word.substr(std::strlen(kNodeList)));
    std::vector<std::string> places;
    size_t wanted = 0, lost = 0;
    for (std::string name; std::getline(names, name, ','); ++wanted) dead.count(name) ? void(++lost) : places.push_back(name);
    if (lost == 0) return;
    // from the last node on: learners stand on the first ones
    for (auto node = nodes.rbegin(); node != nodes.rend() && places.size() < wanted; ++node)
      if (!dead.count(*node) && std::find(places.begin(), places.end(), *node) == places.end()) places.push_back(*node);
    if (places.empty()) return;
    std::fprintf(stderr, "%zu of %zu nodes of a step are dead: it is started on %s\n", lost, wanted,
                 fmt::format("{}", fmt::join(places, ",")).c_str());
    word = fmt::format("{}{}", kNodeList, fmt::join(places, ","));
    for (std::string& other : command)
      if (other.starts_with("--nodes=")) other = fmt::format("--nodes={}", places.size());
  }
}

NodeSize AskLargestNode(const std::string& partition) {
  std::vector<std::string> command = {"sinfo", "--noheader", "--format=%c %G"};
  if (!partition.empty()) command.push_back("--partition=" + partition);
  const Result<std::string> lines = Ask(command);
  return lines ? LargestNode(*lines) : NodeSize{};
}

Status CallBack(const RunDir& run) {
  CANDOR_ASSIGN(std::vector<SubmittedJob> jobs, ReadSubmitted(run));
  for (SubmittedJob& job : jobs) {
    if (job.role == "learners" || job.role == "all") continue;
    CANDOR_ASSIGN(const Presence presence, FindJob(job.id));
    if (presence != Presence::kGone) continue;
    CANDOR_ASSIGN(const std::string id, SubmitScript(job.file, ""));
    std::fprintf(stderr, "calling the %s back: job %s has left, job %s takes its place\n", job.role.c_str(), job.id.c_str(), id.c_str());
    job.id = id;
    CANDOR_TRY(WriteSubmitted(run, jobs));  // at once: the next submission may fail, and this one is called back no second time
  }
  return {};
}

}  // namespace candor::cli
