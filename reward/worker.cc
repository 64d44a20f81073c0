#include "reward/worker.h"

#include <fmt/format.h>

#include <random>

#include "core/log.h"
#include "core/thread.h"
#include "reward/coordinator_link.h"
#include "reward/grading_pool.h"
#include "reward/server.h"
#include "reward/spool.h"

namespace candor {

namespace {

Incarnation NewIncarnation() {
  std::random_device random;
  return {static_cast<uint64_t>(random()) << 32 | random()};
}

}  // namespace

Status ServeReward(const RewardOptions& options, const RewardSetup& setup) {
  std::string worker = fmt::format("reward-{}", setup.index);
  CANDOR_ASSIGN(ScoreRules rules, ScoreRules::From(setup.format, options, setup.channels, setup.values));
  CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeVerifiers(options));
  CANDOR_ASSIGN(std::unique_ptr<Spool> spool,
                Spool::Open(setup.run_dir + "/spool/" + worker, static_cast<uint64_t>(options.spool_limit_mb) << 20));
  CANDOR_ASSIGN(std::unique_ptr<MessageServer> server, setup.transport->Listen(options.bind, Role::kReward, kMaxPayloadBytes));
  CANDOR_ASSIGN(GradingPool::GroupJudges judges, MakeGroupJudges(options));
  GradingPool pool(*verifier, rules, static_cast<int>(options.threads), std::move(judges));
  LinkSetup to_coordinator{setup.run_dir, setup.run_id, worker, server->endpoint(), NewIncarnation(), setup.transport, setup.stop};
  to_coordinator.steps = setup.steps, to_coordinator.backoff_first_ms = setup.backoff_first_ms;
  to_coordinator.call_deadline_ms = setup.call_deadline_ms;
  CoordinatorLink link(to_coordinator, *spool);
  RewardServerSetup serving;
  serving.run_id = setup.run_id, serving.worker = worker, serving.max_in_flight = static_cast<size_t>(options.max_in_flight);
  serving.data = setup.data, serving.stop = setup.stop, serving.signal = rules.signal;
  RewardServer reward(serving, *server, *spool, pool, link);
  reward.AnnounceSpooled();
  NamedThread link_thread("coordinator", [&link] { link.Run(); });
  spdlog::info("serving at {}", server->endpoint());
  Status served = reward.Run();
  link.Stop();
  return served;
}

}  // namespace candor
