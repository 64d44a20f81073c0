// The small device interface of the NCCL backend: memory, copies, streams and events of the CUDA run time, which is opened by name
// (libcudart.so.13). Streams and events are plain addresses, so that no CUDA header is needed. tests/dist/fake_cudart.cc is a stand-in on
// host memory for machines without a GPU. Calls come from any thread.
#pragma once
#include <cstddef>

#include "core/result.h"

namespace candor {

class CudaRuntime {
 public:
  using Stream = void*;  // null: the default stream, on which LibTorch computes here
  using Event = void*;

  // kNotFound, kVersionSkew or kUnavailable (no GPU), with what to do.
  static Result<const CudaRuntime*> Open();
  Status SetDevice(int device) const;
  Result<void*> Allocate(size_t bytes) const;
  void Free(void* memory) const;
  Status Copy(void* to, const void* from, size_t bytes) const;  // host or device; waits
  Result<Stream> MakeStream() const;                            // does not wait for the default stream by itself
  void Destroy(Stream stream) const;
  Result<Event> MakeEvent() const;
  void DestroyEvent(Event event) const;
  Status Record(Event event, Stream stream) const;
  Status MakeWait(Stream stream, Event event) const;  // what comes later on `stream` waits for `event`
  Result<bool> IsDone(Event event) const;

 private:
  CudaRuntime() = default;
  Status Load();
  Status Check(int code, const char* what) const;
  struct Functions;
  const Functions* functions_ = nullptr;
};

}  // namespace candor
