// `candor doctor`: opens every library that a run may need and says what is missing, for what it is needed and how to get it.
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "core/fs.h"
#include "core/transport.h"

namespace candor::cli {

namespace {

enum class Verdict { kGood, kOptional, kBad };

class Checkup {
 public:
  void Add(Verdict verdict, const std::string& what, const std::string& detail) {
    const char* const marks[] = {"ok      ", "optional", "MISSING "};
    std::printf("  %s  %-28s %s\n", marks[static_cast<int>(verdict)], what.c_str(), detail.c_str());
    bad_ += verdict == Verdict::kBad;
  }
  void Library(const std::string& what, const std::vector<std::string>& names, bool required, const std::string& fix) {
    for (const std::string& name : names)
      if (void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL)) {
        dlclose(handle);
        return Add(Verdict::kGood, what, name);
      }
    Add(required ? Verdict::kBad : Verdict::kOptional, what, names.front() + " cannot be opened; " + fix);
  }
  int bad() const { return bad_; }

 private:
  int bad_ = 0;
};

void CheckLimits(Checkup& checkup) {
  struct rlimit files {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  checkup.Add(files.rlim_cur >= 1024 ? Verdict::kGood : Verdict::kBad, "open files",
              std::to_string(files.rlim_cur) + (files.rlim_cur >= 1024 ? "" : "; raise it: ulimit -n 4096"));
  struct statvfs shm {};
  if (::statvfs("/dev/shm", &shm) == 0) {
    const double megabytes = static_cast<double>(shm.f_bavail) * static_cast<double>(shm.f_frsize) / 1e6;
    checkup.Add(megabytes >= 64 ? Verdict::kGood : Verdict::kBad, "/dev/shm",
                std::to_string(static_cast<long>(megabytes)) + " MB free" + (megabytes >= 64 ? "" : "; MPI ranks need 64 MB"));
  } else {
    checkup.Add(Verdict::kBad, "/dev/shm", "is not there; MPI ranks on one machine need it");
  }
}

void CheckFileSystem(Checkup& checkup) {
  const std::string probe = "./.candor-doctor-" + std::to_string(::getpid());
  Status linked = CreateExclusive(probe, "x");
  Status second = linked ? CreateExclusive(probe, "y") : Status{};
  ::unlink(probe.c_str());
  if (!linked) return checkup.Add(Verdict::kBad, "link(2) in this folder", linked.error().Message());
  checkup.Add(!second ? Verdict::kGood : Verdict::kBad, "link(2) in this folder",
              !second ? "atomic: a run's incarnations can be fenced" : "two processes could both create one file");
}

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

int RunDoctor(int argc, const char* const* argv) {
  CLI::App app{
      "Opens every library that a run may need, tries the file system of the present folder and says what is missing and how to get it. "
      "Exit code 0 when nothing required is missing.",
      "candor doctor"};
  app.footer("Example:\n  candor doctor");
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  Checkup checkup;
  std::printf("Programs and libraries\n");
  CheckTorch(checkup);
  checkup.Library("Open MPI 4", {"libmpi.so.40", "libmpi.so"}, false,
                  "needed for trainer.ranks > 1: apt-get install openmpi-bin, or your site's module");
  auto mpirun = RunToEnd({"sh", "-c", "command -v mpirun"}, {}, "/dev/null");
  checkup.Add(mpirun && *mpirun == 0 ? Verdict::kGood : Verdict::kOptional, "mpirun",
              mpirun && *mpirun == 0 ? "found" : "needed for trainer.ranks > 1 outside Slurm");
  checkup.Library("CUDA driver", {"libcuda.so.1"}, false, "there is no GPU driver; the CPU path is used");
  checkup.Library("CUDA run time 13", {"libcudart.so.13"}, false, "needed for GPUs: tools/setup.sh --gpu");
  checkup.Library("NCCL 2", {"libnccl.so.2"}, false, "needed for learners on GPUs: tools/setup.sh");
  CheckGpu(checkup);
  CheckTransport(checkup);
  std::printf("This machine\n");
  CheckLimits(checkup);
  CheckFileSystem(checkup);
  std::printf(checkup.bad() == 0 ? "nothing required is missing\n" : "%d required things are missing\n", checkup.bad());
  return checkup.bad() == 0 ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
