// What the bench's slower link does to time, and who is blamed for silence.
#include "core/collective_delayed.h"

#include <gmock/gmock.h>

#include <map>
#include <thread>

#include "core/clock.h"
#include "core/collective_mesh.h"

namespace candor {
namespace {

constexpr size_t kCount = 4096;

void Compute(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(DelayedCollective, HidesWhatIsComputedMeanwhile) {
  const auto alone = MakeLocalCollectives(1);
  std::vector<float> data(kCount, 1.0f), all(kCount);
  DelayedCollective link(*alone[0], {.latency_ms = 40.0});
  auto ticket = link.StartAllGather(data.data(), all.data(), kCount, ElementType::kFloat32);
  ASSERT_TRUE(ticket);
  Compute(60);
  ASSERT_TRUE(link.Wait(*ticket));
  EXPECT_NEAR(link.times().bulk_seconds, 0.040, 1e-9);
  EXPECT_GT(link.times().HiddenShare(), 0.7);
  EXPECT_EQ(all[kCount - 1], 1.0f);
  link.ResetTimes();
  ASSERT_TRUE(link.AllGather(data.data(), all.data(), kCount, ElementType::kFloat32));
  EXPECT_EQ(link.times().HiddenShare(), 0.0) << "the control: nothing was computed meanwhile";
  EXPECT_GE(link.times().bulk_exposed, 0.040);
}

TEST(DelayedCollective, ALinkSendsOneAfterAnotherAndLatenciesOverlap) {
  auto ranks = MakeLocalCollectives(2);
  std::vector<std::thread> threads;
  std::vector<double> seconds(2);
  for (size_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      // 16 KiB at 0.0131072 Gbit/s are 10 ms on the link.
      DelayedCollective link(*ranks[r], {.latency_ms = 30.0, .gbps = 0.0131072});
      std::vector<float> data(kCount, 1.0f), all(4 * 2 * kCount);
      std::vector<Collective::Ticket> tickets;
      const double start = SteadySeconds();
      for (size_t i = 0; i < 4; ++i)
        tickets.push_back(*link.StartAllGather(data.data(), all.data() + i * 2 * kCount, kCount, ElementType::kFloat32));
      for (const auto ticket : tickets) EXPECT_TRUE(link.Wait(ticket));
      seconds[r] = SteadySeconds() - start;
      EXPECT_EQ(link.times().bulk_bytes, 4.0 * 4 * kCount);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(seconds[0], 0.069) << "4 x 10 ms + 30 ms";
  EXPECT_LT(seconds[0], 0.150) << "one by one it would take 160 ms";
}

TEST(DelayedCollective, BlockingWaitsInsideStart) {
  const auto alone = MakeLocalCollectives(1);
  std::vector<float> data(kCount, 1.0f), all(kCount);
  DelayedCollective link(*alone[0], {.latency_ms = 30.0, .blocking = true});
  const double start = SteadySeconds();
  auto ticket = link.StartAllGather(data.data(), all.data(), kCount, ElementType::kFloat32);
  ASSERT_TRUE(ticket);
  EXPECT_GE(SteadySeconds() - start, 0.029);
  Compute(30);
  EXPECT_TRUE(link.Wait(*ticket));
  EXPECT_EQ(link.times().HiddenShare(), 0.0);
}

TEST(BeatTimer, BlamesASilentPeerButNotItself) {
  BeatTimer timer(20'000);
  int64_t now = 1'000'000;
  for (; now < 1'010'000; now += 100) {
    timer.Heard(now);
    EXPECT_EQ(timer.SilentMs(now), 0);
  }
  for (; now < 1'029'900; now += 100) EXPECT_EQ(timer.SilentMs(now), 0) << now;
  for (; now < 1'030'100; now += 100) timer.SilentMs(now);
  EXPECT_GT(timer.SilentMs(now), 20'000);

  BeatTimer stopped(20'000);
  stopped.Heard(now);
  EXPECT_EQ(stopped.SilentMs(now), 0);
  now += 300'000;  // this process was stopped for five minutes; nobody could be heard
  EXPECT_EQ(stopped.SilentMs(now), 0);
  EXPECT_EQ(stopped.SilentMs(now + 100), 0);
}

TEST(BeatTimer, GivesASignOfLifeOnceASecond) {
  BeatTimer timer(20'000);
  int beats = 0;
  for (int64_t now = 5'000; now < 15'000; now += 100) beats += timer.Due(now) ? 1 : 0;
  EXPECT_EQ(beats, 10);
}

TEST(PlanExchange, EveryByteHasOneSenderAndOneReceiver) {
  for (int ranks : {1, 2, 3, 5})
    for (size_t count : {size_t{0}, size_t{1}, size_t{1001}, size_t{40'000}}) {
      std::vector<float> data(count * static_cast<size_t>(ranks) + 1), out(count * static_cast<size_t>(ranks) + 1);
      std::map<std::pair<int, int>, std::vector<size_t>> sent, received;
      for (int rank = 0; rank < ranks; ++rank) {
        const std::vector<CollectiveCall> group = {
            {CallKind::kAllReduce, data.data(), data.data(), count, ElementType::kFloat32},
            {CallKind::kAllGather, data.data(), out.data(), count, ElementType::kFloat32},
            {CallKind::kReduceScatter, data.data(), out.data(), count, ElementType::kFloat32},
            {CallKind::kBroadcast, data.data(), data.data(), count, ElementType::kFloat32, ReduceOp::kSum, ranks - 1},
            {}};
        for (const ExchangePhase& phase : PlanExchange(group, rank, ranks).phases) {
          for (const Outgoing& message : phase.out) sent[{rank, message.to}].push_back(message.bytes);
          for (const Incoming& message : phase.in) received[{message.from, rank}].push_back(message.bytes);
        }
      }
      EXPECT_EQ(sent, received) << ranks << " ranks, " << count << " elements";
    }
}

}  // namespace
}  // namespace candor
