// Members of the run that do what they may not: messages of another role, another run, another protocol, an earlier life; replays, oversize
// and bombs. Each is answered with an error (or its sender is dropped), and the books do not change.
#include <gtest/gtest.h>

#include <chrono>

#include "tests/security/real_run.h"

namespace candor::security {
namespace {

constexpr size_t kHuge = size_t{80} << 20;

std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string Field(int number, const std::string& bytes) {
  return Varint(static_cast<uint64_t>(number) << 3 | 2) + Varint(bytes.size()) + bytes;
}
std::string Field(int number, uint64_t value) { return Varint(static_cast<uint64_t>(number) << 3) + Varint(value); }
std::string Envelope(uint64_t kind, const std::string& body, uint64_t protocol = kProtocolVersion) {
  return Field(1, protocol) + Field(2, "attacked") + Field(3, 9) + Field(5, kind) + Field(6, body);
}
constexpr uint64_t kHeartbeatKind = 5, kTraceGroupKind = 18;

enum class Outcome { kError, kNotAccepted, kNothing, kAccepted };

class Member {
 public:
  Member(Transport& transport, const std::string& endpoint, Role self, Role server)
      : client_(std::move(*transport.Connect(endpoint, self, server, kHuge))) {}

  // Sends the bytes; what came back.
  Outcome Try(const std::string& bytes, int wait_ms = 3000) {
    if (!client_->Send(bytes)) return Outcome::kNothing;
    auto reply = client_->Receive(wait_ms);
    if (!reply || !*reply) return Outcome::kNothing;
    Result<Message> message = Decode(**reply);
    if (!message) return Outcome::kAccepted;
    if (std::holds_alternative<Error>(message->body)) return Outcome::kError;
    if (auto* ack = std::get_if<Ack>(&message->body); ack != nullptr && !ack->accepted) return Outcome::kNotAccepted;
    if (auto* plan = std::get_if<StepPlan>(&message->body); plan != nullptr && !plan->ready) return Outcome::kNotAccepted;
    return Outcome::kAccepted;
  }
  Outcome Say(MessageBody body, const std::string& run = "attacked") { return Try(Encode({run, ++sequence_, "member", std::move(body)})); }

 private:
  std::unique_ptr<MessageClient> client_;
  uint64_t sequence_ = 0;
};

class Tally {
 public:
  void Refused(const std::string& name, Outcome outcome) {
    ++tries_;
    refused_ += outcome != Outcome::kAccepted;
    EXPECT_NE(outcome, Outcome::kAccepted) << name;
  }
  int tries() const { return tries_; }
  int refused() const { return refused_; }

