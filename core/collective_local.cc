// The local backend: ranks are threads of one process that meet at a rendezvous. It is the reference that the other backends must equal, so
// it reduces in rank order, in fp32.
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

#include "core/collective.h"
#include "core/collective_reduce.h"

namespace candor {

namespace {

// What one rank brings to a rendezvous.
struct Offer {
  std::string call;  // "all_reduce 1024 float32": every rank must make the same call
  const void* in = nullptr;
  void* out = nullptr;
};

class Meeting {
 public:
  Meeting(int size, int deadline_ms) : size_(size), deadline_ms_(deadline_ms), offers_(static_cast<size_t>(size)) {}

  // Every rank calls with its offer; the last to arrive runs `work` over all offers while the others wait.
  Status Meet(int rank, Offer offer, const std::function<void(std::vector<Offer>&)>& work) {
    std::unique_lock lock(mutex_);
    if (broken_) return Broken();
    const uint64_t round = round_;
    std::string call = offer.call;
    offers_[static_cast<size_t>(rank)] = std::move(offer);
    if (++arrived_ == size_) {
      for (const Offer& other : offers_)
        if (other.call != call) {
          broken_ = true, reason_ = fmt::format("ranks disagree: '{}' against '{}'", call, other.call);
          met_.notify_all();
          return Broken();
        }
      work(offers_);
      arrived_ = 0;
      ++round_;
      met_.notify_all();
      return {};
    }
    bool in_time = met_.wait_for(lock, std::chrono::milliseconds(deadline_ms_), [&] { return broken_ || round_ != round; });
    if (round_ != round) return {};
    if (!in_time)
      broken_ = true, reason_ = fmt::format("{} of {} ranks came to '{}' within {} ms", arrived_, size_, call, deadline_ms_),
      met_.notify_all();
    return Broken();
  }

  // A point-to-point message lies here until its receiver took it; the sender waits for that.
  Result<uint64_t> Post(int from, int to, const void* data, size_t bytes) {
    std::scoped_lock lock(mutex_);
    if (broken_) return Broken();
    mail_.push_back({++posted_, from, to, data, bytes});
    met_.notify_all();
    return posted_;
  }
  Status AwaitTaken(uint64_t id) {
    std::unique_lock lock(mutex_);
    return AwaitMail(lock, [&] { return std::none_of(mail_.begin(), mail_.end(), [&](const Mail& m) { return m.id == id; }); });
  }
  Status Take(int from, int to, void* data, size_t bytes) {
    std::unique_lock lock(mutex_);
    auto find = [&] { return std::find_if(mail_.begin(), mail_.end(), [&](const Mail& m) { return m.from == from && m.to == to; }); };
    CANDOR_TRY(AwaitMail(lock, [&] { return find() != mail_.end(); }));
    auto mail = find();
    if (mail->bytes != bytes) {
      broken_ = true, reason_ = fmt::format("ranks disagree: rank {} sent {} bytes, rank {} expects {}", from, mail->bytes, to, bytes);
      met_.notify_all();
      return Broken();
    }
    if (bytes > 0) std::memcpy(data, mail->data, bytes);
    mail_.erase(mail);
    met_.notify_all();
    return {};
  }
  void Abort() {
    std::scoped_lock lock(mutex_);
    broken_ = true, reason_ = "aborted";
    met_.notify_all();
  }
  Status Health() {
    std::scoped_lock lock(mutex_);
    return broken_ ? Status(Broken()) : Status{};
  }

 private:
  struct Mail {
    uint64_t id;
    int from, to;
    const void* data;
    size_t bytes;
  };
  tl::unexpected<Error> Broken() const {
    return Fail(ErrorCode::kCollective, "the collective broke: " + reason_, "local", "restart the learner");
  }
  Status AwaitMail(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done) {
    if (met_.wait_for(lock, std::chrono::milliseconds(deadline_ms_), [&] { return broken_ || done(); }) && !broken_) return {};
    if (!broken_) broken_ = true, reason_ = "a message was not taken in time", met_.notify_all();
    return Broken();
  }

