// Collective calls as messages between pairs of ranks (core/collective_mesh.h). Integers and pointers only; nothing is moved here.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/collective_mesh.h"
#include "core/collective_reduce.h"

namespace candor {

namespace {

constexpr size_t kOnePhaseBytes = 64 * 1024;  // up to here a sum costs one message delay instead of two

CallHeader HeaderOf(const CollectiveCall& call, uint32_t phase) {
  CallHeader header;
  header.kind = static_cast<uint8_t>(call.kind), header.type = static_cast<uint8_t>(call.type), header.op = static_cast<uint8_t>(call.op);
  header.phase = phase, header.count = call.count;
  if (call.kind == CallKind::kBroadcast) header.peer = call.peer;
  if (call.kind == CallKind::kReceive) header.kind = static_cast<uint8_t>(CallKind::kSend);
  return header;
}

class Planner {
 public:
  Planner(ExchangePlan& plan, int rank, int ranks) : plan_(plan), rank_(rank), ranks_(ranks) {}

  void Add(const CollectiveCall& call) {
    switch (call.kind) {
      case CallKind::kAllReduce:
        return ranks_ > 2 && call.count * SizeOf(call.type) > kOnePhaseBytes ? AllReduceTwoPhases(call) : AllReduceOnePhase(call);
      case CallKind::kReduceScatter:
        return ReduceScatter(call);
      case CallKind::kAllGather:
        return AllGather(call);
      case CallKind::kBroadcast:
        if (call.peer == rank_)
          return ToAll(
              call, [&](int) { return static_cast<const char*>(call.in); }, Bytes(call));
        return FromOne(call, call.peer, static_cast<char*>(call.out), Bytes(call));
      case CallKind::kSend:
        return Phase(0).out.push_back({call.peer, HeaderOf(call, 0), static_cast<const char*>(call.in), Bytes(call)});
      case CallKind::kReceive:
        return FromOne(call, call.peer, static_cast<char*>(call.out), Bytes(call));
      case CallKind::kBarrier:
        ToAll(
            call, [](int) { return nullptr; }, 0);
        return FromAll(
            call, [](int) { return nullptr; }, 0);
    }
  }

 private:
  static size_t Bytes(const CollectiveCall& call) { return call.count * SizeOf(call.type); }
  ExchangePhase& Phase(size_t i) {
    if (plan_.phases.size() <= i) plan_.phases.resize(i + 1);
    return plan_.phases[i];
  }
  char* Scratch(size_t bytes) {
    plan_.scratch.push_back(std::make_unique_for_overwrite<char[]>(bytes + 1));
    return plan_.scratch.back().get();
  }
  template <typename From>
  void ToAll(const CollectiveCall& call, From from, size_t bytes) {
    for (int i = 1; i < ranks_; ++i) {  // everyone begins with another peer
      const int to = (rank_ + i) % ranks_;
      Phase(0).out.push_back({to, HeaderOf(call, 0), from(to), bytes});
    }
  }
  template <typename To>
  void FromAll(const CollectiveCall& call, To to, size_t bytes) {
    for (int i = 1; i < ranks_; ++i) {
      const int from = (rank_ + ranks_ - i) % ranks_;
      FromOne(call, from, to(from), bytes);
    }
  }
  void FromOne(const CollectiveCall& call, int from, char* to, size_t bytes) {
    Phase(0).in.push_back({from, HeaderOf(call, 0), to, bytes});
  }

