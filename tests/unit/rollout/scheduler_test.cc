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

// A prompt that has its first `common` tokens in common with all others of its `family`.
std::vector<int32_t> Prompt(int64_t key, int64_t tokens, int32_t family = 0, int64_t common = 0) {
  std::vector<int32_t> prompt_P;
  for (int64_t i = 0; i < tokens; ++i)
    prompt_P.push_back(static_cast<int32_t>(i < common ? 1000 * (family + 1) + i : 100000 + 1000 * key + i));
  return prompt_P;
}

// Drives a scheduler as the engine does, with traces of random lengths, and checks every plan. Beside it the cache as it would be: what is
// stored at a position is a number that only the prompt up to there (or the trace) gives.
class Simulation {
 public:
  Simulation(const SchedulerOptions& options, uint64_t seed)
      : options_(options), scheduler_(options), seed_(seed), stored_(static_cast<size_t>(options.pages * options.page_tokens)) {}

  void Submit(const std::vector<int32_t>& prompt_P, int32_t traces, int64_t limit) {
    const int64_t key = next_++;
    ASSERT_TRUE(scheduler_.Submit(key, prompt_P, traces, limit));
    groups_[key] = {static_cast<int64_t>(prompt_P.size()), limit, traces, {}};
    uint64_t sum = 1 + weights_;
    for (int32_t token : prompt_P)
      groups_[key].values.push_back(sum = RandomBits(sum, RngStream::kSynthetic, static_cast<uint64_t>(token)));
  }
  void Submit(int64_t prompt, int32_t traces, int64_t limit) { Submit(Prompt(next_, prompt), traces, limit); }
  // From now on every prompt gives other values; none is on its way.
  void NewWeights() {
    ++weights_;
    scheduler_.ForgetPrefixes();
  }
  bool Step() {
    const BatchScheduler::Plan plan = scheduler_.Next();
    if (plan.running.empty() && plan.prefill.empty()) return false;
    EXPECT_LE(static_cast<int64_t>(plan.running.size()), options_.max_batch);
    int64_t rows = 0;
    for (const auto& copy : plan.copies) {
      EXPECT_NE(copy.from, copy.to);
      std::copy_n(At(copy.from), options_.page_tokens, At(copy.to));
    }
    for (const TraceKey& key : plan.joined) length_[Id(key)] = groups_[key.group].prompt + 1, left_[Id(key)] = Length(key);
    std::set<int32_t> written;  // pages written by this step belong to one trace alone
    for (const TraceKey& key : plan.running) {
      const auto& pages = scheduler_.Grow(key, length_[Id(key)]);
      const int32_t page = pages[static_cast<size_t>((length_[Id(key)] - 1) / options_.page_tokens)];
      EXPECT_TRUE(written.insert(page).second) << "two traces would write the same page";
      const auto& values = groups_[key.group].values;
      for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(Stored(pages, i), values[i]) << "position " << i << " of the prompt is lost";
      Stored(pages, static_cast<size_t>(length_[Id(key)]) - 1) = static_cast<uint64_t>(key.group);
    }
    for (const auto& chunk : plan.prefill) {
      rows += chunk.rows;
      const auto& pages = scheduler_.PromptPages(chunk.group);
      const auto& values = groups_[chunk.group].values;
      for (size_t i = 0; i < static_cast<size_t>(chunk.begin); ++i)
        EXPECT_EQ(Stored(pages, i), values[i]) << "position " << i << " was taken over wrongly";
      for (auto i = static_cast<size_t>(chunk.begin); i < static_cast<size_t>(chunk.begin + chunk.rows); ++i) Stored(pages, i) = values[i];
    }
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
  uint64_t* At(int32_t page) { return stored_.data() + page * options_.page_tokens; }
  uint64_t& Stored(const std::vector<int32_t>& pages, size_t position) {
    const auto page_tokens = static_cast<size_t>(options_.page_tokens);
    return At(pages[position / page_tokens])[position % page_tokens];
  }
  static std::pair<int64_t, int32_t> Id(TraceKey key) { return {key.group, key.index}; }

  struct Group {
    int64_t prompt = 0, limit = 0;
    int32_t traces = 0;
    std::vector<uint64_t> values;  // of the prompt's positions
  };
  SchedulerOptions options_;
  BatchScheduler scheduler_;
  uint64_t seed_, weights_ = 0;
  std::vector<uint64_t> stored_;  // by page and position in it
  int64_t next_ = 0, ended_ = 0;
  std::map<int64_t, Group> groups_;
  std::map<std::pair<int64_t, int32_t>, int64_t> length_, left_;
};

TEST(Scheduler, RandomLoadsEndWithEveryPageFree) {
  int64_t reused = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    auto draw = [&](uint64_t what, uint64_t low, uint64_t high) {
      return static_cast<int64_t>(low + RandomBits(seed, RngStream::kOrder, what) % (high - low + 1));
    };
    const int64_t page = 16 * draw(1, 1, 3);
    Simulation simulation(
        {.max_batch = draw(2, 1, 12), .page_tokens = page, .pages = draw(3, 8, 40) * draw(5, 1, 4), .prefill_tokens = draw(4, 16, 200)},
        seed);
    int64_t traces = 0;
    for (uint64_t g = 0; g < 12; ++g) {
      const auto count = static_cast<int32_t>(draw(100 + g, 1, 9));
      simulation.Submit(
          Prompt(static_cast<int64_t>(g), draw(200 + g, 1, 4 * 16), static_cast<int32_t>(draw(400 + g, 0, 1)), draw(500 + g, 0, 60)), count,
          draw(300 + g, 1, 60));
      traces += count;
    }
    int steps = 0;
    while (simulation.Step()) ASSERT_LT(++steps, 20000) << "seed " << seed << ": somebody waits for ever";
    reused += simulation.scheduler_.reused_tokens();
    simulation.scheduler_.ForgetPrefixes();
    EXPECT_EQ(simulation.ended_, traces) << "seed " << seed;
    EXPECT_TRUE(simulation.scheduler_.idle());
    EXPECT_EQ(simulation.scheduler_.pool().used(), 0);
    EXPECT_EQ(simulation.scheduler_.pool().promised(), 0);
    EXPECT_EQ(simulation.scheduler_.joins(), simulation.scheduler_.leaves());
  }
  EXPECT_GT(reused, 1000);
}

