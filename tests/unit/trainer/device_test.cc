// A learner on a device whose memory the host cannot touch learns what the learner on the CPU learns: alone, sharded over ranks, through
// checkpoints and published weights. Tests named Cuda run on machines that have a GPU (tests/gpu.sh).
#include "model/device.h"

#include "core/check.h"
#include "tests/unit/fake_device.h"
#include "tiny.h"
#include "trainer/checkpoint.h"
#include "trainer/policy_start.h"
#include "trainer/publisher.h"
#include "trainer/rl_step.h"
#include "trainer/sft.h"
#include "trainer/staged_collective.h"
#include "trainer/update.h"
#include "weights/version_fetcher.h"

namespace candor {
namespace {

using tiny::OnRanks;

// What NCCL is to a GPU: takes device memory and nothing else. The control collective in its turn would crash on a device's address.
class DeviceMemoryCollective final : public Collective {
 public:
  explicit DeviceMemoryCollective(Collective& host) : host_(host) {}
  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  const char* backend() const override { return "fake device"; }
  Result<Ticket> Start(std::span<const CollectiveCall> group) override {
    std::vector<CollectiveCall> calls(group.begin(), group.end());
    for (CollectiveCall& call : calls) {
      if (call.in) call.in = Open(call.in);
      if (call.out) call.out = Open(call.out);
    }
    return host_.Start(calls);
  }
  Status Wait(Ticket ticket) override { return host_.Wait(ticket); }
  void Abort() override { host_.Abort(); }

