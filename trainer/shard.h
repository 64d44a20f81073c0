// The sharding plan: which slice of each unit's flat tensor a rank owns. Integers only. Pure, any thread.
// A sharded unit is padded at its end so that all ranks own equally many elements; slice r is [r * slice, (r + 1) * slice) of the padded
// unit. Without sharding every rank owns all.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

enum class Sharding : uint8_t { kNone = 0, kZero2 = 1, kZero3 = 2 };
const char* Name(Sharding sharding);
Result<Sharding> ParseSharding(std::string_view text);

struct UnitShard {
  int64_t count = 0;   // elements of the unit
  int64_t padded = 0;  // elements with padding: slices * slice
  int64_t slice = 0;   // elements of one slice
  int64_t begin = 0;   // this rank's slice is [begin, begin + slice) of the padded unit

  // How many of this rank's elements are not padding.
  int64_t Valid() const {
    int64_t rest = count - begin;
    return rest <= 0 ? 0 : rest < slice ? rest : slice;
  }
};

struct ShardPlan {
  Sharding sharding = Sharding::kNone;
  int ranks = 1;
  int rank = 0;
  std::vector<UnitShard> units;

  int slices() const { return sharding == Sharding::kNone ? 1 : ranks; }  // how many different slices there are
  int64_t OwnedElements() const;
  int64_t LargestUnit() const;  // padded elements
};

ShardPlan PlanShards(std::span<const int64_t> unit_counts, Sharding sharding, int ranks, int rank);

// For loading at another world size: which part of which old slice fills which part of a new one.
struct SliceCopy {
  int from_slice = 0;
  int64_t from_offset = 0;
  int64_t to_offset = 0;
  int64_t count = 0;
};
// Old slices of `old_slice` elements; wanted: the valid elements of `shard`. Every wanted element is copied once.
std::vector<SliceCopy> PlanReshard(int64_t old_slice, const UnitShard& shard);

}  // namespace candor
