#include "core/rendezvous.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/fs.h"

namespace candor {

namespace {

constexpr std::string_view kEndpointPrefix = "endpoint.";
constexpr size_t kMaxBytes = size_t{1} << 16;

std::string FinishedPath(const std::string& run_dir) { return run_dir + "/rl-finished.json"; }

}  // namespace

Status AnnounceCoordinator(const std::string& run_dir, const CoordinatorAddress& address, const std::string& http) {
  char node[256] = "";
  ::gethostname(node, sizeof node - 1);
  const nlohmann::json body = {{"epoch", address.epoch}, {"endpoint", address.endpoint}, {"http", http}, {"node", node}};
  return WriteFileAtomic(fmt::format("{}/{}{}", run_dir, kEndpointPrefix, address.epoch), body.dump() + "\n");
}

Result<CoordinatorAddress> FindCoordinator(const std::string& run_dir) {
  CoordinatorAddress newest;
  std::string path;
  std::error_code error;
  for (std::filesystem::directory_iterator at(run_dir, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    uint64_t epoch = 0;
    if (!name.starts_with(kEndpointPrefix)) continue;
    const auto [stop, bad] = std::from_chars(name.data() + kEndpointPrefix.size(), name.data() + name.size(), epoch);
    if (bad != std::errc() || stop != name.data() + name.size()) continue;  // a write that is not finished
    if (path.empty() || epoch > newest.epoch) newest.epoch = epoch, path = at->path().string();
  }
  if (path.empty())
    return Fail(ErrorCode::kUnavailable, "no coordinator has announced itself", run_dir + "/endpoint.*",
                "start candor coordinator --run-dir " + run_dir);
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kMaxBytes));
  const nlohmann::json body = nlohmann::json::parse(text, nullptr, false);
  if (!body.is_object() || !body.contains("endpoint") || !body["endpoint"].is_string())
    return Fail(ErrorCode::kInvalidInput, "this is no coordinator's address", path);
  newest.endpoint = body["endpoint"].get<std::string>();
  if (body.contains("node") && body["node"].is_string()) newest.node = body["node"].get<std::string>();
  return newest;
}

Status RecordRunFinished(const std::string& run_dir, uint64_t steps) {
  return WriteFileAtomic(FinishedPath(run_dir), nlohmann::json{{"steps", steps}}.dump() + "\n");
}

bool IsRunFinished(const std::string& run_dir, uint64_t steps) {
  const Result<std::string> text = ReadFile(FinishedPath(run_dir), kMaxBytes);
  if (!text) return false;
  const nlohmann::json body = nlohmann::json::parse(*text, nullptr, false);
  return body.is_object() && body.contains("steps") && body["steps"].is_number_unsigned() && body["steps"].get<uint64_t>() >= steps;
}

}  // namespace candor
