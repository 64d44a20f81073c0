#include "trainer/publish_bench.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "core/fs.h"
#include "core/thread.h"
#include "trainer/bench_groups.h"
#include "trainer/policy_start.h"
#include "trainer/publisher.h"
#include "trainer/sft.h"
#include "weights/tcp_socket.h"
#include "weights/version_fetcher.h"

namespace candor {

namespace {

constexpr int kRounds = 3;  // of the two transfers that are compared; the fastest of each counts
constexpr int kDeadlineMs = 120000;

// Masters anywhere between the values that round to the same bf16.
void LeaveTheGrid(ShardedPolicy& policy) {
  at::Generator generator = at::detail::createCPUGenerator(1);
  for (size_t unit = 0; unit < policy.units().size(); ++unit) {
    at::Tensor& master = policy.state(unit).master;
    const at::Tensor exponent = at::floor(at::log2(at::clamp_min(at::abs(master), 1e-30)));
    const at::Tensor ulp = at::exp2(exponent - 7.0);
    master.add_(ulp * (at::rand(master.sizes(), generator, master.options()) - 0.5) * 0.999);
  }
  policy.MastersChanged();
}

Status RunStep(ShardedPolicy& policy, const PublishBenchOptions& o) {
  SftOptions sft;
  sft.tokens_per_microbatch = o.sequences * o.tokens, sft.schedule.lr = o.lr;
  SftStepper stepper(sft, 1, std::nullopt, false, policy);
  std::vector<SftExample> examples;
  for (int64_t i = 0; i < o.sequences; ++i) {
    const std::vector<int32_t> tokens = SyntheticTokens(o.tokens, policy.config().vocab_size, static_cast<uint64_t>(i));
    SftExample& example = examples.emplace_back();
    example.prompt_P = {tokens[0]};
    example.completion_T.assign(tokens.begin() + 1, tokens.end());
    example.weights_T.assign(example.completion_T.size(), 1.0f);
  }
  std::vector<const SftExample*> rows;
  for (const SftExample& example : examples) rows.push_back(&example);
  CANDOR_ASSIGN(const SftStepResult done, stepper.Run(1, rows));
  return done.skipped ? Status(Fail(ErrorCode::kInternal, done.why)) : Status{};
}

uint64_t DifferentValues(const WeightImage& a, const WeightImage& b) {
  uint64_t different = 0;
  for (size_t chunk = 0; chunk < a.chunks.size(); ++chunk)
    for (size_t i = 0; i + 1 < a.chunks[chunk]->size(); i += 2) different += a.chunks[chunk]->compare(i, 2, *b.chunks[chunk], i, 2) != 0;
  return different;
}

// Seconds to move `bytes` from one thread to another through a plain TCP connection.
Result<double> PlainTcp(uint64_t bytes) {
  uint16_t port = 0;
  CANDOR_ASSIGN(const BlobSocket listener, BlobSocket::Listen({"127.0.0.1", 0}, port));
  CANDOR_ASSIGN(const BlobSocket to, BlobSocket::Connect({"127.0.0.1", port}, kDeadlineMs));
  CANDOR_ASSIGN(const BlobSocket from, listener.Accept(kDeadlineMs));
  const std::string block(uint64_t{4} << 20, 'x');
  std::string into(block.size(), '\0');
  const double start = SteadySeconds();
  const int64_t end_ms = SystemClock().SteadyMs() + kDeadlineMs;
  Status sent, received;
  {
    const NamedThread sender("plain-send", [&] {
      for (uint64_t done = 0; done < bytes && sent; done += block.size())
        sent = to.SendAll(block.data(), std::min<uint64_t>(block.size(), bytes - done), end_ms, kDeadlineMs);
    });
    for (uint64_t done = 0; done < bytes && received; done += block.size())
      received = from.ReceiveAll(into.data(), std::min<uint64_t>(block.size(), bytes - done), end_ms);
  }
  CANDOR_TRY(sent);
  CANDOR_TRY(received);
  return SteadySeconds() - start;
}

using Fetchers = std::vector<std::unique_ptr<VersionFetcher>>;

Result<Fetchers> StartReceivers(const std::string& weights, int64_t count) {
  Fetchers fetchers;
  for (int64_t i = 0; i < count; ++i) {
    FetcherSetup setup;
    setup.weights = weights, setup.relay = true, setup.self = fmt::format("rollout-{}", i), setup.files_as_last_resort = false;
    CANDOR_ASSIGN(fetchers.emplace_back(), VersionFetcher::Start(setup));
  }
  return fetchers;
}

// All at once; the seconds until the last has it.
Result<double> FetchAll(Fetchers& fetchers, const VersionInfo& version) {
  const double start = SteadySeconds();
  std::vector<Status> fetched(fetchers.size());
  {
    std::vector<NamedThread> threads;
    for (size_t i = 0; i < fetchers.size(); ++i)
      threads.emplace_back("receiver", [&, i] {
        if (const auto image = fetchers[i]->Fetch(version.version, version.hash); !image) fetched[i] = Fail(image.error());
      });
  }
  for (const Status& one : fetched) CANDOR_TRY(one);
  return SteadySeconds() - start;
}

struct Versions {
  VersionInfo full, delta;
};

Result<Broadcast> MeasureBroadcast(const WeightPublisher& publisher, const std::string& weights, const Versions& versions,
                                   const PublishBenchResult& sizes, int64_t receivers) {
  Broadcast broadcast;
  CANDOR_ASSIGN(Fetchers fetchers, StartReceivers(weights, receivers));
  uint64_t before = publisher.bytes_sent();
  CANDOR_ASSIGN(broadcast.full_seconds, FetchAll(fetchers, versions.full));
  broadcast.full_egress = static_cast<double>(publisher.bytes_sent() - before) / static_cast<double>(sizes.full_bytes);
  before = publisher.bytes_sent();
  CANDOR_ASSIGN(broadcast.delta_seconds, FetchAll(fetchers, versions.delta));
  broadcast.delta_egress = static_cast<double>(publisher.bytes_sent() - before) / static_cast<double>(sizes.delta_bytes);
  return broadcast;
}

// Round by round one after the other, so that what else the machine does falls on both.
Status CompareWithPlainTcp(const std::string& weights, const VersionInfo& full, PublishBenchResult& result) {
  double plain = 1e30, broadcast = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    CANDOR_ASSIGN(const double plain_seconds, PlainTcp(result.full_bytes));
    CANDOR_ASSIGN(Fetchers one, StartReceivers(weights, 1));
    CANDOR_ASSIGN(const double broadcast_seconds, FetchAll(one, full));
    plain = std::min(plain, plain_seconds), broadcast = std::min(broadcast, broadcast_seconds);
  }
  const double gigabytes = static_cast<double>(result.full_bytes) / 1e9;
  result.plain_tcp_gb_s = gigabytes / plain, result.full_broadcast_gb_s = gigabytes / broadcast;
  return {};
}

Status MeasureFiles(const std::string& weights, const Versions& versions, PublishBenchResult& result) {
  FetcherSetup setup;
  setup.weights = weights;
  CANDOR_ASSIGN(const std::unique_ptr<VersionFetcher> fetcher, VersionFetcher::Start(setup));
  CANDOR_ASSIGN(const auto before, fetcher->Fetch(versions.full.version, versions.full.hash));
  CANDOR_ASSIGN(const auto after, fetcher->Fetch(versions.delta.version, versions.delta.hash));
  result.apply_seconds = fetcher->last().seconds;
  result.changed_share = static_cast<double>(DifferentValues(*before, *after)) / (static_cast<double>(result.full_bytes) / 2);
  return {};
}

}  // namespace

