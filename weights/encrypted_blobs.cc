// Blobs over the run's transport. A request is 32 hex digits and u32 milliseconds to wait; the answer repeats the digits, so that a late
// one is told from the next, then "+" and the blob, or "-".
#include <cstring>
#include <deque>

#include "core/clock.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/thread.h"
#include "weights/blob_server.h"
#include "weights/delta.h"

namespace candor {

namespace {

constexpr size_t kRequestBytes = kHashDigits + sizeof(uint32_t);
constexpr size_t kHandshakeBytes = 4096;  // the wire's own messages count against its limit too
constexpr int kLookMs = 5;                // how soon a blob that somebody waits for is sent
constexpr size_t kWaitingMax = 1024;
constexpr int kWaitMs = 3000;

class EncryptedServer final : public BlobServer {
 public:
  EncryptedServer(BlobStore& store, std::unique_ptr<MessageServer> server)
      : store_(store), server_(std::move(server)), endpoint_(server_->endpoint()) {
    thread_ = NamedThread("blob-server", [this] { Serve(); });
  }
  ~EncryptedServer() override {
    stop_ = true;
    store_.Close();
    thread_.Join();
  }
  const std::string& endpoint() const override { return endpoint_; }

 private:
  struct Waiting {
    std::string peer, hash;
    int64_t until_ms = 0;
  };

  void Serve() {
    while (!stop_) {
      auto incoming = server_->Receive(kLookMs);
      if (!incoming) LogError(incoming.error(), "blobs");
      if (incoming && *incoming) Take(**incoming);
      for (size_t i = waiting_.size(); i > 0; --i) {
        Waiting waiting = std::move(waiting_.front());
        waiting_.pop_front();
        if (!Answer(waiting)) waiting_.push_back(std::move(waiting));
      }
    }
  }

  void Take(const IncomingMessage& message) {
    if (message.body.size() != kRequestBytes || waiting_.size() >= kWaitingMax) {
      ++refused_;
      return;
    }
    uint32_t wait_ms = 0;
    std::memcpy(&wait_ms, message.body.data() + kHashDigits, sizeof wait_ms);
    waiting_.push_back({message.peer, message.body.substr(0, kHashDigits), SteadyMs() + std::min<int64_t>(wait_ms, kWaitMs)});
  }

  // False: not yet.
  bool Answer(const Waiting& waiting) {
    const auto blob = store_.Find(waiting.hash, 0);
    if (!blob && SteadyMs() < waiting.until_ms) return false;
    std::string reply = waiting.hash + (blob ? "+" : "-");
    if (blob && blob->memory) reply.append(*blob->memory, blob->at, blob->bytes);
    if (blob && !blob->memory) {
      const auto bytes = blob->file->Read(blob->at, blob->bytes);
      if (!bytes) LogError(bytes.error(), "blob " + waiting.hash);
      reply = bytes ? reply + *bytes : waiting.hash + "-";
    }
    if (const Status sent = server_->Send(waiting.peer, std::move(reply)); sent && blob) bytes_sent_ += blob->bytes;
    return true;
  }

  BlobStore& store_;
  std::unique_ptr<MessageServer> server_;  // the thread's
  const std::string endpoint_;
  std::deque<Waiting> waiting_;
  std::atomic<bool> stop_ = false;
  NamedThread thread_;
};

class EncryptedClient final : public BlobClient {
 public:
  explicit EncryptedClient(std::unique_ptr<MessageClient> client) : client_(std::move(client)) {}
  Result<std::string> Fetch(const std::string& hash, uint64_t bytes, int wait_ms, int deadline_ms) override {
    const auto wait = static_cast<uint32_t>(wait_ms);
    CANDOR_TRY(client_->Send(hash + std::string(reinterpret_cast<const char*>(&wait), sizeof wait)));
    for (const int64_t end_ms = SteadyMs() + deadline_ms;;) {
      const int64_t left_ms = end_ms - SteadyMs();
      if (left_ms <= 0) return Fail(ErrorCode::kUnavailable, "no answer in time");
      CANDOR_ASSIGN(auto reply, client_->Receive(static_cast<int>(left_ms)));
      if (!reply || reply->size() <= kHashDigits || reply->compare(0, kHashDigits, hash) != 0) continue;
      if ((*reply)[kHashDigits] != '+') return Fail(ErrorCode::kNotFound, "the peer does not have it");
      std::string blob = reply->substr(kHashDigits + 1);
      if (blob.size() != bytes || HashHex(blob) != hash) return Fail(ErrorCode::kInvalidInput, "what the peer sent does not have its hash");
      return blob;
    }
  }

 private:
  std::unique_ptr<MessageClient> client_;
};

}  // namespace

Result<std::unique_ptr<BlobServer>> ServeBlobsEncrypted(BlobStore& store, const std::string& address, Transport& transport, Role self) {
  // One limit holds for requests and replies; a request of another size than ours is dropped, and only the run's keys get so far.
  CANDOR_ASSIGN(auto server, transport.Listen(address, self, kChunkContentMax + kHandshakeBytes));
  return std::make_unique<EncryptedServer>(store, std::move(server));
}

Result<std::unique_ptr<BlobClient>> ConnectToBlobsEncrypted(const std::string& endpoint, Transport& transport, Role self, Role server) {
  CANDOR_ASSIGN(auto client, transport.Connect(endpoint, self, server, kChunkContentMax + kHandshakeBytes));
  return std::make_unique<EncryptedClient>(std::move(client));
}

}  // namespace candor
