#include "simulation/fiber.h"

#include <sys/mman.h>

#include "core/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace candor::sim {

namespace {
constexpr size_t kStackBytes = size_t{512} << 10;  // touched pages only are real memory
constexpr size_t kGuardBytes = 4096;
Fiber* g_entering = nullptr;  // makecontext passes ints; one simulation runs in one thread
}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {}

Fiber::~Fiber() { Release(); }

void Fiber::Release() {
  CANDOR_CHECK(!begun_ || done_, "a fiber is released while it waits");
  if (stack_) ::munmap(stack_, kStackBytes);
  stack_ = nullptr;
  body_ = nullptr;
}

void Fiber::Enter() {
  Fiber* self = g_entering;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self->outside_bottom_, &self->outside_size_);
#endif
  self->body_();
  self->done_ = true;
  self->SwitchOut(true);
}

void Fiber::Resume() {
  CANDOR_CHECK(!done_, "a fiber that has ended is resumed");
  if (!begun_) {
    begun_ = true;
    stack_ = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CANDOR_CHECK(stack_ != MAP_FAILED, "no memory for a fiber's stack");
    ::mprotect(stack_, kGuardBytes, PROT_NONE);
    ::getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_;
    inside_.uc_stack.ss_size = kStackBytes;
    inside_.uc_link = nullptr;
    ::makecontext(&inside_, &Fiber::Enter, 0);
    g_entering = this;
  }
  SwitchIn();
}

void Fiber::SwitchIn() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_outside_, stack_, kStackBytes);
#endif
  ::swapcontext(&outside_, &inside_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_outside_, nullptr, nullptr);
#endif
}

void Fiber::Yield() { SwitchOut(false); }

void Fiber::SwitchOut([[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_inside_, outside_bottom_, outside_size_);
#endif
  ::swapcontext(&inside_, &outside_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_inside_, &outside_bottom_, &outside_size_);
#endif
}

}  // namespace candor::sim
