#include "reward/worker.h"

#include <fmt/format.h>

#include <random>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/log.h"
#include "core/thread.h"
#include "proto/messages.h"
#include "reward/coordinator_link.h"
#include "reward/filter.h"
#include "reward/grading_pool.h"
#include "reward/spool.h"

namespace candor {

namespace {

constexpr int kBusyWaitMs = 5;   // how soon a group that was just graded is spooled
constexpr int kIdleWaitMs = 50;  // how soon a stop is noticed
constexpr int64_t kDiskRetryMs = 1000;

// Owned by the server thread.
class RewardServer {
 public:
  RewardServer(const RewardOptions& options, const RewardSetup& setup, std::string worker, MessageServer& server, Spool& spool,
               GradingPool& pool, CoordinatorLink& link)
      : options_(options), setup_(setup), worker_(std::move(worker)), server_(server), spool_(spool), pool_(pool), link_(link) {}

  Status Run() {
    while (!setup_.stop->load() && !link_.finished()) {
      SpoolFinished();
      CANDOR_ASSIGN(std::optional<IncomingMessage> incoming, server_.Receive(in_flight_.empty() ? kIdleWaitMs : kBusyWaitMs));
      if (incoming) Handle(*incoming);
    }
    SpoolFinished();
    return {};
  }

  // Headers of what an earlier life of this worker left on disk.
  void AnnounceSpooled() {
    for (const SpooledGroup& entry : spool_.List()) {
      Result<std::string> payload = spool_.Fetch(entry.group, entry.hash);
      Result<ScoredGroup> group = payload ? DecodePayload(*payload) : Result<ScoredGroup>(Fail(payload.error()));
      const DataRow* row = group ? FindRow(group->prompt) : nullptr;
      if (row == nullptr) {
        spdlog::warn("spooled group {} is of other data or another version and is dropped", entry.group.value);
        spool_.Forget(std::vector<GroupId>{entry.group});
        continue;
      }
      link_.Announce(MakeHeader(*group, *row, PlaceOf(entry)));
    }
  }

 private:
  struct Sender {
    std::string peer;
    uint64_t sequence = 0;
  };

  void Handle(const IncomingMessage& incoming) {
    Result<Message> message = Decode(incoming.body);
    if (!message) return Reply({incoming.peer, 0}, message.error());
    Sender sender{incoming.peer, message->sequence};
    if (!setup_.run_id.empty() && message->run_id != setup_.run_id)
      return Reply(sender, Error{ErrorCode::kUnauthorized, "this worker belongs to run " + setup_.run_id + ", not " + message->run_id,
                                 worker_, "", false});
    if (TraceGroup* group = std::get_if<TraceGroup>(&message->body)) {
      if (incoming.role != Role::kRollout) return Reply(sender, WrongRole(incoming.role, "send traces"));
      return TakeGroup(sender, std::move(*group));
    }
    if (FetchGroup* fetch = std::get_if<FetchGroup>(&message->body)) {
      if (incoming.role != Role::kTrainer) return Reply(sender, WrongRole(incoming.role, "fetch groups"));
      return ServeFetch(sender, *fetch);
    }
    Reply(sender, Error{ErrorCode::kInvalidInput, "a reward worker takes TraceGroup and FetchGroup only", worker_, "", false});
  }

  Error WrongRole(Role role, const std::string& what) const {
    return {ErrorCode::kUnauthorized, std::string("a ") + Name(role) + " may not " + what, worker_, "", false};
  }

  void TakeGroup(const Sender& sender, TraceGroup group) {
    if (spool_.Find(group.id)) {
      link_.AnnounceAgain(group.id);
      return Reply(sender, GroupSpooled{group.id, true, ""});
    }
    if (auto found = in_flight_.find(group.id); found != in_flight_.end()) {
      found->second = sender;  // sent again: answer the newest
      return;
    }
    const DataRow* row = FindRow(group.prompt);
    if (row == nullptr)
      return Reply(sender,
                   Error{ErrorCode::kInvalidInput, fmt::format("no row {} in data set \"{}\"", group.prompt.row, group.prompt.dataset),
                         worker_, "every role must read the same data files", false});
    if (Status checked = CheckTraceGroup(group); !checked) return Reply(sender, checked.error());
    if (in_flight_.size() >= static_cast<size_t>(options_.max_in_flight) || disk_refuses_)
      return;  // no answer: the sender keeps it and comes back
    in_flight_[group.id] = sender;
    pool_.Submit(std::move(group), *row);
  }

