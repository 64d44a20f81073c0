// The conformance suite over the local backend, and what happens when ranks disagree or die.
#include "core/collective.h"

#include <gmock/gmock.h>

#include <thread>

#include "tests/dist/collective_conformance.h"

namespace candor {
namespace {

std::vector<std::string> OnEveryRank(int size, CollectiveOptions options, const std::function<std::string(Collective&)>& body) {
  auto ranks = MakeLocalCollectives(size, options);
  std::vector<std::string> results(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) threads.emplace_back([&, r] { results[static_cast<size_t>(r)] = body(*ranks[static_cast<size_t>(r)]); });
  for (std::thread& thread : threads) thread.join();
  return results;
}

TEST(LocalCollective, Conforms) {
  for (int size : {1, 2, 3, 4})
    for (const std::string& difference : OnEveryRank(size, {}, CheckCollective)) EXPECT_EQ(difference, "");
}

TEST(LocalCollective, RanksThatDisagreeAreToldSo) {
  auto results = OnEveryRank(2, {}, [](Collective& c) {
    std::vector<float> data(8);
    Status status = c.AllReduce(data.data(), c.rank() == 0 ? 4u : 8u, ElementType::kFloat32, ReduceOp::kSum);
    return status ? std::string("passed") : status.error().Message();
  });
  for (const std::string& result : results) EXPECT_THAT(result, ::testing::HasSubstr("ranks disagree"));
}

TEST(LocalCollective, AMissingRankEndsTheWait) {
  auto results = OnEveryRank(2, {.deadline_ms = 50}, [](Collective& c) {
    if (c.rank() == 1) return std::string("died");
    Status status = c.Barrier();
    return status ? std::string("passed") : std::string(ErrorCodeName(status.error().code)) + ": " + status.error().Message();
  });
  EXPECT_THAT(results[0], ::testing::HasSubstr("1 of 2 ranks came to 'barrier'"));
}

TEST(LocalCollective, NcclWithoutAGpuSaysSo) {
  auto alone = MakeLocalCollectives(1);
  auto nccl = MakeNcclCollective(*alone[0], 0);
  if (nccl) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_THAT(nccl.error().Message(), ::testing::AnyOf(::testing::HasSubstr("GPU"), ::testing::HasSubstr("cannot be opened")));
}

}  // namespace
}  // namespace candor
