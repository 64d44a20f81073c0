#include "trainer/staged_collective.h"

#include <map>

namespace candor {

namespace {

at::ScalarType ScalarTypeOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return at::kFloat;
    case ElementType::kBFloat16:
      return at::kBFloat16;
    case ElementType::kInt64:
      return at::kLong;
    case ElementType::kByte:
      break;
  }
  return at::kByte;
}

class StagedCollective final : public Collective {
 public:
  StagedCollective(Collective& host, const at::Device& device) : host_(host), device_(device) {}
  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  const char* backend() const override { return "staged"; }

  Status Health() override { return host_.Health(); }
  void Abort() override { host_.Abort(); }

  Result<Ticket> Start(std::span<const CollectiveCall> group) override {
    Staged staged;
    std::vector<CollectiveCall> calls(group.begin(), group.end());
    for (CollectiveCall& call : calls) {
      if (call.in) {
        const size_t slices = call.kind == CallKind::kReduceScatter ? Ranks() : 1;
        staged.host.push_back(View(call.in, call.count * slices, call.type).cpu());
        call.in = staged.host.back().data_ptr();
      }
      if (call.out) {
        const size_t slices = call.kind == CallKind::kAllGather ? Ranks() : 1;
        const at::Tensor device = View(call.out, call.count * slices, call.type);
        staged.host.push_back(at::empty_like(device, at::kCPU));
        call.out = staged.host.back().data_ptr();
        if (call.kind == CallKind::kBroadcast && call.peer != rank()) call.in = call.out;
        staged.back.emplace_back(device, staged.host.back());
        if (call.kind == CallKind::kBroadcast && call.peer == rank()) staged.back.pop_back();  // the root has it
      }
    }
    CANDOR_ASSIGN(const Ticket ticket, host_.Start(calls));
    staged_.emplace(ticket, std::move(staged));
    return ticket;
  }
  Status Wait(Ticket ticket) override {
    CANDOR_TRY(host_.Wait(ticket));
    for (const auto& [device, host] : staged_[ticket].back) device.copy_(host);
    staged_.erase(ticket);
    return {};
  }

 private:
  struct Staged {
    std::vector<at::Tensor> host;                         // what the host collective reads and writes
    std::vector<std::pair<at::Tensor, at::Tensor>> back;  // copied to the device when it is done
  };
  size_t Ranks() const { return static_cast<size_t>(size()); }
  // The device's memory as a tensor.
  at::Tensor View(const void* data, size_t count, ElementType type) const {
    return at::for_blob(const_cast<void*>(data), {static_cast<int64_t>(count)})
        .options(at::TensorOptions(ScalarTypeOf(type)).device(device_))
        .target_device(device_)
        .make_tensor();
  }

  Collective& host_;
  const at::Device device_;
  std::map<Ticket, Staged> staged_;
};

}  // namespace

std::unique_ptr<Collective> MakeStagedCollective(Collective& host, const at::Device& device) {
  return std::make_unique<StagedCollective>(host, device);
}

}  // namespace candor
