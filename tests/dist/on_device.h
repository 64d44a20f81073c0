// A collective of device memory for callers whose buffers lie on the host: each call copies in, runs and copies out. For the conformance
// suite over NCCL, real or fake.
#pragma once
#include <map>
#include <vector>

#include "core/check.h"
#include "core/collective.h"
#include "core/cuda_runtime.h"

namespace candor {

class OnDevice final : public Collective {
 public:
  explicit OnDevice(Collective& nccl) : nccl_(nccl), cuda_(**CudaRuntime::Open()) {}
  int rank() const override { return nccl_.rank(); }
  int size() const override { return nccl_.size(); }
  const char* backend() const override { return nccl_.backend(); }
  Status Health() override { return nccl_.Health(); }
  void Abort() override { nccl_.Abort(); }

  Result<Ticket> Start(std::span<const CollectiveCall> group) override {
    std::vector<Copied> copies;
    std::vector<CollectiveCall> device(group.begin(), group.end());
    const auto ranks = static_cast<size_t>(size());
    for (CollectiveCall& call : device) {
      const size_t bytes = call.count * SizeOf(call.type);
      const bool gathers = call.kind == CallKind::kAllGather, scatters = call.kind == CallKind::kReduceScatter;
      if (call.out) {
        copies.push_back({call.out, bytes * (gathers ? ranks : 1), Upload(call.out, bytes * (gathers ? ranks : 1)), true});
        const bool inside = call.in >= call.out && static_cast<const char*>(call.in) < static_cast<char*>(call.out) + copies.back().bytes;
        const auto offset = static_cast<const char*>(call.in) - static_cast<char*>(call.out);
        call.out = copies.back().device;
        if (call.in && inside) {
          call.in = static_cast<char*>(call.out) + offset;
          continue;
        }
      }
      if (!call.in) continue;
      copies.push_back({nullptr, bytes * (scatters ? ranks : 1), Upload(call.in, bytes * (scatters ? ranks : 1)), false});
      call.in = copies.back().device;
    }
    CANDOR_ASSIGN(const Ticket ticket, nccl_.Start(device));
    copies_[ticket] = copies;
    return ticket;
  }
  Status Wait(Ticket ticket) override {
    CANDOR_TRY(nccl_.Wait(ticket));
    for (const Copied& copy : copies_[ticket]) {
      if (copy.back) CANDOR_TRY(cuda_.Copy(copy.host, copy.device, copy.bytes));
      cuda_.Free(copy.device);
    }
    copies_.erase(ticket);
    return {};
  }

 private:
  struct Copied {
    void* host;
    size_t bytes;
    void* device;
    bool back;
  };
  void* Upload(const void* host, size_t bytes) {
    Result<void*> device = cuda_.Allocate(bytes + 1);
    CANDOR_CHECK(device.has_value(), "device memory");
    CANDOR_CHECK(cuda_.Copy(*device, host, bytes).has_value(), "copy to the device");
    return *device;
  }
  Collective& nccl_;
  const CudaRuntime& cuda_;
  std::map<Ticket, std::vector<Copied>> copies_;
};

}  // namespace candor
