// Page accounting and continuous batching as integers: every plan keeps the invariants, nobody starves, and everything returns to zero.
#include "rollout/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/rng.h"

namespace candor {
namespace {

using TraceKey = BatchScheduler::TraceKey;

TEST(PagePool, SharedPagesAreFreedByTheLastHolder) {
  PagePool pool(3);
  ASSERT_TRUE(pool.Promise(2));
  EXPECT_FALSE(pool.Promise(2));  // one is left
  const int32_t page = pool.TakePromised();
  pool.Share(page);
  pool.Release(page);
  EXPECT_EQ(pool.used(), 1);
  pool.Release(page);
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(pool.promised(), 1);
  EXPECT_EQ(pool.TakePromised(), page);  // last in, first out
  EXPECT_EQ(pool.reused(), 1);
}

TEST(PagePoolDeathTest, DoubleReleaseAborts) {
  PagePool pool(1);
  ASSERT_TRUE(pool.Promise(1));
  const int32_t page = pool.TakePromised();
  pool.Release(page);
  EXPECT_DEATH(pool.Release(page), "a free page was released");
}

// Drives a scheduler as the engine does, with traces of random lengths, and checks every plan.
class Simulation {
 public:
  Simulation(const SchedulerOptions& options, uint64_t seed) : options_(options), scheduler_(options), seed_(seed) {}

  void Submit(int64_t prompt, int32_t traces, int64_t limit) {
    const int64_t key = next_++;
    ASSERT_TRUE(scheduler_.Submit(key, prompt, traces, limit));
    groups_[key] = {prompt, limit, traces};
  }
  bool Step() {
    const BatchScheduler::Plan plan = scheduler_.Next();
    if (plan.running.empty() && plan.prefill.empty()) return false;
    EXPECT_LE(static_cast<int64_t>(plan.running.size()), options_.max_batch);
    int64_t rows = 0;
    for (const auto& copy : plan.copies) {
      EXPECT_NE(copy.from, copy.to);
      EXPECT_EQ(scheduler_.pool().holders(copy.to), 1);
    }
    for (const TraceKey& key : plan.joined) length_[Id(key)] = groups_[key.group].prompt + 1, left_[Id(key)] = Length(key);
    std::set<int32_t> written;  // pages written by this step belong to one trace alone
    for (const TraceKey& key : plan.running) {
      const auto& pages = scheduler_.Grow(key, length_[Id(key)]);
      const int32_t page = pages[static_cast<size_t>((length_[Id(key)] - 1) / options_.page_tokens)];
      EXPECT_EQ(scheduler_.pool().holders(page), 1) << "a shared page would be written";
      EXPECT_TRUE(written.insert(page).second);
    }
    for (const auto& chunk : plan.prefill) rows += chunk.rows;
    EXPECT_LE(rows, options_.prefill_tokens);
    for (const auto& chunk : plan.prefill)
      if (chunk.last)
        for (int32_t i = 0; i < groups_[chunk.group].traces; ++i) {
          const TraceKey key{chunk.group, i};
          if (Length(key) == 0)
            scheduler_.Skip(key), ++ended_;
          else
            scheduler_.Await(key);
        }
    for (const TraceKey& key : plan.running) {
      ++length_[Id(key)];
      if (--left_[Id(key)] == 0) scheduler_.Finish(key), ++ended_;
    }
    return true;
  }
  int64_t Length(TraceKey key) const {
    const int64_t limit = groups_.at(key.group).limit;
    return static_cast<int64_t>(
        RandomBits(seed_, RngStream::kSynthetic, static_cast<uint64_t>(key.group), static_cast<uint64_t>(key.index)) %
        static_cast<uint64_t>(limit));
  }
  static std::pair<int64_t, int32_t> Id(TraceKey key) { return {key.group, key.index}; }

  struct Group {
    int64_t prompt = 0, limit = 0;
    int32_t traces = 0;
  };
  SchedulerOptions options_;
  BatchScheduler scheduler_;
  uint64_t seed_;
  int64_t next_ = 0, ended_ = 0;
  std::map<int64_t, Group> groups_;
  std::map<std::pair<int64_t, int32_t>, int64_t> length_, left_;
};

TEST(Scheduler, RandomLoadsEndWithEveryPageFree) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    auto draw = [&](uint64_t what, uint64_t low, uint64_t high) {
      return static_cast<int64_t>(low + RandomBits(seed, RngStream::kOrder, what) % (high - low + 1));
    };
    const int64_t page = 16 * draw(1, 1, 3);
    Simulation simulation({.max_batch = draw(2, 1, 12), .page_tokens = page, .pages = draw(3, 8, 40), .prefill_tokens = draw(4, 16, 200)},
                          seed);
    int64_t traces = 0;
    for (uint64_t g = 0; g < 12; ++g) {
      const auto count = static_cast<int32_t>(draw(100 + g, 1, 9));
      simulation.Submit(draw(200 + g, 1, 3 * 16), count, draw(300 + g, 1, 60));
      traces += count;
    }
    int steps = 0;
    while (simulation.Step()) ASSERT_LT(++steps, 20000) << "seed " << seed << ": somebody waits for ever";
    EXPECT_EQ(simulation.ended_, traces) << "seed " << seed;
    EXPECT_TRUE(simulation.scheduler_.idle());
    EXPECT_EQ(simulation.scheduler_.pool().used(), 0);
    EXPECT_EQ(simulation.scheduler_.pool().promised(), 0);
    EXPECT_EQ(simulation.scheduler_.joins(), simulation.scheduler_.leaves());
  }
}

