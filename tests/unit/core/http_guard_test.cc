// Which Host a request may name: addresses and this machine's names, in no disguise.
#include "core/http_guard.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(HttpGuard, AddressesAndOwnNamesAreOurs) {
  for (const std::string host :
       {"127.0.0.1", "127.0.0.1:8080", "[::1]:80", "[::1]", "10.1.2.3", "localhost", "LocalHost:9", "login.example:443"})
    EXPECT_TRUE(IsOurHost(host, "Login.Example")) << host;
  for (const std::string host :
       {"", "attacker.test", "attacker.test:80", "127.0.0.1.attacker.test", "localhost.attacker.test", "[", "a:b:c", "127.1"})
    EXPECT_FALSE(IsOurHost(host, "login.example")) << host;
}

// Fuzzers' finds: the address was read up to a zero byte, and anything passed for a port.
TEST(HttpGuard, NeitherAZeroByteNorAPortHidesAName) {
  for (const std::string host : {"127.0.0.1:attacker.test", "[::1]:attacker.test", "localhost:8o", "localhost:80:x"})
    EXPECT_FALSE(IsOurHost(host, "")) << host;
  EXPECT_FALSE(IsOurHost(std::string("127.0.0.1\0attacker.test", 23), "127.0.0.1"));
  EXPECT_FALSE(IsOurHost(std::string("::1\0.attacker.test", 18), "127.0.0.1"));
}

}  // namespace
}  // namespace candor
