#include "trainer/sharded_policy.h"

#include <algorithm>

#include "core/check.h"
#include "core/fault_point.h"
#include "model/large_pages.h"

namespace candor {

namespace {
int64_t BytesOf(const at::Tensor& tensor) { return tensor.defined() ? tensor.numel() * static_cast<int64_t>(tensor.element_size()) : 0; }

std::vector<int64_t> CountsOf(const std::vector<UnitSpec>& units) {
  std::vector<int64_t> counts;
  for (const UnitSpec& unit : units) counts.push_back(unit.Count());
  return counts;
}

struct LargestUnits {
  int64_t total = 0, largest = 0, second = 0;  // elements
};
LargestUnits FindLargest(const std::vector<UnitSpec>& units) {
  LargestUnits found;
  for (const UnitSpec& unit : units) {
    const int64_t count = unit.Count();
    found.total += count;
    if (count > found.largest)
      found.second = found.largest, found.largest = count;
    else
      found.second = std::max(found.second, count);
  }
  return found;
}
}  // namespace

ShardedPolicy::ShardedPolicy(const ModelConfig& config, const Options& options, Collective& collective)
    : config_(config), options_(options), collective_(collective), units_(PlanUnits(config)) {
  CANDOR_CHECK(options.dtype != DType::kAuto, "dtype is resolved before the policy is made");
  plan_ = PlanShards(CountsOf(units_), options.sharding, collective.size(), collective.rank());
  states_.resize(units_.size());
  gathered_.resize(units_.size());
  whole_gradients_.resize(units_.size());
  const auto give = [&](at::Tensor UnitState::*part, at::ScalarType type) {
    const std::vector<at::Tensor> slices = Slices(type);
    for (size_t u = 0; u < units_.size(); ++u) {
      states_[u].*part = slices[u];
      memory_.owned_bytes += BytesOf(slices[u]);
    }
  };
  for (const auto part : {&UnitState::master, &UnitState::mean, &UnitState::square, &UnitState::gradient}) give(part, at::kFloat);
  if (options.average) give(&UnitState::average, at::kFloat);
  if (options.dtype != DType::kFp32)
    give(&UnitState::compute, ToScalarType(options.dtype));
  else
    for (UnitState& state : states_) state.compute = state.master;
}

std::vector<at::Tensor> ShardedPolicy::Slices(at::ScalarType type) const {
  constexpr int64_t kApart = 64;  // elements: every slice begins on a line of the cache
  const auto place = [&](size_t u) { return (plan_.units[u].slice + kApart - 1) / kApart * kApart; };
  int64_t total = 0;
  for (size_t u = 0; u < units_.size(); ++u) total += place(u);
  const at::Tensor all = device().is_cpu() ? LargePages(total, type) : Zeros(total, type);
  std::vector<at::Tensor> slices;
  int64_t begin = 0;
  for (size_t u = 0; u < units_.size(); begin += place(u), ++u) slices.push_back(all.narrow(0, begin, plan_.units[u].slice));
  return slices;
}

void ShardedPolicy::LoadParametersFrom(const Parameters& parameters) {
  for (size_t u = 0; u < units_.size(); ++u) {
    const UnitShard& shard = plan_.units[u];
    if (shard.Valid() > 0) states_[u].master.narrow(0, 0, shard.Valid()).copy_(parameters.Flat(u).narrow(0, shard.begin, shard.Valid()));
    if (options_.average) states_[u].average.copy_(states_[u].master);
  }
  MastersChanged();
}

void ShardedPolicy::MastersChanged() {
  if (options_.dtype != DType::kFp32)
    for (UnitState& state : states_) state.compute.copy_(state.master);
  ComputeChanged();
}

void ShardedPolicy::ComputeChanged() {
  stale_ = true;
  if (options_.sharding == Sharding::kZero3)
    for (Gathered& gathered : gathered_)
      if (!gathered.ticket) gathered.whole = at::Tensor();
}

int64_t ShardedPolicy::MemoryBound() const {
  const LargestUnits units = FindLargest(units_);
  const int64_t compute = options_.dtype == DType::kBf16 ? 2 : 4, fp32 = 4;
  // fp32 masters, two moments and the accumulated gradient; the average; the compute copy where it is not the master itself.
  const int64_t per_element = 4 * fp32 + (options_.average ? fp32 : 0) + (options_.dtype == DType::kBf16 ? compute : 0);
  const auto share = static_cast<int64_t>(1.15 * static_cast<double>(units.total * per_element) / plan_.slices());
  if (options_.sharding == Sharding::kZero3) return share + compute * (units.largest + units.second) + fp32 * units.largest;
  if (options_.sharding == Sharding::kZero2) return share + compute * units.total + fp32 * (units.largest + 2 * units.second);
  return share;
}

Status ShardedPolicy::BeginStep() {
  for (UnitState& state : states_) state.gradient.zero_();
  if (!Split() || options_.sharding != Sharding::kZero2 || !stale_) return {};
  for (size_t u = 0; u < units_.size(); ++u) CANDOR_TRY(StartGather(u));  // in the order of their first use, which waits for them
  stale_ = false;
  return {};
}

Status ShardedPolicy::EndMicroBatch() {
  CANDOR_TRY(FinishSums());
  const size_t first = EmbeddingUnit();
  const bool goes_on = !last_micro_batch_;  // then the last reduce-scatter and the first gather run into the next forward
  if (!goes_on) CANDOR_TRY(FinishPending());
  for (size_t u = 0; u < units_.size(); ++u) {  // a unit that was prefetched but never used would be stale after the update
    if (goes_on && u == first) continue;
    CANDOR_TRY(FinishGather(u));
    if (options_.sharding == Sharding::kZero3 && gathered_[u].users == 0) gathered_[u].whole = at::Tensor();
  }
  return {};
}

// ---- weights

Status ShardedPolicy::StartGather(size_t unit) {
  Gathered& gathered = gathered_[unit];
  if (!gathered.whole.defined()) gathered.whole = at::empty({plan_.units[unit].padded}, states_[unit].compute.options());
  const at::Tensor& slice = states_[unit].compute;
  auto ticket = Tensors().StartAllGather(slice.data_ptr(), gathered.whole.data_ptr(), static_cast<size_t>(slice.numel()), compute_type());
  if (!ticket) return Fail(ticket.error());
  gathered.ticket = *ticket;
  Account();
  return {};
}

Status ShardedPolicy::FinishGather(size_t unit) {
  Gathered& gathered = gathered_[unit];
  if (!gathered.ticket) return {};
  Collective::Ticket ticket = *gathered.ticket;
  gathered.ticket.reset();
  return Tensors().Wait(ticket);
}

Result<at::Tensor> ShardedPolicy::Gather(size_t unit) {
  if (unit == FinalNormUnit(config_)) at_head_ = true;
  if (!Split()) return states_[unit].compute;
  Gathered& gathered = gathered_[unit];
  if (!gathered.whole.defined()) {
    CANDOR_CHECK(options_.sharding == Sharding::kZero3, "zero2 gathers in BeginStep");
    CANDOR_TRY(StartGather(unit));
  }
  CANDOR_TRY(FinishGather(unit));
  ++gathered.users;
  return gathered.whole;
}

void ShardedPolicy::Release(size_t unit) {
  if (!Split()) return;
  Gathered& gathered = gathered_[unit];
  CANDOR_CHECK(gathered.users > 0, "a unit is released as often as it was gathered");
  if (--gathered.users > 0 || options_.sharding != Sharding::kZero3) return;
  if (unit == HeadUnit(config_) && at_head_ && !in_backward_) return;  // backward begins with it
  gathered.whole = at::Tensor();
}

Status ShardedPolicy::Prefetch(size_t unit) {
  if (!Split() || options_.sharding != Sharding::kZero3 || gathered_[unit].whole.defined()) return {};
  if (in_backward_ && last_micro_batch_ && unit == EmbeddingUnit()) return {};  // the update comes first
  return StartGather(unit);
}

Result<at::Tensor> ShardedPolicy::WholeUnit(size_t unit, Which which) {
  const UnitState& state = states_[unit];
  const at::Tensor& slice = which == Which::kCompute ? state.compute : which == Which::kAverage ? state.average : state.master;
  CANDOR_CHECK(slice.defined(), "averaged weights were asked for");
  if (!Split()) return slice.clone();
  at::Tensor whole = at::empty({plan_.units[unit].padded}, slice.options());
  ElementType type = which == Which::kCompute ? compute_type() : ElementType::kFloat32;
  CANDOR_TRY(Tensors().AllGather(slice.data_ptr(), whole.data_ptr(), static_cast<size_t>(slice.numel()), type));
  return whole;
}

// ---- gradients

Result<at::Tensor> ShardedPolicy::Gradient(size_t unit) {
  if (!Split()) return states_[unit].gradient;
  in_backward_ = true;
  CANDOR_TRY(MakeRoomForGradient(plan_.units[unit].padded * static_cast<int64_t>(sizeof(float))));
  whole_gradients_[unit] = Zeros(plan_.units[unit].padded, at::kFloat);
  Account();
  return whole_gradients_[unit];
}

Status ShardedPolicy::GradientReady(size_t unit) {
  at::Tensor& accumulated = states_[unit].gradient;
  if (!Split()) {
    if (collective_.size() == 1 || !last_micro_batch_) return {};
    CANDOR_ASSIGN(
        const Collective::Ticket ticket,
        Tensors().StartAllReduce(accumulated.data_ptr(), static_cast<size_t>(accumulated.numel()), ElementType::kFloat32, ReduceOp::kSum));
    sums_.push_back(ticket);
    return {};
  }
  CANDOR_TRY(FinishPending());
  Pending pending{unit, std::move(whole_gradients_[unit]), at::empty_like(accumulated), 0};
  whole_gradients_[unit] = at::Tensor();
  auto ticket = Tensors().StartReduceScatter(pending.whole.data_ptr(), pending.slice.data_ptr(), static_cast<size_t>(accumulated.numel()),
                                             ElementType::kFloat32, ReduceOp::kSum);
  if (!ticket) return Fail(ticket.error());
  pending.ticket = *ticket;
  pending_ = std::move(pending);
  FaultPoint("learner.reduce");
  return {};
}

// A reduce-scatter under way holds its whole gradient: it ends first where both would be more than the bound.
Status ShardedPolicy::MakeRoomForGradient(int64_t bytes) {
  if (!pending_) return {};
  const LargestUnits units = FindLargest(units_);
  const int64_t compute = options_.dtype == DType::kBf16 ? 2 : 4;
  int64_t held = BytesOf(pending_->whole) + bytes;
  for (const at::Tensor& gradient : whole_gradients_) held += BytesOf(gradient);
  const int64_t gathered = compute * (options_.sharding == Sharding::kZero3 ? units.largest + units.second : units.total);
  const int64_t room = MemoryBound() - memory_.owned_bytes - gathered;
  return held <= room ? Status{} : FinishPending();
}

Status ShardedPolicy::FinishSums() {
  for (const Collective::Ticket ticket : sums_) CANDOR_TRY(Tensors().Wait(ticket));
  sums_.clear();
  return {};
}

Status ShardedPolicy::FinishPending() {
  if (!pending_) return {};
  Pending pending = std::move(*pending_);
  pending_.reset();
  CANDOR_TRY(Tensors().Wait(pending.ticket));
  states_[pending.unit].gradient.add_(pending.slice);
  return {};
}

void ShardedPolicy::Account() {
  int64_t bytes = 0, count = 0, gradients = 0;
  for (const Gathered& gathered : gathered_)
    if (gathered.whole.defined()) bytes += BytesOf(gathered.whole), ++count;
  for (const at::Tensor& gradient : whole_gradients_) gradients += BytesOf(gradient);
  if (pending_) gradients += BytesOf(pending_->whole);
  memory_.gathered_bytes_peak = std::max(memory_.gathered_bytes_peak, bytes);
  memory_.gathered_units_peak = std::max(memory_.gathered_units_peak, count);
  memory_.gradient_bytes_peak = std::max(memory_.gradient_bytes_peak, gradients);
}

}  // namespace candor
