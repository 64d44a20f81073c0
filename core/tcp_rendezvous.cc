#include "core/tcp_rendezvous.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "core/clock.h"
#include "core/fs.h"
#include "core/socket_wait.h"

namespace candor {

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.Take();
  }
  return *this;
}
Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}
int Socket::Take() { return std::exchange(fd_, -1); }

namespace {

constexpr int kHelloMs = 5000;   // a connection that says nothing for that long is a stranger
constexpr int kCallMs = 10'000;  // then the file may name another host

// The first bytes of every connection. Fixed size, so that a stranger cannot make us allocate.
struct Hello {
  char magic[8] = {'c', 'a', 'n', 'd', 'o', 'r', '0', '1'};
  int32_t rank = 0, size = 0;
  int32_t channel = 0;  // 0: data, 1: signs of life
  int32_t port = 0;     // where the sender listens
  int32_t to_port = 0;  // where the receiver listens
  int32_t unused = 0;
  unsigned char mac[crypto_auth_BYTES] = {};  // over all above, with the secret
};
void Sign(const Hello& hello, const std::string& secret, unsigned char* mac) {
  unsigned char key[crypto_auth_KEYBYTES];
  ::crypto_generichash(key, sizeof key, reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), nullptr, 0);
  ::crypto_auth(mac, reinterpret_cast<const unsigned char*>(&hello), offsetof(Hello, mac), key);
  ::sodium_memzero(key, sizeof key);
}

struct Address {
  uint32_t ip = 0;  // network order
  int32_t port = 0;
};

class Meeting {
 public:
  explicit Meeting(const TcpRendezvous& r) : r_(r), end_ms_(clock_.SteadyMs() + r.deadline_ms), secret_(r.secret) {}

  Result<ConnectedRanks> Connect() {
    ranks_.peers.resize(static_cast<size_t>(r_.size));
    if (r_.size == 1) return std::move(ranks_);
    if (::sodium_init() < 0) return Fail(ErrorCode::kInternal, "libsodium cannot be used");
    CANDOR_TRY(Parse());
    CANDOR_TRY(Listen(r_.rank == 0 ? port_ : 0));
    CANDOR_TRY(r_.rank == 0 ? Gather() : Introduce());
    for (int peer = 1; peer < r_.rank; ++peer) CANDOR_TRY(Dial(peer, 0, ranks_.peers[static_cast<size_t>(peer)]));
    CANDOR_TRY(Dial((r_.rank + 1) % r_.size, 1, ranks_.next_beat));
    while (Missing() || ranks_.before_beat.fd() < 0) CANDOR_TRY(Accept());
    for (Socket* socket : {&ranks_.next_beat, &ranks_.before_beat}) SetUp(socket->fd());
    for (Socket& socket : ranks_.peers)
      if (socket.fd() >= 0) SetUp(socket.fd());
    std::error_code ignored;
    if (r_.rank == 0 && !file_.empty()) std::filesystem::remove(file_, ignored);
    return std::move(ranks_);
  }

 private:
  Status Parse() {
    if (r_.place.rfind("file:", 0) == 0) {
      file_ = r_.place.substr(5) + "/rendezvous";
      return {};
    }
    const size_t colon = r_.place.rfind(':');
    if (r_.place.rfind("tcp:", 0) == 0 && colon > 4) {
      host_ = r_.place.substr(4, colon - 4);
      port_ = std::atoi(r_.place.c_str() + colon + 1);
    }
    if (port_ <= 0 || port_ > 65535)
      return Fail(ErrorCode::kInvalidInput, "'" + r_.place + "' is not a place to meet", "rendezvous", "file:DIR or tcp:HOST:PORT");
    if (r_.secret.empty())
      return Fail(ErrorCode::kUnauthorized, "a tcp rendezvous needs a secret that all ranks know", r_.place,
                  "CANDOR_RENDEZVOUS_SECRET_FILE names a file of mode 0600; or meet at file:DIR");
    return {};
  }

