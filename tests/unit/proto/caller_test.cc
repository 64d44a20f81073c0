// A call finds its own reply among late and doubled ones, asks again over a lossy wire, passes errors on, and gives up with the name of
// what it waited for.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "core/thread.h"
#include "core/transport.h"
#include "proto/messages.h"

namespace candor {
namespace {

// Answers every GroupFailed with an Ack whose reason repeats the group, and StatusRequest with an error.
class Echo {
 public:
  Echo(Transport& transport, int replies)
      : server_(*transport.Listen("echo", Role::kCoordinator, kMaxControlBytes)), thread_("echo", [this, replies] { Run(replies); }) {}
  ~Echo() {
    stop_ = true;
    thread_.Join();
  }
  int heard() const { return heard_; }

 private:
  void Run(int replies) {
    while (!stop_) {
      auto incoming = server_->Receive(5);
      if (!incoming || !*incoming) continue;
      ++heard_;
      auto message = Decode((*incoming)->body);
      if (!message) continue;
      MessageBody reply = Error{ErrorCode::kUnauthorized, "not you", "", "", false};
      if (auto* failed = std::get_if<GroupFailed>(&message->body)) reply = Ack{true, ToString(failed->group), {}, {}, false};
      for (int i = 0; i < replies; ++i) (void)server_->Send((*incoming)->peer, Encode({"run", message->sequence, "echo", reply}));
    }
  }
  std::unique_ptr<MessageServer> server_;
  std::atomic<bool> stop_{false};
  std::atomic<int> heard_{0};
  NamedThread thread_;
};

TEST(Caller, DoubledRepliesAreSkipped) {
  auto transport = MakeLocalTransport();
  Echo echo(*transport, 2);
  auto client = *transport->Connect("echo", Role::kRollout, Role::kCoordinator, kMaxControlBytes);
  Caller caller(*client, "run", "me");
  for (uint64_t id = 1; id < 20; ++id) {
    auto ack = caller.Ask<Ack>(GroupFailed{{id}, "me", "", false}, "ack", 5000);
    ASSERT_TRUE(ack.has_value()) << ack.error().Message();
    EXPECT_EQ(ack->reason, std::to_string(id));
  }
}

TEST(Caller, LossyWireIsAskedAgain) {
  auto transport = MakeLocalTransport({3, 0.5, 0.2});
  Echo echo(*transport, 1);
  auto client = *transport->Connect("echo", Role::kRollout, Role::kCoordinator, kMaxControlBytes);
  Caller caller(*client, "run", "me");
  for (uint64_t id = 1; id < 20; ++id) {
    auto ack = caller.Ask<Ack>(GroupFailed{{id}, "me", "", false}, "ack", 20000, 2);
    ASSERT_TRUE(ack.has_value()) << ack.error().Message();
    EXPECT_EQ(ack->reason, std::to_string(id));
  }
  EXPECT_GT(echo.heard(), 19);
}

TEST(Caller, ErrorsAndSilenceAreNamed) {
  auto transport = MakeLocalTransport();
  auto client = *transport->Connect("echo", Role::kRollout, Role::kCoordinator, kMaxControlBytes);
  Caller caller(*client, "run", "me");
  auto silence = caller.Ask<Ack>(StatusRequest{}, "the status", 30, 10);
  ASSERT_FALSE(silence.has_value());
  EXPECT_EQ(silence.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(silence.error().what.find("the status"), std::string::npos);
  Echo echo(*transport, 1);
  auto refused = caller.Ask<Ack>(StatusRequest{}, "the status", 5000);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnauthorized);
  auto wrong = caller.Ask<Welcome>(GroupFailed{{1}, "me", "", false}, "a welcome", 5000);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code, ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace candor