  const int size_, deadline_ms_;
  std::mutex mutex_;
  std::condition_variable met_;
  std::vector<Offer> offers_;
  std::vector<Mail> mail_;
  int arrived_ = 0;
  uint64_t round_ = 0, posted_ = 0;
  bool broken_ = false;
  std::string reason_;
};

class LocalCollective final : public Collective {
 public:
  LocalCollective(std::shared_ptr<Meeting> meeting, int rank, int size) : meeting_(std::move(meeting)), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "local"; }

  // Everything is done here but the wait of a send for its receiver. Messages are posted before anything is waited for.
  Result<Ticket> Start(std::span<const CollectiveCall> group) override {
    Started started;
    for (const CollectiveCall& call : group)
      if (call.kind == CallKind::kSend) {
        CANDOR_ASSIGN(const uint64_t id, meeting_->Post(rank_, call.peer, call.in, call.count * SizeOf(call.type)));
        started.posted.push_back(id);
      }
    for (const CollectiveCall& call : group)
      if (call.kind == CallKind::kReceive)
        started.receives.push_back(call);
      else if (call.kind != CallKind::kSend)
        CANDOR_TRY(meeting_->Meet(rank_, {Describe(call), call.in ? call.in : call.out, call.out},
                                  [&](std::vector<Offer>& offers) { Work(call, offers); }));
    started_.emplace(++last_ticket_, std::move(started));
    return last_ticket_;
  }
  Status Wait(Ticket ticket) override {
    auto found = started_.find(ticket);
    if (found == started_.end()) return Fail(ErrorCode::kInternal, fmt::format("no collective has the ticket {}", ticket));
    Started started = std::move(found->second);
    started_.erase(found);
    return Finish(started);
  }
  Status Health() override { return meeting_->Health(); }
  void Abort() override { meeting_->Abort(); }

 private:
  struct Started {
    std::vector<uint64_t> posted;
    std::vector<CollectiveCall> receives;
  };
  Status Finish(Started& started) {
    for (const CollectiveCall& call : started.receives)
      CANDOR_TRY(meeting_->Take(call.peer, rank_, call.out, call.count * SizeOf(call.type)));
    started.receives.clear();
    for (const uint64_t id : started.posted) CANDOR_TRY(meeting_->AwaitTaken(id));
    started.posted.clear();
    return {};
  }
  // The last rank to arrive does the work of all.
  static void Work(const CollectiveCall& call, std::vector<Offer>& offers) {
    const size_t bytes = call.count * SizeOf(call.type);
    std::vector<const void*> inputs;
    for (const Offer& offer : offers) inputs.push_back(offer.in);
    std::vector<char> all;
    switch (call.kind) {
      case CallKind::kAllReduce:
        all.resize(bytes);
        ReduceInRankOrder(inputs, 0, all.data(), call.count, call.type, call.op);
        break;
      case CallKind::kReduceScatter:
        all.resize(offers.size() * bytes);
        for (size_t r = 0; r < offers.size(); ++r)
          ReduceInRankOrder(inputs, r * bytes, all.data() + r * bytes, call.count, call.type, call.op);
        for (size_t r = 0; r < offers.size(); ++r) Copy(offers[r].out, all.data() + r * bytes, bytes);
        return;
      case CallKind::kAllGather:
        all.resize(offers.size() * bytes);
        for (size_t r = 0; r < offers.size(); ++r) Copy(all.data() + r * bytes, inputs[r], bytes);
        break;
      case CallKind::kBroadcast:
        all.resize(bytes);
        Copy(all.data(), inputs[static_cast<size_t>(call.peer)], bytes);
        break;
      default:
        break;
    }
    for (const Offer& offer : offers) Copy(offer.out, all.data(), all.size());
  }
  static void Copy(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  std::shared_ptr<Meeting> meeting_;
  const int rank_, size_;
  std::map<Ticket, Started> started_;
  Ticket last_ticket_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Collective>> MakeLocalCollectives(int size, CollectiveOptions options) {
  auto meeting = std::make_shared<Meeting>(size, options.deadline_ms);  // shared by the ranks; ends with the last
  std::vector<std::unique_ptr<Collective>> ranks;
  for (int rank = 0; rank < size; ++rank) ranks.push_back(std::make_unique<LocalCollective>(meeting, rank, size));
  return ranks;
}

}  // namespace candor
