#include "reward/server.h"

#include <fmt/format.h>

#include "core/fault_point.h"
#include "core/log.h"

namespace candor {

namespace {
constexpr int64_t kDiskRetryMs = 1000;
}  // namespace

Status RewardServer::Run() {
  while (!setup_.stop->load() && !link_.finished()) {
    if (const std::optional<Error> refused = link_.refused()) return Fail(*refused);
    SpoolFinished();
    CANDOR_ASSIGN(std::optional<IncomingMessage> incoming, server_.Receive(in_flight_.empty() ? setup_.idle_wait_ms : setup_.busy_wait_ms));
    if (incoming) Handle(*incoming);
  }
  SpoolFinished();
  return {};
}

// Headers of what an earlier life of this worker left on disk.
void RewardServer::AnnounceSpooled() {
  for (const SpooledGroup& entry : spool_.List()) {
    Result<std::string> payload = spool_.Fetch(entry.group, entry.hash);
    Result<ScoredGroup> group = payload ? DecodePayload(*payload) : Result<ScoredGroup>(Fail(payload.error()));
    const DataRow* row = group ? FindRow(group->prompt) : nullptr;
    if (row == nullptr) {
      spdlog::warn("spooled group {} is of other data or another version and is dropped", entry.group.value);
      spool_.Forget(std::vector<GroupId>{entry.group});
      continue;
    }
    link_.Announce(MakeHeader(*group, *row, PlaceOf(entry), setup_.signal));
  }
}

void RewardServer::Handle(const IncomingMessage& incoming) {
  Result<Message> message = Decode(incoming.body);
  if (!message) return Reply({incoming.peer, 0}, message.error());
  Sender sender{incoming.peer, message->sequence};
  if (!setup_.run_id.empty() && message->run_id != setup_.run_id)
    return Reply(sender, Error{ErrorCode::kUnauthorized, "this worker belongs to run " + setup_.run_id + ", not " + message->run_id,
                               setup_.worker, "", false});
  if (TraceGroup* group = std::get_if<TraceGroup>(&message->body)) {
    if (incoming.role != Role::kRollout) return Reply(sender, WrongRole(incoming.role, "send traces"));
    return TakeGroup(sender, std::move(*group));
  }
  if (FetchGroup* fetch = std::get_if<FetchGroup>(&message->body)) {
    if (incoming.role != Role::kTrainer) return Reply(sender, WrongRole(incoming.role, "fetch groups"));
    return ServeFetch(sender, *fetch);
  }
  Reply(sender, Error{ErrorCode::kInvalidInput, "a reward worker takes TraceGroup and FetchGroup only", setup_.worker, "", false});
}

Error RewardServer::WrongRole(Role role, const std::string& what) const {
  return {ErrorCode::kUnauthorized, std::string("a ") + Name(role) + " may not " + what, setup_.worker, "", false};
}

void RewardServer::TakeGroup(const Sender& sender, TraceGroup group) {
  if (spool_.Find(group.id)) {
    link_.AnnounceAgain(group.id);
    return Reply(sender, GroupSpooled{group.id, true, ""});
  }
  if (auto found = in_flight_.find(group.id); found != in_flight_.end()) {
    found->second = sender;  // sent again: answer the newest
    return;
  }
  const DataRow* row = FindRow(group.prompt);
  if (row == nullptr)
    return Reply(sender,
                 Error{ErrorCode::kInvalidInput, fmt::format("no row {} in data set \"{}\"", group.prompt.row, group.prompt.dataset),
                       setup_.worker, "every role must read the same data files", false});
  if (Status checked = CheckTraceGroup(group); !checked) return Reply(sender, checked.error());
  if (in_flight_.size() >= setup_.max_in_flight || disk_refuses_) return;  // no answer: the sender keeps it and comes back
  in_flight_[group.id] = sender;
  grader_.Submit(std::move(group), *row);
}

void RewardServer::ServeFetch(const Sender& sender, const FetchGroup& fetch) {
  FaultPoint("reward.fetch");
  Result<std::string> payload = spool_.Fetch(fetch.group, fetch.hash);
  if (!payload) return Reply(sender, payload.error());
  Result<ScoredGroup> group = DecodePayload(*payload);
  if (!group) return Reply(sender, group.error());
  Reply(sender, std::move(*group));
}

void RewardServer::SpoolFinished() {
  while (std::optional<ScoredGroup> scored = grader_.TakeScored()) unspooled_.push_back(std::move(*scored));
  if (unspooled_.empty() || (disk_refuses_ && setup_.clock->SteadyMs() < retry_ms_)) return;
  std::vector<ScoredGroup> refused;
  for (ScoredGroup& scored : unspooled_)
    if (refused.size() > 0 || !SpoolOne(scored)) refused.push_back(std::move(scored));
  unspooled_ = std::move(refused);
  disk_refuses_ = !unspooled_.empty();
  retry_ms_ = setup_.clock->SteadyMs() + kDiskRetryMs;
}

bool RewardServer::SpoolOne(const ScoredGroup& scored) {
  FaultPoint("reward.spool");
  Result<SpooledGroup> entry = spool_.Put(scored.id, scored.wave, EncodePayload(scored));
  if (!entry) {
    LogError(entry.error(), "spool");
    return false;
  }
  FaultPoint("reward.spooled");
  GroupScored header = MakeHeader(scored, *FindRow(scored.prompt), PlaceOf(*entry), setup_.signal);
  spdlog::debug("group {} scored: {} correct {} wrong {} unknown, drop {}", scored.id.value, header.correct, header.wrong, header.unknown,
                Name(scored.drop));
  link_.Announce(std::move(header));
  auto sender = in_flight_.extract(scored.id);
  if (!sender.empty()) Reply(sender.mapped(), GroupSpooled{scored.id, true, ""});
  FaultPoint("reward.acked");
  return true;
}

const DataRow* RewardServer::FindRow(const PromptRef& prompt) const {
  auto found = setup_.data.find(prompt.dataset);
  if (found == setup_.data.end() || prompt.row >= found->second->rows.size()) return nullptr;
  return &found->second->rows[prompt.row];
}

// A peer that is gone asks again when it is back.
void RewardServer::Reply(const Sender& to, MessageBody body) {
  Status sent = server_.Send(to.peer, Encode({setup_.run_id, to.sequence, setup_.worker, std::move(body)}));
  if (!sent) spdlog::debug("reply not sent: {}", sent.error().Message());
}

}  // namespace candor
