// Groups whose end nothing changes any more but a learner that goes back behind its last checkpoints: sixteen bytes each, where one that is
// still at work has two hundred. A long run has millions of them. Without I/O, one thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "core/ids.h"
#include "core/trace.h"

namespace candor {

struct EndedGroup {
  double keep = 1.0;     // as in GroupState
  uint32_t place = 0;    // row of an evaluation set; for training the row of its prompt
  uint16_t dataset = 0;  // training: index into the plan's data sets
  uint8_t phase : 7 = 0;
  uint8_t retired : 1 = 0;
  DropReason drop = DropReason::kNone;
};
static_assert(sizeof(EndedGroup) == 16, "there are millions of them");

class EndedGroups {
 public:
  // A wave's groups in the order of their positions from 0, all of them; an evaluation's in any order.
  void Put(GroupId id, const EndedGroup& group);
  const EndedGroup* Find(GroupId id) const;
  // Takes a wave out again; empty when it is not here.
  std::vector<EndedGroup> TakeWave(StepId wave);
  // The same of all evaluations of newer versions.
  std::vector<EndedGroup> TakeEvalsBehind(PolicyVersion version);
  void ForEach(const std::function<void(GroupId, const EndedGroup&)>& visit) const;

 private:
  std::map<uint64_t, std::vector<EndedGroup>> waves_;  // by position
  std::map<uint64_t, std::vector<EndedGroup>> evals_;  // by id >> 32; ascending rows
};

}  // namespace candor
