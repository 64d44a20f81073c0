// The path off the CPU: the portable operators against the CPU kernels, the whole pass on a device whose memory the host cannot touch, and
// what is said where there is no GPU. Tests named Cuda run on machines that have one (tests/gpu.sh).
#include "model/device.h"

#include <gmock/gmock.h>

#include "tests/unit/fake_device.h"
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

using ::testing::HasSubstr;

// ---- choosing the device

std::optional<at::Device> Gpu() {
  const auto device = OpenDevice("cuda");
  return device ? std::optional<at::Device>(*device) : std::nullopt;
}

TEST(OpenDevice, CpuNeedsNothing) {
  EXPECT_EQ(OpenDevice("cpu").value(), at::Device(at::kCPU));
  EXPECT_EQ(OpenDevice("auto", /*deterministic=*/true).value(), at::Device(at::kCPU));
  EXPECT_EQ(Name(at::Device(at::kCUDA, 3)), "cuda:3");
}

TEST(OpenDevice, RefusesWhatIsNoDevice) {
  EXPECT_EQ(OpenDevice("tpu").error().Message(), "'tpu' is not a device (device); use auto, cpu or cuda");
  EXPECT_THAT(OpenDevice("cuda", true).error().Message(), HasSubstr("deterministic mode is promised on the CPU only"));
}

TEST(OpenDevice, CudaWithoutADriverSaysSo) {
  if (Gpu()) GTEST_SKIP() << "this machine has a GPU";
  const auto device = OpenDevice("cuda");
  EXPECT_EQ(device.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(device.error().Message(), HasSubstr("device = \"cuda\", but "));
  if (::access("/dev/nvidiactl", F_OK) != 0) {
    EXPECT_EQ(device.error().Message(),
              "device = \"cuda\", but this machine has no NVIDIA driver (libcuda.so.1: cannot open shared object file: No such file or "
              "directory); run on a machine with a GPU, or use device = \"cpu\"");
  }
  EXPECT_EQ(OpenDevice("auto").value(), at::Device(at::kCPU)) << "auto goes on without it";
}

TEST(OpenDevice, RanksOfOneMachineSpreadOverItsGpus) {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}) ::unsetenv(name);
  EXPECT_EQ(LocalRank(), 0);
  EXPECT_EQ(LocalRank(3), 3) << "no launcher: the worker's own number";
  ::setenv("SLURM_LOCALID", "5", 1);
  EXPECT_EQ(LocalRank(), 5);
  ::setenv("OMPI_COMM_WORLD_LOCAL_RANK", "2", 1);
  EXPECT_EQ(LocalRank(), 2) << "mpirun inside a Slurm job";
  ::unsetenv("OMPI_COMM_WORLD_LOCAL_RANK"), ::unsetenv("SLURM_LOCALID");
}

TEST(ResolveDType, AGpuComputesInBf16) {
  EXPECT_EQ(ResolveDType(DType::kAuto, at::Device(at::kCUDA, 0)), DType::kBf16);
  EXPECT_EQ(ResolveDType(DType::kFp32, at::Device(at::kCUDA, 0)), DType::kFp32);
}

// ---- the fake device itself

TEST(FakeDevice, ComputesAndItsMemoryIsClosedToTheHost) {
  const at::Tensor x = TestTensor({4, 6}, 1), y = x.to(fake::Device());
  EXPECT_TRUE(at::equal((y.narrow(1, 2, 3).t() * 2).contiguous().cpu(), (x.narrow(1, 2, 3).t() * 2).contiguous()));
  at::Tensor sum = at::zeros({6}, y.options());
  sum.add_(y.sum(0));
  EXPECT_LE(MaxAbs(sum.cpu() - x.sum(0)), 1e-6);
  EXPECT_THROW(y + x, std::exception) << "host and device tensors do not mix";
  EXPECT_DEATH(std::printf("%f", static_cast<double>(*y.const_data_ptr<float>())), "") << "a device pointer is no host pointer";
}

// ---- whole passes against the CPU

