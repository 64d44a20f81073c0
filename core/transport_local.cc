// Messages inside one process, for tests: the same interface and rules as the ZeroMQ transport (queues between a client and its server, an
// oversize message drops its sender, a reply to a peer that is gone is kUnavailable), with messages dropped or doubled by a seeded rule.
// Servers and clients may live on different threads.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "core/rng.h"
#include "core/transport.h"
#include "core/transport_keys.h"

namespace candor {

namespace {

struct ServerBox {
  Role role;
  size_t max_bytes;
  std::deque<IncomingMessage> inbox;
};
struct ClientBox {
  std::string server;  // endpoint
  Role role;
  size_t max_bytes;
  std::string peer;  // its present routing id; a new one after it was dropped
  std::deque<std::string> inbox;
};

// Every queue of the little network, under one lock. Servers and clients share it, and it must outlive the last of them.
struct Hub {
  explicit Hub(LocalFaults f) : faults(f) {}
  std::mutex mutex;
  std::condition_variable changed;
  LocalFaults faults;
  uint64_t next_id = 1, draws = 0;
  std::map<std::string, ServerBox> servers;
  std::map<uint64_t, ClientBox> clients;

  // How often this message arrives: 0, 1 or 2 times.
  int Copies() {
    double u = ToUnit(SplitMix64(SplitMix64(faults.seed) ^ ++draws));
    if (u < faults.drop) return 0;
    return u < faults.drop + faults.duplicate ? 2 : 1;
  }
};

template <typename Queue>
auto PopWithin(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Queue& queue, int timeout_ms)
    -> std::optional<typename Queue::value_type> {
  changed.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return !queue.empty(); });
  if (queue.empty()) return std::nullopt;
  auto item = std::move(queue.front());
  queue.pop_front();
  return item;
}

class LocalServer final : public MessageServer {
 public:
  LocalServer(std::shared_ptr<Hub> hub, std::string endpoint) : hub_(std::move(hub)), endpoint_(std::move(endpoint)) {}
  ~LocalServer() override {
    std::scoped_lock lock(hub_->mutex);
    hub_->servers.erase(endpoint_);
  }
  std::string endpoint() const override { return endpoint_; }
  Result<std::optional<IncomingMessage>> Receive(int timeout_ms) override {
    std::unique_lock lock(hub_->mutex);
    return PopWithin(lock, hub_->changed, hub_->servers.at(endpoint_).inbox, timeout_ms);
  }
  Status Send(const std::string& peer, std::string body) override {
    std::scoped_lock lock(hub_->mutex);
    for (auto& [id, client] : hub_->clients) {
      if (client.peer != peer || client.server != endpoint_) continue;
      if (body.size() > client.max_bytes) return {};  // the peer would drop it
      for (int copies = hub_->Copies(); copies > 0; --copies) client.inbox.push_back(body);
      hub_->changed.notify_all();
      return {};
    }
    return Fail(ErrorCode::kUnavailable, "the peer is gone", endpoint_);
  }

 private:
  std::shared_ptr<Hub> hub_;
  std::string endpoint_;
};

class LocalClient final : public MessageClient {
 public:
  LocalClient(std::shared_ptr<Hub> hub, uint64_t id) : hub_(std::move(hub)), id_(id) {}
  ~LocalClient() override {
    std::scoped_lock lock(hub_->mutex);
    hub_->clients.erase(id_);
  }
  Status Send(std::string body) override {
    std::scoped_lock lock(hub_->mutex);
    ClientBox& self = hub_->clients.at(id_);
    if (body.size() > self.max_bytes)
      return Fail(ErrorCode::kInvalidInput, "the message is larger than this connection allows", self.server);
    auto server = hub_->servers.find(self.server);
    if (server == hub_->servers.end() || !MayConnect(self.role, server->second.role)) return {};  // like a TCP peer that is not there (yet)
    if (body.size() > server->second.max_bytes) {
      self.peer = "local-" + std::to_string(hub_->next_id++);  // dropped; the next message comes over a new connection
      return {};
    }
    for (int copies = hub_->Copies(); copies > 0; --copies) server->second.inbox.push_back({self.peer, self.role, body});
    hub_->changed.notify_all();
    return {};
  }
  Result<std::optional<std::string>> Receive(int timeout_ms) override {
    std::unique_lock lock(hub_->mutex);
    return PopWithin(lock, hub_->changed, hub_->clients.at(id_).inbox, timeout_ms);
  }

 private:
  std::shared_ptr<Hub> hub_;
  uint64_t id_;
};

class LocalTransport final : public Transport {
 public:
  explicit LocalTransport(LocalFaults faults) : hub_(std::make_shared<Hub>(faults)) {}
  Result<std::unique_ptr<MessageServer>> Listen(const std::string& address, Role self, size_t max_message_bytes) override {
    std::scoped_lock lock(hub_->mutex);
    std::string endpoint = address;
    if (endpoint.empty() || endpoint.ends_with(":0")) endpoint = "local://" + std::to_string(hub_->next_id++);
    if (!hub_->servers.emplace(endpoint, ServerBox{self, max_message_bytes, {}}).second)
      return Fail(ErrorCode::kUnavailable, "the address is in use", endpoint);
    return std::make_unique<LocalServer>(hub_, endpoint);
  }
  Result<std::unique_ptr<MessageClient>> Connect(const std::string& endpoint, Role self, Role, size_t max_message_bytes) override {
    std::scoped_lock lock(hub_->mutex);
    uint64_t id = hub_->next_id++;
    hub_->clients.emplace(id, ClientBox{endpoint, self, max_message_bytes, "local-" + std::to_string(id), {}});
    return std::make_unique<LocalClient>(hub_, id);
  }

 private:
  std::shared_ptr<Hub> hub_;  // shared with the servers and clients, which may outlive the transport
};

}  // namespace

std::unique_ptr<Transport> MakeLocalTransport(LocalFaults faults) { return std::make_unique<LocalTransport>(faults); }

}  // namespace candor