TEST(Scheduler, APromptTakesOverWhatAnEarlierOneHasInCommonWithIt) {
  const SchedulerOptions options{.max_batch = 8, .page_tokens = 16, .pages = 256, .prefill_tokens = 512};
  Simulation simulation(options, 1);
  for (int64_t g = 0; g < 5; ++g) simulation.Submit(Prompt(g, 60, 0, 40), 2, 10);
  BatchScheduler& scheduler = simulation.scheduler_;
  simulation.Step();  // the first alone: the others begin like it and wait for what it computes
  EXPECT_EQ(scheduler.waiting_groups(), 4);
  EXPECT_EQ(scheduler.reused_tokens(), 0);
  simulation.Step();  // all others at once
  EXPECT_EQ(scheduler.waiting_groups(), 0);
  EXPECT_EQ(scheduler.reused_tokens(), 4 * 40);
  while (simulation.Step()) {
  }
  simulation.Submit(Prompt(0, 60, 0, 40), 1, 10);  // the first once more: all but its last token
  simulation.Submit(Prompt(9, 60, 1, 40), 1, 10);  // another family
  while (simulation.Step()) {
  }
  EXPECT_EQ(scheduler.reused_tokens(), 4 * 40 + 59);
  EXPECT_EQ(simulation.ended_, 12);
  simulation.NewWeights();
  EXPECT_EQ(scheduler.pool().used(), 0);
  simulation.Submit(Prompt(0, 60, 0, 40), 1, 10);  // nothing of the old weights is taken over
  while (simulation.Step()) {
  }
  EXPECT_EQ(scheduler.reused_tokens(), 4 * 40 + 59);
}

TEST(Scheduler, WithoutSharedPrefixesNothingIsTakenOver) {
  Simulation simulation({.max_batch = 8, .page_tokens = 16, .pages = 256, .prefill_tokens = 512, .share_prefixes = false}, 1);
  for (int64_t g = 0; g < 5; ++g) simulation.Submit(Prompt(g, 60, 0, 40), 2, 10);
  while (simulation.Step()) {
  }
  EXPECT_EQ(simulation.scheduler_.reused_tokens(), 0);
  EXPECT_EQ(simulation.scheduler_.pool().used(), 0);
}

// A prompt that old weights began is finished with new ones: it serves its own group and nobody else.
TEST(Scheduler, APromptOfTwoVersionsIsNotTakenOver) {
  BatchScheduler scheduler({.max_batch = 8, .page_tokens = 16, .pages = 256, .prefill_tokens = 32});
  ASSERT_TRUE(scheduler.Submit(1, Prompt(1, 60, 0, 40), 1, 10));
  EXPECT_FALSE(scheduler.Next().prefill.at(0).last);
  scheduler.ForgetPrefixes();
  EXPECT_TRUE(scheduler.Next().prefill.at(0).last);
  scheduler.Await({1, 0});
  ASSERT_TRUE(scheduler.Submit(2, Prompt(2, 60, 0, 40), 1, 10));
  EXPECT_EQ(scheduler.Next().prefill.at(0).begin, 0);
  EXPECT_EQ(scheduler.reused_tokens(), 0);
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
  ASSERT_TRUE(scheduler.Submit(1, Prompt(1, 40), 3, 10));  // two full pages and half of a third
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
  ASSERT_TRUE(scheduler.Submit(1, Prompt(1, 32), 2, 10));
  scheduler.Next();
  for (int32_t i = 0; i < 2; ++i) scheduler.Await({1, i});
  EXPECT_TRUE(scheduler.Next().copies.empty());
  EXPECT_EQ(scheduler.pool().used(), 2);
}

TEST(Scheduler, WhatCanNeverFitIsRefused) {
  BatchScheduler scheduler({.max_batch = 8, .page_tokens = 16, .pages = 4, .prefill_tokens = 512});
  EXPECT_TRUE(scheduler.Submit(1, Prompt(1, 32), 9, 32));
  const Status status = scheduler.Submit(2, Prompt(2, 32), 1, 33);
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
    simulation.scheduler_.ForgetPrefixes();
    EXPECT_EQ(simulation.scheduler_.pool().used(), 0) << "cancelled after " << when << " steps";
    EXPECT_EQ(simulation.scheduler_.pool().promised(), 0);
    EXPECT_EQ(simulation.scheduler_.running(), 0);
  }
}

}  // namespace
}  // namespace candor
