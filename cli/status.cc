// `candor status RUN_DIR`: who is there, what each does, who waits for whom and since when. Asks the live coordinator; where none answers,
// it says what the files know and what to do.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/live_status.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/run_processes.h"
#include "coordinator/accounting.h"
#include "coordinator/ledger.h"
#include "core/fs.h"
#include "core/rendezvous.h"

namespace candor::cli {

namespace {

using nlohmann::json;

constexpr int kAnswerMs = 3000;
constexpr useconds_t kWatchUs = 2'000'000;

json LocalProcesses(const std::string& run_dir) {
  json processes = json::array();
  for (const RunProcess& process : ProcessesOf(run_dir))
    processes.push_back({{"name", process.name},
                         {"host", HostName()},
                         {"pid", process.pid},
                         {"state", std::string(1, process.state)},
                         {"stopped", process.state == 'T'}});
  return processes;
}

json LogTails(const std::string& run_dir) {
  json tails = json::array();
  for (const LastWords& words : LastWordsOf(run_dir))
    tails.push_back({{"name", words.name}, {"seconds_ago", words.seconds_ago}, {"line", words.line}});
  return tails;
}

// What the ledger's files say, read beside whoever may write them.
json LedgerSummary(const std::string& run_dir) {
  auto reader = OpenNewestLedger(run_dir);
  if (!reader) return {{"error", reader.error().Message()}};
  Auditor auditor(reader->plan);
  const Status read = reader->ForEach([&](const LedgerRecord& record) -> Status {
    auditor.Add(record);
    return {};
  });
  if (!read) return {{"error", read.error().Message()}};
  const Balance balance = auditor.Result();
  return {{"epoch", reader->epoch},         {"step", balance.last_step},    {"steps", reader->plan.steps},
          {"in_flight", balance.in_flight}, {"finished", balance.finished}, {"balances", balance.Balances()}};
}

std::string Advice(const RunDir& run, const json& processes) {
  if (FileExists(run.Done())) return "the run is finished: candor report " + run.path;
  for (const json& process : processes)
    if (process.value("stopped", false))
      return fmt::format("{} (pid {}) is stopped: kill -CONT {}, or kill it and it is started again", process["name"].get<std::string>(),
                         process["pid"].get<int>(), process["pid"].get<int>());
  if (!processes.empty())
    return "processes of the run live here; the coordinator may be starting: look again in a few seconds, then into logs/coordinator.log";
  return "no process of the run lives on this host: if none lives elsewhere either, go on with candor run RECIPE --run-dir " + run.path +
         " --resume";
}

Result<json> Gather(const RunDir& run) {
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run.path));
  json out = {{"run_dir", run.path}, {"name", recipe.run.name}, {"processes", LocalProcesses(run.path)}};
  auto live = AskStatus(run.path, recipe.run.name, kAnswerMs);
  out["live"] = live.has_value();
  if (live) {
    out["coordinator"] = std::move(*live);
    return out;
  }
  out["why_not_live"] = live.error().Message();
  out["ledger"] = LedgerSummary(run.path);
  out["logs"] = LogTails(run.path);
  out["advice"] = Advice(run, out["processes"]);
  return out;
}

// Processes of this host by their numbers, others by the host they named.
std::string Where(const json& processes, const std::string& name, const std::string& host) {
  std::string text;
  for (const json& process : processes)
    if (process["name"] == name || (name.starts_with("trainer") && process["name"] == "trainer"))
      text +=
          fmt::format("{}{}{}", text.empty() ? "pid " : ",", process["pid"].get<int>(), process.value("stopped", false) ? " STOPPED" : "");
  return !text.empty() ? text : host.empty() ? "another host" : host;
}

// In its own words: what a worker does now.
std::string Doing(const json& member) {
  const json& metrics = member["metrics"];
  if (member["role"] == "rollout")
    return fmt::format("{} groups leased, {:.0f} tokens/s, version {:.0f}", member["leases"].get<int>(),
                       metrics.value("tokens_per_second", 0.0), metrics.value("version", 0.0));
  if (member["role"] == "reward")
    return fmt::format("{:.1f} MiB spooled, {:.0f} headers not acknowledged", metrics.value("spool_bytes", 0.0) / 1048576,
                       metrics.value("unacknowledged", 0.0));
  return "learns";
}

