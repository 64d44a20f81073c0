// Every storage call of the checkpoint writer fails once in every way (R1): the program forks a child for each call and kind of fault,
// which writes three checkpoints of a two-rank policy with the library storage_faults armed, and then a child that loads what is there. The
// newest checkpoint must load, be bit-equal to what the training held at its step, and be the last one that was reported as written or the
// one being written. Run with LD_PRELOAD=storage_faults.so.
//
// usage: checkpoint_sweep STRIDE   (1: every call)
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "../unit/trainer/filled_policy.h"
#include "core/log.h"
#include "trainer/checkpoint_writer.h"

namespace candor {
namespace {

constexpr int kSteps = 3, kRanks = 2;
constexpr int kNone = 100, kError = 101, kOtherNumbers = 102;  // exit codes of the loading child, beside the step

using Arm = void (*)(const char*, const char*);
using Calls = long (*)();

// "s" before a checkpoint is begun and "w" once it is reported as written; "c<calls>" at the end.
void WriteAll(const std::string& folder, int to_parent, Calls calls) {
  tiny::OnRanks<int>(kRanks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero2, DType::kFp32, true}, collective);
    CheckpointOptions keep;
    keep.keep_last = 1;
    CheckpointWriter writer(policy, folder, keep);
    const auto say = [&](const std::string& text) {
      if (collective.rank() == 0 && ::write(to_parent, text.data(), text.size()) < 0) std::_Exit(3);
    };
    for (int step = 1; step <= kSteps; ++step) {
      filled::Fill(policy, static_cast<float>(step));
      say("s");
      if (!writer.Start(step, "")) std::_Exit(4);
      filled::Fill(policy, 99.0f);
      const auto outcome = writer.Finish(20000);
      if (!outcome) std::_Exit(5);
      say(outcome->written ? "w" + std::to_string(step) : "f");
    }
    return 0;
  });
  const std::string text = "c" + std::to_string(calls());
  if (::write(to_parent, text.data(), text.size()) < 0) std::_Exit(3);
}

int LoadNewest(const std::string& folder) {
  return tiny::OnRanks<int>(kRanks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero2, DType::kFp32, true}, collective);
    const auto loaded = LoadNewestCheckpoint(policy, folder);
    if (!loaded) return kError;
    if (!*loaded) return kNone;
    return filled::Holds(policy, static_cast<float>((*loaded)->step)) ? static_cast<int>((*loaded)->step) : kOtherNumbers;
  })[0];
}

struct Outcome {
  int written = 0, begun = 0, failed = 0;
  long calls = 0;
  int status = 0;  // of waitpid
};

Outcome RunChild(const std::string& folder, const std::string& fault, Arm arm, Calls calls) {
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    arm(folder.c_str(), fault.c_str());
    WriteAll(folder, ends[1], calls);
    std::_Exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, static_cast<size_t>(n));
  ::close(ends[0]);
  Outcome outcome;
  ::waitpid(child, &outcome.status, 0);
  for (size_t i = 0; i < said.size(); ++i) {
    outcome.begun += said[i] == 's';
    outcome.failed += said[i] == 'f';
    if (said[i] == 'w') outcome.written = said[i + 1] - '0';
    if (said[i] == 'c') outcome.calls = std::stol(said.substr(i + 1));
  }
  return outcome;
}

int LoadInChild(const std::string& folder) {
  const pid_t child = ::fork();
  if (child == 0) std::_Exit(LoadNewest(folder));
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : kError;
}

// "" when what is on disk is legal after this outcome.
std::string Judge(const Outcome& outcome, const std::string& kind, int loaded) {
  const bool dies = kind == "kill" || kind == "torn";
  if (dies != (WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGKILL) || (!dies && outcome.status != 0))
    return "the writer ended with status " + std::to_string(outcome.status);
  if (!dies && outcome.begun != kSteps) return "training did not go on";
  if (kind == "short" && outcome.written != kSteps) return "a short write was not continued";
  if ((kind == "enospc" || kind == "eio") && outcome.failed > 1) return "one fault failed several checkpoints";
  const int found = loaded == kNone ? 0 : loaded;
  if (found == outcome.written || found == outcome.begun) return "";
  return "the newest checkpoint is " + std::to_string(loaded) + ", written were " + std::to_string(outcome.written) + ", begun " +
         std::to_string(outcome.begun);
}

int Sweep(long stride) {
  const auto arm = reinterpret_cast<Arm>(::dlsym(RTLD_DEFAULT, "candor_io_arm"));
  const auto calls = reinterpret_cast<Calls>(::dlsym(RTLD_DEFAULT, "candor_io_calls"));
  if (!arm || !calls) return std::fprintf(stderr, "checkpoint_sweep: run it with LD_PRELOAD=storage_faults.so\n"), 2;
  tiny::Folder folder;
  const std::string place = folder.path() + "/c";
  const Outcome whole = RunChild(place, "", arm, calls);
  if (whole.written != kSteps || LoadInChild(place) != kSteps) return std::fprintf(stderr, "the undisturbed writer failed\n"), 1;
  // The control: damage that is put there by hand is seen by the loading child.
  std::filesystem::resize_file(place + "/step_00000003/rank_1.safetensors", 100);
  if (LoadInChild(place) != kNone) return std::fprintf(stderr, "damage goes unnoticed\n"), 1;
  long points = 0, bad = 0;
  for (const char* kind : {"kill", "torn", "short", "enospc", "eio"})
    for (long call = 1; call <= whole.calls; call += stride, ++points) {
      std::filesystem::remove_all(place);
      const std::string fault = std::string(kind) + "@" + std::to_string(call);
      const Outcome outcome = RunChild(place, fault, arm, calls);
      if (const std::string wrong = Judge(outcome, kind, LoadInChild(place)); !wrong.empty())
        ++bad, std::printf("%s: %s\n", fault.c_str(), wrong.c_str());
    }
  std::printf("candor-figure R1 checkpoint_storage_points=%ld points calls=%ld bad=%ld bound=0_bad\n", points, whole.calls, bad);
  return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  spdlog::set_level(spdlog::level::off);
  return candor::Sweep(argc > 1 ? std::atol(argv[1]) : 1);
}