struct Tolerance {
  double log_probs, gradients;
};
constexpr Tolerance kFp32 = {2e-5, 2e-5}, kBf16 = {0.05, 0.03};  // log p in nats; gradients relative to their norm

// The largest distance between a pass on the device and the same pass on the CPU.
Tolerance CompareWithCpu(const at::Device& device, Family family, at::ScalarType dtype, bool tied, PassOptions options,
                         double scale = 1.0) {
  ModelConfig config = TinyConfig(family);
  config.tie_embeddings = tied;
  const Parameters parameters = RandomParameters(config, 7, dtype, 0.2);
  const PackedGroups batch = TestBatch(config.vocab_size);
  const at::Tensor dlog_probs = TestTensor({batch.scored()}, 4), dselected = TestTensor({batch.scored(), 2}, 5);
  const Gradients cpu = RunPass(config, parameters, batch, {3, 8}, dlog_probs, dselected),
                  other = RunPass(config, parameters.To(device), batch, {3, 8}, dlog_probs * scale, dselected, options);
  EXPECT_TRUE(other.scores.log_probs_M.is_cpu()) << "scores come to the host";
  EXPECT_EQ(other.gradients.Flat(0).device(), device) << "gradients stay on the device";
  Tolerance worst{};
  for (const auto& [a, b] : {std::pair{other.scores.log_probs_M, cpu.scores.log_probs_M},
                             {other.scores.entropy_M, cpu.scores.entropy_M},
                             {other.scores.selected_ME, cpu.scores.selected_ME}})
    worst.log_probs = std::max(worst.log_probs, MaxAbs(a - b));
  const Parameters gradients = other.gradients.To(at::kCPU);
  for (const std::string& name : gradients.Names())
    worst.gradients = std::max(worst.gradients, RelativeError(gradients.Get(name), cpu.gradients.Get(name)));
  return worst;
}

void ExpectEqualPasses(const at::Device& device) {
  for (Family family : {Family::kLlama, Family::kQwen2, Family::kQwen3}) {
    for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Tolerance limit = dtype == at::kFloat ? kFp32 : kBf16;
      const bool tied = family != Family::kQwen2;
      const Tolerance plain = CompareWithCpu(device, family, dtype, tied, {});
      EXPECT_LE(plain.log_probs, limit.log_probs) << Name(family) << " " << dtype;
      EXPECT_LE(plain.gradients, limit.gradients) << Name(family) << " " << dtype;
      const Tolerance again = CompareWithCpu(device, family, dtype, tied, {.recompute = true, .keep_for_backward = true});
      EXPECT_LE(again.gradients, limit.gradients) << Name(family) << " " << dtype << " with recompute";
    }
  }
  EXPECT_GT(CompareWithCpu(device, Family::kLlama, at::kFloat, true, {}, 1.001).gradients, kFp32.gradients) << "the tolerance can fail";
}

TEST(FakeDevice, PassesEqualTheCpus) { ExpectEqualPasses(fake::Device()); }

TEST(FakeDevice, AnEmptyBatchKeepsStep) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = RandomParameters(config, 9, at::kFloat).To(fake::Device());
  const Gradients result = RunPass(config, parameters, PackedGroups{}, {}, at::empty({0}), {});
  for (size_t unit = 0; unit < parameters.unit_count(); ++unit) EXPECT_EQ(MaxAbs(result.gradients.Flat(unit).cpu()), 0.0);
}

TEST(FakeDevice, WeightsTravelThroughFiles) {
  const std::string path = ::testing::TempDir() + "/fake_device.safetensors";
  const at::Tensor x = TestTensor({5, 3}, 2);
  ASSERT_TRUE(WriteSafetensors(path, {{"x", x.to(fake::Device()).t()}}));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file);
  EXPECT_TRUE(at::equal((*file)->tensors().at("x"), x.t()));
}

TEST(Cuda, PassesEqualTheCpus) {
  const auto gpu = Gpu();
  if (!gpu) GTEST_SKIP() << OpenDevice("cuda").error().Message();
  ExpectEqualPasses(*gpu);
}

}  // namespace
}  // namespace candor
