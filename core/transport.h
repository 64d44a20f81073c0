// Messages between processes. The only file that includes zmq.h is transport_zmq.cc; tests use the local backend. Everything travels over
// CURVE with keys made per run: an authentication handler is bound before any socket (without one libzmq accepts every key) and a process
// refuses to start when a stranger's key is accepted.
//
// Server: one ROUTER socket; every received message carries the authenticated identity of its sender. Client: one DEALER socket to one
// server, requests matched by sequence number, resent is the caller's business (requests are idempotent). Thread rule: a Server or Client
// belongs to one thread, always.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

// What a key may do. A rollout's key opens nothing of a trainer's.
enum class Role : uint8_t { kCoordinator = 0, kRollout = 1, kReward = 2, kTrainer = 3, kObserver = 4 };
const char* Name(Role role);

struct KeyPair {
  std::string public_key;  // Z85, 40 characters
  std::string secret_key;
};

// The keys of a run: RUN_DIR/keys/<role>.key (mode 0600, refused otherwise), made once by `candor run`.
struct RunKeys {
  std::vector<KeyPair> by_role;  // index: Role
  std::string run_token;         // for the HTTP API
};
Result<RunKeys> MakeRunKeys();
Status WriteRunKeys(const RunKeys& keys, const std::string& run_dir);
Result<RunKeys> ReadRunKeys(const std::string& run_dir);

struct IncomingMessage {
  std::string peer;  // routing id: where a reply goes
  Role role;         // authenticated by key
  std::string body;
};

class MessageServer {
 public:
  virtual ~MessageServer() = default;
  virtual std::string endpoint() const = 0;  // "tcp://host:port" as peers reach it
  // Waits up to timeout_ms (0: polls); nullopt when nothing came.
  virtual Result<std::optional<IncomingMessage>> Receive(int timeout_ms) = 0;
  // kUnavailable when the peer is gone (ROUTER_MANDATORY).
  virtual Status Send(const std::string& peer, std::string body) = 0;
};

class MessageClient {
 public:
  virtual ~MessageClient() = default;
  virtual Status Send(std::string body) = 0;
  virtual Result<std::optional<std::string>> Receive(int timeout_ms) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // `address`: "tcp://127.0.0.1:0" picks a port. Messages over max_message_bytes drop their sender.
  virtual Result<std::unique_ptr<MessageServer>> Listen(const std::string& address, Role self, size_t max_message_bytes) = 0;
  virtual Result<std::unique_ptr<MessageClient>> Connect(const std::string& endpoint, Role self, Role server, size_t max_message_bytes) = 0;
};

// CURVE over TCP with the run's keys. Starts the authentication handler's thread; fails when the stranger self-test is accepted.
Result<std::unique_ptr<Transport>> MakeZmqTransport(const RunKeys& keys);
// In one process, for tests: endpoints are names; can drop, double or delay messages by a seeded rule.
struct LocalFaults {
  uint64_t seed = 0;
  double drop = 0.0, duplicate = 0.0;
};
std::unique_ptr<Transport> MakeLocalTransport(LocalFaults faults = {});

}  // namespace candor
