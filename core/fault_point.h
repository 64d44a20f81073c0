// Named places where a test can make this process fail: FaultPoint("checkpoint.manifest") does nothing unless CANDOR_FAULT asks for it. The
// points stay in release builds (one load and a branch), so that what is tested is what runs.
//
//   CANDOR_FAULT="checkpoint.manifest/trainer-1=kill@2, learner.reduce=delay:50"
//
// A rule is POINT[/PROCESS]=ACTION[@HIT]. PROCESS is the name given to SetProcessName; without it every process is meant. HIT counts the
// visits of the point in one process, from 1; without it a delay acts on every visit and anything else on the first. Actions:
//   kill      SIGKILL to itself          stop     SIGSTOP to itself (a hang; SIGCONT ends it)
//   exit:N    _exit(N)                   delay:MS sleeps
//   fail      FaultPoint returns true: the caller acts as if its operation had failed
// With CANDOR_FAULT_DIR set a rule (delays excepted) acts once in all processes and restarts: who claims DIR/<point>.<process> first. The
// file then holds "<pid> <ms since 1970> <action>". A malformed rule ends the process with a message. Any thread.
#pragma once
#include <string>

namespace candor {

// The name that rules match ("rollout-0"); the first call wins the place of "".
void SetProcessName(const std::string& name);

// For the simulation, which makes its processes die at these points: called instead of the rules; null takes it away. One thread.
using FaultVisitor = bool (*)(const char* point);
void SetFaultVisitor(FaultVisitor visitor);

namespace internal {
extern const bool g_faults_asked;
extern FaultVisitor g_fault_visitor;
bool VisitFaultPoint(const char* point);
}  // namespace internal

// True where the caller must act as if its operation had failed. Points are named <part>.<moment>.
inline bool FaultPoint(const char* point) {
  if (internal::g_fault_visitor) return internal::g_fault_visitor(point);
  return internal::g_faults_asked && internal::VisitFaultPoint(point);
}

}  // namespace candor
