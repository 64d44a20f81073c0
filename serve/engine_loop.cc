#include "serve/engine_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace candor {

Result<Ticket::News> Ticket::Wait(int wait_ms) {
  std::unique_lock lock(mutex_);
  const auto ended = [&] { return taken_ && groups_.size() == expected_; };
  news_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return failed_ || !tokens_.empty() || ended(); });
  if (failed_) return candor::Fail(*failed_);
  News news;
  news.tokens.assign(std::make_move_iterator(tokens_.begin()), std::make_move_iterator(tokens_.end()));
  tokens_.clear();
  news.ended = ended();
  return news;
}

Status Ticket::WaitUntilTaken() {
  std::unique_lock lock(mutex_);
  news_.wait(lock, [&] { return failed_ || taken_; });  // bounded: the loop takes it, refuses it, or ends and fails it
  if (failed_) return candor::Fail(*failed_);
  return {};
}

std::vector<TraceGroup> Ticket::Groups() {
  std::scoped_lock lock(mutex_);
  std::vector<TraceGroup> groups;
  for (auto& [prompt, group] : groups_) groups.push_back(std::move(group));
  return groups;
}

void Ticket::Fail(const Error& error) {
  std::scoped_lock lock(mutex_);
  failed_ = error;
  news_.notify_all();
}

EngineLoop::EngineLoop(Engine& engine, size_t requests_max, uint64_t seed) : engine_(engine), requests_max_(requests_max), seed_(seed) {
  thread_ = NamedThread("engine", [this] { Run(); });
}

EngineLoop::~EngineLoop() { Stop(); }

Result<std::shared_ptr<Ticket>> EngineLoop::Submit(Generation generation) {
  std::scoped_lock lock(mutex_);
  if (stopping_ || state_.broken) return Fail(ErrorCode::kUnavailable, "the server is stopping");
  if (state_.open_requests >= requests_max_)
    return Fail(ErrorCode::kUnavailable, fmt::format("{} requests are open, the most that are taken", requests_max_), "",
                "try again later");
  auto ticket = std::make_shared<Ticket>();
  ++state_.open_requests;
  waiting_.emplace_back(ticket, std::move(generation));
  has_work_.notify_all();
  return ticket;
}

void EngineLoop::Stop() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
    has_work_.notify_all();
  }
  thread_.Join();
}

LoopState EngineLoop::state() const {
  std::scoped_lock lock(mutex_);
  return state_;
}

void EngineLoop::Run() {
  for (;;) {
    std::deque<std::pair<std::shared_ptr<Ticket>, Generation>> arrived;
    {
      std::unique_lock lock(mutex_);
      state_.engine = engine_.stats();
      state_.open_requests = open_.size() + waiting_.size();
      has_work_.wait(lock, [&] { return stopping_ || !waiting_.empty() || engine_.busy(); });
      if (stopping_) break;
      arrived.swap(waiting_);
    }
    for (auto& [ticket, generation] : arrived) TakeIn(std::move(ticket), std::move(generation));
    DropAbandoned();
    if (!engine_.busy()) continue;
    if (Status stepped = engine_.Step(); !stepped) {
      FailAll(stepped.error());
      std::scoped_lock lock(mutex_);
      state_.broken = true;
      return;
    }
    HandOut();
  }
  FailAll({ErrorCode::kUnavailable, "the server is stopping", "", ""});
}

void EngineLoop::TakeIn(std::shared_ptr<Ticket> ticket, Generation generation) {
  Open open{ticket, {}};
  if (Status taken = TryTakeIn(ticket, generation, open); !taken) {
    for (GroupId group : open.groups) {
      engine_.Cancel(group);
      owner_.erase(group);
    }
    return ticket->Fail(taken.error());
  }
  std::scoped_lock lock(ticket->mutex_);
  ticket->expected_ = open.groups.size();
  ticket->taken_ = true;
  ticket->news_.notify_all();
  open_.push_back(std::move(open));
}

Status EngineLoop::TryTakeIn(const std::shared_ptr<Ticket>& ticket, const Generation& generation, Open& open) {
  for (size_t i = 0; i < generation.prompts.size(); ++i) {
    EngineRequest request;
    request.id = GroupId{next_group_++};
    request.prompt_tokens_P = generation.prompts[i];
    request.traces = generation.n;
    request.sampling = generation.sampling[i];
    request.seed = generation.seed.value_or(seed_);
    if (generation.seed) request.drawn_as = GroupId{i};
    request.episode = generation.episode;
    request.top_log_probs = generation.top_log_probs;
    const auto first = static_cast<int32_t>(i) * generation.n;
    request.on_token = [ticket = ticket.get(), first](const SampledToken& token) {  // the owner map keeps the ticket alive
      std::scoped_lock lock(ticket->mutex_);
      ticket->tokens_.push_back({first + token.trace, token});
      ticket->news_.notify_all();
    };
    const GroupId id = request.id;
    if (Status submitted = engine_.Submit(std::move(request)); !submitted) {
      Error error = submitted.error();
      error.what = error.what.substr(error.what.starts_with("group ") ? error.what.find(' ', 6) + 1 : 0);  // one prompt is one group here
      error.where = generation.prompts.size() > 1 ? fmt::format("prompt[{}]", i) : "";
      return Fail(std::move(error));
    }
    open.groups.push_back(id);
    owner_[id] = {ticket, i};
  }
  return {};
}

void EngineLoop::DropAbandoned() {
  std::erase_if(open_, [&](const Open& open) {
    if (!open.ticket->abandoned_) return false;
    for (GroupId group : open.groups) {
      engine_.Cancel(group);
      owner_.erase(group);
    }
    return true;
  });
}

void EngineLoop::HandOut() {
  for (TraceGroup& group : engine_.TakeFinished()) {
    const auto at = owner_.find(group.id);
    if (at == owner_.end()) continue;  // abandoned in this very step
    const auto [ticket, prompt] = at->second;
    owner_.erase(at);
    std::scoped_lock lock(ticket->mutex_);
    ticket->groups_.emplace(prompt, std::move(group));
    ticket->news_.notify_all();
  }
  std::erase_if(open_, [&](const Open& open) {
    return std::none_of(open.groups.begin(), open.groups.end(), [&](GroupId group) { return owner_.contains(group); });
  });
}

void EngineLoop::FailAll(const Error& error) {
  for (const Open& open : open_) {
    for (GroupId group : open.groups) engine_.Cancel(group);
    open.ticket->Fail(error);
  }
  open_.clear();
  owner_.clear();
  std::scoped_lock lock(mutex_);
  for (auto& [ticket, generation] : waiting_) ticket->Fail(error);
  waiting_.clear();
  stopping_ = true;
}

}  // namespace candor
