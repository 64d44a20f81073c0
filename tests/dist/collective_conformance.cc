#include "tests/dist/collective_conformance.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/collective_reduce.h"

namespace candor {

namespace {

// A value that differs by rank and element and whose fp32 sum depends on the order of summation.
float Value(int rank, size_t i) {
  return std::ldexp(1.0f + static_cast<float>((i * 37 + static_cast<size_t>(rank) * 101) % 97) / 97.0f,
                    static_cast<int>((i + static_cast<size_t>(rank) * 7) % 24));
}

float SumInRankOrder(int size, size_t i) {
  float sum = Value(0, i);
  for (int r = 1; r < size; ++r) sum += Value(r, i);
  return sum;
}

#define EXPECT_SAME(what, i, got, want) \
  if (std::memcmp(&(got), &(want), sizeof(got)) != 0) return fmt::format("{} element {}: {} instead of {}", what, i, got, want)
#define EXPECT_OK(expr) \
  if (Status s_ = (expr); !s_) return s_.error().Message()

// What core/collective.h promises: host backends sum in rank order, to the bit; NCCL in its own order.
bool SameSum(const Collective& c, float got, float want) {
  if (std::string_view(c.backend()) != "nccl") return std::memcmp(&got, &want, sizeof got) == 0;
  return std::abs(got - want) <= 1e-6f * static_cast<float>(c.size()) * std::abs(want);
}
#define EXPECT_SUM(what, i, got, want) \
  if (!SameSum(c, got, want)) return fmt::format("{} element {}: {} instead of {}", what, i, got, want)

std::string CheckReduce(Collective& c, size_t n) {
  std::vector<float> data(n);
  for (size_t i = 0; i < n; ++i) data[i] = Value(c.rank(), i);
  EXPECT_OK(c.AllReduce(data.data(), n, ElementType::kFloat32, ReduceOp::kSum));
  for (size_t i = 0; i < n; ++i) {
    float want = SumInRankOrder(c.size(), i);
    EXPECT_SUM("all_reduce", i, data[i], want);
  }
  std::vector<float> in(n * static_cast<size_t>(c.size())), out(n);
  for (size_t i = 0; i < in.size(); ++i) in[i] = Value(c.rank(), i);
  EXPECT_OK(c.ReduceScatter(in.data(), out.data(), n, ElementType::kFloat32, ReduceOp::kSum));
  for (size_t i = 0; i < n; ++i) {
    float want = SumInRankOrder(c.size(), static_cast<size_t>(c.rank()) * n + i);
    EXPECT_SUM("reduce_scatter", i, out[i], want);
  }
  return "";
}

std::string CheckBFloat16(Collective& c) {
  // 256 + 1 + 1 rounds back to 256 when every partial sum is rounded to bf16, as NCCL does; summed in fp32 it is 258.
  const float exact = 256.0f + static_cast<float>(c.size() - 1);
  const float low = std::string_view(c.backend()) == "nccl" ? 256.0f : FromBFloat16(ToBFloat16(exact));
  auto good = [&](uint16_t bits) { return low <= FromBFloat16(bits) && FromBFloat16(bits) <= FromBFloat16(ToBFloat16(exact)); };
  const auto ranks = static_cast<size_t>(c.size());
  std::vector<uint16_t> data(5, ToBFloat16(c.rank() == 0 ? 256.0f : 1.0f)), in(5 * ranks, data[0]), out(5), all(5 * ranks);
  EXPECT_OK(c.ReduceScatter(in.data(), out.data(), 5, ElementType::kBFloat16, ReduceOp::kSum));
  if (!good(out[4])) return fmt::format("bf16 reduce_scatter: {}", FromBFloat16(out[4]));
  EXPECT_OK(c.AllGather(data.data(), all.data(), 5, ElementType::kBFloat16));
  for (size_t i = 0; i < all.size(); ++i) {
    const uint16_t want = ToBFloat16(i < 5 ? 256.0f : 1.0f);
    EXPECT_SAME("bf16 all_gather", i, all[i], want);
  }
  EXPECT_OK(c.AllReduce(data.data(), data.size(), ElementType::kBFloat16, ReduceOp::kSum));
  if (!good(data[3])) return fmt::format("bf16 all_reduce: {}", FromBFloat16(data[3]));
  return "";
}

std::string CheckMaxMinAndNaN(Collective& c) {
  int64_t value = c.rank();
  EXPECT_OK(c.AllReduce(&value, 1, ElementType::kInt64, ReduceOp::kMax));
  int64_t want = c.size() - 1;
  EXPECT_SAME("max", 0, value, want);
  if (std::string_view(c.backend()) == "nccl") return "";  // leaves open what a minimum with NaN is; the learner asks NCCL for sums only
  float ok = c.rank() == c.size() - 1 ? std::nanf("") : 1.0f;
  EXPECT_OK(c.AllReduce(&ok, 1, ElementType::kFloat32, ReduceOp::kMin));
  if (!std::isnan(ok)) return "a NaN of one rank must reach all";
  return "";
}

std::string CheckGatherAndBroadcast(Collective& c, size_t n) {
  std::vector<int64_t> own(n, c.rank()), all(n * static_cast<size_t>(c.size()));
  EXPECT_OK(c.AllGather(own.data(), all.data(), n, ElementType::kInt64));
  for (size_t i = 0; i < all.size(); ++i) {
    int64_t want = static_cast<int64_t>(i / n);
    EXPECT_SAME("all_gather", i, all[i], want);
  }
  for (int root = 0; root < c.size(); ++root) {
    std::vector<char> bytes(n, static_cast<char>(c.rank() + 1));
    EXPECT_OK(c.Broadcast(bytes.data(), n, ElementType::kByte, root));
    char want = static_cast<char>(root + 1);
    EXPECT_SAME("broadcast", n - 1, bytes[n - 1], want);
  }
  return "";
}

std::string CheckTickets(Collective& c) {
  const size_t n = 1000;
  std::vector<float> a(n, 1.0f), b(n * static_cast<size_t>(c.size())), in(n * static_cast<size_t>(c.size()), 2.0f), out(n);
  auto first = c.StartAllGather(a.data(), b.data(), n, ElementType::kFloat32);
  if (!first) return first.error().Message();
  auto second = c.StartReduceScatter(in.data(), out.data(), n, ElementType::kFloat32, ReduceOp::kSum);
  if (!second) return second.error().Message();
  EXPECT_OK(c.Wait(*second));
  EXPECT_OK(c.Wait(*first));
  float want = 2.0f * static_cast<float>(c.size()), one = 1.0f;
  EXPECT_SAME("started reduce_scatter", n - 1, out[n - 1], want);
  EXPECT_SAME("started all_gather", b.size() - 1, b.back(), one);
  return "";
}

// Many groups under way at once, waited for from the last to the first.
std::string CheckManyTickets(Collective& c) {
  constexpr size_t kGroups = 16, n = 5000;
  const auto ranks = static_cast<size_t>(c.size());
  std::vector<std::vector<int64_t>> in(kGroups), out(kGroups);
  std::vector<Collective::Ticket> tickets;
  for (size_t g = 0; g < kGroups; ++g) {
    in[g].assign(n, static_cast<int64_t>(100 * g) + c.rank()), out[g].assign(n * ranks, -1);
    auto ticket = c.StartAllGather(in[g].data(), out[g].data(), n, ElementType::kInt64);
    if (!ticket) return ticket.error().Message();
    tickets.push_back(*ticket);
  }
  for (size_t g = kGroups; g-- > 0;) {
    EXPECT_OK(c.Wait(tickets[g]));
    const int64_t want = static_cast<int64_t>(100 * g) + c.size() - 1;
    EXPECT_SAME("many tickets", g, out[g].back(), want);
  }
  return c.Wait(tickets[0]) ? "a ticket was taken twice" : "";
}

// Different calls as one group; everyone sends to the next rank and receives from the one before, which would hang one by one.
std::string CheckGroup(Collective& c) {
  constexpr size_t n = 300'000;  // larger than a socket's buffer
  const auto ranks = static_cast<size_t>(c.size()), rank = static_cast<size_t>(c.rank());
  std::vector<float> gathered(n * ranks, static_cast<float>(rank)), in(10 * ranks, 3.0f), out(10);
  std::vector<int64_t> mine(n, c.rank()), got(n, -1);
  int64_t sum = c.rank() + 1;
  std::vector<CollectiveCall> group = {
      {CallKind::kAllGather, gathered.data() + rank * n, gathered.data(), n, ElementType::kFloat32},  // in place
      {CallKind::kReduceScatter, in.data(), out.data(), 10, ElementType::kFloat32},
      {CallKind::kAllReduce, &sum, &sum, 1, ElementType::kInt64},
  };
  const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
  if (c.size() > 1) {
    group.push_back({CallKind::kSend, mine.data(), nullptr, n, ElementType::kInt64, ReduceOp::kSum, next});
    group.push_back({CallKind::kReceive, nullptr, got.data(), n, ElementType::kInt64, ReduceOp::kSum, before});
  }
  EXPECT_OK(c.RunGroup(group));
  for (size_t r = 0; r < ranks; ++r) {
    const float want = static_cast<float>(r);
    EXPECT_SAME("gathered in place", r, gathered[r * n + n - 1], want);
  }
  const float three = 3.0f * static_cast<float>(c.size());
  const int64_t total = static_cast<int64_t>(ranks * (ranks + 1) / 2), from = before;
  EXPECT_SAME("grouped reduce_scatter", 9, out[9], three);
  EXPECT_SAME("grouped all_reduce", 0, sum, total);
  if (c.size() > 1) EXPECT_SAME("grouped receive", n - 1, got[n - 1], from);
  EXPECT_OK(c.AllReduce(nullptr, 0, ElementType::kFloat32, ReduceOp::kSum));  // nothing is something that all ranks do
  return "";
}

// Start comes back before the peers do; so what is started overlaps what is computed.
std::string CheckStartReturns(Collective& c) {
  if (std::string_view(c.backend()) == "local") return "";  // the reference works inside Start
  EXPECT_OK(c.Barrier());
  float value = 1.0f;
  std::vector<float> all(static_cast<size_t>(c.size()));
  if (c.rank() == c.size() - 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double start = SteadySeconds();
  auto ticket = c.StartAllGather(&value, all.data(), 1, ElementType::kFloat32);
  const double took = SteadySeconds() - start;
  if (!ticket) return ticket.error().Message();
  EXPECT_OK(c.Wait(*ticket));
  return took < 0.15 ? "" : fmt::format("Start waited {:.3f} s for a late peer", took);
}

std::string CheckSendReceive(Collective& c) {
  if (c.size() == 1) return "";
  const int next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
  int64_t mine = 100 + c.rank(), got = -1, want = 100 + before;
  if (c.rank() % 2 == 0) {
    EXPECT_OK(c.Send(&mine, sizeof mine, next));
    EXPECT_OK(c.Receive(&got, sizeof got, before));
  } else {
    EXPECT_OK(c.Receive(&got, sizeof got, before));
    EXPECT_OK(c.Send(&mine, sizeof mine, next));
  }
  EXPECT_SAME("send/receive", 0, got, want);
  return "";
}

}  // namespace

std::string CheckCollective(Collective& c) {
  for (size_t n : {1u, 7u, 1000u, 70000u, 700001u})
    if (std::string difference = CheckReduce(c, n); !difference.empty()) return difference;
  for (auto* check : {CheckBFloat16, CheckMaxMinAndNaN, CheckTickets, CheckManyTickets, CheckSendReceive, CheckGroup, CheckStartReturns})
    if (std::string difference = check(c); !difference.empty()) return difference;
  if (std::string difference = CheckGatherAndBroadcast(c, 300); !difference.empty()) return difference;
  EXPECT_OK(c.Barrier());
  return "";
}

}  // namespace candor
