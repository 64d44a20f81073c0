#include "weights/tcp_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/clock.h"
#include "core/socket_wait.h"

namespace candor {

namespace {

constexpr int kBacklog = 128;
constexpr size_t kSendFileStep = 1u << 20;

tl::unexpected<Error> Gone(const std::string& what) { return Fail(ErrorCode::kUnavailable, what); }
tl::unexpected<Error> GoneErrno(const std::string& what) { return Gone(what + ": " + std::strerror(errno)); }

// False when the time is up before the socket can be read or written.
bool Wait(int fd, short events, int64_t deadline_ms, int stall_ms) {
  return WaitForSocket(fd, events, std::min(deadline_ms, SteadyMs() + stall_ms));
}

Result<in_addr> Resolve(const std::string& host) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET, hints.ai_socktype = SOCK_STREAM;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0 || !found)
    return Fail(ErrorCode::kUnavailable, std::string("the host is not known: ") + ::gai_strerror(error), host);
  in_addr address = reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_addr;
  ::freeaddrinfo(found);
  return address;
}

}  // namespace

Result<HostPort> ParseEndpoint(const std::string& endpoint) {
  constexpr std::string_view kScheme = "tcp://";
  const size_t colon = endpoint.rfind(':');
  HostPort parsed;
  if (endpoint.starts_with(kScheme) && colon != std::string::npos && colon > kScheme.size()) {
    parsed.host = endpoint.substr(kScheme.size(), colon - kScheme.size());
    const char *begin = endpoint.data() + colon + 1, *end = endpoint.data() + endpoint.size();
    const auto [stop, bad] = std::from_chars(begin, end, parsed.port);
    if (bad == std::errc() && stop == end && begin != end) return parsed;
  }
  return Fail(ErrorCode::kInvalidInput, "\"" + endpoint + "\" is not tcp://HOST:PORT");
}

BlobSocket& BlobSocket::operator=(BlobSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
BlobSocket::~BlobSocket() {
  if (fd_ >= 0) ::close(fd_);
}

Result<BlobSocket> BlobSocket::Listen(const HostPort& address, uint16_t& port) {
  CANDOR_ASSIGN(const in_addr ip, Resolve(address.host));
  BlobSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET, name.sin_addr = ip, name.sin_port = htons(address.port);
  socklen_t size = sizeof name;
  if (::bind(socket.fd_, reinterpret_cast<sockaddr*>(&name), size) != 0 || ::listen(socket.fd_, kBacklog) != 0 ||
      ::getsockname(socket.fd_, reinterpret_cast<sockaddr*>(&name), &size) != 0)
    return Fail(ErrorCode::kIo, std::string("cannot listen: ") + std::strerror(errno), address.host + ":" + std::to_string(address.port));
  port = ntohs(name.sin_port);
  return socket;
}

Result<BlobSocket> BlobSocket::Connect(const HostPort& peer, int deadline_ms) {
  CANDOR_ASSIGN(const in_addr ip, Resolve(peer.host));
  BlobSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET, name.sin_addr = ip, name.sin_port = htons(peer.port);
  const int on = 1;
  ::setsockopt(socket.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const int error = ConnectSocket(socket.fd_, name, SteadyMs() + deadline_ms);
  if (error == ETIMEDOUT) return Gone("no connection in time");
  if (error != 0) return Gone(std::string("cannot connect: ") + std::strerror(error));
  return socket;
}

Result<BlobSocket> BlobSocket::Accept(int timeout_ms) const {
  if (!WaitReadable(timeout_ms)) return Gone("nobody connects");
  BlobSocket socket(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.fd_ < 0) return GoneErrno("cannot accept");
  const int on = 1;
  ::setsockopt(socket.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

bool BlobSocket::WaitReadable(int timeout_ms) const { return Wait(fd_, POLLIN, SteadyMs() + timeout_ms, timeout_ms); }

Status BlobSocket::ReceiveAll(char* data, size_t bytes, int64_t deadline_ms) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t got = ::recv(fd_, data + done, bytes - done, MSG_DONTWAIT);
    if (got == 0) return Gone("the peer closed the connection after " + std::to_string(done) + " of " + std::to_string(bytes) + " bytes");
    if (got > 0) {
      done += static_cast<size_t>(got);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return GoneErrno("the connection broke");
    if (!Wait(fd_, POLLIN, deadline_ms, INT32_MAX))
      return Gone("only " + std::to_string(done) + " of " + std::to_string(bytes) + " bytes came in time");
  }
  return {};
}

Status BlobSocket::SendAll(const char* data, size_t bytes, int64_t deadline_ms, int stall_ms) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t sent = ::send(fd_, data + done, bytes - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      done += static_cast<size_t>(sent);
      if (SteadyMs() >= deadline_ms && done < bytes) return Gone("the peer reads too slowly");
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return GoneErrno("the connection broke");
    if (!Wait(fd_, POLLOUT, deadline_ms, stall_ms)) return Gone("the peer reads too slowly");
  }
  return {};
}

Status BlobSocket::SendFile(int file, uint64_t at, uint64_t bytes, int64_t deadline_ms, int stall_ms) const {
  off_t offset = static_cast<off_t>(at);
  const off_t end = offset + static_cast<off_t>(bytes);
  while (offset < end) {
    if (!Wait(fd_, POLLOUT, deadline_ms, stall_ms)) return Gone("the peer reads too slowly");
    const ssize_t sent = ::sendfile(fd_, file, &offset, std::min<size_t>(static_cast<size_t>(end - offset), kSendFileStep));
    if (sent == 0) return Fail(ErrorCode::kIo, "the file of the blob ends early");
    if (sent < 0 && errno != EINTR && errno != EAGAIN) return GoneErrno("the connection broke");
  }
  return {};
}

void BlobSocket::Shutdown() const { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace candor
