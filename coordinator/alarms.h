// What people should look at now, each with a name that the runbook explains. A function of the present state and the last step's numbers:
// an alarm ends when its cause does.
#pragma once
#include <string>
#include <vector>

#include "coordinator/status.h"

namespace candor {

struct Alarm {
  std::string name;  // worker_silent, role_missing, long_wait, step_skipped, verifier_unsure, form_lost, groups_lost, over_confident,
                     // under_confident
  std::string what;  // one sentence with its numbers
};

inline constexpr double kSilentAlarmS = 3;    // three heartbeats
inline constexpr double kWaitAlarmS = 60;     // every injected fault has ended by then
inline constexpr double kUnsureShare = 0.05;  // of the traces without a label
inline constexpr double kFormShare = 0.5;     // of the answers that kept the format, at least
inline constexpr double kFloorFactor = 3;     // ECE that so many noise floors do not explain

std::vector<Alarm> PresentAlarms(const CoordinatorState& state, const StatusExtras& extras, int64_t now_ms);

}  // namespace candor
