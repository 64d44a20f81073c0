// The few socket calls that the blob server and its client share. Every wait has a deadline.
#pragma once
#include <cstdint>
#include <string>

#include "core/result.h"

namespace candor {

struct HostPort {
  std::string host;
  uint16_t port = 0;
};
// "tcp://host:port"
Result<HostPort> ParseEndpoint(const std::string& endpoint);

class BlobSocket {
 public:
  explicit BlobSocket(int fd = -1) : fd_(fd) {}
  BlobSocket(BlobSocket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  BlobSocket& operator=(BlobSocket&& other) noexcept;
  ~BlobSocket();
  int fd() const { return fd_; }

  static Result<BlobSocket> Listen(const HostPort& address, uint16_t& port);
  static Result<BlobSocket> Connect(const HostPort& peer, int deadline_ms);
  // The next connection of a listening socket, non-blocking.
  Result<BlobSocket> Accept(int timeout_ms) const;
  // Waits for one more byte or the end; false when the time is up.
  bool WaitReadable(int timeout_ms) const;
  // All of it before `deadline_ms` (steady clock); kUnavailable when the peer went away or was too slow, saying how far it got.
  Status ReceiveAll(char* data, size_t bytes, int64_t deadline_ms) const;
  // stall_ms: how long the peer may take nothing at all.
  Status SendAll(const char* data, size_t bytes, int64_t deadline_ms, int stall_ms) const;
  Status SendFile(int file, uint64_t at, uint64_t bytes, int64_t deadline_ms, int stall_ms) const;
  // Ends what other threads wait for on this socket.
  void Shutdown() const;

 private:
  int fd_;
};

}  // namespace candor