  void ServeFetch(const Sender& sender, const FetchGroup& fetch) {
    FaultPoint("reward.fetch");
    Result<std::string> payload = spool_.Fetch(fetch.group, fetch.hash);
    if (!payload) return Reply(sender, payload.error());
    Result<ScoredGroup> group = DecodePayload(*payload);
    if (!group) return Reply(sender, group.error());
    Reply(sender, std::move(*group));
  }

  void SpoolFinished() {
    while (std::optional<ScoredGroup> scored = pool_.TakeScored()) unspooled_.push_back(std::move(*scored));
    if (unspooled_.empty() || (disk_refuses_ && clock_.SteadyMs() < retry_ms_)) return;
    std::vector<ScoredGroup> refused;
    for (ScoredGroup& scored : unspooled_)
      if (refused.size() > 0 || !SpoolOne(scored)) refused.push_back(std::move(scored));
    unspooled_ = std::move(refused);
    disk_refuses_ = !unspooled_.empty();
    retry_ms_ = clock_.SteadyMs() + kDiskRetryMs;
  }

  bool SpoolOne(const ScoredGroup& scored) {
    FaultPoint("reward.spool");
    Result<SpooledGroup> entry = spool_.Put(scored.id, scored.wave, EncodePayload(scored));
    if (!entry) {
      LogError(entry.error(), "spool");
      return false;
    }
    FaultPoint("reward.spooled");
    GroupScored header = MakeHeader(scored, *FindRow(scored.prompt), PlaceOf(*entry));
    spdlog::debug("group {} scored: {} correct {} wrong {} unknown, drop {}", scored.id.value, header.correct, header.wrong, header.unknown,
                  Name(scored.drop));
    link_.Announce(std::move(header));
    auto sender = in_flight_.extract(scored.id);
    if (!sender.empty()) Reply(sender.mapped(), GroupSpooled{scored.id, true, ""});
    FaultPoint("reward.acked");
    return true;
  }

  const DataRow* FindRow(const PromptRef& prompt) const {
    auto found = setup_.data.find(prompt.dataset);
    if (found == setup_.data.end() || prompt.row >= found->second->rows.size()) return nullptr;
    return &found->second->rows[prompt.row];
  }
  SpoolPlace PlaceOf(const SpooledGroup& entry) const { return {worker_, server_.endpoint(), entry.hash, entry.payload_bytes}; }

  // A peer that is gone asks again when it is back.
  void Reply(const Sender& to, MessageBody body) {
    Status sent = server_.Send(to.peer, Encode({setup_.run_id, to.sequence, worker_, std::move(body)}));
    if (!sent) spdlog::debug("reply not sent: {}", sent.error().Message());
  }

  const RewardOptions& options_;
  const RewardSetup& setup_;
  const std::string worker_;
  MessageServer& server_;
  Spool& spool_;
  GradingPool& pool_;
  CoordinatorLink& link_;
  SystemClock clock_;
  std::map<GroupId, Sender> in_flight_;  // accepted, not on disk; whom to tell
  std::vector<ScoredGroup> unspooled_;   // scored, not on disk; at most max_in_flight
  bool disk_refuses_ = false;
  int64_t retry_ms_ = 0;
};

Incarnation NewIncarnation() {
  std::random_device random;
  return {static_cast<uint64_t>(random()) << 32 | random()};
}

}  // namespace

Status ServeReward(const RewardOptions& options, const RewardSetup& setup) {
  std::string worker = fmt::format("reward-{}", setup.index);
  CANDOR_ASSIGN(ScoreRules rules, ScoreRules::From(setup.format, options));
  CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeVerifiers(options));
  CANDOR_ASSIGN(std::unique_ptr<Spool> spool,
                Spool::Open(setup.run_dir + "/spool/" + worker, static_cast<uint64_t>(options.spool_limit_mb) << 20));
  CANDOR_ASSIGN(std::unique_ptr<MessageServer> server, setup.transport->Listen(options.bind, Role::kReward, kMaxPayloadBytes));
  GradingPool pool(*verifier, rules, static_cast<int>(options.threads));
  LinkSetup to_coordinator{setup.run_dir, setup.run_id, worker, server->endpoint(), NewIncarnation(), setup.transport, setup.stop};
  to_coordinator.backoff_first_ms = setup.backoff_first_ms;
  to_coordinator.call_deadline_ms = setup.call_deadline_ms;
  CoordinatorLink link(to_coordinator, *spool);
  RewardServer reward(options, setup, worker, *server, *spool, pool, link);
  reward.AnnounceSpooled();
  NamedThread link_thread("coordinator", [&link] { link.Run(); });
  spdlog::info("serving at {}", server->endpoint());
  Status served = reward.Run();
  link.Stop();
  return served;
}

}  // namespace candor
