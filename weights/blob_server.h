// Serves a BlobStore to other processes, and asks such servers. Two wires with the same meaning: plain TCP (fast; nobody is authenticated,
// so whoever receives a blob holds it against a hash that came another way) and the run's encrypted transport.
//
// TCP: a request is 44 bytes: "CNDRBLB1", 32 hex digits, u32 milliseconds to wait for a blob that is not there yet. The answer is u64 bytes
// (all ones: not here) and the blob. Many requests may follow each other on a connection.
//
// The server bounds what strangers can cost: connections, the time of a request, the time of a slow reader; anything that is no request
// ends its connection.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/result.h"
#include "core/transport.h"
#include "weights/blob_store.h"

namespace candor {

struct BlobServerLimits {
  int connections = 256;            // more are closed at once
  int wait_ms = 3000;               // longest wait for a blob that is not there yet
  int request_ms = 5000;            // from a request's first byte to its last
  int idle_ms = 120000;             // between two requests
  int stall_ms = 10000;             // a reader that takes nothing for so long is cut off
  uint64_t bytes_per_s = 1u << 20;  // and one that is slower than this on the whole
};

class BlobServer {
 public:
  virtual ~BlobServer() = default;                     // ends its threads; closes the store
  virtual const std::string& endpoint() const = 0;     // "tcp://host:port"
  uint64_t bytes_sent() const { return bytes_sent_; }  // of blobs
  uint64_t refused() const { return refused_; }        // connections ended for what they did, or closed as too many

 protected:
  std::atomic<uint64_t> bytes_sent_ = 0, refused_ = 0;
};

// `address`: "tcp://127.0.0.1:0", or "tcp://0.0.0.0:0" for other hosts. The store outlives the server.
Result<std::unique_ptr<BlobServer>> ServeBlobsOverTcp(BlobStore& store, const std::string& address, BlobServerLimits limits = {});
// Over the run's transport, with the key of `self`. One thread answers all.
Result<std::unique_ptr<BlobServer>> ServeBlobsEncrypted(BlobStore& store, const std::string& address, Transport& transport, Role self);

class BlobClient {
 public:
  virtual ~BlobClient() = default;
  // Exactly `bytes` bytes that have the hash. kNotFound: the server has no such blob after wait_ms; kInvalidInput: other bytes;
  // kUnavailable: no answer within deadline_ms. After anything but kNotFound connect again.
  virtual Result<std::string> Fetch(const std::string& hash, uint64_t bytes, int wait_ms, int deadline_ms) = 0;
};
// A client belongs to one thread.
Result<std::unique_ptr<BlobClient>> ConnectToBlobsOverTcp(const std::string& endpoint, int deadline_ms);
Result<std::unique_ptr<BlobClient>> ConnectToBlobsEncrypted(const std::string& endpoint, Transport& transport, Role self, Role server);

}  // namespace candor