 private:
  static void* Open(const void* address) {
    void* open = fake::Memory::Get().Open(address);
    CANDOR_CHECK(open != nullptr, "a tensor that is not on the device");
    return open;
  }
  Collective& host_;
};

RlSettings DeviceSettings(double lr = 3e-3) {
  TrainerOptions options;
  options.schedule.lr = lr, options.adam.weight_decay = 0.01, options.tokens_per_microbatch = 64, options.steps = 3;
  options.ema_decay = 0.5;
  ObjectiveOptions answer, slot;
  answer.segment = "answer";
  slot.segment = "slot", slot.loss = "squared_error", slot.weight = 0.5;
  return CheckRlSettings(options, {answer, slot}, SlotTokens{tiny::kHigh, tiny::kLow}, false).value();
}

ShardedPolicy::Options On(const at::Device& device, DType dtype, Sharding sharding = Sharding::kNone, Collective* tensors = nullptr) {
  return {sharding, dtype, true, device, tensors};
}

void Learn(ShardedPolicy& policy, int steps, const RlSettings& settings = DeviceSettings()) {
  policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
  RlStepper stepper(settings, policy);
  const auto ranks = static_cast<uint32_t>(policy.collective().size()), rank = static_cast<uint32_t>(policy.collective().rank());
  for (int step = 1; step <= steps; ++step) {
    std::vector<ScoredGroup> mine;
    for (uint32_t i = rank; i < 4; i += ranks) mine.push_back(tiny::Group(static_cast<uint64_t>(step), i));
    auto result = stepper.Run(step, mine);
    ASSERT_TRUE(result) << result.error().Message();
    EXPECT_FALSE(result->skipped) << result->why;
  }
}

// Trained weights, averaged ones behind them.
std::vector<float> Weights(ShardedPolicy& policy) {
  std::vector<float> all = tiny::Weights(policy);
  for (size_t u = 0; u < policy.units().size(); ++u) {
    const at::Tensor whole = policy.WholeUnit(u, ShardedPolicy::Which::kAverage).value().cpu();
    all.insert(all.end(), whole.data_ptr<float>(), whole.data_ptr<float>() + policy.units()[u].Count());
  }
  return all;
}

std::vector<float> Learned(const at::Device& device, DType dtype, const RlSettings& settings = DeviceSettings()) {
  const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  ShardedPolicy policy(tiny::Config(), On(device, dtype), *alone);
  Learn(policy, 3, settings);
  EXPECT_EQ(policy.state(0).master.device(), device);
  return Weights(policy);
}

void ExpectSameLearning(const at::Device& device) {
  const std::vector<float> fp32 = Learned(at::kCPU, DType::kFp32), bf16 = Learned(at::kCPU, DType::kBf16);
  EXPECT_LT(tiny::RelativeDistance(Learned(device, DType::kFp32), fp32), 1e-5);
  EXPECT_LT(tiny::RelativeDistance(Learned(device, DType::kBf16), bf16), 5e-3) << "bf16 rounds at other places";
  EXPECT_GT(tiny::RelativeDistance(Learned(device, DType::kFp32, DeviceSettings(3.1e-3)), fp32), 1e-5) << "the control: another rate";
}

TEST(FakeDevice, LearnsWhatTheCpuLearns) { ExpectSameLearning(fake::Device()); }

TEST(FakeDevice, ShardsOverRanksWithACollectiveOfItsOwn) {
  for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
    enum class Way { kHost, kDevice, kStaged };
    const auto learn = [&](Way way) {
      const auto tensors = MakeLocalCollectives(2);
      return OnRanks<std::vector<float>>(2, [&](Collective& control) {
        DeviceMemoryCollective memory(*tensors[static_cast<size_t>(control.rank())]);
        const auto staged = MakeStagedCollective(*tensors[static_cast<size_t>(control.rank())], fake::Device());
        Collective* carrier = way == Way::kStaged ? staged.get() : &memory;
        ShardedPolicy policy(tiny::Config(),
                             way == Way::kHost ? On(at::kCPU, DType::kFp32, sharding) : On(fake::Device(), DType::kFp32, sharding, carrier),
                             control);
        Learn(policy, 2);
        return Weights(policy);
      });
    };
    const auto got = learn(Way::kDevice), want = learn(Way::kHost);
    EXPECT_EQ(got[0], got[1]) << "ranks hold the same weights";
    EXPECT_LT(tiny::RelativeDistance(got[0], want[0]), 1e-5) << Name(sharding);
    EXPECT_EQ(learn(Way::kStaged)[1], got[0]) << "through host memory: the same numbers";
  }
}

TEST(FakeDevice, CheckpointsAndPublishedWeightsCarryItsNumbers) {
  const tiny::Folder folder;
  const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  ShardedPolicy policy(tiny::Config(), On(fake::Device(), DType::kBf16), *alone);
  Learn(policy, 1);
  ASSERT_TRUE(WriteCheckpoint(policy, folder.path() + "/checkpoints", 1, 2));
  for (const at::Device& device : {at::Device(at::kCPU), fake::Device()}) {
    ShardedPolicy again(tiny::Config(), On(device, DType::kBf16), *alone);
    const auto loaded = LoadNewestCheckpoint(again, folder.path() + "/checkpoints");
    ASSERT_TRUE(loaded && *loaded) << (loaded ? "" : loaded.error().Message());
    for (size_t u = 0; u < policy.units().size(); ++u) {
      EXPECT_TRUE(at::equal(again.state(u).master.cpu(), policy.state(u).master.cpu()));
      EXPECT_TRUE(at::equal(again.state(u).square.cpu(), policy.state(u).square.cpu()));
    }
    EXPECT_EQ(Weights(again), Weights(policy));
  }
  PublishOptions publish;
  publish.run_dir = folder.path();
  WeightPublisher publisher(policy, publish);
  const auto version = publisher.Publish(1);
  ASSERT_TRUE(version) << version.error().Message();
  const std::string model = folder.path() + "/model";
  ASSERT_TRUE(AssembleVersion(folder.path() + "/weights", {1}, model));
  const auto published = LoadParameters(model, tiny::Config(), at::kBFloat16);
  ASSERT_TRUE(published) << published.error().Message();
  for (size_t u = 0; u < policy.units().size(); ++u) EXPECT_TRUE(at::equal(published->Flat(u), policy.state(u).compute.cpu()));
  ShardedPolicy from_folder(tiny::Config(), On(fake::Device(), DType::kBf16), *alone);
  ASSERT_TRUE(from_folder.LoadFolder(model));
  EXPECT_EQ(tiny::Weights(from_folder), tiny::Weights(policy, ShardedPolicy::Which::kCompute)) << "published weights are bf16";
}

TEST(FakeDevice, SupervisedStepsAgree) {
  const auto losses = [](const at::Device& device) {
    const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
    ShardedPolicy policy(tiny::Config(), On(device, DType::kFp32), *alone);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
    SftOptions options;
    options.schedule.lr = 1e-2;
    SftStepper stepper(options, 2, SlotTokens{tiny::kHigh, tiny::kLow}, false, policy);
    SftExample example;
    example.prompt_P = tiny::Tokens(5, 1), example.completion_T = tiny::Tokens(9, 2), example.weights_T.assign(9, 1.0f);
    example.label = 1.0f;
    std::vector<double> values;
    for (int64_t step = 1; step <= 2; ++step) {
      const auto result = stepper.Run(step, {&example});
      EXPECT_TRUE(result) << result.error().Message();
      values.insert(values.end(), {result->token_loss, result->slot_loss, result->grad_norm});
    }
    return values;
  };
  const std::vector<double> want = losses(at::kCPU), got = losses(fake::Device());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * std::abs(want[i])) << i;
  EXPECT_LT(want[3], want[0]) << "the control: the second step's loss is another number";
}

TEST(FakeDevice, AStepThatIsNotFiniteIsSkipped) {
  const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  ShardedPolicy policy(tiny::Config(), On(fake::Device(), DType::kFp32), *alone);
  policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
  const std::vector<float> before = Weights(policy);
  policy.state(1).gradient.fill_(std::nan(""));
  const auto outcome = ApplyUpdate(policy, AdamOptions{}, 1e-3, 0.5, 0.0);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->why, "the gradient of layers.0 is not finite");
  EXPECT_EQ(Weights(policy), before);
}

TEST(PlaceLearner, SaysWhatIsMissing) {
  const std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  const auto cuda = PlaceLearner("cuda", "fp32", false, *alone);
  if (cuda) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_EQ(cuda.error().code, ErrorCode::kUnavailable);
  const auto found = PlaceLearner("auto", "fp32", false, *alone);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->device.is_cpu());
  for (const auto& placed : OnRanks<std::string>(2, [](Collective& c) { return PlaceLearner("cuda", "bf16", false, c).error().Message(); }))
    EXPECT_NE(placed.find("rank 0"), std::string::npos) << placed;
}

TEST(Cuda, LearnsWhatTheCpuLearns) {
  const auto gpu = OpenDevice("cuda");
  if (!gpu) GTEST_SKIP() << gpu.error().Message();
  ExpectSameLearning(*gpu);
}

}  // namespace
}  // namespace candor
