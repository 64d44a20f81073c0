// `candor bench NAME`: how fast, and how exact, the engine and the learner are on this machine with a given model.
#include "rollout/bench.h"

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

constexpr const char* kBenchExamples =
    R"(generate   64 questions in the model's chat template, 64 new tokens each: new tokens per second, everything in but loading. What all
           prompts begin with is computed once (reused_tokens); --prompt-tokens 60: made-up prompts that have nothing in common
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

CommandLine& AddBench(CommandLine& app, const char* name, const char* description, BenchArguments& arguments) {
  CommandLine& bench = app.AddSubcommand(name, description);
  bench.Add("MODEL", &arguments.model, "Hugging Face folder, or the folder of a run").Required();
  bench.Add("--device", &arguments.device, "auto (a GPU where one can be used), cpu or cuda").OneOf({"auto", "cpu", "cuda"});
  bench.AddFlag("--json", &arguments.json, "one JSON object instead of lines");
  return bench;
}

// The benches of one process choose both; the ranks of `shard` have one thread each, and are compared in fp32 unless told otherwise.
void AddPlace(CommandLine& bench, BenchArguments& arguments) {
  bench.Add("--dtype", &arguments.dtype, "auto (the faster one here), bf16 or fp32").OneOf({"auto", "bf16", "fp32"});
  bench.Add("--threads", &arguments.threads, "threads of LibTorch").Range(1, 1024).ShowDefault();
}

}  // namespace

int RunBench(int argc, const char* const* argv) {
  BenchArguments arguments;
  CommandLine app{"Speed and exactness of the engine and the learner, on this machine with your model.", "candor bench"};
  app.AddFooter(kBenchExamples);

  CommandLine& generate = AddBench(app, "generate", "tokens per second of the rollout engine", arguments);
  AddPlace(generate, arguments);
  generate.Add("--prompts", &arguments.generate.prompts, "traces at once").Range(1, 1 << 20).ShowDefault();
  generate.Add("--prompt-tokens", &arguments.generate.prompt_tokens, "made-up prompts of this length instead of questions")
      .Range(1, 1 << 20);
  generate.Add("--new-tokens", &arguments.generate.new_tokens).Range(1, 1 << 20).ShowDefault();
  generate.Add("--group-size", &arguments.generate.group_size, "traces that share a prompt").Range(1, 1 << 20).ShowDefault();

  CommandLine& learn = AddBench(app, "learn", "tokens per second of a learning step", arguments);
  AddPlace(learn, arguments);
  learn.Add("--sequences", &arguments.learn.sequences).Range(1, 1 << 20).ShowDefault();
  learn.Add("--tokens", &arguments.learn.tokens, "per sequence").Range(1, 1 << 20).ShowDefault();
  learn.Add("--groups", &arguments.learn.groups, "of answers that share a prompt, for shared_tokens_per_second")
      .Range(1, 4096)
      .ShowDefault();
  learn.Add("--answers", &arguments.learn.answers, "per group").Range(1, 4096).ShowDefault();
  learn.Add("--answer-tokens", &arguments.learn.answer_tokens).Range(1, 100000).ShowDefault();
  learn.Add("--prompt-tokens", &arguments.learn.prompt_tokens).Range(1, 100000).ShowDefault();
  learn.Add("--common-tokens", &arguments.learn.common_tokens, "of the prompts, that all groups begin with").Range(0, 100000).ShowDefault();
  learn.Add("--repeats", &arguments.learn.repeats, "the median counts").Range(1, 1 << 20).ShowDefault();
  learn.AddFlag("--recompute", &arguments.learn.recompute, "compute each block again in the backward pass");

  CommandLine& shard = AddBench(app, "shard", "one rank against several: equal weights, and memory per rank", arguments);
  shard.Add("--dtype", &arguments.shard.dtype, "bf16 or fp32").OneOf({"bf16", "fp32"}).ShowDefault();
  shard.Add("--ranks", &arguments.shard.ranks).Range(2, 64).ShowDefault();
  shard.Add("--sharding", &arguments.shard.sharding).OneOf({"none", "zero2", "zero3"}).ShowDefault();
  shard.Add("--steps", &arguments.shard.steps, "the first is warm-up").Range(1, 1000).ShowDefault();
  shard.Add("--groups", &arguments.shard.groups, "of a step, on all ranks").Range(1, 4096).ShowDefault();
  shard.Add("--prompt-tokens", &arguments.shard.prompt_tokens).Range(1, 100000).ShowDefault();
  shard.Add("--answer-tokens", &arguments.shard.answer_tokens).Range(1, 100000).ShowDefault();
  shard.Add("--latency-ms", &arguments.shard.link.latency_ms, "of the link between ranks").Range(0.0, 10000.0);
  shard.Add("--gbps", &arguments.shard.link.gbps, "10^9 bits a second of that link; 0: no limit").Range(0.0, 1e6);
  shard.AddFlag("--blocking", &arguments.shard.link.blocking).Hidden();
  shard.Add("--rank-out", &arguments.shard.rank_out).Hidden();

  CommandLine& publish = AddBench(app, "publish", "bytes and time to bring new weights to the rollouts", arguments);
  publish.Add("--lr", &arguments.publish.lr, "learning rate of the step").Range(0.0, 1.0).ShowDefault();
  publish.Add("--threads", &arguments.threads, "threads of LibTorch").Range(1, 1024).ShowDefault();
  publish.Add("--receivers", &arguments.publish.receivers, "how many at once").Range(1, 64).ShowDefault();

  CommandLine& mismatch = AddBench(app, "mismatch", "how far rollout and learner log-probabilities are apart", arguments);
  AddPlace(mismatch, arguments);
  mismatch.Add("--prompts", &arguments.mismatch.prompts).Range(1, 1 << 20).ShowDefault();
  mismatch.Add("--new-tokens", &arguments.mismatch.new_tokens).Range(1, 1 << 20).ShowDefault();
  mismatch.AddFlag("--deterministic", &arguments.mismatch.deterministic, "fp32, results independent of the batch: the difference is 0");

  if (const auto code = app.Parse(argc, argv)) return *code;
  Status status;
  if (shard.Given())
    status = Shard(arguments);
  else if (const auto folder = ModelFolderOf(arguments.model); !folder)
    status = Fail(folder.error());
  else
    status = publish.Given()    ? Publish(arguments, *folder)
             : generate.Given() ? Generate(arguments, *folder)
             : learn.Given()    ? Learn(arguments, *folder)
                                : Mismatch(arguments, *folder);
  return ExitWith("bench", status);
}

}  // namespace candor::cli
