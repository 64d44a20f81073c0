// The policy as a rank holds it: fp32 master weights and optimizer state of its slices, and the collectives that bring a unit's weights
// together and its gradient apart. Implements the model's UnitAccess, so the model runs without knowing ranks. The plan is shard.h, the
// mathematics optimizer.h, the bytes core/collective.h.
//
//   none   every rank holds everything; gradients are summed over ranks after the last micro-batch of a step
//   zero2  weights are gathered once per step; a unit's gradient is reduce-scattered as soon as it is ready
//   zero3  as zero2, but a unit is gathered for its forward and again for its backward and freed after each; at most two are gathered at
//   once
//
// Communication runs beside the computation: zero2 waits for a unit's gather at its first use, zero3 gathers the next unit while this one
// computes (the first unit of a micro-batch already during the backward before it; the head stays from forward to backward), and a
// reduce-scatter has until the next unit's gradient is ready, as far as MemoryBound allows both gradients.
//
// All tensors lie on one device, the CPU or a GPU; files and published weights are copied to the host by whoever writes them. Gradients
// accumulate in fp32. One thread; every rank makes the same calls in the same order.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/collective.h"
#include "model/device.h"
#include "model/policy_pass.h"
#include "trainer/shard.h"

namespace candor {

// Bytes that this rank holds; peaks since the start.
struct MemoryUse {
  int64_t owned_bytes = 0;          // master weights, optimizer state, accumulated gradient, averaged weights, compute copy of the slice
  int64_t gathered_bytes_peak = 0;  // whole units gathered at once
  int64_t gathered_units_peak = 0;
  int64_t gradient_bytes_peak = 0;  // whole units' gradients waiting to be reduced
  int64_t Peak() const { return owned_bytes + gathered_bytes_peak + gradient_bytes_peak; }
};

class ShardedPolicy final : public UnitAccess {
 public:
  struct Options {
    Sharding sharding = Sharding::kNone;
    DType dtype = DType::kFp32;  // of the weights that the model computes with; not kAuto
    bool average = false;        // keep exponentially averaged weights
    at::Device device = at::kCPU;
    Collective* tensors = nullptr;  // carries tensors where `collective` cannot (device memory); outlives the policy
  };
  ShardedPolicy(const ModelConfig& config, const Options& options, Collective& collective);

  const ModelConfig& config() const { return config_; }
  const ShardPlan& plan() const { return plan_; }
  const std::vector<UnitSpec>& units() const { return units_; }
  Collective& collective() { return collective_; }
  DType dtype() const { return options_.dtype; }
  const at::Device& device() const { return options_.device; }
  bool has_average() const { return options_.average; }
  const MemoryUse& memory() const { return memory_; }
  // What this rank may hold at most, in bytes. Masters, moments, gradient, average and compute copy are divided by the ranks, times 1.15;
  //   zero3  + the two largest units in the compute format + the largest unit's fp32 gradient
  //   zero2  + all units in the compute format + the fp32 gradients of the largest unit and twice the second
  //   none   nothing is divided and nothing added
  int64_t MemoryBound() const;

  // State of one unit on this rank: fp32 slices of UnitShard::slice elements; the padding stays zero.
  struct UnitState {
    at::Tensor master, mean, square, average, gradient;
    at::Tensor compute;  // the slice in the compute format; the same tensor as master in fp32
  };
  UnitState& state(size_t unit) { return states_[unit]; }
  // Whoever changes masters, moments or averages calls this first: it waits for the one who reads them beside the training (a snapshot).
  void BeginChange() {
    if (reader_) reader_();
  }
  void SetReader(std::function<void()> wait) { reader_ = std::move(wait); }

  // Fills the masters (and averages) from a Hugging Face folder, reading only this rank's slices into memory.
  Status LoadFolder(const std::string& folder);
  // The same from parameters in memory.
  void LoadParametersFrom(const Parameters& parameters);
  // After masters changed: the compute copies follow, gathered weights are stale.
  void MastersChanged();
  // After masters and compute copies changed together.
  void ComputeChanged();
  int64_t updates() const { return updates_; }  // optimizer updates so far (skipped steps do not count)
  void set_updates(int64_t updates) { updates_ = updates; }

  Status BeginStep();
  void BeginMicroBatch(bool last) { last_micro_batch_ = last, in_backward_ = at_head_ = false; }
  Status EndMicroBatch();

  // Which weights WholeUnit brings together.
  enum class Which { kCompute, kAverage, kMaster };
  // A whole unit on every rank (a collective call): kCompute in the compute format, the others in fp32. At least UnitSpec::Count()
  // elements; a copy.
  Result<at::Tensor> WholeUnit(size_t unit, Which which);

  Result<at::Tensor> Gather(size_t unit) override;
  void Release(size_t unit) override;
  Status Prefetch(size_t unit) override;
  Result<at::Tensor> Gradient(size_t unit) override;
  Status GradientReady(size_t unit) override;

 private:
  struct Gathered {
    at::Tensor whole;
    std::optional<Collective::Ticket> ticket;
    int users = 0;
  };
  struct Pending {
    size_t unit = 0;
    at::Tensor whole, slice;
    Collective::Ticket ticket = 0;
  };
  bool Split() const { return plan_.slices() > 1; }
  at::Tensor Zeros(int64_t elements, at::ScalarType type) const { return at::zeros({elements}, at::TensorOptions(type).device(device())); }
  // One zeroed slice per unit, all in one piece of memory: on the CPU in large pages, because an update walks all of it.
  std::vector<at::Tensor> Slices(at::ScalarType type) const;
  // The collective that carries tensors; what reads device memory orders itself after the default stream.
  Collective& Tensors() { return options_.tensors ? *options_.tensors : collective_; }
  ElementType compute_type() const { return options_.dtype == DType::kBf16 ? ElementType::kBFloat16 : ElementType::kFloat32; }
  Status StartGather(size_t unit);
  Status FinishGather(size_t unit);
  Status FinishPending();
  Status FinishSums();
  Status MakeRoomForGradient(int64_t bytes);
  void Account();

  ModelConfig config_;
  Options options_;
  Collective& collective_;
  std::vector<UnitSpec> units_;
  ShardPlan plan_;
  std::vector<UnitState> states_;
  std::vector<Gathered> gathered_;
  std::vector<at::Tensor> whole_gradients_;
  std::optional<Pending> pending_;
  std::vector<Collective::Ticket> sums_;                                  // sharding none: started all-reduces
  bool last_micro_batch_ = true, in_backward_ = false, at_head_ = false;  // where the pass is
  bool stale_ = true;
  int64_t updates_ = 0;
  std::function<void()> reader_;
  MemoryUse memory_;
};

}  // namespace candor
