// ZeroMQ with CURVE. One context and one authentication handler (ZAP) per Transport; the handler is bound before any other socket exists,
// because libzmq without one accepts every key. It maps the client's public key to its role and refuses roles that have no business with
// the server's role, which the ZAP domain names. At start a stranger's key must be refused and our own accepted, else there is no
// transport.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>

#include "core/check.h"
#include "core/fault_point.h"
#include "core/launch.h"
#include "core/thread.h"
#include "core/transport.h"
#include "core/transport_keys.h"

namespace candor {

namespace {

constexpr size_t kKeyChars = 40;
// A peer that vanished without closing its connection (power, network) is noticed by the kernel: probes when nothing is said, and a bound
// on how long what was sent may stay unanswered. Not by libzmq's own heartbeats: their timers are looked through one by one at every
// message, so that a coordinator with thousands of workers would do little else.
constexpr int kProbeAfterS = 5, kProbeEveryS = 2, kProbesMax = 3;
constexpr int kUnansweredMs = 10000;  // generous: an overloaded host is not a dead one
constexpr int kHandshakeMs = 5000;    // a connection that does not finish its handshake is closed
constexpr int kReconnectMs = 100, kReconnectMaxMs = 2000;
constexpr int kQueuedMessagesMax = 1024;  // per peer; beyond it Send says kUnavailable
constexpr int64_t kCurveOverhead = 64;    // a CURVE frame is a little larger than its message
constexpr int kSelfTestMs = 10000;

tl::unexpected<Error> ZmqError(const std::string& what, const std::string& where) {
  return Fail(ErrorCode::kIo, fmt::format("{}: {}", what, zmq_strerror(zmq_errno())), where);
}

class Socket {
 public:
  Socket(void* context, int type) : handle_(zmq_socket(context, type)) {
    if (handle_) Set(ZMQ_LINGER, 0);
  }
  ~Socket() {
    if (handle_) zmq_close(handle_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  void* get() const { return handle_; }
  void Set(int option, int value) { CANDOR_CHECK(zmq_setsockopt(handle_, option, &value, sizeof value) == 0, "zmq_setsockopt"); }
  void Set64(int option, int64_t value) { CANDOR_CHECK(zmq_setsockopt(handle_, option, &value, sizeof value) == 0, "zmq_setsockopt"); }
  bool SetText(int option, const std::string& text) { return zmq_setsockopt(handle_, option, text.data(), text.size()) == 0; }

 private:
  void* handle_;
};

// One received frame.
class Frame {
 public:
  Frame() { zmq_msg_init(&message_); }
  ~Frame() { zmq_msg_close(&message_); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  bool Receive(void* socket, int flags) { return zmq_msg_recv(&message_, socket, flags) >= 0; }
  bool more() const { return zmq_msg_more(&message_) != 0; }
  std::string text() { return {static_cast<const char*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)}; }
  const char* Property(const char* name) { return zmq_msg_gets(&message_, name); }

 private:
  zmq_msg_t message_;
};

// false: nothing to receive (time is up, interrupted by a signal).
Result<bool> WaitReadable(void* socket, int timeout_ms, const std::string& where) {
  zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
  int ready = zmq_poll(&item, 1, timeout_ms);
  if (ready < 0 && zmq_errno() != EINTR) return ZmqError("cannot wait for messages", where);
  return ready > 0;
}

std::string Decoded(const std::string& z85_key) {
  std::array<uint8_t, 32> bytes{};
  if (z85_key.size() != kKeyChars || !zmq_z85_decode(bytes.data(), z85_key.c_str())) return "";
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string DomainOf(Role server) { return std::string("candor/") + Name(server); }

// The context and its authentication handler. Shared by every socket of the transport, so that it ends after the last of them, whatever the
// order of destruction.
class Context {
 public:
  explicit Context(const RunKeys& keys) : keys_(keys), handle_(zmq_ctx_new()) {
    for (size_t i = 0; i < keys_.by_role.size(); ++i) role_of_key_.emplace(Decoded(keys_.by_role[i].public_key), static_cast<Role>(i));
  }
  ~Context() {
    closing_ = true;
    zmq_ctx_shutdown(handle_);  // ends the handler's wait
    handler_.Join();
    zmq_ctx_term(handle_);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Status StartHandler() {
    if (!zmq_has("curve")) return Fail(ErrorCode::kInternal, "this libzmq was built without CURVE", "libzmq", "install Debian's libzmq5");
    if (role_of_key_.size() != kRoleCount || role_of_key_.count(""))
      return Fail(ErrorCode::kInvalidInput, "the run's keys are not five different keys", "keys");
    if (FaultPoint("transport.zap_missing")) return {};        // the self-test must notice
    auto socket = std::make_shared<Socket>(handle_, ZMQ_REP);  // shared only because std::function must be copyable
    if (zmq_bind(socket->get(), "inproc://zeromq.zap.01") != 0) return ZmqError("cannot bind the authentication handler", "zap");
    handler_ = NamedThread("zap", [this, socket]() mutable {
      while (!FaultPoint("transport.zap_dies") && Answer(socket->get())) {
      }
      if (!closing_) {  // from here on libzmq would let everybody in
        spdlog::critical("the authentication handler ended: {}; this process ends with it", zmq_strerror(zmq_errno()));
        spdlog::default_logger()->flush();
        ::_exit(static_cast<int>(ExitCode::kFailed));
      }
      socket.reset();
    });
    return {};
  }
  void* handle() const { return handle_; }
  const KeyPair& key(Role role) const { return keys_.by_role[static_cast<size_t>(role)]; }
  uint64_t refused() const { return refused_.load(); }

 private:
  // One request of libzmq: version, request id, domain, address, identity, mechanism, credentials. False when the context ends.
  bool Answer(void* socket) {
    std::vector<std::string> frames;
    for (bool more = true; more;) {
      Frame frame;
      if (!frame.Receive(socket, 0)) return zmq_errno() == EINTR;
      frames.push_back(frame.text());
      more = frame.more();
    }
    frames.resize(std::max<size_t>(frames.size(), 7));
    std::optional<Role> role = RoleFor(frames[2], frames[5], frames[6]);
    if (!role) ++refused_;
    const std::string reply[6] = {
        "1.0", frames[1], role ? "200" : "400", role ? "OK" : "unknown key or wrong role", role ? Name(*role) : "", ""};
    for (int i = 0; i < 6; ++i)
      if (zmq_send(socket, reply[i].data(), reply[i].size(), i < 5 ? ZMQ_SNDMORE : 0) < 0) return zmq_errno() == EINTR;
    return true;
  }
  std::optional<Role> RoleFor(const std::string& domain, const std::string& mechanism, const std::string& key) const {
    auto found = role_of_key_.find(key);
    if (mechanism != "CURVE" || found == role_of_key_.end()) return std::nullopt;
    for (int i = 0; i < kRoleCount; ++i)
      if (domain == DomainOf(static_cast<Role>(i)) && MayConnect(found->second, static_cast<Role>(i))) return found->second;
    return std::nullopt;
  }

  const RunKeys keys_;
  void* const handle_;
  std::map<std::string, Role> role_of_key_;  // public key, 32 bytes
  std::atomic<uint64_t> refused_{0};
  std::atomic<bool> closing_{false};
  NamedThread handler_;
};

void SetCommon(Socket& socket, size_t max_message_bytes) {
  socket.Set64(ZMQ_MAXMSGSIZE, static_cast<int64_t>(max_message_bytes) + kCurveOverhead);
  socket.Set(ZMQ_TCP_KEEPALIVE, 1);
  socket.Set(ZMQ_TCP_KEEPALIVE_IDLE, kProbeAfterS);
  socket.Set(ZMQ_TCP_KEEPALIVE_INTVL, kProbeEveryS);
  socket.Set(ZMQ_TCP_KEEPALIVE_CNT, kProbesMax);
  socket.Set(ZMQ_TCP_MAXRT, kUnansweredMs);
  socket.Set(ZMQ_HANDSHAKE_IVL, kHandshakeMs);
  socket.Set(ZMQ_SNDHWM, kQueuedMessagesMax);
  socket.Set(ZMQ_RCVHWM, kQueuedMessagesMax);
}

// "tcp://0.0.0.0:5" is where we listen, not where peers reach us.
std::string Reachable(std::string endpoint) {
  for (const char* any : {"tcp://0.0.0.0:", "tcp://[::]:"}) {
    if (!endpoint.starts_with(any)) continue;
    char self[256] = "localhost";
    ::gethostname(self, sizeof self - 1);
    const std::string host = HostForPeers().empty() ? self : HostForPeers();
    return fmt::format("tcp://{}:{}", host, endpoint.substr(std::strlen(any)));
  }
  return endpoint;
}

class ZmqServer final : public MessageServer {
 public:
  ZmqServer(std::shared_ptr<Context> context, size_t max_bytes)
      : context_(std::move(context)), socket_(context_->handle(), ZMQ_ROUTER), max_bytes_(max_bytes) {}

  Status Bind(const std::string& address, Role self) {
    if (!socket_.get()) return ZmqError("cannot make a socket", address);
    SetCommon(socket_, max_bytes_);
    socket_.Set(ZMQ_ROUTER_MANDATORY, 1);
    socket_.Set(ZMQ_CURVE_SERVER, 1);
    bool keyed = socket_.SetText(ZMQ_CURVE_SECRETKEY, context_->key(self).secret_key) && socket_.SetText(ZMQ_ZAP_DOMAIN, DomainOf(self));
    if (!keyed) return ZmqError("the role's key was refused", Name(self));
    std::string bound = address.ends_with(":0") ? address.substr(0, address.size() - 1) + "*" : address;
    if (zmq_bind(socket_.get(), bound.c_str()) != 0) {
      int number = zmq_errno();
      return Fail(number == EADDRINUSE ? ErrorCode::kUnavailable : ErrorCode::kInvalidInput,
                  fmt::format("cannot listen: {}", zmq_strerror(number)), address, "use tcp://127.0.0.1:0 to pick a free port");
    }
    std::array<char, 512> text{};
    size_t length = text.size();
    if (zmq_getsockopt(socket_.get(), ZMQ_LAST_ENDPOINT, text.data(), &length) != 0)
      return ZmqError("cannot tell where we listen", address);
    endpoint_ = Reachable(text.data());
    return {};
  }
  std::string endpoint() const override { return endpoint_; }

  Result<std::optional<IncomingMessage>> Receive(int timeout_ms) override {
    CANDOR_ASSIGN(bool ready, WaitReadable(socket_.get(), timeout_ms, endpoint_));
    if (!ready) return std::nullopt;
    Frame peer, body;
    if (!peer.Receive(socket_.get(), ZMQ_DONTWAIT) || !peer.more() || !body.Receive(socket_.get(), ZMQ_DONTWAIT)) return std::nullopt;
    bool extra = body.more();
    for (bool more = extra; more;) {  // our messages have one frame; a longer one is nonsense and is dropped whole
      Frame rest;
      if (!rest.Receive(socket_.get(), ZMQ_DONTWAIT)) break;
      more = rest.more();
    }
    const char* user = body.Property("User-Id");
    std::optional<Role> role = user ? RoleFromName(user) : std::nullopt;
    if (extra || !role) return std::nullopt;
    return IncomingMessage{peer.text(), *role, body.text()};
  }

  Status Send(const std::string& peer, std::string body) override {
    if (body.size() > max_bytes_)
      return Fail(ErrorCode::kInvalidInput, fmt::format("a reply of {} bytes is over this server's {} bytes", body.size(), max_bytes_),
                  endpoint_);
    bool sent = zmq_send(socket_.get(), peer.data(), peer.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
                zmq_send(socket_.get(), body.data(), body.size(), ZMQ_DONTWAIT) >= 0;
    if (!sent) return Fail(ErrorCode::kUnavailable, fmt::format("the peer is gone: {}", zmq_strerror(zmq_errno())), endpoint_);
    return {};
  }

 private:
  std::shared_ptr<Context> context_;  // shared: it must outlive every socket
  Socket socket_;
  size_t max_bytes_;
  std::string endpoint_;
};

class ZmqClient final : public MessageClient {
 public:
  ZmqClient(std::shared_ptr<Context> context, size_t max_bytes)
      : context_(std::move(context)), socket_(context_->handle(), ZMQ_DEALER), max_bytes_(max_bytes) {}

  Status Open(const std::string& endpoint, const KeyPair& self, const std::string& server_public_key) {
    if (!socket_.get()) return ZmqError("cannot make a socket", endpoint);
    endpoint_ = endpoint;
    SetCommon(socket_, max_bytes_);
    socket_.Set(ZMQ_RECONNECT_IVL, kReconnectMs);
    socket_.Set(ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
    bool keyed = socket_.SetText(ZMQ_CURVE_SERVERKEY, server_public_key) && socket_.SetText(ZMQ_CURVE_PUBLICKEY, self.public_key) &&
                 socket_.SetText(ZMQ_CURVE_SECRETKEY, self.secret_key);
    if (!keyed) return ZmqError("the role's key was refused", endpoint);
    if (zmq_connect(socket_.get(), endpoint.c_str()) != 0)
      return Fail(ErrorCode::kInvalidInput, fmt::format("cannot connect: {}", zmq_strerror(zmq_errno())), endpoint,
                  "an endpoint looks like tcp://host:port");
    return {};
  }
  Status Send(std::string body) override {
    if (body.size() > max_bytes_)
      return Fail(ErrorCode::kInvalidInput,
                  fmt::format("a message of {} bytes is over this connection's {} bytes", body.size(), max_bytes_), endpoint_);
    if (zmq_send(socket_.get(), body.data(), body.size(), ZMQ_DONTWAIT) < 0)
      return Fail(ErrorCode::kUnavailable, fmt::format("cannot send: {}", zmq_strerror(zmq_errno())), endpoint_);
    return {};
  }
  Result<std::optional<std::string>> Receive(int timeout_ms) override {
    CANDOR_ASSIGN(bool ready, WaitReadable(socket_.get(), timeout_ms, endpoint_));
    Frame body;
    if (!ready || !body.Receive(socket_.get(), ZMQ_DONTWAIT)) return std::nullopt;
    bool extra = body.more();
    for (bool more = extra; more;) {
      Frame rest;
      if (!rest.Receive(socket_.get(), ZMQ_DONTWAIT)) break;
      more = rest.more();
    }
    if (extra) return std::nullopt;
    return body.text();
  }

 private:
  std::shared_ptr<Context> context_;  // shared: it must outlive every socket
  Socket socket_;
  size_t max_bytes_;
  std::string endpoint_;
};

class ZmqTransport final : public Transport {
 public:
  explicit ZmqTransport(std::shared_ptr<Context> context) : context_(std::move(context)) {}

  Result<std::unique_ptr<MessageServer>> Listen(const std::string& address, Role self, size_t max_message_bytes) override {
    auto server = std::make_unique<ZmqServer>(context_, max_message_bytes);
    CANDOR_TRY(server->Bind(address, self));
    return server;
  }
  Result<std::unique_ptr<MessageClient>> Connect(const std::string& endpoint, Role self, Role server, size_t max_message_bytes) override {
    auto client = std::make_unique<ZmqClient>(context_, max_message_bytes);
    CANDOR_TRY(client->Open(endpoint, context_->key(self), context_->key(server).public_key));
    return client;
  }

  // A stranger's key must be asked about and refused; an observer's must be let in, so that a deaf server does not pass for a safe one.
  Status SelfTest() {
    const std::string where = "authentication self-test";
    CANDOR_ASSIGN(auto server, Listen("tcp://127.0.0.1:0", Role::kCoordinator, 1024));
    CANDOR_ASSIGN(KeyPair stranger_key, MakeCurveKeyPair());
    ZmqClient stranger(context_, 1024);
    CANDOR_TRY(stranger.Open(server->endpoint(), stranger_key, context_->key(Role::kCoordinator).public_key));
    CANDOR_TRY(stranger.Send("stranger"));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kSelfTestMs);
    auto late = [&] { return std::chrono::steady_clock::now() >= deadline; };
    std::vector<std::string> heard;
    auto listen = [&](int timeout_ms) -> Status {
      CANDOR_ASSIGN(auto message, server->Receive(timeout_ms));
      if (message) heard.push_back(message->body);
      return {};
    };
    while (context_->refused() == 0 && heard.empty() && !late()) CANDOR_TRY(listen(5));
    CANDOR_ASSIGN(auto known, Connect(server->endpoint(), Role::kObserver, Role::kCoordinator, 1024));
    CANDOR_TRY(known->Send("known"));
    while (heard.empty() && !late()) CANDOR_TRY(listen(5));
    CANDOR_TRY(listen(5));
    if (context_->refused() == 0 || heard != std::vector<std::string>{"known"})
      return Fail(ErrorCode::kUnauthorized, "the transport let a stranger's key in, or kept a known one out", where,
                  "check the installed libzmq; this process will not listen");
    return {};
  }

 private:
  std::shared_ptr<Context> context_;  // shared with the sockets
};

}  // namespace

Result<KeyPair> MakeCurveKeyPair() {
  char public_key[kKeyChars + 1], secret_key[kKeyChars + 1];
  if (zmq_curve_keypair(public_key, secret_key) != 0) return ZmqError("cannot make a key pair", "libzmq");
  return KeyPair{public_key, secret_key};
}

std::string CurvePublicKey(const std::string& secret_key) {
  char public_key[kKeyChars + 1];
  if (secret_key.size() != kKeyChars || zmq_curve_public(public_key, secret_key.c_str()) != 0) return "";
  return public_key;
}

// Every peer is a descriptor, a stranger's for the five seconds that its handshake may take; the usual soft limit of 1024 is a thousand
// strangers who keep a ledger from opening its files.
static void RaiseFileLimit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

Result<std::unique_ptr<Transport>> MakeZmqTransport(const RunKeys& keys) {
  RaiseFileLimit();
  if (keys.by_role.size() != kRoleCount) return Fail(ErrorCode::kInvalidInput, "a run has one key pair for each role", "keys");
  auto context = std::make_shared<Context>(keys);
  CANDOR_TRY(context->StartHandler());
  auto transport = std::make_unique<ZmqTransport>(std::move(context));
  CANDOR_TRY(transport->SelfTest());
  return transport;
}

}  // namespace candor
