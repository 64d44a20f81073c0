#include "reward/verifiers/command_verifier.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <mutex>

#include "core/queue.h"
#include "core/thread.h"
#include "reward/verifiers/child_process.h"
#include "reward/verifiers/failure_log.h"
#include "reward/verifiers/json_protocol.h"

namespace candor {

namespace {

// Children are started by one thread that lives as long as the pool: the kernel ends a child together with the thread that started it.
class ChildStarter {
 public:
  ChildStarter(std::vector<std::string> command, ChildLimits limits)
      : command_(std::move(command)), limits_(limits), requests_(1024), thread_("child-starter", [this] { Serve(); }) {}
  ~ChildStarter() { requests_.Close(); }

  Result<std::unique_ptr<ChildProcess>> Start() {
    std::promise<Result<std::unique_ptr<ChildProcess>>> promise;
    auto result = promise.get_future();
    if (!requests_.Push(&promise)) return Fail(ErrorCode::kCancelled, "the verifier is being closed");
    return result.get();
  }

 private:
  void Serve() {
    while (!requests_.closed() || requests_.size() > 0)
      if (auto promise = requests_.Pop(200)) (*promise)->set_value(ChildProcess::Start(command_, limits_));
  }

  const std::vector<std::string> command_;
  const ChildLimits limits_;
  BoundedQueue<std::promise<Result<std::unique_ptr<ChildProcess>>>*> requests_;
  NamedThread thread_;  // last: it uses what is above
};

struct Slot {
  std::unique_ptr<ChildProcess> child;
  bool fresh = true;  // has not answered yet: its start-up time is still to come
};

class CommandVerifier final : public Verifier {
 public:
  explicit CommandVerifier(const VerifierOptions& options)
      : options_(options),
        starter_(options.command, ChildLimits{options.memory_mb, options.cpu_s, options.max_processes}),
        slots_(static_cast<size_t>(options.processes)) {
    for (Slot& slot : slots_) free_.push_back(&slot);
  }

  Verdict Grade(const GradeRequest& request) const override {
    Slot* slot = Take();
    Result<Verdict> verdict = GradeOn(*slot, request);
    if (!verdict) slot->child.reset();
    Return(slot);
    if (verdict) return std::move(*verdict);
    failures_.Note(options_.name, request.id, verdict.error());
    return UnknownVerdict(verdict.error().Message());
  }

 private:
  Result<Verdict> GradeOn(Slot& slot, const GradeRequest& request) const {
    if (slot.child != nullptr && !slot.child->Ready()) slot.child.reset();
    if (slot.child == nullptr) {
      CANDOR_ASSIGN(slot.child, starter_.Start());
      slot.fresh = true;
    }
    double seconds = options_.timeout_s + (slot.fresh ? options_.startup_s : 0.0);
    GradeRequest numbered = request;  // no two lines to a child share an id, so that a late reply cannot pass for another's
    numbered.id += "#" + std::to_string(++requests_);
    CANDOR_ASSIGN(std::string reply,
                  slot.child->Exchange(EncodeGradeRequest(numbered), static_cast<int64_t>(seconds * 1000.0), kMaxReplyBytes));
    slot.fresh = false;
    return DecodeGradeReply(reply, numbered.id);
  }

  Slot* Take() const {
    std::unique_lock lock(mutex_);
    has_free_.wait(lock, [&] { return !free_.empty(); });  // bounded: every holder has a deadline
    Slot* slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void Return(Slot* slot) const {
    std::scoped_lock lock(mutex_);
    free_.push_back(slot);
    has_free_.notify_one();
  }

  const VerifierOptions options_;
  mutable ChildStarter starter_;
  mutable std::atomic<uint64_t> requests_ = 0;
  mutable FailureLog failures_;
  mutable std::mutex mutex_;
  mutable std::condition_variable has_free_;
  mutable std::vector<Slot> slots_;  // after starter_: children end before their starter
  mutable std::vector<Slot*> free_;
};

bool IsProgram(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

bool OnPath(const std::string& program) {
  if (program.find('/') != std::string::npos) return IsProgram(program);
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/bin:/usr/bin";
  while (!rest.empty()) {
    size_t end = std::min(rest.find(':'), rest.size());
    if (IsProgram(std::string(rest.substr(0, end)) + "/" + program)) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<Verifier>> MakeCommandVerifier(const VerifierOptions& options) {
  if (options.command.empty())
    return Fail(ErrorCode::kInvalidInput, "it has no command", "verifier " + options.name,
                "write command = [\"python3\", \"my_reward.py\"]");
  if (!OnPath(options.command[0]))
    return Fail(ErrorCode::kNotFound, "no program '" + options.command[0] + "' to run", "verifier " + options.name,
                "install it or name it by its full path");
  return std::unique_ptr<Verifier>(std::make_unique<CommandVerifier>(options));
}

Result<std::string> FindAdapter(const std::string& file_name) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> places;
  if (const char* named = std::getenv("CANDOR_ADAPTERS")) places.emplace_back(fs::path(named) / file_name);
  for (fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path(); !folder.empty(); folder = folder.parent_path()) {
    places.push_back(folder / "share/candor/adapters" / file_name);
    places.push_back(folder / "reward/adapters" / file_name);
    if (folder == folder.root_path()) break;
  }
  for (const fs::path& place : places)
    if (fs::is_regular_file(place, error)) return place.string();
  return Fail(ErrorCode::kNotFound, "cannot find the adapter " + file_name, "beside or above the program",
              "set CANDOR_ADAPTERS to the folder that holds it");
}

}  // namespace candor
