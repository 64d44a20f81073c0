// `candor reward-model FOLDER`: a reward model as a verifier program. A reward worker starts it as a child of its own ([[verifier]]
// command), gives it a line per completion and gets a line back; how long it may take, and what happens when it fails, are the verifier's
// settings.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/torch/commands.h"
#include "cli/torch/reward_trunk.h"
#include "core/fs.h"
#include "core/json_depth.h"
#include "reward/reward_heads.h"

namespace candor::cli {

namespace {

using RewardJson = nlohmann::json;

struct RewardModelArguments {
  std::string folder;
  int64_t threads = 1;
};

constexpr char kRewardModelExamples[] = R"(A verifier of a recipe (candor train-rm makes FOLDER):
  [[verifier]]
  name    = "judge"
  command = ["./candor", "reward-model", "models/rm"]
  [[objective]]
  channel = "0.4*rm_nominal + 0.6*rm_worst"      the most certain head, mixed with the worst
It reads lines {"id", "prompt", "completion", "row"} and writes {"id", "rewards": {"rm_nominal", "rm_worst", "rm_mean", "rm_spread"}}: the mean of the
head with the least standard deviation, the least and the mean of all heads' means, and the largest minus the least of them.

Examples:
  candor reward-model models/rm < requests.jsonl
  candor verifier test --command "./candor reward-model models/rm" --rows rows.jsonl)";

DataRow RowOf(const RewardJson& request) {
  DataRow row;
  if (const RewardJson given = request.value("row", RewardJson()); given.is_object())
    if (auto parsed = ParseRow(given.dump(), "the request's row", {}, {})) return std::move(*parsed);
  if (const RewardJson prompt = request.value("prompt", RewardJson()); prompt.is_string()) row.prompt = prompt.get<std::string>();
  return row;
}

Result<RewardJson> RewardsOf(const RewardTrunk& trunk, const RewardHeads& heads, const RewardJson& request) {
  if (!request.contains("completion") || !request["completion"].is_string())
    return Fail(ErrorCode::kInvalidInput, "a request needs a completion");
  CANDOR_ASSIGN(const std::vector<int32_t> ids, trunk.Encode(RowOf(request), request["completion"].get<std::string>()));
  std::vector<float> features;
  CANDOR_TRY(trunk.Read({ids}, features));
  const std::vector<HeadReading> readings_H = heads.Read(features);
  const RobustReward robust = Robust(readings_H);
  double sum = 0.0, most = robust.worst;
  for (const HeadReading& reading : readings_H) sum += reading.mean, most = std::max(most, reading.mean);
  return RewardJson{{"rm_nominal", robust.nominal},
                    {"rm_worst", robust.worst},
                    {"rm_mean", sum / static_cast<double>(readings_H.size())},
                    {"rm_spread", most - robust.worst}};
}

Status ServeRewardModel(const RewardModelArguments& a) {
  const std::string settings = a.folder + "/" + kRewardSettingsFile, file = a.folder + "/" + kRewardHeadsFile;
  if (!FileExists(settings) || !FileExists(file))
    return Fail(ErrorCode::kNotFound,
                "this is no reward model: it lacks " + std::string(FileExists(file) ? kRewardSettingsFile : kRewardHeadsFile), a.folder,
                "make one with candor train-rm");
  CANDOR_ASSIGN(const Recipe recipe, LoadSettings({settings}, {}));
  CANDOR_ASSIGN(const std::string text, ReadFile(file));
  CANDOR_ASSIGN(const RewardHeads heads, ParseRewardHeads(text, file));
  CANDOR_ASSIGN(const RewardTrunk trunk, RewardTrunk::Load(a.folder, recipe, a.threads));
  if (trunk.width() != heads.feature_mean.size())
    return Fail(
        ErrorCode::kInvalidInput,
        "the heads read " + std::to_string(heads.feature_mean.size()) + " numbers, the model gives " + std::to_string(trunk.width()), file,
        "make it anew with candor train-rm");
  for (std::string line; std::getline(std::cin, line);) {
    const RewardJson request = BracketDepth(line) > kMaxJsonDepth ? RewardJson() : RewardJson::parse(line, nullptr, false);
    if (!request.is_object()) return Fail(ErrorCode::kInvalidInput, "a request is not a JSON object", line.substr(0, 80));
    RewardJson reply = {{"id", request.value("id", RewardJson(""))}};
    if (auto rewards = RewardsOf(trunk, heads, request))
      reply["rewards"] = std::move(*rewards);
    else
      reply["label"] = "unknown", reply["reason"] = rewards.error().Message();
    std::printf("%s\n", reply.dump(-1, ' ', false, RewardJson::error_handler_t::replace).c_str());
    std::fflush(stdout);
  }
  return {};
}

}  // namespace

int RunRewardModel(int argc, const char* const* argv) {
  RewardModelArguments a;
  CommandLine app{"A reward model as a verifier program: a line in, a line of rewards out.", "candor reward-model"};
  app.AddFooter(kRewardModelExamples);
  app.Add("FOLDER", &a.folder, "what candor train-rm made").Required();
  app.Add("--threads", &a.threads, "threads").Range(1, 1024).ShowDefault();
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("reward-model", ServeRewardModel(a));
}

}  // namespace candor::cli
