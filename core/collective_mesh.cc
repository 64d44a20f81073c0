#include "core/collective_mesh.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <set>

#include "core/clock.h"
#include "core/log.h"
#include "core/thread.h"

namespace candor {

bool BeatTimer::Due(int64_t now_ms) {
  constexpr int64_t kBeatMs = 1000;
  if (now_ms - sent_ms_ < kBeatMs) return false;
  sent_ms_ = now_ms;
  return true;
}

int64_t BeatTimer::SilentMs(int64_t now_ms) {
  constexpr int64_t kOwnGapMs = 5000;  // nobody asked for that long: this process was stopped or starved, the peer may be well
  if (heard_ms_ == 0 || now_ms - asked_ms_ > kOwnGapMs) heard_ms_ = now_ms;
  asked_ms_ = now_ms;
  const int64_t silent = now_ms - heard_ms_;
  return silence_ms_ > 0 && silent > silence_ms_ ? silent : 0;
}

namespace {

constexpr int kIdleMs = 100;        // how often an idle thread looks after its peers
constexpr int kLeaveDeadlines = 5;  // nobody leaves before all do; one rank may still write files after its last call
constexpr int kLetGoMs = 2000;      // how long Wait gives the thread to leave the caller's buffers after a break
constexpr const char* kFix = "the learner restarts from its newest checkpoint";

class MeshCollective final : public Collective {
 public:
  MeshCollective(std::unique_ptr<ByteMesh> mesh, CollectiveOptions options) : mesh_(std::move(mesh)), options_(options) {}
  ~MeshCollective() override {
    {
      std::scoped_lock lock(mutex_);
      stop_ = true;
      work_.notify_all();
    }
    if (!EndsWithin((kLeaveDeadlines + 1) * options_.deadline_ms + kLetGoMs)) {  // MPI_Finalize has no deadline of its own
      spdlog::error("the ranks did not leave the {} collective together; this one ends now", backend());
      std::_Exit(static_cast<int>(ExitCode::kRestart));
    }
    thread_.Join();
  }

  Status Open() {
    auto opened = std::make_shared<std::promise<Status>>();  // shared with the thread, which outlives this call
    std::future<Status> result = opened->get_future();
    thread_ = NamedThread("collective", [this, opened] { Serve(*opened); });
    const int wait_ms = options_.join_ms + kLetGoMs;  // a backend with a deadline of its own says more
    if (result.wait_for(std::chrono::milliseconds(wait_ms)) == std::future_status::ready) return result.get();
    return Fail(ErrorCode::kUnavailable, fmt::format("not all ranks joined within {} ms", wait_ms), mesh_->name(),
                "look which rank did not start; all must be started together");
  }

  // Whether the thread ends within that time.
  bool EndsWithin(int wait_ms) {
    std::unique_lock lock(mutex_);
    return done_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return ended_; });
  }

  int rank() const override { return mesh_->rank(); }
  int size() const override { return mesh_->size(); }
  const char* backend() const override { return mesh_->name(); }

  Result<Ticket> Start(std::span<const CollectiveCall> group) override {
    std::scoped_lock lock(mutex_);
    if (broken_) return Broken();
    Job job{++last_ticket_, {group.begin(), group.end()}};
    open_.emplace(job.ticket, Name(group));
    queue_.push_back(std::move(job));
    work_.notify_all();
    return last_ticket_;
  }

  Status Wait(Ticket ticket) override {
    std::unique_lock lock(mutex_);
    if (finished_.erase(ticket) > 0) return {};
    if (open_.count(ticket) == 0) return Fail(ErrorCode::kInternal, fmt::format("no collective has the ticket {}", ticket));
    if (!done_.wait_for(lock, std::chrono::milliseconds(options_.deadline_ms), [&] { return broken_ || finished_.count(ticket) > 0; }))
      Break(fmt::format("{} waited {} ms for its peers", open_[ticket], options_.deadline_ms));
    if (finished_.erase(ticket) > 0) return {};
    done_.wait_for(lock, std::chrono::milliseconds(kLetGoMs), [&] { return ended_; });
    return Broken();
  }

  Status Health() override {
    std::scoped_lock lock(mutex_);
    return broken_ ? Status(Broken()) : Status{};
  }
  void Abort() override {
    std::scoped_lock lock(mutex_);
    Break("aborted");
  }

