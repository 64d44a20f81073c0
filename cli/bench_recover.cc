// `candor bench recover`: seconds from the SIGKILL of a role to the run's next step, measured on real processes under `candor run`, and
// what they mean for a long run.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "cli/bench_front.h"
#include "cli/command_line.h"
#include "cli/run_dir.h"
#include "cli/run_processes.h"
#include "cli/supervisor.h"
#include "core/clock.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

using nlohmann::json;

constexpr int64_t kStepDeadlineMs = 60'000;    // every injected fault ends in recovery within a minute
constexpr int64_t kStartDeadlineMs = 300'000;  // the stages before RL
constexpr useconds_t kLookUs = 5000;
constexpr size_t kTailBytes = size_t{1} << 18;

struct Bounds {
  const char* role;
  double seconds;
};
constexpr Bounds kBounds[] = {{"rollout", 5}, {"reward", 5}, {"coordinator", 5}, {"trainer", 15}};

struct Moment {
  int64_t lines = 0;
  double wall_s = 0;  // of the newest step
  int64_t step = 0;
};

// The newest line of metrics.jsonl. Lines of older segments may be written again by a new coordinator; their times do not change.
Moment NewestStep(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const auto size = static_cast<int64_t>(file.tellg());
  file.seekg(std::max<int64_t>(0, size - static_cast<int64_t>(kTailBytes)));
  Moment newest;
  for (std::string line; std::getline(file, line) && !file.eof();) {
    const json object = json::parse(line, nullptr, false);
    if (object.is_object() && object.contains("wall_s") && object["wall_s"].is_number() && object["wall_s"].get<double>() > newest.wall_s &&
        object.contains("step") && object["step"].is_number_integer())
      newest = {0, object["wall_s"].get<double>(), object["step"].get<int64_t>()};
  }
  return newest;
}

