// Workers of a load: CURVE connections of a few threads, each of which asks for a lease now and then and sends a heartbeat once a second.
#include "cli/bench_coordinator_load.h"

#include <fmt/format.h>

#include <memory>
#include <mutex>

#include "core/clock.h"
#include "core/rendezvous.h"
#include "core/rng.h"
#include "core/thread.h"

namespace candor::cli {

namespace {

constexpr size_t kClientsPerContext = 900;  // libzmq's own limit is 1023 sockets a context
constexpr int kThreads = 2;
constexpr double kBeatEverySeconds = 1.0;

// Groups that were leased and are to be scored.
class ScoreQueue {
 public:
  void Put(const Lease& lease) {
    std::scoped_lock lock(mutex_);
    waiting_.push_back(lease);
  }
  std::vector<Lease> TakeAll() {
    std::scoped_lock lock(mutex_);
    return std::exchange(waiting_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Lease> waiting_;
};

struct LoadWorker {
  std::unique_ptr<MessageClient> client;
  std::string name;
  uint64_t sequence = 0, lease_sequence = 0;
  double asked = 0, next_lease = 0, next_beat = 0;
  bool joined = false, working = false, waiting = false;
};

// One thread's workers: each asks for a lease and sends a heartbeat once a second.
class LoadThread {
 public:
  LoadThread(ScoreQueue& queue, SharedLoad& shared, double lease_every_s) : queue_(queue), shared_(shared), lease_every_s_(lease_every_s) {}
  void Add(std::unique_ptr<MessageClient> client, uint32_t index) {
    LoadWorker worker;
    worker.client = std::move(client), worker.name = fmt::format("rollout-{}", index);
    workers_.push_back(std::move(worker));
  }
  void Run() {
    while (!shared_.stop) {
      const double now = SteadySeconds();
      bool quiet = true;
      for (LoadWorker& worker : workers_) {
        quiet = !Hear(worker) && quiet;
        Speak(worker, now);
      }
      if (quiet) SystemClock::Get().SleepMs(1);
    }
  }

 private:
  void Send(LoadWorker& worker, MessageBody body) {
    (void)worker.client->Send(Encode({"bench", ++worker.sequence, worker.name, std::move(body)}));
  }
  void Speak(LoadWorker& worker, double now) {
    if (!worker.joined) {
      if (now < worker.next_beat) return;
      worker.next_beat = now + 5;
      return Send(worker, Hello{"rollout", worker.name, {1}, "", {}, {}});
    }
    if (!worker.working) {
      if (!shared_.go) return;
      const double u = RandomUnit(1, RngStream::kSynthetic, std::hash<std::string>{}(worker.name));
      worker.next_beat = now + u * kBeatEverySeconds, worker.next_lease = now + u * lease_every_s_;
      worker.working = true;
    }
    if (now >= worker.next_beat) {
      worker.next_beat = now + kBeatEverySeconds;
      Send(worker, WorkerHeartbeat{worker.name, {1}, {}, {}});
    }
    if (worker.waiting || now < worker.next_lease) return;
    worker.next_lease = now + lease_every_s_;
    worker.asked = now, worker.waiting = true, worker.lease_sequence = worker.sequence + 1;
    Send(worker, LeaseRequest{worker.name, {1}, {0}, 1});
  }
  bool Hear(LoadWorker& worker) {
    const auto reply = worker.client->Receive(0);
    if (!reply || !*reply) return false;
    const Result<Message> message = Decode(**reply);
    if (!message) return true;
    const double now = SteadySeconds();
    if (shared_.measuring) ++shared_.answers;
    if (std::holds_alternative<Welcome>(message->body) && !worker.joined) {
      worker.joined = true;
      ++shared_.joined;
    }
    if (message->sequence == worker.lease_sequence) {
      worker.waiting = false;
      if (shared_.measuring) shared_.Took(now - worker.asked);
    }
    if (auto* grant = std::get_if<LeaseGrant>(&message->body))
      for (const Lease& lease : grant->leases) {
        if (shared_.measuring) ++shared_.leases;
        queue_.Put(lease);
      }
    return true;
  }
  ScoreQueue& queue_;
  SharedLoad& shared_;
  const double lease_every_s_;
  std::vector<LoadWorker> workers_;
};

// One reward worker: headers of what was leased, many in flight.
void RunReward(MessageClient& client, const std::string& name, ScoreQueue& queue, const std::atomic<bool>& stop) {
  Caller caller(client, "bench", name);
  (void)caller.Ask<Welcome>(Hello{"reward", name, {1}, "tcp://127.0.0.1:1", {}, {}}, "hello", 20000);
  uint64_t sequence = 1000000;
  double next_beat = 0;
  while (!stop) {
    if (const double now = SteadySeconds(); now >= next_beat) {
      next_beat = now + kBeatEverySeconds;
      (void)client.Send(Encode({"bench", ++sequence, name, WorkerHeartbeat{name, {1}, {}, {}}}));
    }
    for (const Lease& lease : queue.TakeAll()) {
      GroupScored header;
      header.group = lease.group, header.prompt = lease.prompt, header.wave = lease.wave;
      header.reward_worker = name, header.reward_endpoint = "tcp://127.0.0.1:1", header.hash = std::string(32, 'a');
      header.oldest_version = header.newest_version = lease.max_version;
      header.traces = lease.traces, header.correct = lease.traces / 2, header.wrong = lease.traces - header.correct;
      header.prompt_tokens = 100, header.completion_tokens = 1000;
      while (!client.Send(Encode({"bench", ++sequence, name, header})) && !stop) SystemClock::Get().SleepMs(1);
    }
    while (true) {
      const auto reply = client.Receive(1);
      if (!reply || !*reply) break;
    }
  }
}

}  // namespace

Status RunLoadPart(const LoadPart& part, const RunKeys& keys, const std::string& endpoint, SharedLoad& shared) {
  std::vector<std::unique_ptr<Transport>> contexts;
  const auto connect = [&](Role role) { return contexts.back()->Connect(endpoint, role, Role::kCoordinator, kMaxControlBytes); };
  ScoreQueue queue;
  std::vector<std::unique_ptr<LoadThread>> threads;  // their sockets go before their contexts
  for (int i = 0; i < kThreads; ++i) threads.push_back(std::make_unique<LoadThread>(queue, shared, part.lease_every_s));
  for (uint32_t i = 0; i <= part.count; ++i) {
    if (i % kClientsPerContext == 0) {
      CANDOR_ASSIGN(auto context, MakeZmqTransport(keys));
      contexts.push_back(std::move(context));
    }
    if (i == part.count) break;
    CANDOR_ASSIGN(auto client, connect(Role::kRollout));
    threads[i % kThreads]->Add(std::move(client), part.first + i);
  }
  CANDOR_ASSIGN(auto reward, connect(Role::kReward));
  std::vector<NamedThread> running;
  running.emplace_back("reward", [&] { RunReward(*reward, fmt::format("reward-{}", part.reward), queue, shared.stop); });
  for (auto& thread : threads) running.emplace_back("load", [&thread] { thread->Run(); });
  return {};
}

}  // namespace candor::cli
