#include "core/collective_delayed.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/clock.h"

namespace candor {

namespace {
constexpr size_t kBulkBytes = 4096;
}

double CommunicationTimes::HiddenShare() const {
  return bulk_seconds > 0.0 ? std::clamp(1.0 - bulk_exposed / bulk_seconds, 0.0, 1.0) : 0.0;
}

CommunicationTimes CommunicationTimes::Per(double steps) const {
  return {bulk_seconds / steps, bulk_exposed / steps, small_seconds / steps, small_exposed / steps,
          bulk_bytes / steps,   bulk_calls / steps,   small_calls / steps};
}

Result<Collective::Ticket> DelayedCollective::Start(std::span<const CollectiveCall> group) {
  const double start = SteadySeconds();
  size_t bytes = 0;
  bool bulk = false;
  for (const CollectiveCall& call : group) {
    bytes += LinkBytes(call, size());
    const bool sums = call.kind == CallKind::kAllGather || call.kind == CallKind::kReduceScatter || call.kind == CallKind::kAllReduce;
    bulk = bulk || (sums && call.count * SizeOf(call.type) >= kBulkBytes);
  }
  CANDOR_ASSIGN(const Ticket ticket, inner_.Start(group));
  const double busy = model_.gbps > 0.0 ? static_cast<double>(bytes) * 8.0 / (model_.gbps * 1e9) : 0.0;
  link_free_ = std::max(link_free_, start) + busy;
  Due due{link_free_ + model_.latency_ms / 1000.0, bulk, false};
  (bulk ? times_.bulk_seconds : times_.small_seconds) += busy + model_.latency_ms / 1000.0;
  (bulk ? times_.bulk_calls : times_.small_calls) += 1.0;
  if (bulk) times_.bulk_bytes += static_cast<double>(bytes);
  Status done = model_.blocking ? Finish(ticket, due) : Status{};
  (bulk ? times_.bulk_exposed : times_.small_exposed) += SteadySeconds() - start;
  if (!done) return Fail(done.error());
  due_.emplace(ticket, due);
  return ticket;
}

Status DelayedCollective::Finish(Ticket ticket, Due& due) {
  due.waited = true;
  CANDOR_TRY(inner_.Wait(ticket));
  if (const double left = due.at - SteadySeconds(); left > 0.0) std::this_thread::sleep_for(std::chrono::duration<double>(left));
  return {};
}

Status DelayedCollective::Wait(Ticket ticket) {
  auto found = due_.find(ticket);
  if (found == due_.end()) return inner_.Wait(ticket);  // names the ticket
  Due due = found->second;
  due_.erase(found);
  if (due.waited) return {};
  const double start = SteadySeconds();
  CANDOR_TRY(Finish(ticket, due));
  (due.bulk ? times_.bulk_exposed : times_.small_exposed) += SteadySeconds() - start;
  return {};
}

}  // namespace candor
