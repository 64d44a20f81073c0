// A thread of a simulated process: a stack of its own that runs until it waits. The product's blocking code (calls with deadlines, loops
// with naps) runs on it unchanged, one fiber at a time, so that a whole cluster is one deterministic thread.
//
// Thread rule: all fibers of a simulation belong to one thread.
#pragma once
#include <ucontext.h>

#include <cstddef>
#include <functional>

namespace candor::sim {

class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();  // it has ended, or never began
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the body until it yields or ends. Not from inside another fiber.
  void Resume();
  // Back to Resume's caller; from inside the body only.
  void Yield();
  bool begun() const { return begun_; }
  bool done() const { return done_; }
  // Frees the stack of a fiber that has ended or never began.
  void Release();

 private:
  static void Enter();
  void SwitchIn();
  void SwitchOut(bool for_good);

  std::function<void()> body_;
  ucontext_t inside_{}, outside_{};
  void* stack_ = nullptr;
  bool begun_ = false, done_ = false;
  void* fake_inside_ = nullptr;  // the sanitizer's notes
  void* fake_outside_ = nullptr;
  const void* outside_bottom_ = nullptr;
  size_t outside_size_ = 0;
};

}  // namespace candor::sim
