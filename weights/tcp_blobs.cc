#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <list>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/thread.h"
#include "weights/blob_server.h"
#include "weights/delta.h"
#include "weights/tcp_socket.h"

namespace candor {

namespace {

static_assert(std::endian::native == std::endian::little);
constexpr std::string_view kMagic = "CNDRBLB1";
constexpr uint64_t kNotHere = ~uint64_t{0};
constexpr int kLookMs = 200;  // how soon an end of the server is noticed

struct Request {
  char magic[8];
  char hash[kHashDigits];
  uint32_t wait_ms;
};
static_assert(sizeof(Request) == 44);

// The name under which other hosts reach a server that listens everywhere.
std::string PublicHost(const std::string& bound) {
  char name[256] = "";
  if (bound != "0.0.0.0" || ::gethostname(name, sizeof name - 1) != 0) return bound;
  return name;
}

// What a relay with a broken memory would send: a test asks for it, to see that nobody takes it.
StoredBlob Damaged(const StoredBlob& blob) {
  std::string bytes = blob.memory ? blob.memory->substr(blob.at, blob.bytes) : blob.file->Read(blob.at, blob.bytes).value_or("");
  if (!bytes.empty()) bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  const size_t size = bytes.size();
  return {std::make_shared<const std::string>(std::move(bytes)), nullptr, 0, size};
}

class TcpServer final : public BlobServer {
 public:
  TcpServer(BlobStore& store, BlobSocket listener, std::string endpoint, BlobServerLimits limits)
      : store_(store), listener_(std::move(listener)), endpoint_(std::move(endpoint)), limits_(limits) {
    acceptor_ = NamedThread("blob-accept", [this] { Accept(); });
  }
  ~TcpServer() override {
    stop_ = true;
    store_.Close();
    acceptor_.Join();
    for (Connection& connection : connections_) connection.socket.Shutdown();
    connections_.clear();
  }
  const std::string& endpoint() const override { return endpoint_; }

 private:
  struct Connection {
    BlobSocket socket;
    std::atomic<bool> ended = false;
    NamedThread thread;  // last: it is joined before the socket closes
  };

  void Accept() {
    while (!stop_) {
      std::erase_if(connections_, [](const Connection& connection) { return connection.ended.load(); });
      if (!listener_.WaitReadable(kLookMs)) continue;
      Result<BlobSocket> socket = listener_.Accept(kLookMs);
      if (!socket) {  // no descriptor is left: the peer stays in the queue
        SystemClock::Get().SleepMs(kLookMs);
        continue;
      }
      if (connections_.size() >= static_cast<size_t>(limits_.connections)) {
        ++refused_;
        continue;
      }
      Connection& connection = connections_.emplace_back();
      connection.socket = std::move(*socket);
      connection.thread = NamedThread("blob-send", [this, &connection] {
        if (const Status served = Serve(connection.socket); !served) {
          if (!stop_) ++refused_;
          spdlog::debug("blobs: connection ended: {}", served.error().Message());
        }
        connection.socket.Shutdown();
        connection.ended = true;
      });
    }
  }

  // Until the peer is done (ok), or does what it may not.
  Status Serve(const BlobSocket& socket) {
    for (int64_t idle_since = SteadyMs();;) {
      if (stop_) return {};
      if (!socket.WaitReadable(kLookMs)) {
        if (SteadyMs() - idle_since > limits_.idle_ms) return Fail(ErrorCode::kUnavailable, "nothing was asked for too long");
        continue;
      }
      char end = 0;
      if (::recv(socket.fd(), &end, 1, MSG_PEEK | MSG_DONTWAIT) == 0) return {};
      Request request{};
      CANDOR_TRY(socket.ReceiveAll(reinterpret_cast<char*>(&request), sizeof request, SteadyMs() + limits_.request_ms));
      if (std::string_view(request.magic, sizeof request.magic) != kMagic) return Fail(ErrorCode::kInvalidInput, "this is no request");
      CANDOR_TRY(Answer(socket, request));
      idle_since = SteadyMs();
    }
  }

