#include "coordinator/status.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "coordinator/alarms.h"
#include "core/launch.h"

namespace candor {

namespace {

struct Counts {
  std::map<std::string, uint64_t> by_phase, dropped_by_reason;
};

Counts Count(const CoordinatorState& state) {
  Counts counts;
  for (GroupPhase phase :
       {GroupPhase::kOpen, GroupPhase::kLeased, GroupPhase::kScored, GroupPhase::kTrained, GroupPhase::kDropped, GroupPhase::kEvaluated})
    if (state.CountOf(phase) > 0) counts.by_phase[Name(phase)] = state.CountOf(phase);
  for (const auto& [reason, count] : state.dropped()) counts.dropped_by_reason[Name(reason)] = count;
  return counts;
}

double SecondsSince(int64_t then_ms, int64_t now_ms) { return static_cast<double>(now_ms - then_ms) / 1000.0; }

// Label values: backslash, quote and line end are escaped.
std::string Escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string StatusJson(const CoordinatorState& state, const StatusExtras& extras, int64_t now_ms) {
  using nlohmann::json;
  json waiting = json::array(), members = json::array();
  for (const auto& [who, what] : state.waiting())
    waiting.push_back({{"who", who}, {"for", what.what}, {"seconds", SecondsSince(what.since_ms, now_ms)}});
  for (const auto& [name, member] : state.members()) {
    uint64_t tokens = 0;
    for (GroupId id : member.leases) tokens += state.groups().at(id).tokens_done;
    json metrics = json::object();
    for (const auto& [key, value] : member.metrics)
      if (std::isfinite(value)) metrics[key] = value;
    members.push_back({{"name", name},
                       {"role", Name(member.role)},
                       {"incarnation", member.incarnation.value},
                       {"endpoint", member.endpoint},
                       {"host", member.host},
                       {"silent_s", SecondsSince(member.heard_ms, now_ms)},
                       {"joined_s", SecondsSince(member.joined_ms, now_ms)},
                       {"leases", member.leases.size()},
                       {"tokens_in_leases", tokens},
                       {"metrics", metrics}});
  }
  const Counts counts = Count(state);
  const StepId next{state.last_done().value + 1};
  json status = {{"run_id", state.plan().run_id},
                 {"epoch", state.epoch()},
                 {"segment", state.segment().value},
                 {"step", state.last_done().value},
                 {"steps", state.plan().steps},
                 {"covered_by_checkpoint", state.checkpointed().value},
                 {"newest_version", state.newest_version().value},
                 {"versions", state.versions().size()},
                 {"finished", state.finished()},
                 {"staleness", state.plan().staleness},
                 {"uptime_s", SecondsSince(extras.started_ms, now_ms)},
                 {"endpoint", extras.endpoint},
                 {"host", NodeName()},
                 {"http", extras.http},
                 {"groups", counts.by_phase},
                 {"dropped", counts.dropped_by_reason},
                 {"members", members},
                 {"waiting", waiting}};
  status["next_step"] = state.finished() || next.value > state.plan().steps ? "" : state.WaitingForStep(next);
  json alarms = json::array(), figures = json::object();
  for (const Alarm& alarm : PresentAlarms(state, extras, now_ms)) alarms.push_back({{"name", alarm.name}, {"what", alarm.what}});
  const std::string prefix = "calibration/train/";
  for (const char* name : {"n", "accuracy", "mean_confidence", "signed_gap", "brier", "ece", "ece_floor", "auroc"})
    if (auto found = extras.last_line.find(prefix + name); found != extras.last_line.end() && std::isfinite(found->second))
      figures[name] = found->second;
  status["wall_s"] = static_cast<double>(extras.wall_ms) / 1000;
  status["alarms"] = std::move(alarms);
  status["calibration"] = std::move(figures);
  if (extras.covered_ms >= 0) status["checkpoint_age_s"] = SecondsSince(extras.covered_ms, now_ms);
  if (extras.last_step_seconds >= 0) status["last_step_seconds"] = extras.last_step_seconds;
  return status.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string PrometheusText(const CoordinatorState& state, const StatusExtras& extras, int64_t now_ms) {
  std::string text;
  auto gauge = [&](const char* name, const char* help) {
    text += fmt::format("# HELP candor_{} {}\n# TYPE candor_{} gauge\n", name, help, name);
  };
  auto single = [&](const char* name, const char* help, double value) {
    gauge(name, help);
    text += fmt::format("candor_{} {}\n", name, value);
  };
  single("step", "last optimizer step that was done", static_cast<double>(state.last_done().value));
  single("steps", "steps of the run", static_cast<double>(state.plan().steps));
  single("policy_version", "newest policy version in the ledger", static_cast<double>(state.newest_version().value));
  single("checkpoint_step", "newest step that a checkpoint covers", static_cast<double>(state.checkpointed().value));
  single("finished", "1 when the run is over", state.finished() ? 1 : 0);
  single("uptime_seconds", "age of this coordinator", SecondsSince(extras.started_ms, now_ms));
  const Counts counts = Count(state);
  gauge("groups", "groups by phase");
  for (const auto& [phase, n] : counts.by_phase) text += fmt::format("candor_groups{{phase=\"{}\"}} {}\n", phase, n);
  gauge("groups_dropped", "dropped groups by reason");
  for (const auto& [reason, n] : counts.dropped_by_reason)
    text += fmt::format("candor_groups_dropped{{reason=\"{}\"}} {}\n", Escaped(reason), n);
  gauge("worker_silent_seconds", "time since a worker was heard");
  for (const auto& [name, member] : state.members())
    text += fmt::format("candor_worker_silent_seconds{{worker=\"{}\",role=\"{}\"}} {}\n", Escaped(name), Name(member.role),
                        SecondsSince(member.heard_ms, now_ms));
  gauge("worker_leases", "groups leased to a worker");
  for (const auto& [name, member] : state.members())
    text += fmt::format("candor_worker_leases{{worker=\"{}\"}} {}\n", Escaped(name), member.leases.size());
  gauge("waiting_seconds", "who waits for what");
  for (const auto& [who, what] : state.waiting())
    text += fmt::format("candor_waiting_seconds{{who=\"{}\",for=\"{}\"}} {}\n", Escaped(who), Escaped(what.what),
                        SecondsSince(what.since_ms, now_ms));
  gauge("metric", "numbers of the last step, named as in metrics.jsonl");
  for (const auto& [name, value] : extras.last_line)
    if (std::isfinite(value)) text += fmt::format("candor_metric{{name=\"{}\"}} {}\n", Escaped(name), value);
  return text;
}

}  // namespace candor
