// Packing and sharding plans: what must hold for every plan, over many random ones.
#include "trainer/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "trainer/shard.h"

namespace candor {
namespace {

int64_t RowsOf(const PackPart& part, const std::vector<PackItem>& items, int64_t common = 0) {
  int64_t rows = items[part.item].prompt_tokens - common;
  for (size_t answer : part.answers) rows += std::max<int64_t>(0, items[part.item].answer_tokens[answer] - 1);
  return rows;
}

TEST(Packing, EveryAnswerOnceUnderTheBudgetWithItsPromptComputedOnce) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const int64_t common = random() % 2 ? static_cast<int64_t>(random() % 31) : 0;
    std::vector<PackItem> items(random() % 12);
    for (PackItem& item : items) {
      item.prompt_tokens = common + 1 + static_cast<int64_t>(random() % 60);
      item.answer_tokens.resize(random() % 6);
      for (int64_t& tokens : item.answer_tokens) tokens = static_cast<int64_t>(random() % 40);
    }
    int64_t budget = 16 + static_cast<int64_t>(random() % 300);
    std::vector<MicroBatch> batches = PlanMicroBatches(items, budget, common);
    std::map<size_t, std::set<size_t>> seen;
    std::map<size_t, int> prompts;
    size_t last_item = 0;
    for (const MicroBatch& batch : batches) {
      ASSERT_FALSE(batch.parts.empty());
      EXPECT_EQ(batch.common, batch.parts.size() > 1 ? common : 0);
      int64_t rows = batch.common;
      for (const PackPart& part : batch.parts) {
        rows += RowsOf(part, items, batch.common);
        ++prompts[part.item];
        EXPECT_GE(part.item, last_item);
        last_item = part.item;
        for (size_t answer : part.answers) EXPECT_TRUE(seen[part.item].insert(answer).second);
      }
      EXPECT_EQ(rows, batch.rows);
      EXPECT_TRUE(rows <= budget || (batch.parts.size() == 1 && batch.parts[0].answers.size() == 1));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(seen[i].size(), items[i].answer_tokens.size());
      std::vector<size_t> every(items[i].answer_tokens.size());
      std::iota(every.begin(), every.end(), size_t{0});
      EXPECT_TRUE(every.empty() || RowsOf({i, every}, items) > budget || prompts[i] == 1);
    }
  }
}

TEST(Packing, SmallGroupsShareAMicroBatch) {
  std::vector<PackItem> items(4, PackItem{10, {6, 6}});  // 20 rows each
  EXPECT_EQ(PlanMicroBatches(items, 40, 0).size(), 2u);
  EXPECT_EQ(PlanMicroBatches(items, 39, 0).size(), 4u);
  EXPECT_EQ(PlanMicroBatches(items, 65, 5).size(), 1u) << "5 of each prompt's tokens are computed once";
  EXPECT_EQ(PlanMicroBatches(items, 64, 5).size(), 2u);
  EXPECT_TRUE(PlanMicroBatches({}, 40, 0).empty());
}

TEST(Shard, SlicesCoverEachUnitOnce) {
  std::vector<int64_t> counts{1, 16, 17, 1000, 12345};
  for (int ranks : {1, 2, 3, 4, 7})
    for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3})
      for (size_t u = 0; u < counts.size(); ++u) {
        int64_t valid = 0, expected_begin = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          ShardPlan plan = PlanShards(counts, sharding, ranks, rank);
          const UnitShard& unit = plan.units[u];
          EXPECT_EQ(unit.padded, unit.slice * plan.slices());
          if (sharding == Sharding::kNone) {
            EXPECT_EQ(unit.Valid(), counts[u]);
            continue;
          }
          EXPECT_EQ(unit.begin, expected_begin);
          expected_begin += unit.slice;
          valid += unit.Valid();
        }
        EXPECT_TRUE(sharding == Sharding::kNone || valid == counts[u]);
      }
}

TEST(Shard, ReshardCopiesEveryElementToItsPlace) {
  for (int64_t count : {5, 64, 1003})
    for (int old_ranks : {1, 2, 5})
      for (int ranks : {1, 2, 3, 8}) {
        Sharding zero3 = Sharding::kZero3;
        int64_t old_slice = PlanShards(std::vector{count}, zero3, old_ranks, 0).units[0].slice;
        std::vector<int64_t> filled;
        for (int rank = 0; rank < ranks; ++rank) {
          UnitShard shard = PlanShards(std::vector{count}, zero3, ranks, rank).units[0];
          std::vector<int64_t> slice(static_cast<size_t>(shard.slice), -1);
          for (const SliceCopy& copy : PlanReshard(old_slice, shard))
            for (int64_t i = 0; i < copy.count; ++i) {
              EXPECT_EQ(slice[static_cast<size_t>(copy.to_offset + i)], -1);
              slice[static_cast<size_t>(copy.to_offset + i)] = copy.from_slice * old_slice + copy.from_offset + i;
            }
          filled.insert(filled.end(), slice.begin(), slice.begin() + shard.Valid());
        }
        ASSERT_EQ(filled.size(), static_cast<size_t>(count));
        for (int64_t i = 0; i < count; ++i) EXPECT_EQ(filled[static_cast<size_t>(i)], i);
      }
}

}  // namespace
}  // namespace candor
