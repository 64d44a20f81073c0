#include "tests/dist/collective_conformance.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <vector>

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

std::string CheckReduce(Collective& c, size_t n) {
  std::vector<float> data(n);
  for (size_t i = 0; i < n; ++i) data[i] = Value(c.rank(), i);
  EXPECT_OK(c.AllReduce(data.data(), n, ElementType::kFloat32, ReduceOp::kSum));
  for (size_t i = 0; i < n; ++i) {
    float want = SumInRankOrder(c.size(), i);
    EXPECT_SAME("all_reduce", i, data[i], want);
  }
  std::vector<float> in(n * static_cast<size_t>(c.size())), out(n);
  for (size_t i = 0; i < in.size(); ++i) in[i] = Value(c.rank(), i);
  EXPECT_OK(c.ReduceScatter(in.data(), out.data(), n, ElementType::kFloat32, ReduceOp::kSum));
  for (size_t i = 0; i < n; ++i) {
    float want = SumInRankOrder(c.size(), static_cast<size_t>(c.rank()) * n + i);
    EXPECT_SAME("reduce_scatter", i, out[i], want);
  }
  return "";
}

std::string CheckBFloat16(Collective& c) {
  // 256 + 1 + 1 rounds back to 256 when every partial sum is rounded to bf16; summed in fp32 it is 258.
  std::vector<uint16_t> data(5, ToBFloat16(c.rank() == 0 ? 256.0f : 1.0f));
  EXPECT_OK(c.AllReduce(data.data(), data.size(), ElementType::kBFloat16, ReduceOp::kSum));
  float got = FromBFloat16(data[3]), want = FromBFloat16(ToBFloat16(256.0f + static_cast<float>(c.size() - 1)));
  EXPECT_SAME("bf16 all_reduce", 3, got, want);
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
  for (size_t n : {1u, 7u, 1000u, 70000u})
    if (std::string difference = CheckReduce(c, n); !difference.empty()) return difference;
  for (auto* check : {CheckBFloat16, CheckMaxMinAndNaN, CheckTickets, CheckSendReceive})
    if (std::string difference = check(c); !difference.empty()) return difference;
  if (std::string difference = CheckGatherAndBroadcast(c, 300); !difference.empty()) return difference;
  EXPECT_OK(c.Barrier());
  return "";
}

}  // namespace candor
