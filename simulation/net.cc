#include "simulation/net.h"

#include <fmt/format.h>

namespace candor::sim {

namespace {
constexpr size_t kQueuedMax = 1024;  // as the real transport's, per peer
}  // namespace

class SimServer final : public MessageServer {
 public:
  SimServer(Net& net, Process& process, size_t max_bytes)
      : net_(net), process_(process), max_bytes_(max_bytes), endpoint_(fmt::format("sim://{}.{}", process.name, net.next_port_++)) {
    net_.servers_[endpoint_] = this;
  }
  ~SimServer() override { net_.servers_.erase(endpoint_); }
  std::string endpoint() const override { return endpoint_; }
  Result<std::optional<IncomingMessage>> Receive(int timeout_ms) override {
    Await(timeout_ms);
    if (inbox_.empty()) return std::nullopt;
    IncomingMessage message = std::move(inbox_.front());
    inbox_.pop_front();
    if (net_.watch.received) net_.watch.received(process_, message);
    return message;
  }
  Status Send(const std::string& peer, std::string body) override;
  void Arrive(IncomingMessage message) {
    if (message.body.size() > max_bytes_ || inbox_.size() >= kQueuedMax * 64) return;
    inbox_.push_back(std::move(message));
    if (waiter_) net_.scheduler_.Wake(*waiter_);
  }

 private:
  void Await(int timeout_ms) {
    if (!inbox_.empty() || timeout_ms <= 0) return;
    waiter_ = net_.scheduler_.current();
    net_.scheduler_.WaitUntil(net_.scheduler_.now() + timeout_ms);
    waiter_ = nullptr;
  }
  Net& net_;
  Process& process_;
  const size_t max_bytes_;
  const std::string endpoint_;
  std::deque<IncomingMessage> inbox_;
  Task* waiter_ = nullptr;
};

class SimClient final : public MessageClient {
 public:
  SimClient(Net& net, Process& process, Role self, std::string endpoint)
      : net_(net), process_(process), self_(self), endpoint_(std::move(endpoint)), id_(fmt::format("peer-{}", net.next_peer_++)) {
    net_.clients_[id_] = this;
  }
  ~SimClient() override { net_.clients_.erase(id_); }
  Status Send(std::string body) override {
    const std::string to = endpoint_.substr(6, endpoint_.rfind('.') - 6);
    net_.Post(process_.name, to,
              [net = &net_, from = process_.name, to, endpoint = endpoint_, id = id_, role = self_, body = std::move(body)] {
                auto server = net->servers_.find(endpoint);
                if (server == net->servers_.end()) return;
                if (net->watch.delivered) net->watch.delivered(from, to, body);
                server->second->Arrive({id, role, body});
              });
    return {};
  }
  Result<std::optional<std::string>> Receive(int timeout_ms) override {
    if (inbox_.empty() && timeout_ms > 0) {
      waiter_ = net_.scheduler_.current();
      net_.scheduler_.WaitUntil(net_.scheduler_.now() + timeout_ms);
      waiter_ = nullptr;
    }
    if (inbox_.empty()) return std::nullopt;
    std::string body = std::move(inbox_.front());
    inbox_.pop_front();
    return body;
  }
  const Process& process() const { return process_; }
  void Arrive(std::string body) {
    if (inbox_.size() >= kQueuedMax) return;
    inbox_.push_back(std::move(body));
    if (waiter_) net_.scheduler_.Wake(*waiter_);
  }

 private:
  Net& net_;
  Process& process_;
  const Role self_;
  const std::string endpoint_, id_;
  std::deque<std::string> inbox_;
  Task* waiter_ = nullptr;
};

Status SimServer::Send(const std::string& peer, std::string body) {
  auto client = net_.clients_.find(peer);
  if (client == net_.clients_.end()) return Fail(ErrorCode::kUnavailable, "the peer is gone", peer);
  if (net_.watch.replied) net_.watch.replied(process_, peer, body);
  const std::string to = client->second->process().name;
  net_.Post(process_.name, to, [net = &net_, from = process_.name, to, peer, body = std::move(body)] {
    auto at = net->clients_.find(peer);
    if (at == net->clients_.end()) return;
    if (net->watch.delivered) net->watch.delivered(from, to, body);
    at->second->Arrive(body);
  });
  return {};
}

namespace {
class SimTransport final : public Transport {
 public:
  SimTransport(Net& net, Process& process) : net_(net), process_(process) {}
  Result<std::unique_ptr<MessageServer>> Listen(const std::string&, Role, size_t max_message_bytes) override {
    return std::make_unique<SimServer>(net_, process_, max_message_bytes);
  }
  Result<std::unique_ptr<MessageClient>> Connect(const std::string& endpoint, Role self, Role, size_t) override {
    if (!endpoint.starts_with("sim://")) return Fail(ErrorCode::kInvalidInput, "no simulated endpoint", endpoint);
    return std::make_unique<SimClient>(net_, process_, self, endpoint);
  }

 private:
  Net& net_;
  Process& process_;
};
}  // namespace

std::unique_ptr<Transport> Net::TransportOf(Process& process) { return std::make_unique<SimTransport>(*this, process); }

void Net::Heal() {
  faults = {};
  cuts_.clear();
}

bool Net::IsCut(const std::string& from, const std::string& to) const {
  auto names = [](const std::string& pattern, const std::string& name) { return pattern == "*" || pattern == name; };
  for (const CutLine& cut : cuts_)
    if (scheduler_.now() < cut.until_ms && names(cut.from, from) && names(cut.to, to)) return true;
  return false;
}

void Net::Post(const std::string& from, const std::string& to, std::function<void()> deliver) {
  ++messages_;
  if (IsCut(from, to) || dice_.Chance(faults.lose)) return;
  const int copies = dice_.Chance(faults.duplicate) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    const int64_t takes = dice_.Chance(faults.delay) ? dice_.Between(5, faults.delay_max_ms) : dice_.Between(0, 4);
    scheduler_.At(scheduler_.now() + takes, deliver);
  }
}

}  // namespace candor::sim
