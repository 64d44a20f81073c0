// Simulated time: a queue of events, and the fibers of simulated processes that wait in it. One thread, no clock of the machine: the same
// events give the same run. A process dies by an exception (Killed) that unwinds each of its fibers where it waits, as a kill would find
// it.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "core/clock.h"
#include "simulation/fiber.h"

namespace candor::sim {

struct Killed {};  // no std::exception: nothing in the product catches it

struct Process;

struct Task {
  Task(Process& p, std::function<void()> body) : process(p), fiber(std::move(body)) {}
  Process& process;
  Fiber fiber;
  uint64_t generation = 0;  // of its present wait: older wake-ups are void
  bool missed = false;      // woken while the process was stopped
};

// One life of one process.
struct Process {
  std::string name;
  uint64_t life = 0;
  bool dying = false, dead = false, stopped = false;
  int64_t steady_offset_ms = 0, wall_offset_ms = 0;
  double slowness = 1.0;  // its waits last so much longer
  std::string result;     // how it ended: "" while it lives, "ok", or the error
  std::vector<std::unique_ptr<Task>> tasks;
};

class Scheduler {
 public:
  int64_t now() const { return now_; }
  void At(int64_t when_ms, std::function<void()> run);
  // A new thread of a process; begins at once.
  Task& Spawn(Process& process, std::function<void()> body);
  // From inside a task: waits until then, or until somebody wakes it. Throws Killed when the process died meanwhile.
  void WaitUntil(int64_t when_ms);
  void Wake(Task& task);
  Task* current() const { return current_; }
  // From inside a task: its process dies here and now.
  [[noreturn]] void Die();
  // From outside: unwinds what is left of it.
  void Kill(Process& process);
  void Stop(Process& process) { process.stopped = true; }
  void Continue(Process& process);
  // The next event; false when there is none.
  bool RunOne();
  // Called when a process has died or all its tasks have ended.
  std::function<void(Process&)> on_end;
  uint64_t events() const { return events_; }

 private:
  struct Event {
    int64_t at;
    uint64_t order;
    Task* task;
    uint64_t generation;
    std::shared_ptr<std::function<void()>> run;  // shared: priority_queue copies
    bool operator<(const Event& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  void Resume(Task& task);
  void EndIfOver(Process& process);

  int64_t now_ = 0;
  uint64_t order_ = 0, events_ = 0;
  std::priority_queue<Event> queue_;
  Task* current_ = nullptr;
};

class SimClock final : public Clock {
 public:
  SimClock(Scheduler& scheduler, Process& process) : scheduler_(scheduler), process_(process) {}
  int64_t SteadyMs() const override { return scheduler_.now() + process_.steady_offset_ms; }
  int64_t WallMs() const override { return scheduler_.now() + process_.wall_offset_ms; }
  void SleepMs(int64_t ms) override {
    scheduler_.WaitUntil(scheduler_.now() + static_cast<int64_t>(static_cast<double>(ms) * process_.slowness));
  }

 private:
  Scheduler& scheduler_;
  Process& process_;
};

}  // namespace candor::sim
