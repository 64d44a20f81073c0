#include "coordinator/alarms.h"

#include <fmt/format.h>

#include <cmath>

namespace candor {

namespace {

double Number(const MetricLine& line, const std::string& name) {
  const auto found = line.find(name);
  return found == line.end() ? NAN : found->second;
}

void OfMembers(const CoordinatorState& state, int64_t now_ms, std::vector<Alarm>& alarms) {
  bool rollout = false, reward = false;
  const auto silent = [&](const std::string& name, int64_t heard_ms, double least_s, const char* consequence) {
    if (const double seconds = static_cast<double>(now_ms - heard_ms) / 1000; seconds > least_s)
      alarms.push_back({"worker_silent", fmt::format("{} has not been heard for {:.0f} s{}", name, seconds, consequence)});
  };
  for (const auto& [name, member] : state.members()) {
    rollout = rollout || member.role == Role::kRollout;
    reward = reward || member.role == Role::kReward;
    if (member.SendsHeartbeats()) silent(name, member.heard_ms, kSilentAlarmS, "");
  }
  if (!state.finished())
    for (const auto& [name, member] : state.lost()) silent(name, member.heard_ms, 0, ": what it held was given to others");
  if (!rollout && !state.finished()) alarms.push_back({"role_missing", "no rollout worker has joined: nothing is generated"});
  if (!reward && !state.finished()) alarms.push_back({"role_missing", "no reward worker has joined: nothing is scored"});
}

void OfCalibration(const MetricLine& line, std::vector<Alarm>& alarms) {
  const double ece = Number(line, "calibration/train/ece"), floor = Number(line, "calibration/train/ece_floor");
  const double gap = Number(line, "calibration/train/signed_gap");
  if (!(ece > kFloorFactor * floor) || !std::isfinite(gap)) return;
  alarms.push_back({gap > 0 ? "over_confident" : "under_confident",
                    fmt::format("ECE {:.3f} is {:.1f} times its noise floor {:.3f}; confidence minus accuracy is {:+.3f}", ece, ece / floor,
                                floor, gap)});
}

}  // namespace

std::vector<Alarm> PresentAlarms(const CoordinatorState& state, const StatusExtras& extras, int64_t now_ms) {
  std::vector<Alarm> alarms;
  OfMembers(state, now_ms, alarms);
  for (const auto& [who, wait] : state.waiting()) {
    const double seconds = static_cast<double>(now_ms - wait.since_ms) / 1000;
    if (seconds > kWaitAlarmS) alarms.push_back({"long_wait", fmt::format("{} has waited {:.0f} s for {}", who, seconds, wait.what)});
  }
  const MetricLine& line = extras.last_line;
  if (Number(line, "optim/skipped") > 0) alarms.push_back({"step_skipped", "the last step was skipped: a loss or gradient was not finite"});
  const double unknown = Number(line, "labels/unknown"), traces = Number(line, "traces");
  if (unknown > kUnsureShare * traces)
    alarms.push_back(
        {"verifier_unsure", fmt::format("{:.0f} of {:.0f} traces of the last step have no label: the verifier fails", unknown, traces)});
  if (const double form = Number(line, "format_ok/all/mean"); form < kFormShare)
    alarms.push_back({"form_lost", fmt::format("{:.0f} % of the last step's answers kept the format: the others are wrong and their "
                                               "confidences missing, whatever they say",
                                               100 * form)});
  if (const double failed = Number(line, "groups/drop/failed"); failed > 0)
    alarms.push_back({"groups_lost", fmt::format("{:.0f} groups of the last step were dropped because workers failed", failed)});
  OfCalibration(line, alarms);
  return alarms;
}

}  // namespace candor