 private:
  int tries_ = 0, refused_ = 0;
};

GroupScored Header(uint64_t group) {
  GroupScored header;
  header.group = {group}, header.prompt = {"train", 0}, header.wave = {1}, header.reward_worker = "reward-9";
  header.reward_endpoint = "tcp://127.0.0.1:1", header.hash = "00", header.traces = 2, header.correct = 1, header.wrong = 1;
  return header;
}

void WrongRoles(Transport& transport, RealRun& run, Tally& tally) {
  const VersionInfo info{{1}, "m", "h"};
  for (Role role : {Role::kRollout, Role::kReward, Role::kTrainer, Role::kObserver}) {
    const std::string who = std::string(Name(role)) + ": ";
    Member member(transport, run.coordinator(), role, Role::kCoordinator);
    const bool trainer = role == Role::kTrainer, rollout = role == Role::kRollout, reward = role == Role::kReward;
    if (!trainer) {
      tally.Refused(who + "plan request", member.Say(PlanRequest{{1}, {5}, 1}));
      tally.Refused(who + "vote", member.Say(PlanVote{{1}, {1}, true, {}, ""}));
      tally.Refused(who + "version", member.Say(VersionAnnounce{info, {1}}));
      tally.Refused(who + "step done", member.Say(StepDone{{{1}, {1}, {1}, {}}, info}));
      tally.Refused(who + "checkpoint", member.Say(CheckpointDone{{1}, "/tmp", "h"}));
    }
    if (!reward) tally.Refused(who + "scored group", member.Say(Header(1)));
    if (!rollout) tally.Refused(who + "lease", member.Say(LeaseRequest{"rollout-0", {7}, {0}, 4}));
    if (!rollout && !reward) tally.Refused(who + "heartbeat", member.Say(WorkerHeartbeat{"rollout-0", {7}, {}, {}}));
    if (!rollout && !reward) tally.Refused(who + "group failed", member.Say(GroupFailed{{1}, "rollout-0", "x", true}));
    tally.Refused(who + "hello as a coordinator", member.Say(Hello{"coordinator", "evil", {1}, "", {}, {}}));
    tally.Refused(who + "another run", member.Say(StatusRequest{}, "another"));
    tally.Refused(who + "a reply as a request", member.Say(Welcome{}));
  }
  Member reward(transport, run.coordinator(), Role::kReward, Role::kCoordinator);
  tally.Refused("a reward worker takes a rollout's name", reward.Say(Hello{"reward", "rollout-0", {1}, "tcp://x:1", {}, {}}));
  tally.Refused("a scored group that was never leased", reward.Say(Header(MakeGroupId(90, 1).value)));
}

void Malformed(Transport& transport, RealRun& run, Tally& tally) {
  Member member(transport, run.coordinator(), Role::kRollout, Role::kCoordinator);
  tally.Refused("no bytes", member.Try(""));
  tally.Refused("noise", member.Try(std::string(1000, '\xa5')));
  tally.Refused("another protocol", member.Try(Envelope(15, "", 99)));
  tally.Refused("kind 0", member.Try(Envelope(0, "")));
  tally.Refused("kind 99", member.Try(Envelope(99, "")));
  std::string leases;
  for (int i = 0; i < 600000; ++i) leases += std::string("\x1a\0", 2);
  tally.Refused("600,000 empty leases", member.Try(Envelope(kHeartbeatKind, leases)));
  std::string deep = "x";
  for (int i = 0; i < 120; ++i) deep = Field(1, deep);
  tally.Refused("nested 120 deep", member.Try(Envelope(kHeartbeatKind, deep)));
  Member big(transport, run.coordinator(), Role::kRollout, Role::kCoordinator);
  tally.Refused("5 MiB to the coordinator", big.Try(Envelope(kHeartbeatKind, std::string(size_t{5} << 20, 'x')), 1000));
}

void AtTheRewardWorker(Transport& transport, RealRun& run, Tally& tally) {
  Member rollout(transport, run.reward(), Role::kRollout, Role::kReward), trainer(transport, run.reward(), Role::kTrainer, Role::kReward);
  const TraceGroup group{MakeGroupId(1, 0), {"train", 0}, {1}, {1}, {}, "rollout-0"};
  tally.Refused("rollout fetches", rollout.Say(FetchGroup{{1}, "h"}));
  tally.Refused("trainer sends traces", trainer.Say(group));
  tally.Refused("trainer fetches what is not there", trainer.Say(FetchGroup{{12345}, "h"}));
  tally.Refused("another run's group", rollout.Say(group, "another"));
  tally.Refused("a row that does not exist", rollout.Say(TraceGroup{MakeGroupId(1, 0), {"train", 4000000}, {1}, {1}, {}, "rollout-0"}));
  tally.Refused("a data set that does not exist", rollout.Say(TraceGroup{MakeGroupId(1, 0), {"../../etc", 0}, {1}, {1}, {}, "rollout-0"}));
  tally.Refused("plan request", trainer.Say(PlanRequest{{1}, {5}, 1}));
  tally.Refused("status", rollout.Say(StatusRequest{}));
  Member bomb(transport, run.reward(), Role::kRollout, Role::kReward);
  tally.Refused("48 MiB that would be 192", bomb.Try(Envelope(kTraceGroupKind, Field(4, std::string(size_t{48} << 20, '\1'))), 10000));
  Member over(transport, run.reward(), Role::kRollout, Role::kReward);
  tally.Refused("70 MiB", over.Try(Envelope(kTraceGroupKind, std::string(size_t{70} << 20, 'x')), 1000));
}

// A message that was sent before is answered as before or refused; it never counts twice.
void Replays(Transport& transport, RealRun& run, Tally& tally) {
  Member worker(transport, run.coordinator(), Role::kRollout, Role::kCoordinator);
  const auto hello = [](uint64_t life) { return Hello{"rollout", "rollout-5", {life}, "", {}, {}}; };
  EXPECT_EQ(worker.Say(hello(1)), Outcome::kAccepted);
  EXPECT_EQ(worker.Say(hello(2)), Outcome::kAccepted);  // a new life takes the name
  tally.Refused("the earlier life's hello again", worker.Say(hello(1)));
  tally.Refused("the earlier life's heartbeat again", worker.Say(WorkerHeartbeat{"rollout-5", {1}, {}, {}}));
  tally.Refused("the earlier life's lease request again", worker.Say(LeaseRequest{"rollout-5", {1}, {0}, 1}));
  Member trainer(transport, run.coordinator(), Role::kTrainer, Role::kCoordinator);
  (void)trainer.Say(PlanRequest{{1}, {11}, 1});
  (void)trainer.Say(PlanRequest{{1}, {12}, 1});  // a new learner
  tally.Refused("the earlier learner's plan request again", trainer.Say(PlanRequest{{1}, {11}, 1}));
  tally.Refused("a vote for a plan that is none", trainer.Say(PlanVote{{77}, {1}, true, {}, ""}));
  tally.Refused("a step that was not planned", trainer.Say(StepDone{{{1}, {77}, {1}, {}}, {{1}, "m", "h"}}));
  tally.Refused("a version out of order", trainer.Say(VersionAnnounce{{{50}, "m", "h"}, {50}}));
  tally.Refused("a checkpoint of a step not done", trainer.Say(CheckpointDone{{50}, "x", "h"}));
  // One lease request twice, byte for byte: one lease.
  Member leaser(transport, run.coordinator(), Role::kRollout, Role::kCoordinator);
  EXPECT_EQ(leaser.Say(Hello{"rollout", "rollout-6", {1}, "", {}, {}}), Outcome::kAccepted);
  const std::string request = Encode({"attacked", 77, "rollout-6", LeaseRequest{"rollout-6", {1}, {0}, 1}});
  (void)leaser.Try(request);
  const nlohmann::json once = run.Status();
  (void)leaser.Try(request);
  (void)leaser.Try(request);
  const bool same = run.Status() == once;
  tally.Refused("a lease request replayed", same ? Outcome::kError : Outcome::kAccepted);
}

TEST(Members, MayDoOnlyWhatTheirRoleMay) {
  RealRun run;
  run.StartCoordinator();
  run.StartReward();
  auto transport = std::move(*MakeZmqTransport(run.keys()));
  Member good(*transport, run.coordinator(), Role::kRollout, Role::kCoordinator);
  ASSERT_EQ(good.Say(Hello{"rollout", "rollout-0", {7}, "", {}, {}}), Outcome::kAccepted);
  const nlohmann::json before = run.Status();
  Tally tally;
  const auto beat = [&] { EXPECT_EQ(good.Say(WorkerHeartbeat{"rollout-0", {7}, {}, {}}), Outcome::kAccepted); };
  WrongRoles(*transport, run, tally);
  beat();  // a worker that is silent for three seconds is taken for dead
  Malformed(*transport, run, tally);
  beat();
  AtTheRewardWorker(*transport, run, tally);
  beat();
  EXPECT_EQ(run.Status(), before) << "refused messages changed the books";
  Replays(*transport, run, tally);
  EXPECT_EQ(good.Say(WorkerHeartbeat{"rollout-0", {7}, {}, {}}), Outcome::kAccepted) << "the good worker goes on";
  EXPECT_TRUE(run.CoordinatorAlive() && run.RewardAlive());
  std::printf("candor-figure R11 members_refused=%d of %d tries bound=all of >= 40\n", tally.refused(), tally.tries());
  EXPECT_GE(tally.tries(), 40);
}

}  // namespace
}  // namespace candor::security
