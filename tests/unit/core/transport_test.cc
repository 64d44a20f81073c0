// Who may talk to whom: the right key is heard with its role, strangers and wrong roles are not, oversize messages drop their sender, and
// keys that others can read are refused.
#include "core/transport.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zmq.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace candor {
namespace {

constexpr size_t kSmall = 1000;
constexpr int kArriveMs = 5000;  // messages that must come
constexpr int kSilenceMs = 250;  // messages that must not

std::unique_ptr<Transport> NewZmq(const RunKeys& keys) {
  auto transport = MakeZmqTransport(keys);
  EXPECT_TRUE(transport.has_value()) << transport.error().Message();
  return transport ? std::move(*transport) : nullptr;
}

// Waits for the next message, or nullopt.
std::optional<IncomingMessage> Next(MessageServer& server, int timeout_ms) {
  auto message = server.Receive(timeout_ms);
  EXPECT_TRUE(message.has_value());
  return message ? *message : std::nullopt;
}

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "candor-keys-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(ZmqTransport, RightKeyIsHeardWithItsRoleAndAnswered) {
  RunKeys keys = *MakeRunKeys();
  auto transport = NewZmq(keys);
  auto server = *transport->Listen("tcp://127.0.0.1:0", Role::kCoordinator, kSmall);
  EXPECT_TRUE(server->endpoint().starts_with("tcp://127.0.0.1:"));
  EXPECT_FALSE(server->endpoint().ends_with(":0"));
  for (Role role : {Role::kRollout, Role::kReward, Role::kTrainer, Role::kObserver}) {
    auto client = *transport->Connect(server->endpoint(), role, Role::kCoordinator, kSmall);
    ASSERT_TRUE(client->Send(std::string("from ") + Name(role)));
    auto message = Next(*server, kArriveMs);
    ASSERT_TRUE(message.has_value()) << Name(role);
    EXPECT_EQ(message->role, role);
    EXPECT_EQ(message->body, std::string("from ") + Name(role));
    ASSERT_TRUE(server->Send(message->peer, std::string("\0answer", 7)));
    auto reply = client->Receive(kArriveMs);
    ASSERT_TRUE(reply.has_value() && reply->has_value());
    EXPECT_EQ(**reply, std::string("\0answer", 7));
  }
}

TEST(ZmqTransport, StrangersRunIsNotHeard) {
  RunKeys ours = *MakeRunKeys(), theirs = *MakeRunKeys();
  auto transport = NewZmq(ours);
  auto server = *transport->Listen("tcp://127.0.0.1:0", Role::kCoordinator, kSmall);
  // A stranger who knows our public keys (they are no secret) but has his own key pair.
  RunKeys mixed = theirs;
  mixed.by_role[0] = ours.by_role[0];
  auto stranger_transport = NewZmq(mixed);
  auto stranger = *stranger_transport->Connect(server->endpoint(), Role::kTrainer, Role::kCoordinator, kSmall);
  ASSERT_TRUE(stranger->Send("let me in"));
  EXPECT_FALSE(Next(*server, kSilenceMs).has_value());
}

TEST(ZmqTransport, NoSecurityIsNotHeard) {
  RunKeys keys = *MakeRunKeys();
  auto transport = NewZmq(keys);
  auto server = *transport->Listen("tcp://127.0.0.1:0", Role::kCoordinator, kSmall);
  void* context = zmq_ctx_new();
  void* plain = zmq_socket(context, ZMQ_DEALER);
  int zero = 0;
  zmq_setsockopt(plain, ZMQ_LINGER, &zero, sizeof zero);
  ASSERT_EQ(zmq_connect(plain, server->endpoint().c_str()), 0);
  zmq_send(plain, "hello", 5, ZMQ_DONTWAIT);
  EXPECT_FALSE(Next(*server, kSilenceMs).has_value());
  zmq_close(plain);
  zmq_ctx_term(context);
}

TEST(ZmqTransport, WrongRoleIsNotHeard) {
  RunKeys keys = *MakeRunKeys();
  auto transport = NewZmq(keys);
  auto reward = *transport->Listen("tcp://127.0.0.1:0", Role::kReward, kSmall);
  auto observer = *transport->Connect(reward->endpoint(), Role::kObserver, Role::kReward, kSmall);
  ASSERT_TRUE(observer->Send("give me the groups"));
  EXPECT_FALSE(Next(*reward, kSilenceMs).has_value());
  // A client that expects another role's server key does not get through either.
  auto confused = *transport->Connect(reward->endpoint(), Role::kRollout, Role::kCoordinator, kSmall);
  ASSERT_TRUE(confused->Send("lease"));
  EXPECT_FALSE(Next(*reward, kSilenceMs).has_value());
  auto rollout = *transport->Connect(reward->endpoint(), Role::kRollout, Role::kReward, kSmall);
  ASSERT_TRUE(rollout->Send("group"));
  EXPECT_TRUE(Next(*reward, kArriveMs).has_value());
}

