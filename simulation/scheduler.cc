#include "simulation/scheduler.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/check.h"

namespace candor::sim {

void Scheduler::At(int64_t when_ms, std::function<void()> run) {
  queue_.push({std::max(when_ms, now_), ++order_, nullptr, 0, std::make_shared<std::function<void()>>(std::move(run))});
}

Task& Scheduler::Spawn(Process& process, std::function<void()> body) {
  process.tasks.push_back(std::make_unique<Task>(process, [body = std::move(body)] {
    try {
      body();
    } catch (const Killed&) {
    }
  }));
  Task& task = *process.tasks.back();
  queue_.push({now_, ++order_, &task, task.generation, nullptr});
  return task;
}

void Scheduler::WaitUntil(int64_t when_ms) {
  Task& task = *current_;
  if (std::uncaught_exceptions() > 0) return;  // it is being unwound
  queue_.push({std::max(when_ms, now_), ++order_, &task, ++task.generation, nullptr});
  task.fiber.Yield();
  if (task.process.dying) throw Killed{};
}

void Scheduler::Wake(Task& task) { queue_.push({now_, ++order_, &task, task.generation, nullptr}); }

void Scheduler::Die() {
  Process& process = current_->process;
  process.dying = true;
  At(now_, [this, &process] { Kill(process); });
  current_->fiber.Yield();
  throw Killed{};
}

void Scheduler::Kill(Process& process) {
  CANDOR_CHECK(current_ == nullptr, "a process is killed from outside");
  if (process.dead) return;
  process.dying = true;
  // The newest first: threads use what their parent's stack holds.
  for (size_t i = process.tasks.size(); i-- > 0;) {
    Task& task = *process.tasks[i];
    if (!task.fiber.begun() || task.fiber.done()) continue;
    current_ = &task;
    task.fiber.Resume();
    current_ = nullptr;
    CANDOR_CHECK(task.fiber.done(), "a dying process waits");
  }
  if (process.result.empty()) process.result = "killed";
  process.dead = true;
  for (auto& task : process.tasks) task->fiber.Release();
  if (on_end) on_end(process);
}

void Scheduler::Continue(Process& process) {
  process.stopped = false;
  for (auto& task : process.tasks)
    if (std::exchange(task->missed, false)) Wake(*task);
}

void Scheduler::Resume(Task& task) {
  Process& process = task.process;
  if (process.dying || process.dead || task.fiber.done()) return;
  if (process.stopped) {
    task.missed = true;
    return;
  }
  current_ = &task;
  task.fiber.Resume();
  current_ = nullptr;
  EndIfOver(process);
}

void Scheduler::EndIfOver(Process& process) {
  if (process.dying) return;
  if (!std::all_of(process.tasks.begin(), process.tasks.end(), [](const auto& task) { return task->fiber.done(); })) return;
  process.dead = true;
  for (auto& task : process.tasks) task->fiber.Release();
  if (on_end) on_end(process);
}

bool Scheduler::RunOne() {
  if (queue_.empty()) return false;
  Event event = queue_.top();
  queue_.pop();
  now_ = std::max(now_, event.at);
  ++events_;
  if (event.run)
    (*event.run)();
  else if (event.generation == event.task->generation)
    Resume(*event.task);
  return true;
}

}  // namespace candor::sim
