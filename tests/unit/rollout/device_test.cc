// The engine on a device whose memory the host cannot touch writes what the engine on the CPU writes. Tests named Cuda run on machines that
// have a GPU (tests/gpu.sh).
#include "model/device.h"

#include "rollout/engine_impl.h"
#include "rollout/scorer.h"
#include "tests/unit/fake_device.h"
#include "tests/unit/rollout/tiny_fixture.h"

namespace candor {
namespace {

EngineRequest DeviceRequest(uint64_t id, int64_t prompt_tokens, uint64_t seed) {
  EngineRequest request;
  request.id = GroupId{id};
  for (int64_t i = 0; i < prompt_tokens; ++i)
    request.prompt_tokens_P.push_back(static_cast<int32_t>((id * 31 + static_cast<uint64_t>(i) * 7) % 256));
  request.traces = 3, request.greedy_traces = 1;
  request.sampling.max_new_tokens = 24;
  request.seed = seed;
  request.episode = CountTokens();
  return request;
}

// The engine of tiny_fixture.h on another device; dtype as in EngineOptions.
std::unique_ptr<Engine> EngineOn(const at::Device& device, const std::string& dtype, const ModelConfig& config,
                                 const Parameters& parameters) {
  EngineOptions options = TinyEngineOptions(false);
  options.dtype = dtype;
  auto engine = Engine::Create(options);
  EXPECT_TRUE(engine) << engine.error().Message();
  (*engine)->impl().device = device;
  const Status loaded = (*engine)->LoadParameters(PolicyVersion{1}, config, parameters);
  EXPECT_TRUE(loaded) << loaded.error().Message();
  return std::move(*engine);
}

// Three groups whose prompts end inside, at and beyond a page; the longest is computed in two pieces. All traces, by group and index.
std::vector<Trace> Write(Engine& engine, uint64_t seed) {
  for (const auto& [id, tokens] : {std::pair<uint64_t, int64_t>{1, 9}, {2, 32}, {3, 90}}) {
    const Status submitted = engine.Submit(DeviceRequest(id, tokens, seed));
    EXPECT_TRUE(submitted) << submitted.error().Message();
  }
  std::map<uint64_t, std::vector<Trace>> groups;
  while (engine.busy()) {
    const Status step = engine.Step();
    EXPECT_TRUE(step) << step.error().Message();
    if (!step) break;
    for (TraceGroup& group : engine.TakeFinished()) groups[group.id.value] = std::move(group.traces_G);
  }
  std::vector<Trace> all;
  for (auto& [id, traces] : groups) all.insert(all.end(), traces.begin(), traces.end());
  return all;
}

void ExpectSameTraces(const at::Device& device) {
  for (Family family : {Family::kLlama, Family::kQwen3}) {
    const ModelConfig config = TinyConfig(family);
    const Parameters parameters = TinyParameters(config);
    const auto cpu = EngineOn(at::kCPU, "fp32", config, parameters), other = EngineOn(device, "fp32", config, parameters);
    const std::vector<Trace> want = Write(*cpu, 5), got = Write(*other, 5);
    ASSERT_EQ(want.size(), 12u);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].tokens_T, want[i].tokens_T) << "trace " << i;
      for (size_t t = 0; t < want[i].log_probs_T.size(); ++t) EXPECT_NEAR(got[i].log_probs_T[t], want[i].log_probs_T[t], 1e-4) << t;
    }
    EXPECT_NE(Write(*other, 6)[0].tokens_T, want[0].tokens_T) << "the control: another seed writes something else";
    const auto scored = Scorer(*other).ScoreOne(DeviceRequest(1, 9, 0).prompt_tokens_P, want[0].tokens_T);
    ASSERT_TRUE(scored) << scored.error().Message();
    for (size_t t = 0; t < scored->log_probs_T.size(); ++t) EXPECT_NEAR(scored->log_probs_T[t], want[0].log_probs_T[t], 1e-4) << t;
  }
}

// bf16 traces may part ways after a rounding, so only what the engine says about its own tokens is compared: with the learner's pass.
void ExpectBf16EngineAgreesWithItsScorer(const at::Device& device) {
  const ModelConfig config = TinyConfig();
  const auto engine = EngineOn(device, "bf16", config, TinyParameters(config));
  const Trace trace = Write(*engine, 5)[0];
  const auto scored = Scorer(*engine).ScoreOne(DeviceRequest(1, 9, 0).prompt_tokens_P, trace.tokens_T);
  ASSERT_TRUE(scored) << scored.error().Message();
  for (size_t t = 0; t < trace.log_probs_T.size(); ++t) EXPECT_NEAR(scored->log_probs_T[t], trace.log_probs_T[t], 0.3) << t;
}

TEST(FakeDevice, TheEngineWritesWhatTheCpusWrites) { ExpectSameTraces(fake::Device()); }
TEST(FakeDevice, Bf16EngineAgreesWithItsScorer) { ExpectBf16EngineAgreesWithItsScorer(fake::Device()); }

TEST(EngineDevice, CudaThatIsNotThereIsAnError) {
  EngineOptions options = TinyEngineOptions(false);
  options.device = "cuda";
  const auto engine = Engine::Create(options);
  if (engine) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_EQ(engine.error().code, ErrorCode::kUnavailable);
  options.device = "auto";
  const auto found = Engine::Create(options);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)->device(), "cpu");
}

TEST(Cuda, TheEngineWritesWhatTheCpusWrites) {
  const auto gpu = OpenDevice("cuda");
  if (!gpu) GTEST_SKIP() << gpu.error().Message();
  ExpectSameTraces(*gpu);
  ExpectBf16EngineAgreesWithItsScorer(*gpu);
}

}  // namespace
}  // namespace candor