TEST(ZmqTransport, OversizeMessageDropsItsSenderAndNobodyElse) {
  RunKeys keys = *MakeRunKeys();
  auto transport = NewZmq(keys);
  auto server = *transport->Listen("tcp://127.0.0.1:0", Role::kCoordinator, kSmall);
  auto good = *transport->Connect(server->endpoint(), Role::kRollout, Role::kCoordinator, kSmall);
  auto bad = *transport->Connect(server->endpoint(), Role::kReward, Role::kCoordinator, 1 << 20);
  ASSERT_TRUE(good->Send("small"));
  ASSERT_TRUE(bad->Send("small too"));
  std::string bad_peer;
  for (int i = 0; i < 2; ++i) {
    auto message = Next(*server, kArriveMs);
    ASSERT_TRUE(message.has_value());
    if (message->role == Role::kReward) bad_peer = message->peer;
  }
  ASSERT_TRUE(bad->Send(std::string(50 * kSmall, 'x')));
  EXPECT_FALSE(Next(*server, kSilenceMs).has_value());
  Status reply = server->Send(bad_peer, "are you there?");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kUnavailable);
  ASSERT_TRUE(good->Send(std::string(kSmall, 'y')));
  EXPECT_TRUE(Next(*server, kArriveMs).has_value());
  Status own_limit = good->Send(std::string(kSmall + 1, 'z'));
  ASSERT_FALSE(own_limit);
  EXPECT_EQ(own_limit.error().code, ErrorCode::kInvalidInput);
}

TEST(ZmqTransport, KeysMustBeFiveDifferentOnes) {
  RunKeys keys = *MakeRunKeys();
  keys.by_role[4] = keys.by_role[3];
  EXPECT_FALSE(MakeZmqTransport(keys).has_value());
}

TEST(ZmqTransport, BadAddressesAreErrors) {
  auto transport = NewZmq(*MakeRunKeys());
  EXPECT_FALSE(transport->Listen("nonsense", Role::kReward, kSmall).has_value());
  EXPECT_FALSE(transport->Connect("nonsense", Role::kRollout, Role::kReward, kSmall).has_value());
}

TEST(RunKeys, RoundTripAndModes) {
  Folder folder;
  RunKeys keys = *MakeRunKeys();
  ASSERT_TRUE(WriteRunKeys(keys, folder.path()));
  auto read = ReadRunKeys(folder.path());
  ASSERT_TRUE(read.has_value()) << read.error().Message();
  EXPECT_EQ(read->run_token, keys.run_token);
  for (size_t i = 0; i < keys.by_role.size(); ++i) EXPECT_EQ(read->by_role[i].secret_key, keys.by_role[i].secret_key);
  const std::string path = folder.path() + "/keys/trainer.key";
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  auto refused = ReadRunKeys(folder.path());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnauthorized);
  EXPECT_NE(refused.error().Message().find("trainer.key"), std::string::npos);
}

TEST(RunKeys, TornAndMissingFilesAreNamed) {
  Folder folder;
  EXPECT_EQ(ReadRunKeys(folder.path()).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(WriteRunKeys(*MakeRunKeys(), folder.path()));
  std::ofstream(folder.path() + "/keys/reward.key", std::ios::trunc) << "public abc\n";
  auto torn = ReadRunKeys(folder.path());
  ASSERT_FALSE(torn.has_value());
  EXPECT_EQ(torn.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(torn.error().where.find("reward.key"), std::string::npos);
}

TEST(LocalTransport, KeepsTheSameRules) {
  auto transport = MakeLocalTransport();
  auto server = *transport->Listen("coordinator", Role::kCoordinator, kSmall);
  auto client = *transport->Connect("coordinator", Role::kTrainer, Role::kCoordinator, 1 << 20);
  ASSERT_TRUE(client->Send("plan?"));
  auto first = Next(*server, 0);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->role, Role::kTrainer);
  ASSERT_TRUE(server->Send(first->peer, "soon"));
  EXPECT_EQ(**client->Receive(0), "soon");
  ASSERT_TRUE(client->Send(std::string(kSmall + 1, 'x')));
  EXPECT_FALSE(Next(*server, 0).has_value());
  EXPECT_EQ(server->Send(first->peer, "gone?").error().code, ErrorCode::kUnavailable);
}

TEST(LocalTransport, FaultsFollowTheSeed) {
  auto run = [](uint64_t seed) {
    auto transport = MakeLocalTransport({seed, 0.3, 0.3});
    auto server = *transport->Listen("s", Role::kReward, kSmall);
    auto client = *transport->Connect("s", Role::kRollout, Role::kReward, kSmall);
    std::string heard;
    for (char c = 'a'; c <= 'z'; ++c) EXPECT_TRUE(client->Send(std::string(1, c)));
    while (auto message = Next(*server, 0)) heard += message->body;
    return heard;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
  EXPECT_NE(run(1), "abcdefghijklmnopqrstuvwxyz");
}

}  // namespace
}  // namespace candor
