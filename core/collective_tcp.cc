#include "core/collective_tcp.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "core/collective_mesh.h"

namespace candor {

namespace {

constexpr int kPollMs = 20;  // how long one look at the sockets may wait: an abort is noticed within that

class TcpMesh final : public ByteMesh {
 public:
  TcpMesh(const TcpRendezvous& rendezvous, CollectiveOptions options) : rendezvous_(rendezvous), timer_(options.silence_ms) {}
  const char* name() const override { return "tcp"; }
  int rank() const override { return rendezvous_.rank; }
  int size() const override { return rendezvous_.size; }

  Status Open() override {
    CANDOR_ASSIGN(ranks_, ConnectRanks(rendezvous_));
    lanes_.resize(ranks_.peers.size());
    return {};
  }

  Status Begin(std::span<const Outgoing> out, std::span<const Incoming> in) override {
    for (const Outgoing& message : out) {
      Lane& lane = lanes_[static_cast<size_t>(message.to)];
      lane.out.push_back({reinterpret_cast<const char*>(&message.header), sizeof(CallHeader)});
      if (message.bytes > 0) lane.out.push_back({message.data, message.bytes});
    }
    for (const Incoming& message : in) lanes_[static_cast<size_t>(message.from)].in.push_back(message);
    return {};
  }

  Result<bool> Poll(int) override {
    CANDOR_ASSIGN(bool pending, Move());
    if (!pending) return true;
    std::vector<pollfd> entries;
    for (size_t peer = 0; peer < lanes_.size(); ++peer) {
      const Lane& lane = lanes_[peer];
      const int events = (lane.in.empty() ? 0 : POLLIN) | (lane.out.empty() ? 0 : POLLOUT);
      if (events != 0) entries.push_back({ranks_.peers[peer].fd(), static_cast<short>(events), 0});
    }
    ::poll(entries.data(), entries.size(), kPollMs);
    CANDOR_ASSIGN(pending, Move());
    return !pending;
  }

  Status Beat(int64_t now_ms) override {
    if (size() == 1) return {};
    const char beat = 1;
    if (timer_.Due(now_ms)) (void)::send(ranks_.next_beat.fd(), &beat, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    char heard[64];
    ssize_t got = 0;
    while (watching_ && (got = ::recv(ranks_.before_beat.fd(), heard, sizeof heard, MSG_DONTWAIT)) > 0) timer_.Heard(now_ms);
    if (got == 0) watching_ = false;  // it is leaving; if it should not, its other connections say so
    if (const int64_t silent_ms = watching_ ? timer_.SilentMs(now_ms) : 0; silent_ms > 0)
      return Fail(ErrorCode::kCollective, fmt::format("rank {} gave no sign of life for {} ms", (rank() + size() - 1) % size(), silent_ms));
    const bool idle = std::all_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.in.empty() && lane.out.empty(); });
    for (int peer = 0; idle && peer < size(); ++peer)
      if (const int fd = ranks_.peers[static_cast<size_t>(peer)].fd(); fd >= 0 && ::recv(fd, heard, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        return Ended(peer, "it closed the connection");
    return {};
  }

  void Close(bool) override { ranks_ = ConnectedRanks{}; }

 private:
  struct Span {
    const char* data;
    size_t bytes;
  };
  struct Lane {
    std::deque<Span> out;
    std::deque<Incoming> in;
    CallHeader header;  // of in.front(), as far as it came
    size_t header_bytes = 0, payload_bytes = 0;
  };
  tl::unexpected<Error> Ended(int peer, const std::string& why) const {
    return Fail(ErrorCode::kCollective, fmt::format("rank {} is gone: {}", peer, why));
  }

  // As much as goes without waiting; true while something is left.
  Result<bool> Move() {
    bool left = false;
    for (int peer = 0; peer < size(); ++peer) {
      CANDOR_TRY(Write(peer));
      CANDOR_TRY(Read(peer));
      const Lane& lane = lanes_[static_cast<size_t>(peer)];
      left = left || !lane.out.empty() || !lane.in.empty();
    }
    return left;
  }
  Status Write(int peer) {
    Lane& lane = lanes_[static_cast<size_t>(peer)];
    while (!lane.out.empty()) {
      Span& span = lane.out.front();
      const ssize_t sent = ::send(ranks_.peers[static_cast<size_t>(peer)].fd(), span.data, span.bytes,
                                  MSG_NOSIGNAL | MSG_DONTWAIT | (lane.out.size() > 1 ? MSG_MORE : 0));
      if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return {};
      if (sent < 0) return Ended(peer, std::strerror(errno));
      span.data += sent, span.bytes -= static_cast<size_t>(sent);
      if (span.bytes == 0) lane.out.pop_front();
    }
    return {};
  }
  Status Read(int peer) {
    Lane& lane = lanes_[static_cast<size_t>(peer)];
    while (!lane.in.empty()) {
      Incoming& message = lane.in.front();
      const bool in_header = lane.header_bytes < sizeof(CallHeader);
      char* to = in_header ? reinterpret_cast<char*>(&lane.header) + lane.header_bytes : message.data + lane.payload_bytes;
      const size_t want = in_header ? sizeof(CallHeader) - lane.header_bytes : message.bytes - lane.payload_bytes;
      if (want > 0) {
        const ssize_t got = ::recv(ranks_.peers[static_cast<size_t>(peer)].fd(), to, want, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
        if (got <= 0) return Ended(peer, got == 0 ? "it closed the connection" : std::strerror(errno));
        (in_header ? lane.header_bytes : lane.payload_bytes) += static_cast<size_t>(got);
      }
      if (lane.header_bytes < sizeof(CallHeader)) continue;
      if (!(lane.header == message.header)) return Disagree(peer, lane.header, message.header);
      if (lane.payload_bytes < message.bytes) continue;
      lane.in.pop_front();
      lane.header_bytes = lane.payload_bytes = 0;
    }
    return {};
  }

  const TcpRendezvous rendezvous_;
  BeatTimer timer_;
  ConnectedRanks ranks_;
  std::vector<Lane> lanes_;
  bool watching_ = true;
};

}  // namespace

Result<std::unique_ptr<Collective>> MakeTcpCollective(const TcpRendezvous& rendezvous, CollectiveOptions options) {
  return MakeMeshCollective(std::make_unique<TcpMesh>(rendezvous, options), options);
}

}  // namespace candor
