// `candor doctor`: opens every library that a run may need and says what is missing, for what it is needed and how to get it.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cli/checkup.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "core/fs.h"
#include "core/transport.h"

namespace candor::cli {

namespace {

void CheckTransport(Checkup& checkup) {
  auto keys = MakeRunKeys();
  auto transport = keys ? MakeZmqTransport(*keys) : Result<std::unique_ptr<Transport>>(Fail(keys.error()));
  checkup.Add(transport ? Verdict::kGood : Verdict::kBad, "ZeroMQ with CURVE",
              transport ? "a stranger's key is refused" : transport.error().Message());
}

void CheckTorch(Checkup& checkup) {
  const std::string program = ProgramFolder() + "candor-torch";
  if (!FileExists(program)) return checkup.Add(Verdict::kBad, "candor-torch", "is not beside candor; build it: tools/build.sh");
  auto code = RunToEnd({program, "--version"}, {}, "/dev/null");
  const bool good = code && *code == 0;
  checkup.Add(good ? Verdict::kGood : Verdict::kBad, "candor-torch with LibTorch",
              good ? "starts" : "does not start: run " + program + " --version to see why");
}

// Asks candor-torch, which opens LibTorch's GPU half as a role would.
void CheckGpu(Checkup& checkup) {
  const std::string program = ProgramFolder() + "candor-torch", answer = "./.candor-doctor-gpu-" + std::to_string(::getpid());
  auto code = RunToEnd({program, "--device"}, {}, answer);
  Result<std::string> text = ReadFile(answer, size_t{1} << 16);
  ::unlink(answer.c_str());
  if (!code || !text) return;  // candor-torch does not start: said above
  const std::string line = text->substr(0, text->find('\n'));
  checkup.Add(*code == 0 ? Verdict::kGood : Verdict::kOptional, "GPU",
              *code == 0 ? line + " will be used" : "the CPU will be used: " + line);
}

}  // namespace

void Checkup::Add(Verdict verdict, const std::string& what, const std::string& detail) {
  const char* const marks[] = {"ok      ", "optional", "MISSING "};
  std::printf("  %s  %-28s %s\n", marks[static_cast<int>(verdict)], what.c_str(), detail.c_str());
  bad_ += verdict == Verdict::kBad;
}

void Checkup::Library(const std::string& what, const std::vector<std::string>& names, bool required, const std::string& fix) {
  for (const std::string& name : names)
    if (void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL)) {
      dlclose(handle);
      return Add(Verdict::kGood, what, name);
    }
  Add(required ? Verdict::kBad : Verdict::kOptional, what, names.front() + " cannot be opened; " + fix);
}

int RunDoctor(int argc, const char* const* argv) {
  CommandLine app{
      "Opens every library that a run may need, tries the file system of the present folder and says what is missing and how to get it. "
      "Exit code 0 when nothing required is missing.",
      "candor doctor"};
  std::string run_dir;
  app.Add("RUN_DIR", &run_dir, "a run's folder: its file system is tried instead, and its live coordinator is asked");
  app.AddFooter("Examples:\n  candor doctor\n  cd /shared/project && candor doctor\n  candor doctor runs/cities");
  if (const auto code = app.Parse(argc, argv)) return *code;
  Checkup checkup;
  std::printf("Programs and libraries\n");
  CheckTorch(checkup);
  checkup.Library("Open MPI 4", {"libmpi.so.40", "libmpi.so"}, false,
                  "needed for trainer.ranks > 1: apt-get install openmpi-bin, or your site's module");
  auto mpirun = RunToEnd({"sh", "-c", "command -v mpirun"}, {}, "/dev/null");
  checkup.Add(mpirun && *mpirun == 0 ? Verdict::kGood : Verdict::kOptional, "mpirun",
              mpirun && *mpirun == 0 ? "found" : "needed for trainer.ranks > 1 outside Slurm");
  CheckDriver(checkup);
  checkup.Library("CUDA run time 13", {"libcudart.so.13"}, false, "needed for GPUs: tools/setup.sh --gpu");
  CheckNccl(checkup);
  CheckPmix(checkup);
  CheckGpu(checkup);
  CheckTransport(checkup);
  std::printf("This machine\n");
  CheckLimits(checkup);
  CheckNamespaces(checkup);
  std::printf("The file system of %s\n", run_dir.empty() ? "this folder" : run_dir.c_str());
  CheckFileSystem(checkup, run_dir.empty() ? "." : run_dir);
  if (!run_dir.empty()) CheckCoordinator(checkup, run_dir);
  std::printf(checkup.bad() == 0 ? "nothing required is missing\n" : "%d required things are missing\n", checkup.bad());
  return checkup.bad() == 0 ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
