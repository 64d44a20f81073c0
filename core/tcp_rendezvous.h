// How ranks that no launcher started find each other: rank 0 says where it listens, in a file or at a known port; the others come there,
// learn all addresses and connect to one another. Every connection begins with a code that only who knows the job's secret can make: it
// keeps strangers, other jobs and the ranks of an earlier incarnation out. It is no encryption; tensors travel in the clear, as MPI's and
// NCCL's do.
#pragma once
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

// An open socket that closes with it.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.Take()) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();
  int fd() const { return fd_; }
  int Take();

 private:
  int fd_ = -1;
};

struct TcpRendezvous {
  int rank = 0, size = 1;
  // "file:DIR": rank 0 writes DIR/rendezvous (0600, with a secret of its own); DIR is seen by all ranks. "tcp:HOST:PORT": rank 0 listens at
  // PORT of HOST.
  std::string place;
  std::string secret;       // tcp: known to all ranks; file: added to the file's own
  int deadline_ms = 60000;  // until all ranks are there
};

struct ConnectedRanks {
  std::vector<Socket> peers;      // one connection to every rank; none to this one
  Socket next_beat, before_beat;  // to rank + 1 and from rank - 1: signs of life
};
// kUnavailable when not all come in time (it names who is missing), kUnauthorized for a place that cannot be used.
Result<ConnectedRanks> ConnectRanks(const TcpRendezvous& rendezvous);

}  // namespace candor
