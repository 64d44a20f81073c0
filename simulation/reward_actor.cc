// The reward process of a simulation: the product's server, link and spool; a grader that judges by the group's id after a while.
#include <deque>

#include "reward/filter.h"
#include "reward/server.h"
#include "simulation/actors.h"

namespace candor::sim {

namespace {

const std::atomic<bool> kNeverStops = false;
constexpr uint64_t kSpoolBytes = uint64_t{1} << 30;

// What the verifier says of a trace: a function of group and trace.
Label LabelOf(uint64_t seed, GroupId id, size_t trace) {
  if (RandomUnit(seed, RngStream::kSynthetic, 79, id.value) < 0.05) return Label::kUnknown;
  return RandomUnit(seed, RngStream::kSynthetic, 80, id.value, trace) < 0.5 ? Label::kCorrect : Label::kWrong;
}

class SimGrader final : public Grader {
 public:
  SimGrader(Cluster& cluster, Clock& clock) : cluster_(cluster), clock_(clock) {}
  void Submit(TraceGroup group, const DataRow&) override {
    const int64_t takes = cluster_.swarm.verify_ms * (1 + static_cast<int64_t>(group.id.value % 5));
    waiting_.emplace(clock_.SteadyMs() + takes, Score(std::move(group)));
  }
  std::optional<ScoredGroup> TakeScored() override {
    if (waiting_.empty() || waiting_.begin()->first > clock_.SteadyMs()) return std::nullopt;
    ScoredGroup scored = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    return scored;
  }

 private:
  ScoredGroup Score(TraceGroup group) const {
    ScoredGroup scored{group.id, group.prompt, group.wave, std::move(group.prompt_tokens_P), {}, DropReason::kNone, group.worker};
    for (size_t i = 0; i < group.traces_G.size(); ++i) {
      ScoredTrace trace;
      trace.trace = std::move(group.traces_G[i]);
      trace.label = LabelOf(cluster_.swarm.plan.seed, scored.id, i);
      trace.soft_label = trace.label == Label::kCorrect ? 1.0 : 0.0;
      trace.format_ok = true;
      trace.confidence = Confidence::From(trace.trace.signals.at("verbal"));
      trace.channels["accuracy"] = trace.soft_label;
      scored.traces_G.push_back(std::move(trace));
    }
    scored.drop = IsEvaluation(scored.id) ? DropReason::kEvaluation : FilterByAccuracy(scored.traces_G);
    return scored;
  }
  Cluster& cluster_;
  Clock& clock_;
  std::multimap<int64_t, ScoredGroup> waiting_;  // by when they are ready
};

Status Serve(Cluster& cluster, Process& process, uint64_t incarnation) {
  SimClock clock(cluster.scheduler, process);
  const std::string worker = process.name.substr(0, process.name.find('~'));
  const std::unique_ptr<Transport> transport = cluster.net.TransportOf(process);
  CANDOR_ASSIGN(std::unique_ptr<Spool> spool, Spool::Open(std::string(kRunDir) + "/spool/" + worker, kSpoolBytes, cluster.disk));
  CANDOR_ASSIGN(std::unique_ptr<MessageServer> server, transport->Listen("", Role::kReward, kMaxPayloadBytes));
  SimGrader grader(cluster, clock);
  LinkSetup to_coordinator{kRunDir, cluster.swarm.plan.run_id, worker, server->endpoint(), {incarnation}, transport.get(), &kNeverStops};
  to_coordinator.steps = cluster.swarm.plan.steps;
  to_coordinator.clock = &clock;
  to_coordinator.disk = &cluster.disk;
  to_coordinator.nap_ms = 2 * cluster.swarm.nap_ms;
  CoordinatorLink link(to_coordinator, *spool);
  RewardServerSetup serving;
  serving.run_id = cluster.swarm.plan.run_id, serving.worker = worker;
  serving.max_in_flight = 32;
  for (const auto& [name, set] : cluster.data) serving.data[name] = &set;
  serving.stop = &kNeverStops;
  serving.clock = &clock;
  serving.busy_wait_ms = cluster.swarm.nap_ms, serving.idle_wait_ms = 500;
  RewardServer reward(serving, *server, *spool, grader, link);
  reward.AnnounceSpooled();
  bool link_ended = false;
  cluster.scheduler.Spawn(process, [&] {
    link.Run();
    link_ended = true;
  });
  const Status served = reward.Run();
  link.Stop();
  while (!link_ended) clock.SleepMs(50);
  return served;
}

}  // namespace

std::string RunReward(Cluster& cluster, Process& process, uint64_t incarnation) {
  const Status served = Serve(cluster, process, incarnation);
  return served ? "ok" : served.error().Message();
}

}  // namespace candor::sim
