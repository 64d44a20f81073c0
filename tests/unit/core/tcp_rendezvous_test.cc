#include "core/tcp_rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "core/clock.h"

namespace candor {
namespace {

// A port that answers to nothing, as that of a machine that is gone: its queue is full and nobody takes from it.
class SilentPort {
 public:
  SilentPort() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET, address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    EXPECT_EQ(::bind(listener_.fd(), reinterpret_cast<sockaddr*>(&address_), size), 0);
    EXPECT_EQ(::listen(listener_.fd(), 0), 0);
    EXPECT_EQ(::getsockname(listener_.fd(), reinterpret_cast<sockaddr*>(&address_), &size), 0);
    for (int i = 0; i < 4; ++i) {
      waiting_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(waiting_.back().fd(), reinterpret_cast<sockaddr*>(&address_), size);
    }
  }
  int port() const { return ntohs(address_.sin_port); }

 private:
  Socket listener_;
  sockaddr_in address_{};
  std::vector<Socket> waiting_;
};

TEST(TcpRendezvous, GivesUpInTimeWhereAHostAnswersToNothing) {
  const SilentPort gone;
  const SystemClock clock;
  const int64_t begun = clock.SteadyMs();
  const auto ranks = ConnectRanks({1, 2, "tcp:127.0.0.1:" + std::to_string(gone.port()), "a secret of twenty letters", 1000});
  ASSERT_FALSE(ranks);
  EXPECT_EQ(ranks.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(ranks.error().Message(), testing::AllOf(testing::HasSubstr("rank 1 of 2 met nobody within 1000 ms"),
                                                      testing::HasSubstr("nobody answers at port " + std::to_string(gone.port()))));
  EXPECT_LT(clock.SteadyMs() - begun, 20'000);  // TCP itself takes more than two minutes
}

TEST(TcpRendezvous, SaysWhoIsMissing) {
  const auto ranks = ConnectRanks({0, 3, "file:" + testing::TempDir(), "", 200});
  ASSERT_FALSE(ranks);
  EXPECT_THAT(ranks.error().Message(), testing::HasSubstr("rank 0 of 3 still waits for rank 1, 2 after 200 ms"));
}

}  // namespace
}  // namespace candor
