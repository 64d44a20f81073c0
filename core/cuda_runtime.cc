#include "core/cuda_runtime.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

namespace candor {

struct CudaRuntime::Functions {
  decltype(&cudaGetDeviceCount) device_count = nullptr;
  decltype(&cudaSetDevice) set_device = nullptr;
  cudaError_t (*allocate)(void**, size_t) = nullptr;  // cudaMalloc, which has overloads
  decltype(&cudaFree) free = nullptr;
  decltype(&cudaMemcpy) copy = nullptr;
  decltype(&cudaStreamCreateWithFlags) stream_create = nullptr;
  decltype(&cudaStreamDestroy) stream_destroy = nullptr;
  cudaError_t (*event_create)(cudaEvent_t*, unsigned) = nullptr;
  decltype(&cudaEventDestroy) event_destroy = nullptr;
  cudaError_t (*event_record)(cudaEvent_t, cudaStream_t) = nullptr;
  decltype(&cudaEventQuery) event_query = nullptr;
  cudaError_t (*stream_wait)(cudaStream_t, cudaEvent_t, unsigned) = nullptr;
  decltype(&cudaGetErrorString) error_string = nullptr;
};

namespace {

template <typename F>
bool Look(void* handle, const char* name, F& target) {
  target = reinterpret_cast<F>(dlsym(handle, name));
  return target != nullptr;
}

}  // namespace

Status CudaRuntime::Check(int code, const char* what) const {
  if (code == cudaSuccess) return {};
  return Fail(ErrorCode::kCollective, std::string(what) + ": " + functions_->error_string(static_cast<cudaError_t>(code)));
}

Status CudaRuntime::Load() {
  void* cuda = dlopen("libcudart.so.13", RTLD_NOW | RTLD_GLOBAL);
  if (!cuda) return Fail(ErrorCode::kNotFound, "the CUDA run time cannot be opened", dlerror(), "run tools/setup.sh --gpu");
  static Functions f;
  const bool ok = Look(cuda, "cudaGetDeviceCount", f.device_count) && Look(cuda, "cudaSetDevice", f.set_device) &&
                  Look(cuda, "cudaMalloc", f.allocate) && Look(cuda, "cudaFree", f.free) && Look(cuda, "cudaMemcpy", f.copy) &&
                  Look(cuda, "cudaStreamCreateWithFlags", f.stream_create) && Look(cuda, "cudaStreamDestroy", f.stream_destroy) &&
                  Look(cuda, "cudaEventCreateWithFlags", f.event_create) && Look(cuda, "cudaEventDestroy", f.event_destroy) &&
                  Look(cuda, "cudaEventRecord", f.event_record) && Look(cuda, "cudaEventQuery", f.event_query) &&
                  Look(cuda, "cudaStreamWaitEvent", f.stream_wait) && Look(cuda, "cudaGetErrorString", f.error_string);
  if (!ok) return Fail(ErrorCode::kVersionSkew, "libcudart lacks a function", "", "Candor needs CUDA 13");
  functions_ = &f;
  int devices = 0;
  if (const cudaError_t code = f.device_count(&devices); code != cudaSuccess || devices == 0)
    return Fail(ErrorCode::kUnavailable, "there is no GPU here", f.error_string(code),
                "use device = \"cpu\", where MPI carries the tensors");
  return {};
}

Result<const CudaRuntime*> CudaRuntime::Open() {
  static CudaRuntime runtime;
  static const Status loaded = runtime.Load();
  if (!loaded) return Fail(loaded.error());
  return &runtime;
}

Status CudaRuntime::SetDevice(int device) const { return Check(functions_->set_device(device), "cudaSetDevice"); }
Result<void*> CudaRuntime::Allocate(size_t bytes) const {
  void* memory = nullptr;
  CANDOR_TRY(Check(functions_->allocate(&memory, bytes), "cudaMalloc"));
  return memory;
}
void CudaRuntime::Free(void* memory) const { functions_->free(memory); }
Status CudaRuntime::Copy(void* to, const void* from, size_t bytes) const {
  return Check(functions_->copy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}
Result<CudaRuntime::Stream> CudaRuntime::MakeStream() const {
  cudaStream_t stream = nullptr;
  CANDOR_TRY(Check(functions_->stream_create(&stream, cudaStreamNonBlocking), "cudaStreamCreate"));
  return static_cast<Stream>(stream);
}
void CudaRuntime::Destroy(Stream stream) const { functions_->stream_destroy(static_cast<cudaStream_t>(stream)); }
Result<CudaRuntime::Event> CudaRuntime::MakeEvent() const {
  cudaEvent_t event = nullptr;
  CANDOR_TRY(Check(functions_->event_create(&event, cudaEventDisableTiming), "cudaEventCreate"));
  return static_cast<Event>(event);
}
void CudaRuntime::DestroyEvent(Event event) const { functions_->event_destroy(static_cast<cudaEvent_t>(event)); }
Status CudaRuntime::Record(Event event, Stream stream) const {
  return Check(functions_->event_record(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)), "cudaEventRecord");
}
Status CudaRuntime::MakeWait(Stream stream, Event event) const {
  return Check(functions_->stream_wait(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(event), 0), "cudaStreamWaitEvent");
}
Result<bool> CudaRuntime::IsDone(Event event) const {
  const cudaError_t code = functions_->event_query(static_cast<cudaEvent_t>(event));
  if (code == cudaErrorNotReady) return false;
  CANDOR_TRY(Check(code, "cudaEventQuery"));
  return true;
}

}  // namespace candor
