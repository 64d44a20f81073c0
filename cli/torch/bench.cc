// `candor bench NAME`: how fast, and how exact, the engine and the learner are on this machine with a given model.
#include "rollout/bench.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/run_dir.h"
#include "cli/torch/bench_publish.h"
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
mismatch   |log p of the rollout engine - log p of the learner's pass| per token; 0 with --deterministic
publish    one real step at a small rate, then the new weights as a delta: bytes, time, and what leaves the learner with 1, 4, 16 receivers
           that pass chunks on to each other over loopback. The masters begin anywhere in their bf16 rounding interval, as after many steps
  full_bytes, delta_bytes, delta_over_full   a full broadcast, and what the step costs instead; changed_values_share: of all values
  full_publish_seconds, delta_publish_seconds, delta_encode_seconds   at the learner; delta_apply_seconds: at a receiver, with verification
  plain_tcp_gb_s, full_broadcast_gb_s, full_broadcast_over_plain_tcp  one receiver and one bare connection, in turns; 10^9 bytes a second
  egress_over_full_N, egress_over_delta_N    bytes that left the learner for N receivers, over the bytes that each received
  full_seconds_N, delta_seconds_N            until the last of N had verified them
coordinator   a real coordinator process under 100, 1,000 and 10,000 workers: leases/s, latency, memory (candor bench coordinator --help)
recover    seconds from the death of a role to the run's next step (candor bench recover --help)
reliability   the reliability figures that a test log holds (candor bench reliability --help)
Absolute figures differ between machines and between minutes: compare two programs in one paired run, never with a number from elsewhere.

Examples:
  candor bench generate models/SmolLM2-135M-Instruct
  candor bench generate models/SmolLM2-135M-Instruct --group-size 8 --dtype fp32 --json
  candor bench learn runs/cities --recompute
  candor bench shard models/SmolLM2-135M-Instruct --ranks 4 --sharding zero3
  candor bench shard models/SmolLM2-135M-Instruct --latency-ms 2 --gbps 10
  candor bench publish models/SmolLM2-135M-Instruct --json
  candor bench mismatch models/SmolLM2-135M-Instruct --deterministic)";

struct BenchArguments {
  std::string model, device = "auto", dtype = "auto";
  int64_t threads = 2;
  bool json = false;
  GenerateBenchOptions generate;
  LearnBenchOptions learn;
  MismatchBenchOptions mismatch;
  ShardBenchArguments shard;
  PublishBenchOptions publish;
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

Status Publish(BenchArguments& arguments, const std::string& folder) {
  arguments.publish.threads = arguments.threads;
  CANDOR_ASSIGN(const std::string json, RunPublishBench(folder, arguments.publish));
  Print(arguments, json);
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

  CLI::App* publish = AddBench(app, "publish", "bytes and time to bring new weights to the rollouts", arguments);
  publish->add_option("--lr", arguments.publish.lr, "learning rate of the step")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  publish->add_option("--threads", arguments.threads, "threads of LibTorch")->check(CLI::Range(1, 1024))->capture_default_str();
  publish->add_option("--receivers", arguments.publish.receivers, "how many at once")->check(CLI::Range(1, 64))->capture_default_str();

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
    status = *publish    ? Publish(arguments, *folder)
             : *generate ? Generate(arguments, *folder)
             : *learn    ? Learn(arguments, *folder)
                         : Mismatch(arguments, *folder);
  return ExitWith("bench", status);
}

}  // namespace candor::cli
