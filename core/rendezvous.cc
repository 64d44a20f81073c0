#include "core/rendezvous.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <nlohmann/json.hpp>

namespace candor {

namespace {

constexpr std::string_view kEndpointPrefix = "endpoint.";
constexpr size_t kMaxBytes = size_t{1} << 16;

std::string FinishedPath(const std::string& run_dir) { return run_dir + "/rl-finished.json"; }

}  // namespace

Status AnnounceCoordinator(const std::string& run_dir, const CoordinatorAddress& address, const std::string& http, Disk& disk) {
  char node[256] = "";
  ::gethostname(node, sizeof node - 1);
  const nlohmann::json body = {{"epoch", address.epoch}, {"endpoint", address.endpoint}, {"http", http}, {"node", node}};
  return WriteFileAtomic(disk, fmt::format("{}/{}{}", run_dir, kEndpointPrefix, address.epoch), body.dump() + "\n");
}

Result<CoordinatorAddress> FindCoordinator(const std::string& run_dir, Disk& disk) {
  CoordinatorAddress newest;
  std::string path;
  const Result<std::vector<std::string>> names = disk.List(run_dir);
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    uint64_t epoch = 0;
    if (!name.starts_with(kEndpointPrefix)) continue;
    const auto [stop, bad] = std::from_chars(name.data() + kEndpointPrefix.size(), name.data() + name.size(), epoch);
    if (bad != std::errc() || stop != name.data() + name.size()) continue;  // a write that is not finished
    if (path.empty() || epoch > newest.epoch) newest.epoch = epoch, path = run_dir + "/" + name;
  }
  if (path.empty())
    return Fail(ErrorCode::kUnavailable, "no coordinator has announced itself", run_dir + "/endpoint.*",
                "start candor coordinator --run-dir " + run_dir);
  CANDOR_ASSIGN(const std::string text, disk.Read(path, kMaxBytes));
  const nlohmann::json body = nlohmann::json::parse(text, nullptr, false);
  if (!body.is_object() || !body.contains("endpoint") || !body["endpoint"].is_string())
    return Fail(ErrorCode::kInvalidInput, "this is no coordinator's address", path);
  newest.endpoint = body["endpoint"].get<std::string>();
  if (body.contains("node") && body["node"].is_string()) newest.node = body["node"].get<std::string>();
  if (body.contains("http") && body["http"].is_string()) newest.http = body["http"].get<std::string>();
  return newest;
}

Status RecordRunFinished(const std::string& run_dir, uint64_t steps, Disk& disk) {
  return WriteFileAtomic(disk, FinishedPath(run_dir), nlohmann::json{{"steps", steps}}.dump() + "\n");
}

bool IsRunFinished(const std::string& run_dir, uint64_t steps, Disk& disk) {
  const Result<std::string> text = disk.Read(FinishedPath(run_dir), kMaxBytes);
  if (!text) return false;
  const nlohmann::json body = nlohmann::json::parse(*text, nullptr, false);
  return body.is_object() && body.contains("steps") && body["steps"].is_number_unsigned() && body["steps"].get<uint64_t>() >= steps;
}

}  // namespace candor
