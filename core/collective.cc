#include "core/collective.h"

#include <fmt/format.h>

namespace candor {

size_t SizeOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return 4;
    case ElementType::kBFloat16:
      return 2;
    case ElementType::kInt64:
      return 8;
    case ElementType::kByte:
      return 1;
  }
  return 1;
}

std::string Describe(const CollectiveCall& call) {
  static constexpr const char* kTypes[] = {"float32", "bfloat16", "int64", "byte"};
  static constexpr const char* kOps[] = {"sum", "max", "min"};
  static constexpr const char* kKinds[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast", "send", "receive", "barrier"};
  const std::string kind = kKinds[static_cast<size_t>(call.kind)];
  if (call.kind == CallKind::kBarrier) return kind;
  std::string text = fmt::format("{} of {} {}", kind, call.count, kTypes[static_cast<size_t>(call.type)]);
  if (call.kind == CallKind::kAllReduce || call.kind == CallKind::kReduceScatter)
    text += std::string(" ") + kOps[static_cast<size_t>(call.op)];
  if (call.kind == CallKind::kBroadcast || call.kind == CallKind::kReceive) text += fmt::format(" from rank {}", call.peer);
  if (call.kind == CallKind::kSend) text += fmt::format(" to rank {}", call.peer);
  return text;
}

size_t LinkBytes(const CollectiveCall& call, int ranks) {
  const size_t bytes = call.count * SizeOf(call.type), others = static_cast<size_t>(ranks) - 1;
  switch (call.kind) {
    case CallKind::kAllReduce:
      return 2 * bytes * others / static_cast<size_t>(ranks);
    case CallKind::kReduceScatter:
    case CallKind::kAllGather:
      return bytes * others;
    case CallKind::kBroadcast:
    case CallKind::kSend:
    case CallKind::kReceive:
      return bytes;
    case CallKind::kBarrier:
      return 0;
  }
  return 0;
}

Status Collective::RunGroup(std::span<const CollectiveCall> group) {
  CANDOR_ASSIGN(const Ticket ticket, Start(group));
  return Wait(ticket);
}
Status Collective::Run(const CollectiveCall& call) { return RunGroup({&call, 1}); }

Status Collective::AllReduce(void* data, size_t count, ElementType type, ReduceOp op) {
  return Run({CallKind::kAllReduce, data, data, count, type, op});
}
Status Collective::ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) {
  return Run({CallKind::kReduceScatter, in, out, count, type, op});
}
Status Collective::AllGather(const void* in, void* out, size_t count, ElementType type) {
  return Run({CallKind::kAllGather, in, out, count, type});
}
Status Collective::Broadcast(void* data, size_t count, ElementType type, int root) {
  return Run({CallKind::kBroadcast, data, data, count, type, ReduceOp::kSum, root});
}
Status Collective::Send(const void* data, size_t bytes, int to) {
  return Run({CallKind::kSend, data, nullptr, bytes, ElementType::kByte, ReduceOp::kSum, to});
}
Status Collective::Receive(void* data, size_t bytes, int from) {
  return Run({CallKind::kReceive, nullptr, data, bytes, ElementType::kByte, ReduceOp::kSum, from});
}
Status Collective::Barrier() { return Run({}); }

Result<Collective::Ticket> Collective::StartAllReduce(void* data, size_t count, ElementType type, ReduceOp op) {
  const CollectiveCall call{CallKind::kAllReduce, data, data, count, type, op};
  return Start({&call, 1});
}
Result<Collective::Ticket> Collective::StartAllGather(const void* in, void* out, size_t count, ElementType type) {
  const CollectiveCall call{CallKind::kAllGather, in, out, count, type};
  return Start({&call, 1});
}
Result<Collective::Ticket> Collective::StartReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) {
  const CollectiveCall call{CallKind::kReduceScatter, in, out, count, type, op};
  return Start({&call, 1});
}

}  // namespace candor
