#include "trainer/staged_collective.h"

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

  Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op) override {
    const at::Tensor device = View(data, count, type), host = device.cpu();
    CANDOR_TRY(host_.AllReduce(host.data_ptr(), count, type, op));
    device.copy_(host);
    return {};
  }
  Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) override {
    const at::Tensor from = View(in, count * Ranks(), type).cpu(), device = View(out, count, type), to = at::empty_like(device, at::kCPU);
    CANDOR_TRY(host_.ReduceScatter(from.data_ptr(), to.data_ptr(), count, type, op));
    device.copy_(to);
    return {};
  }
  Status AllGather(const void* in, void* out, size_t count, ElementType type) override {
    const at::Tensor from = View(in, count, type).cpu(), device = View(out, count * Ranks(), type), to = at::empty_like(device, at::kCPU);
    CANDOR_TRY(host_.AllGather(from.data_ptr(), to.data_ptr(), count, type));
    device.copy_(to);
    return {};
  }
  Status Broadcast(void* data, size_t count, ElementType type, int root) override {
    const at::Tensor device = View(data, count, type), host = device.cpu();
    CANDOR_TRY(host_.Broadcast(host.data_ptr(), count, type, root));
    device.copy_(host);
    return {};
  }
  Status Send(const void* data, size_t bytes, int to) override {
    return host_.Send(View(data, bytes, ElementType::kByte).cpu().data_ptr(), bytes, to);
  }
  Status Receive(void* data, size_t bytes, int from) override {
    const at::Tensor device = View(data, bytes, ElementType::kByte), host = at::empty_like(device, at::kCPU);
    CANDOR_TRY(host_.Receive(host.data_ptr(), bytes, from));
    device.copy_(host);
    return {};
  }
  Status Barrier() override { return host_.Barrier(); }
  void Abort() override { host_.Abort(); }

 private:
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
};

}  // namespace

std::unique_ptr<Collective> MakeStagedCollective(Collective& host, const at::Device& device) {
  return std::make_unique<StagedCollective>(host, device);
}

}  // namespace candor
