// Opens LibTorch's GPU half and chooses the GPU of this process.
#include "model/device.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>

#include "core/log.h"

namespace candor {
namespace {

constexpr const char* kGpuFix = "tools/setup.sh --gpu brings LibTorch's GPU libraries; or use device = \"cpu\"";

// The NVIDIA driver's own library: where it is missing, opening the half gigabyte of LibTorch's GPU half is spared.
Status FindDriver() {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL)) return {};
  return Fail(ErrorCode::kUnavailable, "this machine has no NVIDIA driver", dlerror(),
              "run on a machine with a GPU, or use device = \"cpu\"");
}

// Beside the libtorch_cpu of this process, so that both are of one version.
std::string GpuLibraryPath() {
  constexpr const char* kName = "libtorch_cuda.so";
  void* loaded = dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
  link_map* map = nullptr;
  if (!loaded || dlinfo(loaded, RTLD_DI_LINKMAP, &map) != 0) return kName;
  const std::string path = map->l_name;
  return path.substr(0, path.rfind('/') + 1) + kName;
}

Status OpenGpuLibrary() {
  if (dlopen(GpuLibraryPath().c_str(), RTLD_NOW | RTLD_GLOBAL)) return {};
  return Fail(ErrorCode::kUnavailable, "LibTorch's GPU library cannot be opened", dlerror(), kGpuFix);
}

Result<int> CountGpus() {
  try {
    const auto& hooks = at::detail::getCUDAHooks();
    if (!hooks.hasCUDA() || hooks.deviceCount() < 1)
      return Fail(ErrorCode::kUnavailable, "LibTorch finds no GPU", "CUDA_VISIBLE_DEVICES, driver version",
                  "look at nvidia-smi, or use device = \"cpu\"");
    return static_cast<int>(hooks.deviceCount());
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return Fail(ErrorCode::kUnavailable, "the GPU does not start", text.substr(0, text.find('\n')),
                "look at nvidia-smi, or use device = \"cpu\"");
  }
}

Result<at::Device> StartGpu(int rank) {
  CANDOR_TRY(FindDriver());
  CANDOR_TRY(OpenGpuLibrary());
  CANDOR_ASSIGN(const int count, CountGpus());
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(rank % count));
  try {
    at::globalContext().lazyInitDevice(at::kCUDA);
    c10::impl::getDeviceGuardImpl(at::kCUDA)->setDevice(device);
    // Products of bf16 numbers are summed in fp32 throughout, fp32 products are fp32 products.
    at::globalContext().setAllowBF16ReductionCuBLAS(false);
    at::globalContext().setAllowTF32CuBLAS(false);
    at::zeros({1}, at::TensorOptions(at::kFloat).device(device)).add_(1.0);
    Synchronize(device);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return Fail(ErrorCode::kUnavailable, Name(device) + " does not compute", text.substr(0, text.find('\n')),
                "look at nvidia-smi, or use device = \"cpu\"");
  }
  return device;
}

}  // namespace

int LocalRank(int otherwise) {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"})
    if (const char* text = std::getenv(name)) return std::max(0, std::atoi(text));
  return otherwise;
}

Result<at::Device> OpenDevice(std::string_view wanted, bool deterministic, int worker) {
  if (wanted == "cpu" || (wanted == "auto" && deterministic)) return at::Device(at::kCPU);
  if (wanted != "auto" && wanted != "cuda")
    return Fail(ErrorCode::kInvalidInput, "'" + std::string(wanted) + "' is not a device", "device", "use auto, cpu or cuda");
  if (deterministic)
    return Fail(ErrorCode::kInvalidInput, "deterministic mode is promised on the CPU only, but device is cuda", "device",
                "use device = \"cpu\", or run without deterministic mode");
  Result<at::Device> gpu = OpenGpu(worker);
  if (gpu) return gpu;
  if (wanted == "cuda") {
    gpu.error().what = "device = \"cuda\", but " + gpu.error().what;
    return gpu;
  }
  if (FindDriver()) spdlog::warn("a GPU driver is here, but the CPU is used: {}", gpu.error().Message());
  return at::Device(at::kCPU);
}

Result<at::Device> OpenGpu(int worker) { return StartGpu(LocalRank(worker)); }

std::string Name(const at::Device& device) { return device.str(); }

void Synchronize(const at::Device& device) {
  if (device.is_cpu()) return;
  const auto* guard = c10::impl::getDeviceGuardImpl(device.type());
  guard->synchronizeStream(guard->getStream(device));
}

at::Tensor HostBuffer(at::IntArrayRef sizes, at::ScalarType dtype, const at::Device& device) {
  return at::empty(sizes, at::TensorOptions(dtype).pinned_memory(device.is_cuda()));
}

at::Tensor ToDevice(const std::vector<int64_t>& values, const at::Device& device) {
  return at::from_blob(const_cast<int64_t*>(values.data()), {static_cast<int64_t>(values.size())}, at::kLong)
      .to(device, at::kLong, false, true);
}
at::Tensor ToDevice(const std::vector<int32_t>& values, const at::Device& device) {
  return ToDevice(std::vector<int64_t>(values.begin(), values.end()), device);
}

}  // namespace candor
