// The local backend: ranks are threads of one process that meet at a rendezvous. It is the reference that the other backends must equal, so
// it reduces in rank order, in fp32.
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>

#include "core/collective.h"
#include "core/collective_reduce.h"

namespace candor {

size_t SizeOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return 4;
    case ElementType::kBFloat16:
      return 2;
    case ElementType::kInt64:
      return 8;
    case ElementType::kByte:
      return 1;
  }
  return 1;
}

Result<Collective::Ticket> Collective::StartAllGather(const void* in, void* out, size_t count, ElementType type) {
  CANDOR_TRY(AllGather(in, out, count, type));
  return Ticket{0};
}
Result<Collective::Ticket> Collective::StartReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) {
  CANDOR_TRY(ReduceScatter(in, out, count, type, op));
  return Ticket{0};
}
Status Collective::Wait(Ticket) { return {}; }

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

  // A point-to-point message: the sender waits until the receiver took it.
  Status Post(int from, int to, const void* data, size_t bytes) {
    std::unique_lock lock(mutex_);
    mail_.push_back({from, to, data, bytes});
    met_.notify_all();
    return AwaitMail(lock, [&] {
      return std::none_of(mail_.begin(), mail_.end(), [&](const Mail& m) { return m.data == data && m.from == from && m.to == to; });
    });
  }
  Status Take(int from, int to, void* data, size_t bytes) {
    std::unique_lock lock(mutex_);
    auto find = [&] { return std::find_if(mail_.begin(), mail_.end(), [&](const Mail& m) { return m.from == from && m.to == to; }); };
    CANDOR_TRY(AwaitMail(lock, [&] { return find() != mail_.end(); }));
    auto mail = find();
    if (mail->bytes != bytes)
      return Fail(ErrorCode::kCollective, fmt::format("rank {} sent {} bytes, rank {} expects {}", from, mail->bytes, to, bytes));
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

 private:
  struct Mail {
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
  uint64_t round_ = 0;
  bool broken_ = false;
  std::string reason_;
};

class LocalCollective final : public Collective {
 public:
  LocalCollective(std::shared_ptr<Meeting> meeting, int rank, int size) : meeting_(std::move(meeting)), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "local"; }

  Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op) override {
    return meeting_->Meet(rank_, {Call("all_reduce", count, type, static_cast<int>(op)), data, data}, [&](std::vector<Offer>& offers) {
      std::vector<const void*> inputs;
      for (Offer& offer : offers) inputs.push_back(offer.in);
      std::vector<char> sum(count * SizeOf(type));
      ReduceInRankOrder(inputs, 0, sum.data(), count, type, op);
      for (Offer& offer : offers) std::memcpy(offer.out, sum.data(), sum.size());
    });
  }
  Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) override {
    return meeting_->Meet(rank_, {Call("reduce_scatter", count, type, static_cast<int>(op)), in, out}, [&](std::vector<Offer>& offers) {
      std::vector<const void*> inputs;
      for (Offer& offer : offers) inputs.push_back(offer.in);
      std::vector<char> sums(offers.size() * count * SizeOf(type));
      for (size_t r = 0; r < offers.size(); ++r)
        ReduceInRankOrder(inputs, r * count * SizeOf(type), sums.data() + r * count * SizeOf(type), count, type, op);
      for (size_t r = 0; r < offers.size(); ++r) std::memcpy(offers[r].out, sums.data() + r * count * SizeOf(type), count * SizeOf(type));
    });
  }
  Status AllGather(const void* in, void* out, size_t count, ElementType type) override {
    return meeting_->Meet(rank_, {Call("all_gather", count, type, 0), in, out}, [&](std::vector<Offer>& offers) {
      const size_t bytes = count * SizeOf(type);
      std::vector<char> all(bytes * offers.size());
      for (size_t r = 0; r < offers.size(); ++r) std::memcpy(all.data() + r * bytes, offers[r].in, bytes);
      for (Offer& offer : offers) std::memcpy(offer.out, all.data(), all.size());
    });
  }
  Status Broadcast(void* data, size_t count, ElementType type, int root) override {
    return meeting_->Meet(rank_, {Call("broadcast", count, type, root), data, data}, [&](std::vector<Offer>& offers) {
      const Offer& source = offers[static_cast<size_t>(root)];
      for (Offer& offer : offers)
        if (offer.out != source.in) std::memcpy(offer.out, source.in, count * SizeOf(type));
    });
  }
  Status Send(const void* data, size_t bytes, int to) override { return meeting_->Post(rank_, to, data, bytes); }
  Status Receive(void* data, size_t bytes, int from) override { return meeting_->Take(from, rank_, data, bytes); }
  Status Barrier() override {
    return meeting_->Meet(rank_, {"barrier", nullptr, nullptr}, [](std::vector<Offer>&) {});
  }
  void Abort() override { meeting_->Abort(); }

 private:
  static std::string Call(const char* name, size_t count, ElementType type, int detail) {
    return fmt::format("{} of {} elements of type {}, {}", name, count, static_cast<int>(type), detail);
  }
  std::shared_ptr<Meeting> meeting_;
  const int rank_, size_;
};

}  // namespace

std::vector<std::unique_ptr<Collective>> MakeLocalCollectives(int size, CollectiveOptions options) {
  auto meeting = std::make_shared<Meeting>(size, options.deadline_ms);  // shared by the ranks; ends with the last
  std::vector<std::unique_ptr<Collective>> ranks;
  for (int rank = 0; rank < size; ++rank) ranks.push_back(std::make_unique<LocalCollective>(meeting, rank, size));
  return ranks;
}

}  // namespace candor
