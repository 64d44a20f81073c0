#include "simulation/engine.h"

#include "core/fault_point.h"

namespace candor::sim {

void Engine::Run() {
  while (!link_.finished() && !link_ended_) {
    for (GroupId group : book_.TakeCancelled()) work_.erase(group);
    Obey();
    Advance();
    int64_t next = clock_.SteadyMs() + cluster_.swarm.nap_ms;
    for (const auto& [id, work] : work_) next = std::min(next, work.done_ms);
    clock_.SleepMs(std::max<int64_t>(1, next - clock_.SteadyMs()));
  }
}

void Engine::Obey() {
  for (;;) {
    const EngineMove move = book_.Next(loaded_, work_.empty());
    if (move.kind == EngineMove::Kind::kWait) return;
    if (move.kind == EngineMove::Kind::kLoad) {
      FaultPoint("rollout.load");
      clock_.SleepMs(cluster_.swarm.load_ms);
      if (dice_.Chance(cluster_.swarm.load_fails)) {
        book_.Failed(move.lease.group, "the weights cannot be read", false);
        continue;
      }
      loaded_ = move.version;
      cluster_.watch.OnLoaded(move.version);
      link_.SetEngine(move.version, {});
      continue;
    }
    const int64_t now = clock_.SteadyMs();
    const int64_t takes = cluster_.swarm.token_ms * LengthOf(cluster_.swarm.plan.seed, move.lease.group);
    work_[move.lease.group] = {move.lease, now, now + takes, loaded_->value};
    FaultPoint("rollout.generate");
    book_.Started(move.lease.group);
  }
}

void Engine::Advance() {
  const int64_t now = clock_.SteadyMs();
  std::map<GroupId, uint64_t> tokens;
  for (auto at = work_.begin(); at != work_.end();) {
    if (now < at->second.done_ms) {
      tokens[at->first] = 1 + static_cast<uint64_t>((now - at->second.begun_ms) / cluster_.swarm.token_ms);
      ++at;
      continue;
    }
    book_.Finished(ResultOf(at->second));
    at = work_.erase(at);
  }
  book_.Progress(tokens);
}

// A function of the group and its version: whoever writes it.
TraceGroup Engine::ResultOf(const Work& work) const {
  TraceGroup group;
  group.id = work.lease.group, group.prompt = work.lease.prompt, group.wave = work.lease.wave, group.worker = worker_;
  group.prompt_tokens_P = {1, 2};
  const uint32_t length = LengthOf(cluster_.swarm.plan.seed, group.id);
  for (uint32_t i = 0; i < work.lease.traces + work.lease.greedy_traces; ++i) {
    Trace trace;
    trace.index = static_cast<int32_t>(i);
    trace.greedy = i >= work.lease.traces;
    trace.tokens_T.assign(length, 7);
    trace.spans = {{Origin::kPolicy, Segment::kAnswer, 0, 0, static_cast<int32_t>(length)}};
    trace.log_probs_T.assign(length, -1.0f);
    trace.entropy_T.assign(length, 0.5f);
    trace.version_T.assign(length, work.version);
    trace.signals["verbal"] = RandomUnit(cluster_.swarm.plan.seed, RngStream::kSynthetic, 78, group.id.value, i);
    group.traces_G.push_back(std::move(trace));
  }
  return group;
}

}  // namespace candor::sim
