// What ranks publish together is what the policy holds, in full and by deltas, whatever the sharding; and nobody needs all of it at once.
#include "trainer/publisher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <filesystem>

#include "core/fs.h"
#include "tiny.h"
#include "weights/version_fetcher.h"

namespace candor {
namespace {

using tiny::OnRanks;

// One step of an optimizer, as far as publishing is concerned: every rank moves its masters by at most `rate`.
void Nudge(ShardedPolicy& policy, int64_t version, double rate) {
  for (size_t unit = 0; unit < policy.units().size(); ++unit) {
    at::Tensor& master = policy.state(unit).master;
    const int64_t begin = policy.plan().units[unit].begin;
    at::Tensor index = at::arange(begin, begin + master.numel(), at::kFloat);
    master.add_(at::sin(index * static_cast<double>(version + 1)), rate);
  }
  policy.MastersChanged();
}

struct Published {
  std::vector<VersionInfo> infos;  // by version
  std::vector<std::string> weights;
  PublishStats last;
};

Published Publish(const std::string& run_dir, int ranks, Sharding sharding, DType dtype, int64_t versions, double rate,
                  PublishOptions options = {}) {
  options.run_dir = run_dir, options.chunk_bytes = 4096;
  auto all = OnRanks<Published>(ranks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(false), {sharding, dtype, false}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(false), 3, at::kFloat, 0.1));
    WeightPublisher publisher(policy, options);
    Published mine;
    for (int64_t version = 0; version < versions; ++version) {
      if (version > 0) Nudge(policy, version, rate);
      auto info = publisher.Publish(version);
      EXPECT_TRUE(info) << info.error().Message();
      if (info) mine.infos.push_back(*info);
      std::string bytes;
      for (size_t unit = 0; unit < policy.units().size(); ++unit) {
        const at::Tensor whole = policy.WholeUnit(unit, ShardedPolicy::Which::kCompute).value().narrow(0, 0, policy.units()[unit].Count());
        bytes.append(static_cast<const char*>(whole.data_ptr()), whole.nbytes());
      }
      mine.weights.push_back(std::move(bytes));
    }
    mine.last = publisher.last();
    return mine;
  });
  for (const Published& one : all)
    for (size_t i = 0; i < one.infos.size(); ++i) EXPECT_EQ(one.infos[i].hash, all[0].infos[i].hash);
  return all[0];
}

std::string Whole(const WeightImage& image) {
  std::string all;
  for (const Bytes& chunk : image.chunks) all += *chunk;
  return all;
}

TEST(Publisher, WritesWhatThePolicyHolds) {
  for (DType dtype : {DType::kFp32, DType::kBf16})
    for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
      const tiny::Folder folder;
      const Published published = Publish(folder.path(), 3, sharding, dtype, 5, 1e-4);
      ASSERT_EQ(published.infos.size(), 5u);
      EXPECT_EQ(published.infos[4].hash, HashHex(ReadFile(published.infos[4].manifest).value()));
      FetcherSetup setup;
      setup.weights = folder.path() + "/weights";
      auto fetcher = VersionFetcher::Start(setup).value();
      const auto image = fetcher->Fetch({4}, published.infos[4].hash);
      ASSERT_TRUE(image) << image.error().Message();
      EXPECT_TRUE(Whole(**image) == published.weights[4]) << Name(sharding);
      const std::string model = folder.path() + "/model";
      ASSERT_TRUE(AssembleVersion(setup.weights, {4}, model));
      const auto config = ReadModelConfig(model);
      ASSERT_TRUE(config) << config.error().Message();
      EXPECT_TRUE(LoadParameters(model, *config, ToScalarType(dtype))) << "a folder that loads as any other";
    }
}

TEST(Publisher, DeltasAreSmallAndTheHashIsThatOfTheContent) {
  const tiny::Folder first, second;
  const Published by_deltas = Publish(first.path(), 2, Sharding::kZero2, DType::kBf16, 4, 2e-6);
  PublishOptions always_full;
  always_full.full_every = 1;
  const Published in_full = Publish(second.path(), 2, Sharding::kZero2, DType::kBf16, 4, 2e-6, always_full);
  EXPECT_EQ(by_deltas.infos[3].hash, in_full.infos[3].hash) << "how it is packed does not matter";
  EXPECT_EQ(by_deltas.last.full_bytes, 0u);
  EXPECT_EQ(in_full.last.full_bytes, in_full.last.content_bytes);
  EXPECT_GT(by_deltas.last.delta_bytes, 0u) << "something changed";
  EXPECT_LT(by_deltas.last.delta_bytes * 4, by_deltas.last.content_bytes);
}

TEST(Publisher, KeepsWhatLateComersNeed) {
  const tiny::Folder folder;
  PublishOptions options;
  options.keep = 2, options.full_every = 4;
  const Published published = Publish(folder.path(), 1, Sharding::kNone, DType::kBf16, 8, 2e-6, options);
  std::vector<uint64_t> kept;
  for (PolicyVersion version : PublishedVersions(folder.path() + "/weights")) kept.push_back(version.value);
  EXPECT_EQ(kept, (std::vector<uint64_t>{4, 5, 6, 7})) << "6 and 7 are kept, and 4 has the full copy that they build on";
  FetcherSetup setup;
  setup.weights = folder.path() + "/weights";
  for (uint64_t version : {6, 7})
    EXPECT_TRUE(Whole(*VersionFetcher::Start(setup).value()->Fetch({version}, published.infos[version].hash).value()) ==
                published.weights[version]);
}

TEST(Publisher, ServesEveryRanksChunks) {
  const tiny::Folder folder;
  PublishOptions options;
  options.run_dir = folder.path(), options.relay = true, options.chunk_bytes = 4096;
  std::atomic<uint64_t> whole = 0;  // rank 0 has the manifest
  OnRanks<int>(2, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(false), {Sharding::kZero3, DType::kBf16, false}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(false), 3, at::kFloat, 0.1));
    WeightPublisher publisher(policy, options);
    const auto info = publisher.Publish(0);
    EXPECT_TRUE(info) << info.error().Message();
    if (collective.rank() == 0 && info) {
      FetcherSetup setup;
      setup.weights = folder.path() + "/weights", setup.relay = true, setup.self = "rollout-0", setup.files_as_last_resort = false;
      const auto fetcher = VersionFetcher::Start(setup).value();
      const auto image = fetcher->Fetch({0}, info->hash);
      EXPECT_TRUE(image) << image.error().Message();
    }
    if (collective.rank() == 0) whole = publisher.last().content_bytes;
    EXPECT_TRUE(collective.Barrier());
    EXPECT_GT(publisher.bytes_sent(), 0u) << "each rank sends its own slices";
    EXPECT_LT(publisher.bytes_sent() * 10, whole * 6 + 100000) << "and not the whole";
    return 0;
  });
}

}  // namespace
}  // namespace candor
