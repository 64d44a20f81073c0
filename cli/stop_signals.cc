#include "cli/stop_signals.h"

#include <iterator>

namespace candor::cli {

namespace {
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1};
volatile sig_atomic_t g_stop_signal = 0;
void OnSignal(int signal) { g_stop_signal = signal; }
}  // namespace

CatchStopSignals::CatchStopSignals() {
  g_stop_signal = 0;
  struct sigaction action {};
  action.sa_handler = OnSignal;
  for (size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &action, &old_[i]);
}

CatchStopSignals::~CatchStopSignals() {
  for (size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &old_[i], nullptr);
}

int CatchStopSignals::Caught() { return static_cast<int>(g_stop_signal); }

}  // namespace candor::cli
