// A stand-in for libcudart.so.13 on machines without a GPU: device memory is host memory that this library knows, streams are threads that
// run what was put on them in order, events are counters. Only what core/cuda_runtime.cc and tests/dist/fake_nccl.cc call. Built as
// libcudart.so.13 in a folder of its own, which a test puts on LD_LIBRARY_PATH.
#include "tests/dist/fake_cudart.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

struct CUstream_st {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> work;
  bool busy = false, stop = false;
  std::thread thread{[this] { Serve(); }};

  void Serve() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stop || !work.empty(); });
      if (work.empty()) return;
      auto item = std::move(work.front());
      work.pop_front();
      busy = true;
      lock.unlock();
      item();
      lock.lock();
      busy = false;
      changed.notify_all();
    }
  }
  void Put(std::function<void()> item) {
    std::scoped_lock lock(mutex);
    work.push_back(std::move(item));
    changed.notify_all();
  }
  void Drain() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return work.empty() && !busy; });
  }
};

struct CUevent_st {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0, done = 0;
};

namespace {

cudaStream_t OrDefault(cudaStream_t stream) {
  static auto* const none = new CUstream_st;  // lives as long as the process, as the device's default stream does
  return stream ? stream : none;
}

std::mutex g_memory_mutex;
std::map<const char*, size_t> g_memory;

}  // namespace

extern "C" {

int CandorFakeOwns(const void* address, size_t bytes) {
  if (bytes == 0) return 1;
  std::scoped_lock lock(g_memory_mutex);
  auto after = g_memory.upper_bound(static_cast<const char*>(address));
  if (after == g_memory.begin()) return 0;
  --after;
  return static_cast<const char*>(address) + bytes <= after->first + after->second;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const char* text = std::getenv("CANDOR_FAKE_GPUS");
  *count = text ? std::atoi(text) : 8;
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int device) {
  int count = 0;
  cudaGetDeviceCount(&count);
  return 0 <= device && device < count ? cudaSuccess : cudaErrorInvalidDevice;
}
const char* cudaGetErrorString(cudaError_t code) { return code == cudaSuccess ? "no error" : "a fake CUDA error"; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes + 1);
  std::scoped_lock lock(g_memory_mutex);
  g_memory[static_cast<const char*>(*memory)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::scoped_lock lock(g_memory_mutex);
  g_memory.erase(static_cast<const char*>(memory));
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  OrDefault(nullptr)->Put([=] { std::memcpy(to, from, bytes); });
  OrDefault(nullptr)->Drain();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    std::scoped_lock lock(stream->mutex);
    stream->stop = true;
    stream->changed.notify_all();
  }
  stream->thread.join();
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  OrDefault(stream)->Put([=] { function(data); });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }  // a stream may still come to it: kept
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  uint64_t number;
  {
    std::scoped_lock lock(event->mutex);
    number = ++event->recorded;
  }
  OrDefault(stream)->Put([=] {
    std::scoped_lock lock(event->mutex);
    event->done = number;
    event->changed.notify_all();
  });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::scoped_lock lock(event->mutex);
  return event->done == event->recorded ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  uint64_t number;
  {
    std::scoped_lock lock(event->mutex);
    number = event->recorded;
  }
  OrDefault(stream)->Put([=] {
    std::unique_lock lock(event->mutex);
    event->changed.wait(lock, [&] { return event->done >= number; });
  });
  return cudaSuccess;
}

}  // extern "C"