TEST(Scheduler, TracesJoinWhileOthersRun) {
  Simulation simulation({.max_batch = 3, .page_tokens = 16, .pages = 200, .prefill_tokens = 64}, 5);
  for (int g = 0; g < 6; ++g) simulation.Submit(20, 4, 40);
  bool joined_beside_older = false;
  std::set<std::pair<int64_t, int32_t>> before;
  for (int step = 0; step < 400 && !simulation.scheduler_.idle(); ++step) {
    const int64_t joins = simulation.scheduler_.joins(), running = simulation.scheduler_.running();
    simulation.Step();
    joined_beside_older |= running > 0 && simulation.scheduler_.joins() > joins;
  }
  EXPECT_TRUE(joined_beside_older);
  EXPECT_TRUE(simulation.scheduler_.idle());
  EXPECT_GT(simulation.scheduler_.pool().reused(), 0);
}

TEST(Scheduler, PromptPagesAreSharedAndThePartialOneCopied) {
  BatchScheduler scheduler({.max_batch = 8, .page_tokens = 16, .pages = 64, .prefill_tokens = 512});
  ASSERT_TRUE(scheduler.Submit(1, 40, 3, 10));  // two full pages and half of a third
  auto plan = scheduler.Next();
  ASSERT_EQ(plan.prefill.size(), 1u);
  EXPECT_TRUE(plan.prefill[0].last);
  EXPECT_EQ(scheduler.pool().used(), 3);
  for (int32_t i = 0; i < 3; ++i) scheduler.Await({1, i});
  plan = scheduler.Next();
  EXPECT_EQ(plan.joined.size(), 3u);
  EXPECT_EQ(plan.copies.size(), 2u);  // the last to start takes the page itself
  EXPECT_EQ(scheduler.pool().used(), 2 + 3);
  const auto a = scheduler.Grow({1, 0}, 41), b = scheduler.Grow({1, 1}, 41);
  EXPECT_EQ(a[0], b[0]);
  EXPECT_EQ(a[1], b[1]);
  EXPECT_NE(a[2], b[2]);
}

TEST(Scheduler, WholePagesAreSharedWithoutACopy) {
  BatchScheduler scheduler({.max_batch = 8, .page_tokens = 16, .pages = 64, .prefill_tokens = 512});
  ASSERT_TRUE(scheduler.Submit(1, 32, 2, 10));
  scheduler.Next();
  for (int32_t i = 0; i < 2; ++i) scheduler.Await({1, i});
  EXPECT_TRUE(scheduler.Next().copies.empty());
  EXPECT_EQ(scheduler.pool().used(), 2);
}

TEST(Scheduler, WhatCanNeverFitIsRefused) {
  BatchScheduler scheduler({.max_batch = 8, .page_tokens = 16, .pages = 4, .prefill_tokens = 512});
  EXPECT_TRUE(scheduler.Submit(1, 32, 9, 32));
  const Status status = scheduler.Submit(2, 32, 1, 33);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().fix.find("kv_memory_mb"), std::string::npos);
}

TEST(Scheduler, CancelReturnsEverythingAtAnyMoment) {
  for (int when = 0; when < 12; ++when) {
    Simulation simulation({.max_batch = 3, .page_tokens = 16, .pages = 30, .prefill_tokens = 24}, 2);
    for (int g = 0; g < 4; ++g) simulation.Submit(40, 3, 20);
    for (int step = 0; step < when; ++step) simulation.Step();
    for (int64_t g = 0; g < 4; ++g) simulation.scheduler_.Cancel(g);
    EXPECT_TRUE(simulation.scheduler_.idle());
    EXPECT_EQ(simulation.scheduler_.pool().used(), 0) << "cancelled after " << when << " steps";
    EXPECT_EQ(simulation.scheduler_.pool().promised(), 0);
    EXPECT_EQ(simulation.scheduler_.running(), 0);
  }
}

}  // namespace
}  // namespace candor
