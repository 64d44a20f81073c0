#include "cli/hang_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/rendezvous.h"
#include "proto/messages.h"

namespace candor::cli {

namespace {
constexpr int64_t kLookMs = 500, kAskMs = 1000;
constexpr const char* kSender = "candor-run";
constexpr double kMostSeconds = 1e9;

// A field in seconds, as milliseconds; 0 where there is no such number.
int64_t MsOf(const nlohmann::json& object, const char* key) {
  const auto at = object.find(key);
  const double seconds = at != object.end() && at->is_number() ? at->get<double>() : 0.0;
  return static_cast<int64_t>(std::clamp(seconds, 0.0, kMostSeconds) * 1000);
}
}  // namespace

std::map<std::string, MemberSilence> ReadSilences(const std::string& status_json) {
  std::map<std::string, MemberSilence> members;
  const auto status = nlohmann::json::parse(status_json, nullptr, false);
  if (!status.is_object() || !status.contains("members") || !status["members"].is_array()) return members;
  for (const auto& member : status["members"]) {
    if (!member.is_object() || !member.contains("name") || !member["name"].is_string()) continue;
    members[member["name"].get<std::string>()] = {MsOf(member, "silent_s"), MsOf(member, "joined_s")};
  }
  return members;
}

std::optional<std::string> JudgeSilence(const std::optional<MemberSilence>& member, int64_t age_ms, int64_t limit_ms, int64_t start_ms) {
  const bool joined = member && member->joined_ms_ago <= age_ms;
  if (!joined && age_ms > start_ms) return fmt::format("was started {} s ago and has not joined the run", age_ms / 1000);
  if (joined && std::min(member->silent_ms, age_ms) > limit_ms) return fmt::format("has not been heard for {} s", member->silent_ms / 1000);
  return std::nullopt;
}

std::vector<Hang> HangWatch::Look(const Supervisor& supervisor) {
  std::vector<Hang> hangs;
  Hear();
  const int64_t now = clock_.SteadyMs();
  if (now >= next_ask_ms_) Ask(), next_ask_ms_ = now + kAskMs;
  if (now < next_look_ms_) return hangs;
  next_look_ms_ = now + kLookMs;
  LookForStopped(supervisor, hangs);
  LookForSilent(supervisor, hangs);
  return hangs;
}

void HangWatch::Ask() {
  if (!transport_) {
    const auto keys = ReadRunKeys(run_dir_);
    if (!keys) return;
    auto transport = MakeZmqTransport(*keys);
    if (!transport) return;
    transport_ = std::move(*transport);
  }
  const auto address = FindCoordinator(run_dir_);
  if (!address) return;
  if (!client_ || address->epoch != epoch_) {
    auto client = transport_->Connect(address->endpoint, Role::kObserver, Role::kCoordinator, kMaxControlBytes);
    if (!client) return;
    client_ = std::move(*client), epoch_ = address->epoch;
    answered_ = false, heard_ms_ = clock_.SteadyMs();
  }
  (void)client_->Send(Encode({run_id_, ++sequence_, kSender, StatusRequest{}}));  // a full queue shows in the missing answer
}

void HangWatch::Hear() {
  for (; client_;) {
    const auto bytes = client_->Receive(0);
    if (!bytes || !*bytes) return;
    const auto message = Decode(**bytes);
    const auto* reply = message ? std::get_if<StatusReply>(&message->body) : nullptr;
    if (!reply) continue;
    answered_ = true, heard_ms_ = clock_.SteadyMs();
    members_ = ReadSilences(reply->json);
    const auto status = nlohmann::json::parse(reply->json, nullptr, false);
    if (status.is_object()) longest_step_ms_ = std::max(longest_step_ms_, MsOf(status, "last_step_seconds"));
  }
}

// A stopped launcher or rank stops its whole job.
void HangWatch::LookForStopped(const Supervisor& supervisor, std::vector<Hang>& hangs) {
  const int64_t now = clock_.SteadyMs();
  for (const std::string& name : supervisor.RunningNames()) {
    if (!supervisor.AnyStopped(name)) {
      stopped_since_ms_.erase(name);
    } else if (now - stopped_since_ms_.try_emplace(name, now).first->second >= limits_.stopped_ms) {
      hangs.push_back({name, fmt::format("has been stopped (state T) for {} s", limits_.stopped_ms / 1000)});
      stopped_since_ms_.erase(name);
    }
  }
}

void HangWatch::LookForSilent(const Supervisor& supervisor, std::vector<Hang>& hangs) {
  const int64_t now = clock_.SteadyMs();
  if (!client_) return;
  const int64_t silent_ms = std::min(now - heard_ms_, supervisor.AgeMs("coordinator"));
  if (silent_ms > (answered_ ? limits_.silent_ms : limits_.start_ms)) {
    if (supervisor.Running("coordinator")) hangs.push_back({"coordinator", fmt::format("has not answered for {} s", silent_ms / 1000)});
    heard_ms_ = now;
  }
  if (!answered_ || now - heard_ms_ > 2 * kAskMs) return;  // what it said of the others is old
  for (const std::string& name : supervisor.RunningNames()) {
    if (name == "coordinator") continue;
    const bool learner = name == "trainer";
    const auto found = members_.find(learner ? "trainer-0" : name);
    const auto member = found == members_.end() ? std::nullopt : std::optional<MemberSilence>(found->second);
    const int64_t limit = learner ? std::max(limits_.learner_ms, 5 * longest_step_ms_) : limits_.silent_ms;
    if (learner && longest_step_ms_ == 0) continue;  // nobody knows yet how long a step may take
    if (const auto why = JudgeSilence(member, supervisor.AgeMs(name), limit, limits_.start_ms)) hangs.push_back({name, *why});
  }
  if (!hangs.empty()) members_.clear();  // they are judged anew by the next answer
}

}  // namespace candor::cli