Result<PublishBenchResult> PublishBench(const std::string& model_folder, const PublishBenchOptions& o) {
  at::set_num_threads(static_cast<int>(o.threads));
  const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(model_folder));
  ShardedPolicy policy(config, {Sharding::kNone, DType::kBf16, false, at::kCPU}, *alone);
  CANDOR_TRY(policy.LoadFolder(model_folder));
  LeaveTheGrid(policy);
  PublishOptions options;
  options.run_dir = o.scratch, options.relay = true;
  WeightPublisher publisher(policy, options);
  PublishBenchResult result;
  Versions versions;
  double start = SteadySeconds();
  CANDOR_ASSIGN(versions.full, publisher.Publish(0));
  result.full_publish_seconds = SteadySeconds() - start, result.full_bytes = publisher.last().full_bytes;
  CANDOR_TRY(RunStep(policy, o));
  start = SteadySeconds();
  CANDOR_ASSIGN(versions.delta, publisher.Publish(1));
  result.delta_publish_seconds = SteadySeconds() - start, result.delta_bytes = publisher.last().delta_bytes + publisher.last().full_bytes;
  result.encode_seconds = publisher.last().encode_seconds;
  const std::string weights = o.scratch + "/weights";
  CANDOR_TRY(MeasureFiles(weights, versions, result));
  CANDOR_TRY(CompareWithPlainTcp(weights, versions.full, result));
  for (int64_t receivers : o.receivers) {
    CANDOR_ASSIGN(result.by_receivers[receivers], MeasureBroadcast(publisher, weights, versions, result, receivers));
  }
  return result;
}

}  // namespace candor