class Victim {
 public:
  explicit Victim(std::string folder) : run_{folder + "/run"}, log_dir_(folder), supervisor_(folder, clock_) {}
  ~Victim() { supervisor_.Stop(20'000); }

  Status Start(const std::string& recipe, const std::vector<std::string>& settings) {
    ChildSpec spec;
    spec.name = "run", spec.restart = false;
    spec.command = {ProgramFolder() + "candor", "run", recipe, "--run-dir", run_.path, "--quiet"};
    spec.command.insert(spec.command.end(), settings.begin(), settings.end());
    CANDOR_TRY(supervisor_.Start(std::move(spec)));
    return WaitFor([&] { return NewestStep(run_.Metrics()).step >= 5; }, kStartDeadlineMs, "step 5");
  }

  // Seconds from the kill of one process of the role to the next step.
  Result<double> Kill(const std::string& role, std::mt19937& random) {
    std::vector<pid_t> pids;
    for (const RunProcess& process : ProcessesOf(run_.path))
      if (process.name == role || process.name.starts_with(role + "-")) pids.push_back(process.pid);
    if (pids.empty()) return Fail(ErrorCode::kInternal, "no process of the role was found", role);
    ::kill(pids[random() % pids.size()], SIGKILL);
    const double killed = static_cast<double>(clock_.WallMs()) / 1000;
    double next = 0;
    CANDOR_TRY(WaitFor([&] { return (next = NewestStep(run_.Metrics()).wall_s) > killed; }, kStepDeadlineMs,
                       "a step after the death of a " + role));
    return next - killed;
  }

  Status Steps(int64_t more) {
    const int64_t from = NewestStep(run_.Metrics()).step;
    return WaitFor([&] { return NewestStep(run_.Metrics()).step >= from + more; }, kStepDeadlineMs, "the next steps");
  }

 private:
  template <typename Predicate>
  Status WaitFor(const Predicate& holds, int64_t deadline_ms, const std::string& what) {
    for (const int64_t end = clock_.SteadyMs() + deadline_ms; !holds(); ::usleep(kLookUs)) {
      (void)supervisor_.Poll();
      if (!supervisor_.AnyRunning())
        return Fail(ErrorCode::kInternal, "the run ended while waiting for " + what, log_dir_ + "/run.log",
                    TailOfFile(log_dir_ + "/run.log", 6));
      if (clock_.SteadyMs() > end)
        return Fail(ErrorCode::kUnavailable, fmt::format("{} did not come within {} s", what, deadline_ms / 1000), run_.Logs());
    }
    return {};
  }

  const RunDir run_;
  const std::string log_dir_;
  SystemClock clock_;
  Supervisor supervisor_;
};

struct Outlook {
  double mtbf_h = 3, step_s = 60, checkpoint_every = 5;
};

// Effective training time of a long run: failures come as a Poisson process and hit a random role; a learner's costs the work since its
// last checkpoint as well. 1 - lost / all.
double SimulateEttr(const std::map<std::string, double>& recover_s, const Outlook& outlook) {
  std::mt19937_64 random(1);
  std::exponential_distribution<double> until(1 / (outlook.mtbf_h * 3600));
  std::uniform_real_distribution<double> work(0, outlook.step_s * outlook.checkpoint_every);
  double good = 0, lost = 0;
  for (int failure = 0; failure < 100'000; ++failure) {
    good += until(random);
    auto role = recover_s.begin();
    std::advance(role, static_cast<long>(random() % recover_s.size()));
    lost += role->second + (role->first == "trainer" ? work(random) : 0);
  }
  return good / (good + lost);
}

Result<json> Measure(const std::string& recipe, int64_t kills, const std::string& folder, const std::vector<std::string>& more) {
  Victim victim(folder);
  std::vector<std::string> settings{"trainer.steps=100000", "trainer.checkpoint_every=5", "rollout.workers=2", "reward.workers=2",
                                    "eval=[]"};
  settings.insert(settings.end(), more.begin(), more.end());
  CANDOR_TRY(victim.Start(recipe, settings));
  std::mt19937 random(1);
  json roles = json::object();
  std::map<std::string, double> median;
  for (const Bounds& bound : kBounds) {
    std::vector<double> seconds;
    for (int64_t i = 0; i < kills; ++i) {
      CANDOR_TRY(victim.Steps(10));
      CANDOR_ASSIGN(const double one, victim.Kill(bound.role, random));
      seconds.push_back(one);
    }
    std::sort(seconds.begin(), seconds.end());
    median[bound.role] = seconds[seconds.size() / 2];
    roles[bound.role] = {{"median_s", median[bound.role]},
                         {"max_s", seconds.back()},
                         {"kills", kills},
                         {"bound_s", bound.seconds},
                         {"within", seconds.back() <= bound.seconds}};
  }
  const Outlook outlook;
  return json{{"roles", roles},
              {"ettr",
               {{"value", SimulateEttr(median, outlook)},
                {"mtbf_h", outlook.mtbf_h},
                {"step_s", outlook.step_s},
                {"checkpoint_every", outlook.checkpoint_every},
                {"bound", 0.97}}}};
}

void Print(const json& figures) {
  for (const auto& [role, one] : figures["roles"].items()) {
    std::printf("%-12s median %6.2f s   max %6.2f s   bound %4.0f s   %s\n", role.c_str(), one["median_s"].get<double>(),
                one["max_s"].get<double>(), one["bound_s"].get<double>(), one["within"].get<bool>() ? "ok" : "TOO SLOW");
    std::printf("candor-figure R6 %s_max=%.2f s bound=%.0f\n", role.c_str(), one["max_s"].get<double>(), one["bound_s"].get<double>());
  }
  const json& ettr = figures["ettr"];
  std::printf("candor-figure R7 ettr_simulated=%.4f share bound=0.97 (one failure per %.0f h, steps of %.0f s, a checkpoint every %.0f)\n",
              ettr["value"].get<double>(), ettr["mtbf_h"].get<double>(), ettr["step_s"].get<double>(),
              ettr["checkpoint_every"].get<double>());
}

}  // namespace

int RunBenchRecover(int argc, const char* const* argv) {
  std::string recipe = "recipes/tiny.toml";
  int64_t kills = 3;
  bool as_json = false;
  std::vector<std::string> settings;
  CommandLine app{
      "Runs a recipe with two rollout and two reward workers, kills a process of each role with SIGKILL again and again, and measures the "
      "seconds "
      "to the next step. From the medians it simulates the effective training time of a long run with one failure per three hours. Exit "
      "code 1 "
      "when a role is slower than its bound.",
      "candor bench recover"};
  app.Add("--recipe", &recipe, "the recipe to disturb").ShowDefault();
  app.Add("--kills", &kills, "of each role").Range(1, 1000).ShowDefault();
  app.AddFlag("--json", &as_json, "as JSON");
  app.Add("SETTINGS", &settings, "overrides of the recipe, such as stage_cache=/tmp/stages");
  app.AddFooter("Examples:\n  candor bench recover\n  candor bench recover --kills 10 --json");
  if (const auto code = app.Parse(argc, argv)) return *code;
  const std::string folder = fmt::format("{}/candor-recover-{}", std::filesystem::temp_directory_path().string(), ::getpid());
  if (Status made = MakeFolders(folder); !made) return ReportFailure("bench recover", made.error());
  const auto figures = Measure(recipe, kills, folder, settings);
  if (!figures) return ReportFailure("bench recover", figures.error());  // its folder stays, to be looked at
  (void)RemoveTree(folder);
  if (as_json)
    std::printf("%s\n", figures->dump(2).c_str());
  else
    Print(*figures);
  bool within = (*figures)["ettr"]["value"].get<double>() >= 0.97;
  for (const auto& [role, one] : (*figures)["roles"].items()) within = within && one["within"].get<bool>();
  return within ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
