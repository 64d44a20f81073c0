// candor simulate: the control plane of a whole cluster in one process, from one seed, with faults.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "core/clock.h"
#include "core/log.h"
#include "simulation/world.h"

namespace candor::cli {

namespace {

struct SimulateArguments {
  sim::SimSettings settings;
  std::string seeds;  // "A..B"
  std::string faults = "on", broken;
  bool json = false, story = false, shrink = false;
};

struct Totals {
  uint64_t runs = 0, failed = 0, leases = 0, events = 0, faults = 0, deaths = 0, coordinators = 0, hash = 0;
  double simulated_s = 0, real_s = 0;
  std::vector<uint64_t> issued, trained;
  std::vector<uint64_t> failing;

  void Add(const sim::SimOutcome& one) {
    ++runs, leases += one.leases, events += one.events, faults += one.faults, deaths += one.deaths, coordinators += one.coordinators;
    hash ^= one.trace_hash, simulated_s += static_cast<double>(one.simulated_ms) / 1000;
    issued.resize(one.issued_by_length.size()), trained.resize(one.trained_by_length.size());
    for (size_t i = 0; i < issued.size(); ++i) issued[i] += one.issued_by_length[i], trained[i] += one.trained_by_length[i];
    if (!one.failure.empty()) ++failed, failing.push_back(one.seed);
  }
};

Result<std::pair<uint64_t, uint64_t>> SeedRange(const SimulateArguments& arguments) {
  if (arguments.seeds.empty()) return std::make_pair(arguments.settings.seed, arguments.settings.seed);
  unsigned long long first = 0, last = 0;
  char end = 0;
  if (std::sscanf(arguments.seeds.c_str(), "%llu..%llu%c", &first, &last, &end) != 2 || last < first)
    return Fail(ErrorCode::kInvalidInput, "'" + arguments.seeds + "' is no range of seeds", "--seeds", "write it as 1..100");
  return std::make_pair(uint64_t{first}, uint64_t{last});
}

Status TakeBroken(SimulateArguments& arguments) {
  if (arguments.broken.empty()) return {};
  std::string known;
  for (int i = 1; i < sim::kSabotages; ++i) {
    const auto sabotage = static_cast<sim::Sabotage>(i);
    if (arguments.broken == sim::Name(sabotage)) {
      arguments.settings.sabotage = sabotage;
      return {};
    }
    known += std::string(known.empty() ? "" : ", ") + sim::Name(sabotage);
  }
  return Fail(ErrorCode::kInvalidInput, "there is no rule '" + arguments.broken + "' to break", "--break", "one of " + known);
}

std::string Again(const sim::SimSettings& settings) {
  std::string text = fmt::format("candor simulate --seed {} --workers {} --steps {}", settings.seed, settings.workers, settings.steps);
  if (settings.prompts_per_step) text += fmt::format(" --prompts {}", settings.prompts_per_step);
  if (!settings.faults) text += " --faults off";
  if (settings.curriculum) text += " --curriculum";
  if (settings.sabotage != sim::Sabotage::kNone) text += std::string(" --break ") + sim::Name(settings.sabotage);
  return text;
}

void ShowFailure(const SimulateArguments& arguments, const sim::SimSettings& settings, const sim::SimOutcome& one) {
  std::fprintf(stderr, "seed %llu FAILED: %s\n  again: %s --story\n", static_cast<unsigned long long>(one.seed), one.failure.c_str(),
               Again(settings).c_str());
  if (!arguments.shrink) return;
  const sim::SimSettings fewer = sim::Shrink(settings, 60);
  const sim::SimOutcome small = sim::Simulate(fewer);
  std::fprintf(stderr, "  with %llu faults it still fails: %s\n", static_cast<unsigned long long>(small.faults), small.failure.c_str());
  for (const std::string& line : small.story) std::fprintf(stderr, "    %s\n", line.c_str());
}

void ShowTotals(const SimulateArguments& arguments, const Totals& totals, const sim::SimOutcome& last) {
  const double p = sim::LengthBiasP(totals.issued, totals.trained);
  const double speed = totals.real_s > 0 ? totals.simulated_s / totals.real_s : 0;
  if (arguments.json) {
    const nlohmann::json out = {{"runs", totals.runs},
                                {"failed", totals.failed},
                                {"failing_seeds", totals.failing},
                                {"simulated_s", totals.simulated_s},
                                {"real_s", totals.real_s},
                                {"speed", speed},
                                {"leases", totals.leases},
                                {"events", totals.events},
                                {"faults", totals.faults},
                                {"deaths", totals.deaths},
                                {"coordinators", totals.coordinators},
                                {"length_bias_p", p},
                                {"trace_hash", fmt::format("{:016x}", totals.hash)},
                                {"failure", last.failure}};
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("%s\n", fmt::format("runs {}  failed {}  simulated {:.0f} s in {:.1f} s ({:.0f} x real time)\n"
                                  "leases {}  events {}  faults {}  deaths {}  coordinators {}\n"
                                  "length bias p {:.3f}  trace hash {:016x}",
                                  totals.runs, totals.failed, totals.simulated_s, totals.real_s, speed, totals.leases, totals.events,
                                  totals.faults, totals.deaths, totals.coordinators, p, totals.hash)
                          .c_str());
}

Status Run(SimulateArguments& arguments) {
  CANDOR_TRY(TakeBroken(arguments));
  CANDOR_ASSIGN(const auto range, SeedRange(arguments));
  arguments.settings.faults = arguments.faults == "on";
  spdlog::set_level(spdlog::level::off);
  const bool live = ::isatty(STDERR_FILENO) && !arguments.json;
  const double begun = SteadySeconds();
  Totals totals;
  sim::SimOutcome last;
  double shown = begun;
  for (uint64_t seed = range.first; seed <= range.second; ++seed) {
    arguments.settings.seed = seed;
    last = sim::Simulate(arguments.settings, [&](uint64_t step, uint64_t steps) {
      const double now = SteadySeconds();
      if (!live || now - shown < 0.5) return true;
      shown = now;
      const double seeds = static_cast<double>(range.second - range.first + 1);
      const double done = (static_cast<double>(seed - range.first) + static_cast<double>(step) / static_cast<double>(steps)) / seeds;
      std::fprintf(stderr, "\rseed %llu  step %llu of %llu  %.0f s left   ", static_cast<unsigned long long>(seed),
                   static_cast<unsigned long long>(step), static_cast<unsigned long long>(steps),
                   done > 0 ? (now - begun) / done * (1 - done) : 0.0);
      return true;
    });
    totals.Add(last);
    if (arguments.story)
      for (const std::string& line : last.story) std::printf("%s\n", line.c_str());
    if (!last.failure.empty()) ShowFailure(arguments, arguments.settings, last);
  }
  if (live) std::fprintf(stderr, "\r%60s\r", "");
  totals.real_s = SteadySeconds() - begun;
  ShowTotals(arguments, totals, last);
  if (totals.failed > 0) return Fail(ErrorCode::kInternal, fmt::format("{} of {} seeds failed", totals.failed, totals.runs));
  return {};
}

}  // namespace

int RunSimulate(int argc, const char* const* argv) {
  SimulateArguments arguments;
  CommandLine app{
      "The control plane of a whole cluster in one process, from one seed: the coordinator, leases, ledger and worker state machines of "
      "the "
      "product, with messages lost, doubled and late, processes killed, stopped and doubled, disks full and torn, clocks that jump. Checks "
      "that nothing is lost, trained or counted twice, and that the run ends once all is healed. The same seed gives the same trace hash.",
      "candor simulate"};
  app.Add("--seed", &arguments.settings.seed).ShowDefault();
  app.Add("--seeds", &arguments.seeds, "a range of seeds, as 1..100");
  app.Add("--workers", &arguments.settings.workers, "rollout and reward workers together").Range(2, 20000).ShowDefault();
  app.Add("--steps", &arguments.settings.steps).Range(1, 1000000).ShowDefault();
  app.Add("--prompts", &arguments.settings.prompts_per_step, "prompts per step; 0 = as fits the workers").ShowDefault();
  app.Add("--faults", &arguments.faults, "on or off").OneOf({"on", "off"}).ShowDefault();
  app.AddFlag("--curriculum", &arguments.settings.curriculum,
              "each seed also chooses skipped prompts, retired ones and steps that are filled up");
  app.Add("--break", &arguments.broken, "break one rule on purpose, to see that it is caught");
  app.AddFlag("--story", &arguments.story, "print what was done to the run");
  app.AddFlag("--shrink", &arguments.shrink, "of a failing seed: look for the fewest faults that still make it fail");
  app.AddFlag("--json", &arguments.json, "one JSON object instead of lines");
  app.AddFooter(
      "Examples:\n  candor simulate --seed 7 --story\n  candor simulate --seeds 1..1000\n  candor simulate --seeds 1..100 --curriculum\n"
      "  candor simulate --workers 1000 --steps 1000 --seed 1\n  candor simulate --seeds 1..50 --break ack_before_sync");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("simulate", Run(arguments));
}

}  // namespace candor::cli
