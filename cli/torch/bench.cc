// `candor bench NAME`: how fast, and how exact, the engine and the learner are on this machine with a given model.
#include "rollout/bench.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/run_dir.h"
#include "cli/torch/bench_shard.h"
#include "cli/torch/commands.h"
#include "trainer/bench.h"

namespace candor::cli {
namespace {

constexpr const char* kExamples =
    R"(generate   64 prompts of 60 tokens, 64 new tokens each: new tokens per second, everything in but loading
learn      forward, backward and AdamW at 16 x 128 tokens, and with 8 answers of 32 tokens that share a prompt of 60
shard      five steps by one rank and by several under mpirun: how far their weights are apart, what each rank holds; with --latency-ms or
           --gbps over such a link: communication_seconds on the link for each step, exposed_seconds in which the rank stood still for it,
           hidden_share = 1 - exposed / communication, and the same steps with every call waited for at once (blocking_...)
coordinator  a real coordinator process under 100, 1,000 and 10,000 workers: leases/s, latency, memory (needs no model)
mismatch   |log p of the rollout engine - log p of the learner's pass| per token; 0 with --deterministic
Absolute figures differ between machines and between minutes: compare two programs in one paired run, never with a number from elsewhere.

Examples:
  candor bench generate models/SmolLM2-135M-Instruct
  candor bench generate models/SmolLM2-135M-Instruct --group-size 8 --dtype fp32 --json
  candor bench learn runs/cities --recompute
  candor bench shard models/SmolLM2-135M-Instruct --ranks 4 --sharding zero3
  candor bench shard models/SmolLM2-135M-Instruct --latency-ms 2 --gbps 10
  candor bench mismatch models/SmolLM2-135M-Instruct --deterministic)";

struct BenchArguments {
  std::string model, device = "auto", dtype = "auto";
  int64_t threads = 2;
  bool json = false;
  GenerateBenchOptions generate;
  LearnBenchOptions learn;
  MismatchBenchOptions mismatch;
  ShardBenchArguments shard;
};

void Print(const BenchArguments& arguments, const std::string& text) {
  const auto values = nlohmann::ordered_json::parse(text);
  if (arguments.json) {
    std::printf("%s\n", text.c_str());
    return;
  }
  for (const auto& [key, value] : values.items()) {
    if (value.is_number_float())
      std::printf("%-32s %.6g\n", key.c_str(), value.get<double>());
    else
      std::printf("%-32s %s\n", key.c_str(), value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
  }
}

// What every bench of one process takes.
template <typename Options>
void Place(const BenchArguments& arguments, Options& options) {
  options.device = arguments.device, options.dtype = arguments.dtype, options.threads = arguments.threads;
}

Status Generate(BenchArguments& arguments, const std::string& folder) {
  arguments.generate.folder = folder;
  Place(arguments, arguments.generate);
  CANDOR_ASSIGN(const GenerateBenchResult result, GenerateBench(arguments.generate));
  Print(arguments, ToJson(result));
  return {};
}

Status Learn(BenchArguments& arguments, const std::string& folder) {
  Place(arguments, arguments.learn);
  CANDOR_ASSIGN(const LearnBenchResult result, LearnBench(folder, arguments.learn));
  const nlohmann::ordered_json json = {{"name", "learn"},
                                       {"tokens_per_second", result.tokens_per_second},
                                       {"step_seconds", result.step_seconds},
                                       {"shared_tokens_per_second", result.shared_tokens_per_second},
                                       {"shared_step_seconds", result.shared_step_seconds},
                                       {"update_seconds", result.update_seconds},
                                       {"dtype", result.dtype}};
  Print(arguments, json.dump());
  return {};
}

Status Mismatch(BenchArguments& arguments, const std::string& folder) {
  arguments.mismatch.folder = folder;
  Place(arguments, arguments.mismatch);
  CANDOR_ASSIGN(const MismatchBenchResult result, MismatchBench(arguments.mismatch));
  Print(arguments, ToJson(result));
  return {};
}

Status Shard(BenchArguments& arguments) {
  arguments.shard.model = arguments.model, arguments.shard.device = arguments.device;
  if (!arguments.shard.rank_out.empty()) return RunShardBenchRank(arguments.shard);
  CANDOR_ASSIGN(const std::string json, RunShardBench(arguments.shard));
  Print(arguments, json);
  return {};
}

CLI::App* AddBench(CLI::App& app, const char* name, const char* description, BenchArguments& arguments) {
  CLI::App* bench = app.add_subcommand(name, description);
  bench->add_option("MODEL", arguments.model, "Hugging Face folder, or the folder of a run")->required();
  bench->add_option("--device", arguments.device, "auto (a GPU where one can be used), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  bench->add_flag("--json", arguments.json, "one JSON object instead of lines");
  return bench;
}

// The benches of one process choose both; the ranks of `shard` have one thread each, and are compared in fp32 unless told otherwise.
void AddPlace(CLI::App* bench, BenchArguments& arguments) {
  bench->add_option("--dtype", arguments.dtype, "auto (the faster one here), bf16 or fp32")->check(CLI::IsMember({"auto", "bf16", "fp32"}));
  bench->add_option("--threads", arguments.threads, "threads of LibTorch")->check(CLI::Range(1, 1024))->capture_default_str();
}

}  // namespace

int RunBench(int argc, const char* const* argv) {
  if (argc > 1 && std::string(argv[1]) == "coordinator") return RunBenchCoordinator(argc - 1, argv + 1);
  BenchArguments arguments;
  CLI::App app{"Speed and exactness of the engine and the learner, on this machine with your model.", "candor bench"};
  app.footer(kExamples);
  app.require_subcommand(1);
  const CLI::Range positive(int64_t{1}, int64_t{1} << 20);

  CLI::App* generate = AddBench(app, "generate", "tokens per second of the rollout engine", arguments);
  AddPlace(generate, arguments);
  generate->add_option("--prompts", arguments.generate.prompts, "traces at once")->check(positive)->capture_default_str();
  generate->add_option("--prompt-tokens", arguments.generate.prompt_tokens)->check(positive)->capture_default_str();
  generate->add_option("--new-tokens", arguments.generate.new_tokens)->check(positive)->capture_default_str();
  generate->add_option("--group-size", arguments.generate.group_size, "traces that share a prompt")->check(positive)->capture_default_str();

  CLI::App* learn = AddBench(app, "learn", "tokens per second of a learning step", arguments);
  AddPlace(learn, arguments);
  learn->add_option("--sequences", arguments.learn.sequences)->check(positive)->capture_default_str();
  learn->add_option("--tokens", arguments.learn.tokens, "per sequence")->check(positive)->capture_default_str();
  learn->add_option("--repeats", arguments.learn.repeats, "the median counts")->check(positive)->capture_default_str();
  learn->add_flag("--recompute", arguments.learn.recompute, "compute each block again in the backward pass");

  CLI::App* shard = AddBench(app, "shard", "one rank against several: equal weights, and memory per rank", arguments);
  shard->add_option("--dtype", arguments.shard.dtype, "bf16 or fp32")->check(CLI::IsMember({"bf16", "fp32"}))->capture_default_str();
  shard->add_option("--ranks", arguments.shard.ranks)->check(CLI::Range(2, 64))->capture_default_str();
  shard->add_option("--sharding", arguments.shard.sharding)->check(CLI::IsMember({"none", "zero2", "zero3"}))->capture_default_str();
  shard->add_option("--steps", arguments.shard.steps, "the first is warm-up")->check(CLI::Range(1, 1000))->capture_default_str();
  shard->add_option("--groups", arguments.shard.groups, "of a step, on all ranks")->check(CLI::Range(1, 4096))->capture_default_str();
  shard->add_option("--prompt-tokens", arguments.shard.prompt_tokens)->check(CLI::Range(1, 100000))->capture_default_str();
  shard->add_option("--answer-tokens", arguments.shard.answer_tokens)->check(CLI::Range(1, 100000))->capture_default_str();
  shard->add_option("--latency-ms", arguments.shard.link.latency_ms, "of the link between ranks")->check(CLI::Range(0.0, 10000.0));
  shard->add_option("--gbps", arguments.shard.link.gbps, "10^9 bits a second of that link; 0: no limit")->check(CLI::Range(0.0, 1e6));
  shard->add_flag("--blocking", arguments.shard.link.blocking)->group("");
  shard->add_option("--rank-out", arguments.shard.rank_out)->group("");

  CLI::App* mismatch = AddBench(app, "mismatch", "how far rollout and learner log-probabilities are apart", arguments);
  AddPlace(mismatch, arguments);
  mismatch->add_option("--prompts", arguments.mismatch.prompts)->check(positive)->capture_default_str();
  mismatch->add_option("--new-tokens", arguments.mismatch.new_tokens)->check(positive)->capture_default_str();
  mismatch->add_flag("--deterministic", arguments.mismatch.deterministic, "fp32, results independent of the batch: the difference is 0");

  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  Status status;
  if (*shard)
    status = Shard(arguments);
  else if (const auto folder = ModelFolderOf(arguments.model); !folder)
    status = Fail(folder.error());
  else
    status = *generate ? Generate(arguments, *folder) : *learn ? Learn(arguments, *folder) : Mismatch(arguments, *folder);
  return ExitWith("bench", status);
}

}  // namespace candor::cli