void PrintLive(const json& out) {
  const json& c = out["coordinator"];
  std::printf("%s: step %ld of %ld, version %ld, segment %ld, epoch %ld, checkpoint covers step %ld%s\n",
              out["name"].get<std::string>().c_str(), c["step"].get<long>(), c["steps"].get<long>(), c["newest_version"].get<long>(),
              c["segment"].get<long>(), c["epoch"].get<long>(), c["covered_by_checkpoint"].get<long>(),
              c.value("checkpoint_age_s", -1.0) >= 0 ? fmt::format(" ({:.0f} s ago)", c["checkpoint_age_s"].get<double>()).c_str() : "");
  std::string groups;
  for (const auto& [phase, count] : c["groups"].items()) groups += fmt::format("  {} {}", phase, count.get<int>());
  std::printf("groups%s\n", groups.c_str());
  if (const json& figures = c.value("calibration", json::object()); !figures.empty()) {
    std::string text;
    for (const char* name : {"accuracy", "mean_confidence", "brier", "ece", "ece_floor", "auroc"})
      if (figures.contains(name)) text += fmt::format("  {} {:.3f}", name, figures[name].get<double>());
    std::printf("last step%s\n", text.c_str());
  }
  std::printf("\n%-14s %-11s %-22s %s\n", "process", "last heard", "where", "does");
  std::printf("%-14s %-11s %-22s %s\n", "coordinator", "now", Where(out["processes"], "coordinator", c.value("host", "")).c_str(),
              c["endpoint"].get<std::string>().c_str());
  for (const json& member : c["members"])
    std::printf("%-14s %-11s %-22s %s\n", member["name"].get<std::string>().c_str(),
                fmt::format("{:.1f} s ago", member["silent_s"].get<double>()).c_str(),
                Where(out["processes"], member["name"].get<std::string>(), member.value("host", "")).c_str(), Doing(member).c_str());
  std::printf("\nwho waits for what\n");
  for (const json& wait : c["waiting"])
    std::printf("  %-12s %s (%.1f s)\n", wait["who"].get<std::string>().c_str(), wait["for"].get<std::string>().c_str(),
                wait["seconds"].get<double>());
  if (c["waiting"].empty()) std::printf("  nobody\n");
  if (const std::string next = c.value("next_step", ""); !next.empty()) std::printf("  next step    %s\n", next.c_str());
  for (const json& alarm : c.value("alarms", json::array()))
    std::printf("ALARM %s: %s\n", alarm["name"].get<std::string>().c_str(), alarm["what"].get<std::string>().c_str());
}

void PrintOffline(const json& out) {
  std::printf("%s: no coordinator answers: %s\n", out["name"].get<std::string>().c_str(), out["why_not_live"].get<std::string>().c_str());
  const json& ledger = out["ledger"];
  if (ledger.contains("error"))
    std::printf("ledger: %s\n", ledger["error"].get<std::string>().c_str());
  else
    std::printf("ledger of epoch %ld: step %ld of %ld done, %ld groups in flight%s\n", ledger["epoch"].get<long>(),
                ledger["step"].get<long>(), ledger["steps"].get<long>(), ledger["in_flight"].get<long>(),
                ledger["finished"].get<bool>() ? ", finished" : "");
  for (const json& process : out["processes"])
    std::printf("lives here: %s, pid %d%s\n", process["name"].get<std::string>().c_str(), process["pid"].get<int>(),
                process["stopped"].get<bool>() ? " (STOPPED)" : "");
  for (const json& log : out["logs"])
    std::printf("%-14s %6.0f s ago  %s\n", log["name"].get<std::string>().c_str(), log["seconds_ago"].get<double>(),
                log["line"].get<std::string>().substr(0, 160).c_str());
  std::printf("what to do: %s\n", out["advice"].get<std::string>().c_str());
}

}  // namespace

int RunStatus(int argc, const char* const* argv) {
  RunDir run;
  bool as_json = false, watch = false;
  CommandLine app{
      "Who waits for whom and since when: every process of a run, what it does and when it was last heard, the step, open groups, alarms "
      "and "
      "calibration figures, from the live coordinator; where none answers, what the files know and what to do. Exit code 0 when a "
      "coordinator "
      "answered or the run is finished.",
      "candor status"};
  app.Add("RUN_DIR", &run.path, "the run's folder").Required();
  app.AddFlag("--json", &as_json, "as one line of JSON");
  app.AddFlag("--watch", &watch, "again every two seconds, until Ctrl-C");
  app.AddFooter(
      "Examples:\n  candor status runs/cities\n  candor status runs/cities --watch\n  candor status runs/cities --json | jq "
      ".coordinator.waiting");
  if (const auto code = app.Parse(argc, argv)) return *code;
  for (;;) {
    const auto out = Gather(run);
    if (!out) return ReportFailure("status", out.error());
    if (watch && !as_json && ::isatty(STDOUT_FILENO)) std::printf("\033[H\033[2J");
    if (as_json)
      std::printf("%s\n", out->dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    else
      (*out)["live"].get<bool>() ? PrintLive(*out) : PrintOffline(*out);
    std::fflush(stdout);
    if (!watch) return (*out)["live"].get<bool>() || FileExists(run.Done()) ? 0 : static_cast<int>(ExitCode::kUnavailable);
    ::usleep(kWatchUs);
  }
}

}  // namespace candor::cli