  Status Listen(int port) {
    listener_ = Socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener_.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_port = htons(static_cast<uint16_t>(port)), address.sin_addr.s_addr = INADDR_ANY;
    socklen_t length = sizeof address;
    if (::bind(listener_.fd(), reinterpret_cast<sockaddr*>(&address), length) != 0 || ::listen(listener_.fd(), 256) != 0 ||
        ::getsockname(listener_.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
      return Fail(ErrorCode::kUnavailable, fmt::format("cannot listen at port {}: {}", port, std::strerror(errno)), r_.place,
                  "choose a free port");
    listening_port_ = ntohs(address.sin_port);
    return {};
  }

  // Rank 0: tells where it is, waits for everyone, and sends everyone all addresses.
  Status Gather() {
    addresses_.resize(static_cast<size_t>(r_.size));
    if (!file_.empty()) CANDOR_TRY(WriteMeetingFile());
    while (Missing()) CANDOR_TRY(Accept());
    for (int peer = 1; peer < r_.size; ++peer)
      CANDOR_TRY(Send(ranks_.peers[static_cast<size_t>(peer)].fd(), addresses_.data(), addresses_.size() * sizeof(Address)));
    return {};
  }
  Status WriteMeetingFile() {
    unsigned char random[16];
    ::randombytes_buf(random, sizeof random);
    std::string own;
    for (unsigned char byte : random) own += fmt::format("{:02x}", byte);
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    CANDOR_TRY(MakeFolders(std::filesystem::path(file_).parent_path().string()));
    const std::string temporary = file_ + ".new";
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    const int fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    const std::string text = fmt::format("{} {} {}\n", host, listening_port_, own);
    const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (fd >= 0) ::close(fd);
    if (!written || ::rename(temporary.c_str(), file_.c_str()) != 0)
      return Fail(ErrorCode::kIo, std::string("cannot write the meeting file: ") + std::strerror(errno), file_);
    secret_ = r_.secret + own;
    return {};
  }

  // Every other rank: comes to rank 0, again and again until it is let in (an old file may still name an earlier incarnation).
  Status Introduce() {
    std::string why = "rank 0 has not said where it is";
    while (clock_.SteadyMs() < end_ms_) {
      if (Result<Socket> socket = TryIntroduce()) {
        ranks_.peers[0] = std::move(*socket);
        return {};
      } else {
        why = socket.error().what;
        if (socket.error().code == ErrorCode::kUnauthorized) return Fail(socket.error());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return Fail(ErrorCode::kUnavailable, fmt::format("rank {} of {} met nobody within {} ms: {}", r_.rank, r_.size, r_.deadline_ms, why),
                r_.place, "start all ranks with one rendezvous and CANDOR_WORLD_SIZE");
  }
  Result<Socket> TryIntroduce() {
    std::string host = host_;
    int port = port_;
    if (!file_.empty()) {
      CANDOR_ASSIGN(const std::string text, ReadFile(file_));
      char name[256] = "", own[64] = "";
      if (std::sscanf(text.c_str(), "%255s %d %63s", name, &port, own) != 3) return Fail(ErrorCode::kUnavailable, "a torn meeting file");
      host = name, secret_ = r_.secret + own;
    }
    CANDOR_ASSIGN(const Address address, Resolve(host, port));
    addresses_.assign(static_cast<size_t>(r_.size), {});
    CANDOR_ASSIGN(Socket socket, Call(address, 0));
    const int wait_ms = static_cast<int>(std::max<int64_t>(1, end_ms_ - clock_.SteadyMs()));
    CANDOR_TRY(Receive(socket.fd(), addresses_.data(), addresses_.size() * sizeof(Address), wait_ms));
    addresses_[0] = address;
    for (Address& one : addresses_)  // who came to rank 0 from its own machine is there
      if ((ntohl(one.ip) >> 24) == 127) one.ip = address.ip;
    return socket;
  }

  static Result<Address> Resolve(const std::string& host, int port) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_family = AF_INET, hints.ai_socktype = SOCK_STREAM;
    if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0 || !found)
      return Fail(ErrorCode::kUnavailable, "the host '" + host + "' is not known here");
    const Address address{reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr.s_addr, port};
    ::freeaddrinfo(found);
    return address;
  }
  Result<Socket> Call(const Address& to, int channel) {
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_port = htons(static_cast<uint16_t>(to.port)), address.sin_addr.s_addr = to.ip;
    const int flags = ::fcntl(socket.fd(), F_GETFL);  // non-blocking until it is connected: a host that is gone answers to nothing
    ::fcntl(socket.fd(), F_SETFL, flags | O_NONBLOCK);
    const int error = ConnectSocket(socket.fd(), address, std::min(end_ms_, clock_.SteadyMs() + kCallMs));
    ::fcntl(socket.fd(), F_SETFL, flags);
    if (error != 0) return Fail(ErrorCode::kUnavailable, fmt::format("nobody answers at port {}: {}", to.port, std::strerror(error)));
    Hello hello;
    hello.rank = r_.rank, hello.size = r_.size, hello.channel = channel, hello.port = listening_port_;
    hello.to_port = to.port;
    Sign(hello, secret_, hello.mac);
    CANDOR_TRY(Send(socket.fd(), &hello, sizeof hello));
    return socket;
  }
  Status Dial(int peer, int channel, Socket& into) {
    Result<Socket> socket = Call(addresses_[static_cast<size_t>(peer)], channel);
    if (!socket) return Fail(ErrorCode::kUnavailable, fmt::format("rank {} cannot be reached: {}", peer, socket.error().what), r_.place);
    into = std::move(*socket);
    return {};
  }

  bool Missing() const {
    for (int peer = 0; peer < r_.size; ++peer)
      if (peer > r_.rank && ranks_.peers[static_cast<size_t>(peer)].fd() < 0) return true;
    return false;
  }
  std::string MissingRanks() const {
    std::string text;
    for (int peer = r_.rank + 1; peer < r_.size; ++peer)
      if (ranks_.peers[static_cast<size_t>(peer)].fd() < 0) text += fmt::format("{}{}", text.empty() ? "" : ", ", peer);
    return text.empty() ? std::to_string((r_.rank + r_.size - 1) % r_.size) : text;
  }
  // Takes one connection; strangers are sent away.
  Status Accept() {
    if (!WaitForSocket(listener_.fd(), POLLIN, end_ms_))
      return Fail(ErrorCode::kUnavailable,
                  fmt::format("rank {} of {} still waits for rank {} after {} ms", r_.rank, r_.size, MissingRanks(), r_.deadline_ms),
                  r_.place, "start all ranks with one rendezvous and CANDOR_WORLD_SIZE");
    sockaddr_in from{};
    socklen_t length = sizeof from;
    Socket socket(::accept4(listener_.fd(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_CLOEXEC));
    Hello hello, want;
    if (socket.fd() < 0 || !Receive(socket.fd(), &hello, sizeof hello, kHelloMs)) return {};
    Sign(hello, secret_, want.mac);
    if (std::memcmp(hello.magic, want.magic, sizeof want.magic) != 0 || hello.to_port != listening_port_ ||
        ::sodium_memcmp(hello.mac, want.mac, sizeof want.mac) != 0)
      return {};
    if (hello.size != r_.size || hello.rank < 0 || hello.rank >= r_.size)
      return Fail(ErrorCode::kInvalidInput, fmt::format("rank {} of {} came to a job of {}", hello.rank, hello.size, r_.size), r_.place,
                  "give every rank the same CANDOR_WORLD_SIZE");
    if (hello.channel == 1) {
      ranks_.before_beat = std::move(socket);
      return {};
    }
    if (r_.rank == 0) addresses_[static_cast<size_t>(hello.rank)] = {from.sin_addr.s_addr, hello.port};
    ranks_.peers[static_cast<size_t>(hello.rank)] = std::move(socket);
    return {};
  }

  static Status Send(int fd, const void* data, size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t sent = ::send(fd, at, bytes, MSG_NOSIGNAL);
      if (sent <= 0) return Fail(ErrorCode::kUnavailable, std::string("the connection ended: ") + std::strerror(errno));
      at += sent, bytes -= static_cast<size_t>(sent);
    }
    return {};
  }
  Status Receive(int fd, void* data, size_t bytes, int wait_ms) {
    const int64_t end_ms = clock_.SteadyMs() + wait_ms;
    for (char* at = static_cast<char*>(data); bytes > 0;) {
      if (!WaitForSocket(fd, POLLIN, end_ms)) return Fail(ErrorCode::kUnavailable, "nothing came in time");
      const ssize_t got = ::recv(fd, at, bytes, 0);
      if (got <= 0) return Fail(ErrorCode::kUnavailable, "rank 0 closed the connection: another job or an earlier incarnation?");
      at += got, bytes -= static_cast<size_t>(got);
    }
    return {};
  }
  static void SetUp(int fd) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  }

  const TcpRendezvous& r_;
  const SystemClock clock_;
  const int64_t end_ms_;
  std::string secret_, file_, host_;
  int port_ = 0, listening_port_ = 0;
  Socket listener_;
  std::vector<Address> addresses_;
  ConnectedRanks ranks_;
};

}  // namespace

Result<ConnectedRanks> ConnectRanks(const TcpRendezvous& rendezvous) { return Meeting(rendezvous).Connect(); }

}  // namespace candor
