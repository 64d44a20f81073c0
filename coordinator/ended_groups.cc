#include "coordinator/ended_groups.h"

#include <algorithm>

#include "coordinator/run_plan.h"
#include "core/check.h"

namespace candor {

namespace {
constexpr uint64_t kPositionMask = (uint64_t{1} << 20) - 1;
bool BeforeRow(const EndedGroup& group, uint32_t row) { return group.place < row; }
}  // namespace

void EndedGroups::Put(GroupId id, const EndedGroup& group) {
  if (IsEvalGroup(id)) {
    std::vector<EndedGroup>& rows = evals_[id.value >> 32];
    rows.insert(std::lower_bound(rows.begin(), rows.end(), group.place, BeforeRow), group);
    return;
  }
  std::vector<EndedGroup>& wave = waves_[WaveOf(id)];
  CANDOR_CHECK(wave.size() == (id.value & kPositionMask), "a wave is put away whole and in order");
  wave.push_back(group);
}

const EndedGroup* EndedGroups::Find(GroupId id) const {
  const auto& blocks = IsEvalGroup(id) ? evals_ : waves_;
  const auto block = blocks.find(IsEvalGroup(id) ? id.value >> 32 : WaveOf(id));
  if (block == blocks.end()) return nullptr;
  const std::vector<EndedGroup>& groups = block->second;
  if (!IsEvalGroup(id)) {
    const uint64_t position = id.value & kPositionMask;
    return position < groups.size() ? &groups[position] : nullptr;
  }
  const auto row = static_cast<uint32_t>(id.value);
  const auto at = std::lower_bound(groups.begin(), groups.end(), row, BeforeRow);
  return at != groups.end() && at->place == row ? &*at : nullptr;
}

std::vector<EndedGroup> EndedGroups::TakeWave(StepId wave) {
  const auto found = waves_.find(wave.value);
  if (found == waves_.end()) return {};
  std::vector<EndedGroup> groups = std::move(found->second);
  waves_.erase(found);
  return groups;
}

std::vector<EndedGroup> EndedGroups::TakeEvalsBehind(PolicyVersion version) {
  std::vector<EndedGroup> groups;
  std::erase_if(evals_, [&](const auto& block) {
    const bool behind = EvalVersionOf({block.first << 32}) > version;
    if (behind) groups.insert(groups.end(), block.second.begin(), block.second.end());
    return behind;
  });
  return groups;
}

void EndedGroups::ForEach(const std::function<void(GroupId, const EndedGroup&)>& visit) const {
  for (const auto& [wave, groups] : waves_)
    for (uint32_t position = 0; position < groups.size(); ++position) visit(MakeGroupId(wave, position), groups[position]);
  for (const auto& [block, rows] : evals_)
    for (const EndedGroup& group : rows) visit({block << 32 | group.place}, group);
}

}  // namespace candor
