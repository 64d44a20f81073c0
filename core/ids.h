// Identifiers that do not convert into each other: a StepId cannot be passed where a PolicyVersion is meant.
#pragma once
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace candor {

template <typename Tag>
struct Id {
  uint64_t value = 0;
  friend auto operator<=>(const Id&, const Id&) = default;
};

using StepId = Id<struct StepTag>;              // optimizer step; the first step is 1, 0 means "before training"
using PolicyVersion = Id<struct VersionTag>;    // version v holds the weights after v optimizer steps of the current segment's lineage
using GroupId = Id<struct GroupTag>;            // one prompt visit with its traces; unique in a run, ordered by (wave, position)
using PlanId = Id<struct PlanTag>;              // one attempt at one step
using SegmentId = Id<struct SegmentTag>;        // a resume opens a new segment
using Incarnation = Id<struct IncarnationTag>;  // one life of one process

// A training group's id packs its wave and its position in the wave: ids are known before anything runs and sort in training order.
constexpr GroupId MakeGroupId(uint64_t wave, uint32_t position) { return {wave << 20 | position}; }
constexpr uint64_t WaveOf(GroupId id) { return id.value >> 20; }

template <typename Tag>
std::string ToString(Id<Tag> id) {
  return std::to_string(id.value);
}

}  // namespace candor

template <typename Tag>
struct std::hash<candor::Id<Tag>> {
  size_t operator()(candor::Id<Tag> id) const noexcept { return std::hash<uint64_t>{}(id.value); }
};