  Status Answer(const BlobSocket& socket, const Request& request) {
    const auto wait_ms = std::min<int64_t>(request.wait_ms, limits_.wait_ms);
    auto blob = store_.Find(std::string(request.hash, sizeof request.hash), static_cast<int>(wait_ms));
    if (blob && FaultPoint("weights.serve")) blob = Damaged(*blob);
    const uint64_t bytes = blob ? blob->bytes : kNotHere;
    const int64_t deadline_ms = SteadyMs() + limits_.stall_ms + (blob ? static_cast<int64_t>(bytes * 1000 / limits_.bytes_per_s) : 0);
    CANDOR_TRY(socket.SendAll(reinterpret_cast<const char*>(&bytes), sizeof bytes, deadline_ms, limits_.stall_ms));
    if (!blob) return {};
    if (blob->memory)
      CANDOR_TRY(socket.SendAll(blob->memory->data() + blob->at, bytes, deadline_ms, limits_.stall_ms));
    else
      CANDOR_TRY(socket.SendFile(blob->file->fd(), blob->at, bytes, deadline_ms, limits_.stall_ms));
    bytes_sent_ += bytes;
    return {};
  }

  BlobStore& store_;
  BlobSocket listener_;
  const std::string endpoint_;
  const BlobServerLimits limits_;
  std::atomic<bool> stop_ = false;
  std::list<Connection> connections_;  // the acceptor's, and after it the destructor's
  NamedThread acceptor_;
};

class TcpClient final : public BlobClient {
 public:
  explicit TcpClient(BlobSocket socket) : socket_(std::move(socket)) {}
  Result<std::string> Fetch(const std::string& hash, uint64_t bytes, int wait_ms, int deadline_ms) override {
    if (hash.size() != kHashDigits || bytes > kChunkContentMax) return Fail(ErrorCode::kInvalidInput, "there can be no such blob: " + hash);
    const int64_t end_ms = SteadyMs() + deadline_ms;
    Request request{};
    std::memcpy(request.magic, kMagic.data(), sizeof request.magic);
    std::memcpy(request.hash, hash.data(), sizeof request.hash);
    request.wait_ms = static_cast<uint32_t>(wait_ms);
    CANDOR_TRY(socket_.SendAll(reinterpret_cast<const char*>(&request), sizeof request, end_ms, deadline_ms));
    uint64_t said = 0;
    CANDOR_TRY(socket_.ReceiveAll(reinterpret_cast<char*>(&said), sizeof said, end_ms));
    if (said == kNotHere) return Fail(ErrorCode::kNotFound, "the peer does not have it");
    if (said != bytes)
      return Fail(ErrorCode::kInvalidInput, "the peer offers " + std::to_string(said) + " bytes instead of " + std::to_string(bytes));
    std::string blob(bytes, '\0');
    CANDOR_TRY(socket_.ReceiveAll(blob.data(), bytes, end_ms));
    if (HashHex(blob) != hash) return Fail(ErrorCode::kInvalidInput, "what the peer sent does not have its hash");
    return blob;
  }

 private:
  BlobSocket socket_;
};

}  // namespace

Result<std::unique_ptr<BlobServer>> ServeBlobsOverTcp(BlobStore& store, const std::string& address, BlobServerLimits limits) {
  CANDOR_ASSIGN(const HostPort parsed, ParseEndpoint(address));
  uint16_t port = 0;
  CANDOR_ASSIGN(BlobSocket listener, BlobSocket::Listen(parsed, port));
  return std::make_unique<TcpServer>(store, std::move(listener), "tcp://" + PublicHost(parsed.host) + ":" + std::to_string(port), limits);
}

Result<std::unique_ptr<BlobClient>> ConnectToBlobsOverTcp(const std::string& endpoint, int deadline_ms) {
  CANDOR_ASSIGN(const HostPort peer, ParseEndpoint(endpoint));
  CANDOR_ASSIGN(BlobSocket socket, BlobSocket::Connect(peer, deadline_ms));
  return std::make_unique<TcpClient>(std::move(socket));
}

}  // namespace candor
