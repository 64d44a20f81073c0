// Policies whose whole state is a function of one number: what the tests of checkpoints write, load and compare.
#pragma once
#include "tiny.h"

namespace candor::filled {

// Fills every state with numbers that depend on unit, kind and place alone.
inline void Fill(ShardedPolicy& policy, float add) {
  policy.BeginChange();
  for (size_t u = 0; u < policy.units().size(); ++u) {
    const UnitShard& shard = policy.plan().units[u];
    float kind = 0;
    ShardedPolicy::UnitState& state = policy.state(u);
    for (at::Tensor* tensor : {&state.master, &state.mean, &state.square, &state.average}) {
      ++kind;
      for (int64_t i = 0; i < shard.Valid(); ++i)
        tensor->data_ptr<float>()[i] = add + kind * 1000 + static_cast<float>(u) * 100 + static_cast<float>(shard.begin + i) * 0.01f;
    }
  }
  policy.set_updates(static_cast<int64_t>(add));
  policy.MastersChanged();
}

inline bool Holds(ShardedPolicy& policy, float add) {
  ShardedPolicy want(policy.config(), {policy.plan().sharding, policy.dtype(), true}, policy.collective());
  Fill(want, add);
  bool same = policy.updates() == want.updates();
  for (size_t u = 0; u < policy.units().size(); ++u) {
    ShardedPolicy::UnitState &a = policy.state(u), &b = want.state(u);
    same = same && a.master.equal(b.master) && a.mean.equal(b.mean) && a.square.equal(b.square) && a.average.equal(b.average);
  }
  return same;
}

}  // namespace candor::filled
