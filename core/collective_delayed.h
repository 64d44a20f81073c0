// A collective behind a slower network: every group of calls arrives `latency_ms` after its bytes went through a link of `gbps`, beside
// whatever the rank computes. For benches: it shows how much of the communication is hidden behind computation. Links send one group after
// another, latencies overlap, as on a real network; the real transfer runs beneath it.
#pragma once
#include <map>

#include "core/collective.h"

namespace candor {

struct LinkModel {
  double latency_ms = 0.0;
  double gbps = 0.0;      // 10^9 bits a second in each direction; 0: no limit
  bool blocking = false;  // wait for every group inside Start: what it costs without overlap
  bool Slower() const { return latency_ms > 0.0 || gbps > 0.0; }
};

// Of the groups that carry weights or gradients (all-gather, reduce-scatter and all-reduce of at least 4 KiB), and of the rest.
struct CommunicationTimes {
  double bulk_seconds = 0.0;  // what the groups take on the link: latency + bytes / rate each
  double bulk_exposed = 0.0;  // of that and of the real transfer: how long the rank stood still for it
  double small_seconds = 0.0, small_exposed = 0.0;
  double bulk_bytes = 0.0, bulk_calls = 0.0, small_calls = 0.0;
  // The share of the bulk's time in which the rank went on computing.
  double HiddenShare() const;
  CommunicationTimes Per(double steps) const;
};

class DelayedCollective final : public Collective {
 public:
  DelayedCollective(Collective& inner, const LinkModel& model) : inner_(inner), model_(model) {}  // `inner` outlives it
  DelayedCollective(std::unique_ptr<Collective> inner, const LinkModel& model) : owned_(std::move(inner)), inner_(*owned_), model_(model) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  const char* backend() const override { return "delayed"; }
  Result<Ticket> Start(std::span<const CollectiveCall> group) override;
  Status Wait(Ticket ticket) override;
  Status Health() override { return inner_.Health(); }
  void Abort() override { inner_.Abort(); }

  const CommunicationTimes& times() const { return times_; }
  void ResetTimes() { times_ = {}; }

 private:
  struct Due {
    double at = 0.0;  // steady seconds
    bool bulk = false, waited = false;
  };
  Status Finish(Ticket ticket, Due& due);

  std::unique_ptr<Collective> owned_;  // null: it belongs to somebody else
  Collective& inner_;
  const LinkModel model_;
  double link_free_ = 0.0;
  std::map<Ticket, Due> due_;
  CommunicationTimes times_;
};

}  // namespace candor