 private:
  struct Job {
    Ticket ticket = 0;
    std::vector<CollectiveCall> group;
  };
  static std::string Name(std::span<const CollectiveCall> group) {
    if (group.empty()) return "an empty group";
    return group.size() == 1 ? Describe(group[0]) : fmt::format("a group of {} calls ({}, ...)", group.size(), Describe(group[0]));
  }
  // With the lock held.
  void Break(const std::string& why) {
    if (!broken_) reason_ = why;
    broken_ = true;
    work_.notify_all();
    done_.notify_all();
  }
  tl::unexpected<Error> Broken() const {
    return Fail(ErrorCode::kCollective, "the collective broke: " + reason_, fmt::format("{} rank {} of {}", backend(), rank(), size()),
                kFix);
  }

  // ---- the thread

  void Serve(std::promise<Status>& opened) {
    Status open = mesh_->Open();
    const bool ok = open.has_value();
    opened.set_value(std::move(open));
    while (ok && Step()) {
    }
    bool orderly;
    {
      std::scoped_lock lock(mutex_);
      orderly = ok && !broken_;
    }
    if (orderly) {
      const CollectiveCall barrier;
      orderly = Execute({&barrier, 1}, kLeaveDeadlines * options_.deadline_ms).has_value();
    }
    mesh_->Close(orderly);
    std::scoped_lock lock(mutex_);
    ended_ = true;
    done_.notify_all();
  }

  // One group, or a look after the peers. False when it is over.
  bool Step() {
    Job job;
    {
      std::unique_lock lock(mutex_);
      work_.wait_for(lock, std::chrono::milliseconds(kIdleMs), [&] { return !queue_.empty() || stop_ || broken_; });
      if (broken_ || (queue_.empty() && stop_)) return false;
      if (!queue_.empty()) job = std::move(queue_.front()), queue_.pop_front();
    }
    Status done = mesh_->Beat(clock_.SteadyMs());
    if (done && job.ticket != 0) done = Execute(job.group, 0);
    std::scoped_lock lock(mutex_);
    if (!done) {
      Break(done.error().what);
      return false;
    }
    if (job.ticket != 0) open_.erase(job.ticket), finished_.insert(job.ticket), done_.notify_all();
    return true;
  }

  Status Execute(std::span<const CollectiveCall> group, int deadline_ms) {
    ExchangePlan plan = PlanExchange(group, rank(), size());
    const int64_t started_ms = clock_.SteadyMs();
    for (ExchangePhase& phase : plan.phases) {
      CANDOR_TRY(mesh_->Begin(phase.out, phase.in));
      int64_t looked_ms = clock_.SteadyMs();
      for (int attempt = 0;; ++attempt) {
        CANDOR_ASSIGN(const bool through, mesh_->Poll(attempt));
        if (through) break;
        if (broken_) return Fail(ErrorCode::kCollective, "aborted");
        const int64_t now_ms = clock_.SteadyMs();
        if (now_ms - looked_ms < kIdleMs) continue;
        looked_ms = now_ms;
        CANDOR_TRY(mesh_->Beat(now_ms));
        if (deadline_ms > 0 && now_ms - started_ms > deadline_ms) return Fail(ErrorCode::kCollective, "the peers did not come");
      }
      for (const auto& finish : phase.finish) finish();
    }
    return {};
  }

  const std::unique_ptr<ByteMesh> mesh_;
  const CollectiveOptions options_;
  const SystemClock clock_;
  mutable std::mutex mutex_;
  std::condition_variable work_, done_;
  std::deque<Job> queue_;
  std::map<Ticket, std::string> open_;  // started, not yet done: what it is
  std::set<Ticket> finished_;           // done, not yet waited for
  Ticket last_ticket_ = 0;
  std::atomic<bool> broken_ = false;
  bool stop_ = false, ended_ = false;
  std::string reason_;
  NamedThread thread_;
};

}  // namespace

Result<std::unique_ptr<Collective>> MakeMeshCollective(std::unique_ptr<ByteMesh> mesh, CollectiveOptions options) {
  auto collective = std::make_unique<MeshCollective>(std::move(mesh), options);
  if (Status opened = collective->Open(); !opened) {
    if (!collective->EndsWithin(kLetGoMs)) (void)collective.release();  // its thread may never come back from MPI_Init
    return Fail(opened.error());
  }
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace candor
