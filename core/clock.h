// Time behind an interface: leases and deadlines use the steady clock only; the wall clock appears in logs and records. Who waits sleeps
// on the same clock. Tests use ManualClock; the simulation has one clock per process (simulation/).
#pragma once
#include <chrono>
#include <cstdint>
#include <thread>

namespace candor {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t SteadyMs() const = 0;  // never goes back
  virtual int64_t WallMs() const = 0;    // since 1970, for people
  virtual void SleepMs(int64_t ms) = 0;
};

class SystemClock final : public Clock {
 public:
  int64_t SteadyMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  int64_t WallMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  void SleepMs(int64_t ms) override { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
  // It has no state: one serves everybody.
  static SystemClock& Get() {
    static SystemClock clock;
    return clock;
  }
};

// Of the steady clock: for deadlines, and with all its digits for timing a piece of work.
inline int64_t SteadyMs() { return SystemClock::Get().SteadyMs(); }
inline double SteadySeconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class ManualClock final : public Clock {
 public:
  int64_t SteadyMs() const override { return steady_ms_; }
  int64_t WallMs() const override { return wall_ms_; }
  void Advance(int64_t ms) { steady_ms_ += ms, wall_ms_ += ms; }
  void SleepMs(int64_t ms) override { Advance(ms); }
  void JumpWall(int64_t ms) { wall_ms_ += ms; }

 private:
  int64_t steady_ms_ = 0, wall_ms_ = 0;
};

}  // namespace candor
