// What the ledger holds: the outcomes of a run, in order. Leases and membership are soft state that workers announce again; everything here
// is durable before anybody hears of it, and the coordinator's whole state is a function of the run plan and these records.
#pragma once
#include <string>
#include <string_view>
#include <variant>

#include "core/result.h"
#include "proto/messages.h"

namespace candor {

// A group ends without being trained on.
struct GroupDropped {
  GroupId group;
  DropReason reason = DropReason::kFailed;
  std::string why;
};
// A group that had been scored is needed again (its reward worker lost it): it goes back to the start, with the same id.
struct GroupReopened {
  GroupId group;
  std::string why;
};
struct PlanLogged {
  StepPlan plan;
  uint32_t ranks = 1;
};
struct PlanVoided {
  PlanId plan;
  StepId step;
  std::string why;
};
// A new life of the learner begins at `step`. Steps from there on are undone (a new segment opens) when an earlier life had done them.
struct TrainerStarted {
  Incarnation incarnation;
  StepId step;
  SegmentId segment;
};
struct RunFinished {};
// Too few groups of a wave passed the filter: so many more prompts of the same wave are generated.
struct WaveExtended {
  StepId wave;
  uint32_t groups = 0;
};

// GroupScored is kept without its sketches, which the calibration record holds.
using LedgerRecord = std::variant<GroupScored, GroupDropped, GroupReopened, VersionAnnounce, PlanLogged, PlanVoided, TrainerStarted,
                                  StepDone, CheckpointDone, RunFinished, WaveExtended>;

std::string EncodeRecord(const LedgerRecord& record);
Result<LedgerRecord> DecodeRecord(const std::string& bytes);

}  // namespace candor
