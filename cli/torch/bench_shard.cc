#include "cli/torch/bench_shard.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "cli/torch/scratch.h"
#include "core/fs.h"
#include "trainer/shard_bench.h"

namespace candor::cli {

namespace {

using nlohmann::ordered_json;

struct WorldResult {
  ordered_json numbers;
  std::vector<float> masters;
};

Result<WorldResult> RunWorld(const ShardBenchArguments& arguments, int64_t ranks, const std::string& folder) {
  std::vector<std::string> command = MpirunCommand(ranks);
  command.insert(command.end(), {ProgramFolder() + "candor-torch", "bench", "shard", arguments.model, "--device", arguments.device,
                                 "--dtype", arguments.dtype, "--sharding", ranks == 1 ? "none" : arguments.sharding, "--rank-out", folder});
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
  return json.dump();
}

Status RunShardBenchRank(const ShardBenchArguments& arguments) {
  CANDOR_ASSIGN(const std::unique_ptr<Collective> collective, MakeMpiCollective());
  ShardBenchOptions options;
  options.sharding = arguments.sharding, options.device = arguments.device, options.dtype = arguments.dtype;
  Result<ShardBenchResult> result = ShardBench(arguments.model, options, *collective);
  if (!result) collective->Abort();
  if (!result) return Fail(result.error());
  if (collective->rank() != 0) return {};
  const ordered_json json = {{"dtype", arguments.dtype},
                             {"step_seconds", result->step_seconds},
                             {"owned_bytes", result->owned_bytes},
                             {"gathered_bytes_peak", result->gathered_bytes_peak},
                             {"gathered_units_peak", result->gathered_units_peak},
                             {"gradient_bytes_peak", result->gradient_bytes_peak},
                             {"peak_bytes", result->owned_bytes + result->gathered_bytes_peak + result->gradient_bytes_peak},
                             {"bound_bytes", result->bound_bytes}};
  CANDOR_TRY(WriteFileAtomic(arguments.rank_out + "/result.json", json.dump(), false));
  const std::string_view bytes(reinterpret_cast<const char*>(result->masters.data()), result->masters.size() * sizeof(float));
  return WriteFileAtomic(arguments.rank_out + "/masters.bin", bytes, false);
}

}  // namespace candor::cli