  // Every rank's elements for this rank arrive in scratch memory; then out = their reduction with `own`.
  std::function<void()> ReceiveAndReduce(const CollectiveCall& call, const char* own, char* out, size_t count) {
    const size_t bytes = count * SizeOf(call.type);
    char* received = Scratch(bytes * static_cast<size_t>(ranks_));
    FromAll(
        call, [&](int from) { return received + static_cast<size_t>(from) * bytes; }, bytes);
    std::vector<const void*> inputs;
    for (int r = 0; r < ranks_; ++r) inputs.push_back(r == rank_ ? own : received + static_cast<size_t>(r) * bytes);
    return [inputs, out, count, type = call.type, op = call.op] { ReduceInRankOrder(inputs, 0, out, count, type, op); };
  }
  void AllReduceOnePhase(const CollectiveCall& call) {
    const char* in = static_cast<const char*>(call.in);
    ToAll(
        call, [&](int) { return in; }, Bytes(call));
    auto reduce = ReceiveAndReduce(call, in, static_cast<char*>(call.out), call.count);
    Phase(0).finish.push_back(std::move(reduce));
  }
  void ReduceScatter(const CollectiveCall& call) {
    const char* in = static_cast<const char*>(call.in);
    ToAll(
        call, [&](int to) { return in + static_cast<size_t>(to) * Bytes(call); }, Bytes(call));
    auto reduce = ReceiveAndReduce(call, in + static_cast<size_t>(rank_) * Bytes(call), static_cast<char*>(call.out), call.count);
    Phase(0).finish.push_back(std::move(reduce));
  }
  void AllGather(const CollectiveCall& call) {
    const char* in = static_cast<const char*>(call.in);
    char* out = static_cast<char*>(call.out);
    const size_t bytes = Bytes(call);
    ToAll(
        call, [&](int) { return in; }, bytes);
    FromAll(
        call, [&](int from) { return out + static_cast<size_t>(from) * bytes; }, bytes);
    if (char* own = out + static_cast<size_t>(rank_) * bytes; own != in && bytes > 0)
      Phase(0).finish.push_back([own, in, bytes] { std::memmove(own, in, bytes); });
  }
  void AllReduceTwoPhases(const CollectiveCall& call) {
    const size_t element = SizeOf(call.type), quota = (call.count + static_cast<size_t>(ranks_) - 1) / static_cast<size_t>(ranks_);
    auto begin = [=, this](int r) { return std::min(call.count, quota * static_cast<size_t>(r)) * element; };
    auto bytes = [=](int r) { return begin(r + 1) - begin(r); };
    const char* in = static_cast<const char*>(call.in);
    char* out = static_cast<char*>(call.out);
    for (int i = 1; i < ranks_; ++i) {
      const int to = (rank_ + i) % ranks_, from = (rank_ + ranks_ - i) % ranks_;
      Phase(0).out.push_back({to, HeaderOf(call, 0), in + begin(to), bytes(to)});
      Phase(1).out.push_back({to, HeaderOf(call, 1), out + begin(rank_), bytes(rank_)});
      Phase(1).in.push_back({from, HeaderOf(call, 1), out + begin(from), bytes(from)});
    }
    auto reduce = ReceiveAndReduce(call, in + begin(rank_), out + begin(rank_), bytes(rank_) / element);
    Phase(0).finish.push_back(std::move(reduce));
  }

  ExchangePlan& plan_;
  const int rank_, ranks_;
};

}  // namespace

std::string Describe(const CallHeader& header) {
  if (header.magic != CallHeader{}.magic || header.kind > static_cast<uint8_t>(CallKind::kBarrier) || header.type > 3 || header.op > 2)
    return "something that is no collective call";
  CollectiveCall call{static_cast<CallKind>(header.kind), nullptr,    nullptr, header.count, static_cast<ElementType>(header.type),
                      static_cast<ReduceOp>(header.op),   header.peer};
  if (call.kind == CallKind::kSend) return fmt::format("send of {} bytes", header.count * SizeOf(call.type));
  return Describe(call);
}

tl::unexpected<Error> Disagree(int peer, const CallHeader& theirs, const CallHeader& ours) {
  return Fail(ErrorCode::kCollective,
              fmt::format("ranks disagree: rank {} makes '{}' against '{}' here", peer, Describe(theirs), Describe(ours)));
}

ExchangePlan PlanExchange(std::span<const CollectiveCall> group, int rank, int ranks) {
  ExchangePlan plan;
  Planner planner(plan, rank, ranks);
  for (const CollectiveCall& call : group) planner.Add(call);
  return plan;
}

}  // namespace candor
