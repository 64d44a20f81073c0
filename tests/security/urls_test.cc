// URLs of verifiers that lead where they should not, and servers that misbehave. No connection reaches the listener on loopback, and every
// reply is bounded.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "reward/verifiers/url_rules.h"
#include "tests/unit/reward/python_server.h"
#include "tests/unit/reward/testing.h"

namespace candor::security {
namespace {

using testing::Ask;
using testing::Row;

VerifierOptions Options(const std::string& url) {
  VerifierOptions options;
  options.name = "judge", options.url = url, options.kind = "http";
  options.timeout_s = 1.0;
  return options;
}

// Listens on a port of loopback and counts who comes.
class Canary {
 public:
  Canary() : fd_(::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    const int off = 0;
    ::setsockopt(fd_, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(fd_, 64), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = std::to_string(ntohs(address.sin6_port));
  }
  ~Canary() { ::close(fd_); }
  int Visitors() {
    int count = 0;
    for (int one; (one = ::accept(fd_, nullptr, nullptr)) >= 0; ++count) ::close(one);
    return count;
  }
  const std::string& port() const { return port_; }

 private:
  int fd_;
  std::string port_;
};

std::vector<std::string> Tricks(const std::string& port) {
  const std::string p = ":" + port + "/";
  return {"http://127.0.0.1" + p,
          "http://127.1" + p,
          "http://127.0.1" + p,
          "http://0x7f000001" + p,
          "http://0x7f.0.0.1" + p,
          "http://2130706433" + p,
          "http://017700000001" + p,
          "http://0177.0.0.1" + p,
          "http://0" + p,
          "http://0.0.0.0" + p,
          "http://[::]" + p,
          "http://[::1]" + p,
          "http://[0:0:0:0:0:0:0:1]" + p,
          "http://[::ffff:127.0.0.1]" + p,
          "http://[::ffff:7f00:1]" + p,
          "http://[::127.0.0.1]" + p,
          "http://[64:ff9b::7f00:1]" + p,
          "http://[2002:7f00:1::]" + p,
          "http://[fe80::1]" + p,
          "http://[fe80::1%25lo]" + p,
          "http://[fc00::1]" + p,
          "http://[ff02::1]" + p,
          "http://localhost" + p,
          "http://LOCALHOST" + p,
          "http://localhost." + p,
          "http://127.0.0.1." + p,
          "http://10.0.0.1" + p,
          "http://172.16.0.1" + p,
          "http://192.168.0.1" + p,
          "http://100.64.0.1" + p,
          "http://169.254.169.254/latest/meta-data/",
          "http://[::ffff:169.254.169.254]/",
          "http://2852039166/",
          "http://224.0.0.1" + p,
          "http://255.255.255.255" + p,
          "http://240.0.0.1" + p,
          "file:///etc/passwd",
          "gopher://127.0.0.1" + p,
          "ftp://127.0.0.1" + p,
          "dict://127.0.0.1" + p,
          "ldap://127.0.0.1" + p,
          "scp://127.0.0.1/x",
          "http://example.com@127.0.0.1" + p,
          "http://user:password@127.0.0.1" + p,
          "http://127.0.0.1\\@example.com/",
          "http://127.0.0.1 .example.com/",
          "http://example.com\r\nHost: x/",
          "http:///etc/passwd",
          "http://%31%32%37.0.0.1" + p,
          "http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1" + p,
          "HTTP://127.0.0.1" + p,
          "//127.0.0.1" + p,
          "http://127.0.0.1:99999/",
          "http://127.0.0.1#@example.com" + p,
          "http://127.0.0.1?@example.com" + p};
}

TEST(Urls, TricksReachNothing) {
  Canary canary;
  const std::vector<std::string> tricks = Tricks(canary.port());
  ::setenv("http_proxy", ("http://127.0.0.1:" + canary.port()).c_str(), 1);  // nor through a proxy of the environment
  const DataRow row = Row({"France"});
  int refused = 0;
  for (const std::string& url : tricks) {
    Result<std::unique_ptr<Verifier>> made = MakeVerifier(Options(url));
    const bool held = !made || (*made)->Grade(Ask(row, "France")).label == Label::kUnknown;
    EXPECT_TRUE(held && canary.Visitors() == 0) << url;
    refused += held;
  }
  ::unsetenv("http_proxy");
  std::printf("candor-figure R12 url_tricks=%zu of %zu tries bound=0 of >= 30\n", tricks.size() - static_cast<size_t>(refused),
              tricks.size());
  EXPECT_GE(tricks.size(), 30u);
}

TEST(Urls, WhatTheRecipeNamesIsReached) {
  Canary canary;
  const DataRow row = Row({"France"});
  const auto visits = [&](VerifierOptions options) {
    Result<std::unique_ptr<Verifier>> made = MakeVerifier(options);
    if (made) (void)(*made)->Grade(Ask(row, "France"));
    return canary.Visitors();
  };
  VerifierOptions options = Options("http://localhost:" + canary.port() + "/");
  options.timeout_s = 0.2;
  EXPECT_EQ(visits(options), 0);
  options.allow_hosts = {"LocalHost"};
  EXPECT_GE(visits(options), 1);
  options.allow_hosts = {"127.0.0.1"};  // another name for the same place is not allowed with it
  EXPECT_EQ(visits(options), 0);
  options.allow_hosts.clear(), options.allow_private = true;
  EXPECT_GE(visits(options), 1);
  options.url = "http://169.254.169.254/";
  EXPECT_FALSE(MakeVerifier(options).has_value()) << "private does not include the metadata service";
  EXPECT_TRUE(CheckUrl(options.url, {{"169.254.169.254"}, false}, "here").has_value()) << "but its address, named, is";
}

// What a name leads to is judged by the address that is connected to: a name which answered with a public address when it was checked and
// with loopback a moment later is refused then. "localhost" is such a name: nothing about it is an address.
TEST(Urls, ANameIsJudgedByTheAddressItLeadsTo) {
  ASSERT_TRUE(CheckUrl("http://localhost/", {}, "here").has_value());
  const Verdict verdict = (*MakeVerifier(Options("http://localhost:1/")))->Grade(Ask(Row({"France"}), "France"));
  EXPECT_NE(verdict.reason.find("not public"), std::string::npos) << verdict.reason;
}

TEST(Urls, AddressKinds) {
  const auto kind = [](const char* text) {
    sockaddr_in6 six{};
    sockaddr_in four{};
    if (::inet_pton(AF_INET6, text, &six.sin6_addr) == 1) return six.sin6_family = AF_INET6, KindOf(reinterpret_cast<sockaddr&>(six));
    EXPECT_EQ(::inet_pton(AF_INET, text, &four.sin_addr), 1) << text;
    return four.sin_family = AF_INET, KindOf(reinterpret_cast<sockaddr&>(four));
  };
  for (const char* open : {"1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255", "126.255.255.255", "128.0.0.0",
                           "2606:4700::1111", "::ffff:8.8.8.8"})
    EXPECT_EQ(kind(open), AddressKind::kPublic) << open;
  for (const char* mine : {"127.0.0.1", "127.255.255.255", "10.1.2.3", "172.31.255.255", "192.168.1.1", "100.127.255.255", "::1", "fd00::1",
                           "::ffff:10.0.0.1"})
    EXPECT_EQ(kind(mine), AddressKind::kPrivate) << mine;
  for (const char* never : {"0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::", "fe80::1", "ff02::1",
                            "2001:db8::1", "2001::1", "64:ff9b::a9fe:a9fe"})
    EXPECT_EQ(kind(never), AddressKind::kForbidden) << never;
}

// A server of bad manners; the path says which.
class BadServer : public testing::PythonServer {
 public:
  explicit BadServer(const testing::TempFolder& folder)
      : PythonServer(folder, "bad.py", R"(
import gzip, os, socketserver, time
class H(socketserver.BaseRequestHandler):
    def handle(self):
        what = self.request.recv(65536).split(b" ")[1].decode()
        send = self.request.sendall
        ok = b"HTTP/1.1 200 OK\r\n"
        try:
            if what == "/body": send(ok + b"Content-Length: 10737418240\r\n\r\n"); [send(b"x" * 65536) for _ in range(163840)]
            if what == "/endless": send(ok + b"\r\n"); [send(b"x" * 65536) for _ in range(163840)]
            if what == "/chunks": send(ok + b"Transfer-Encoding: chunked\r\n\r\n"); [send(b"10000\r\n" + b"x" * 65536 + b"\r\n") for _ in range(163840)]
            if what == "/slow": send(ok + b"Content-Length: 1000\r\n\r\n"); [(send(b"x"), time.sleep(0.2)) for _ in range(100)]
            if what == "/slowheader": [(send(b"H"), time.sleep(0.2)) for _ in range(100)]
            if what == "/silent": time.sleep(20)
            if what == "/gzip": b = gzip.compress(b"0" * (64 << 20)); send(ok + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(b) + b)
            if what == "/headers": send(ok); [send(b"X-%d: " % n + b"y" * 1000 + b"\r\n") for n in range(100000)]
            if what == "/longheader": send(ok + b"X: "); [send(b"y" * 65536) for _ in range(1000)]
            if what == "/continue": [send(b"HTTP/1.1 100 Continue\r\n\r\n") for _ in range(1000000)]
            if what == "/old": send(b"\x00 no header at all")
            if what == "/redirect": send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:" + open("PORT", "rb").read() + b"/hit\r\nContent-Length: 0\r\n\r\n")
            if what == "/redirectfile": send(b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
            if what == "/auth": send(b"HTTP/1.1 401 Who\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n")
            if what == "/upgrade": send(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + b"x" * 100)
            if what == "/hit": open("HIT", "w").close()
        except OSError: pass
class S(socketserver.ThreadingTCPServer): daemon_threads = True
s = S(("127.0.0.1", 0), H)
open("PORT.tmp", "w").write(str(s.server_address[1])); os.rename("PORT.tmp", "PORT")
s.serve_forever()
)") {}
};

TEST(Urls, BadServersAreBounded) {
  const testing::TempFolder folder;
  BadServer server(folder);
  ASSERT_FALSE(server.port.empty());
  const DataRow row = Row({"France"});
  for (const char* what : {"body", "endless", "chunks", "slow", "slowheader", "silent", "gzip", "headers", "longheader", "continue", "old",
                           "redirect", "redirectfile", "auth", "upgrade"}) {
    VerifierOptions options = Options("http://127.0.0.1:" + server.port + "/" + what);
    options.allow_hosts = {"127.0.0.1"};
    const auto start = std::chrono::steady_clock::now();
    const Verdict verdict = (*MakeVerifier(options))->Grade(Ask(row, "France"));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_EQ(verdict.label, Label::kUnknown) << what;
    EXPECT_LT(seconds, 3.0) << what << ": " << verdict.reason;
  }
  EXPECT_FALSE(std::ifstream(folder.path() + "/HIT").good()) << "a redirect was followed";
}

}  // namespace
}  // namespace candor::security
