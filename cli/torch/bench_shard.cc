#include "cli/torch/bench_shard.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/run_dir.h"
#include "cli/scratch.h"
#include "cli/supervisor.h"
#include "core/collective_join.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "trainer/shard_bench.h"

namespace candor::cli {

namespace {

using nlohmann::ordered_json;

struct WorldResult {
  ordered_json numbers;
  std::vector<float> masters;
};

std::vector<std::string> RankCommand(const ShardBenchArguments& a, int64_t ranks, bool blocking, const std::string& folder) {
  std::vector<std::string> command = MpirunCommand(ranks);
  command.insert(command.end(), {ProgramFolder() + "candor-torch", "bench", "shard", a.model, "--device", a.device, "--dtype", a.dtype,
                                 "--sharding", ranks == 1 ? "none" : a.sharding, "--rank-out", folder});
  for (const auto& [name, value] :
       {std::pair{"--steps", a.steps}, {"--groups", a.groups}, {"--answer-tokens", a.answer_tokens}, {"--prompt-tokens", a.prompt_tokens}})
    command.insert(command.end(), {name, std::to_string(value)});
  if (ranks > 1 && a.link.Slower())
    command.insert(command.end(), {"--latency-ms", std::to_string(a.link.latency_ms), "--gbps", std::to_string(a.link.gbps)});
  if (blocking) command.push_back("--blocking");
  return command;
}

Result<WorldResult> RunWorld(const ShardBenchArguments& arguments, int64_t ranks, const std::string& folder, bool blocking = false) {
  const std::vector<std::string> command = RankCommand(arguments, ranks, blocking, folder);
  CANDOR_ASSIGN(const int code, RunToEnd(command, {{"OMP_NUM_THREADS", "1"}, {"OMP_WAIT_POLICY", "passive"}}));
  if (code != 0)
    return Fail(ErrorCode::kInternal, fmt::format("{} ranks ended with exit code {}", ranks, code),
                fmt::format("{}", fmt::join(command, " ")));
  WorldResult result;
  CANDOR_ASSIGN(const std::string text, ReadFile(folder + "/result.json"));
  result.numbers = ordered_json::parse(text);
  CANDOR_ASSIGN(const std::string bytes, ReadFile(folder + "/masters.bin"));
  result.masters.resize(bytes.size() / sizeof(float));
  std::memcpy(result.masters.data(), bytes.data(), bytes.size());
  return result;
}

}  // namespace

Result<std::string> RunShardBench(const ShardBenchArguments& given) {
  ShardBenchArguments arguments = given;
  CANDOR_ASSIGN(arguments.model, ModelFolderOf(given.model));
  const Scratch scratch("shard");
  CANDOR_TRY(scratch.status());
  CANDOR_ASSIGN(const WorldResult one, RunWorld(arguments, 1, scratch.path()));
  CANDOR_ASSIGN(const WorldResult several, RunWorld(arguments, arguments.ranks, scratch.path()));
  ordered_json json = {{"name", "shard"},
                       {"ranks", arguments.ranks},
                       {"sharding", arguments.sharding},
                       {"relative_l2", RelativeDistance(several.masters, one.masters)},
                       {"one_rank_step_seconds", one.numbers["step_seconds"]},
                       {"one_rank_owned_bytes", one.numbers["owned_bytes"]}};
  json.update(several.numbers);
  if (arguments.link.Slower()) {  // the control: the same link, and nothing overlaps
    CANDOR_ASSIGN(const WorldResult blocking, RunWorld(arguments, arguments.ranks, scratch.path(), true));
    json["blocking_step_seconds"] = blocking.numbers["step_seconds"];
    json["blocking_hidden_share"] = blocking.numbers["hidden_share"];
  }
  return json.dump();
}

namespace {

// Per step, of rank 0.
void AddCommunication(const ShardBenchArguments& arguments, const CommunicationTimes& times, ordered_json& json) {
  json["latency_ms"] = arguments.link.latency_ms, json["gbps"] = arguments.link.gbps;
  json["communication_seconds"] = times.bulk_seconds;
  json["exposed_seconds"] = times.bulk_exposed;
  json["hidden_share"] = times.HiddenShare();
  json["communication_bytes"] = times.bulk_bytes;
  json["communication_calls"] = times.bulk_calls;
  json["small_calls"] = times.small_calls;
  json["small_exposed_seconds"] = times.small_exposed;
}

}  // namespace

Status RunShardBenchRank(const ShardBenchArguments& arguments) {
  CANDOR_ASSIGN(const std::unique_ptr<Collective> collective, JoinRanks());
  SetProcessName("trainer-" + std::to_string(collective->rank()));
  ShardBenchOptions options;
  options.sharding = arguments.sharding, options.device = arguments.device, options.dtype = arguments.dtype;
  options.steps = arguments.steps, options.groups = arguments.groups, options.link = arguments.link;
  options.answer_tokens = arguments.answer_tokens, options.prompt_tokens = arguments.prompt_tokens;
  Result<ShardBenchResult> result = ShardBench(arguments.model, options, *collective);
  if (!result) collective->Abort();
  if (!result) return Fail(result.error());
  if (collective->rank() != 0) return {};
  ordered_json json = {{"dtype", arguments.dtype},
                       {"step_seconds", result->step_seconds},
                       {"owned_bytes", result->owned_bytes},
                       {"gathered_bytes_peak", result->gathered_bytes_peak},
                       {"gathered_units_peak", result->gathered_units_peak},
                       {"gradient_bytes_peak", result->gradient_bytes_peak},
                       {"peak_bytes", result->owned_bytes + result->gathered_bytes_peak + result->gradient_bytes_peak},
                       {"bound_bytes", result->bound_bytes}};
  if (arguments.link.Slower()) AddCommunication(arguments, result->communication, json);
  CANDOR_TRY(WriteFileAtomic(arguments.rank_out + "/result.json", json.dump(), false));
  const std::string_view bytes(reinterpret_cast<const char*>(result->masters.data()), result->masters.size() * sizeof(float));
  return WriteFileAtomic(arguments.rank_out + "/masters.bin", bytes, false);
}

}  // namespace candor::cli
