#include "trainer/shard.h"

#include <algorithm>

namespace candor {

namespace {
constexpr int64_t kAlign = 16;  // slices begin at multiples of 16 elements: a cache line of fp32
}

const char* Name(Sharding sharding) {
  switch (sharding) {
    case Sharding::kNone:
      return "none";
    case Sharding::kZero2:
      return "zero2";
    case Sharding::kZero3:
      return "zero3";
  }
  return "?";
}

Result<Sharding> ParseSharding(std::string_view text) {
  for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3})
    if (text == Name(sharding)) return sharding;
  return Fail(ErrorCode::kInvalidInput, "unknown sharding \"" + std::string(text) + "\"", "", "none, zero2 or zero3");
}

int64_t ShardPlan::OwnedElements() const {
  int64_t elements = 0;
  for (const UnitShard& unit : units) elements += unit.slice;
  return elements;
}

int64_t ShardPlan::LargestUnit() const {
  int64_t largest = 0;
  for (const UnitShard& unit : units) largest = std::max(largest, unit.padded);
  return largest;
}

ShardPlan PlanShards(std::span<const int64_t> unit_counts, Sharding sharding, int ranks, int rank) {
  ShardPlan plan{sharding, ranks, rank, {}};
  int64_t slices = plan.slices();
  for (int64_t count : unit_counts) {
    UnitShard unit;
    unit.count = count;
    unit.slice = slices == 1 ? count : (count + slices * kAlign - 1) / (slices * kAlign) * kAlign;
    unit.padded = unit.slice * slices;
    unit.begin = slices == 1 ? 0 : unit.slice * rank;
    plan.units.push_back(unit);
  }
  return plan;
}

std::vector<SliceCopy> PlanReshard(int64_t old_slice, const UnitShard& shard) {
  std::vector<SliceCopy> copies;
  int64_t at = shard.begin, end = shard.begin + shard.Valid();
  while (at < end) {
    int64_t from = at / old_slice;
    int64_t stop = std::min(end, (from + 1) * old_slice);
    copies.push_back({static_cast<int>(from), at - from * old_slice, at - shard.begin, stop - at});
    at = stop;
  }
  return copies;
}

}  // namespace candor
