// Where a process computes: the CPU with the project's own kernels (kernels/), or one GPU through LibTorch's operators (portable/).
// LibTorch's GPU half is never linked: it is opened by name when a GPU is wanted, so that every program starts on a machine that has
// neither driver nor CUDA libraries. Everything behind this file takes the device from the tensors it is given.
#pragma once
#include <string>
#include <string_view>

#include "core/result.h"
#include "model/aten.h"

namespace candor {

// "cpu"; "cuda": a GPU, or an error that names what is missing (driver, library, GPU); "auto": a GPU where one can be used, else the CPU.
// Deterministic mode is promised on the CPU only, so "auto" is the CPU then and "cuda" an error. Processes of one machine spread over its
// GPUs by their local rank, or by `worker` where no launcher gives them one. Call it before anything else asks LibTorch for a GPU: LibTorch
// looks for its GPU half once.
Result<at::Device> OpenDevice(std::string_view wanted, bool deterministic = false, int worker = 0);

// The GPU that "auto" takes, or what is missing.
Result<at::Device> OpenGpu(int worker = 0);

// "cpu" or "cuda:0".
std::string Name(const at::Device& device);

// The rank among the processes that one launcher started on this machine (Open MPI, Slurm); `otherwise` without a launcher.
int LocalRank(int otherwise = 0);

// Waits until everything that this thread asked the device to compute is there: before memory is handed to a library that does not know
// LibTorch's streams. Nothing on the CPU.
void Synchronize(const at::Device& device);

// Host memory that a device copies into and out of: page-locked for a GPU.
at::Tensor HostBuffer(at::IntArrayRef sizes, at::ScalarType dtype, const at::Device& device);

// Host integers as a tensor on the device.
at::Tensor ToDevice(const std::vector<int64_t>& values, const at::Device& device);
at::Tensor ToDevice(const std::vector<int32_t>& values, const at::Device& device);

}  // namespace candor
