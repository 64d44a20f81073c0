// Internal to proto/: ToWire and FromWire of the control messages (messages.h), one pair each.
#pragma once
#include "proto/wire.h"

namespace candor::proto {

// clang-format never settles on this list.
// clang-format off
#define CANDOR_CONTROL_KINDS(X) \
  X(Hello) X(Welcome) X(LeaseRequest) X(LeaseGrant) X(WorkerHeartbeat) \
  X(HeartbeatReply) X(GroupFailed) X(GroupScored) X(PlanRequest) X(StepPlan) \
  X(PlanVote) X(VersionAnnounce) X(StepDone) X(CheckpointDone) X(StatusRequest) \
  X(StatusReply) X(Ack) X(GroupSpooled) X(FetchGroup) X(Error)
// clang-format on

#define CANDOR_DECLARE(Kind)                     \
  void ToWire(const Kind& from, wire::Kind* to); \
  Kind FromWire(const wire::Kind& from, Checks& checks);
CANDOR_CONTROL_KINDS(CANDOR_DECLARE)
#undef CANDOR_DECLARE

}  // namespace candor::proto
