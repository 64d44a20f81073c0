#include "serve/answering.h"

#include <fmt/format.h>

#include <chrono>
#include <random>

namespace candor {

namespace {

ApiError FromError(const Error& error) {
  const bool caller = error.code == ErrorCode::kInvalidInput;
  const bool busy = error.code == ErrorCode::kUnavailable;
  return {caller ? 400
          : busy ? 503
                 : 500,
          error.Message(), error.where.starts_with("prompt[") ? error.where : "",
          caller ? "invalid_request_error"
          : busy ? "overloaded_error"
                 : "server_error",
          ErrorCodeName(error.code)};
}

std::string NewId(Endpoint endpoint) {
  std::random_device random;
  return fmt::format("{}-{:08x}{:08x}{:08x}", endpoint == Endpoint::kChat ? "chatcmpl" : "cmpl", random(), random(), random());
}

std::string Event(const std::string& json) { return "data: " + json + "\n\n"; }

}  // namespace

Answering::Answering(ServedRequest request, const ServedModel& model) : model_(model), request_(std::move(request)) {
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  frame_ = {&model_, request_.endpoint, NewId(request_.endpoint), now, request_.log_probs};
}

Answering::~Answering() {
  if (ticket_ && !ended_) ticket_->Abandon();
}

ApiResult<std::unique_ptr<Answering>> Answering::Begin(Endpoint endpoint, const std::string& body, const RequestLimits& limits,
                                                       const ServedModel& model, EngineLoop& loop) {
  auto request = ReadRequest(endpoint, body, limits);
  if (!request) return tl::unexpected(request.error());
  if (!request->model.empty() && request->model != model.name)
    return tl::unexpected(ApiError{404, "there is no model '" + request->model.substr(0, 200) + "'; '" + model.name + "' is served",
                                   "model", "invalid_request_error", "model_not_found"});
  std::unique_ptr<Answering> answering(new Answering(std::move(*request), model));
  auto generation = answering->Prepare();
  if (!generation) return tl::unexpected(generation.error());
  auto ticket = loop.Submit(std::move(*generation));
  if (!ticket) {
    ApiError error = FromError(ticket.error());
    if (!ticket.error().fix.empty()) error.status = 429, error.type = "rate_limit_error";
    return tl::unexpected(std::move(error));
  }
  answering->ticket_ = std::move(*ticket);
  if (Status taken = answering->ticket_->WaitUntilTaken(); !taken) return tl::unexpected(FromError(taken.error()));
  return answering;
}

ApiResult<Generation> Answering::Prepare() {
  Generation generation;
  generation.n = request_.n, generation.seed = request_.seed;
  generation.top_log_probs = request_.log_probs ? request_.top_log_probs : 0;
  if (request_.endpoint == Endpoint::kChat) request_.prompts.emplace_back("");
  for (const PromptInput& prompt : request_.prompts) {
    Result<std::vector<int32_t>> ids;
    if (request_.endpoint == Endpoint::kChat)
      ids = model_.chat_prompt(request_.messages_json);
    else if (const auto* given = std::get_if<std::vector<int32_t>>(&prompt))
      ids = *given;
    else
      ids = model_.tokenizer->Encode(std::get<std::string>(prompt), true);
    if (!ids) {
      ApiError error = FromError(ids.error());
      error.param = request_.endpoint == Endpoint::kChat ? "messages" : "prompt";
      return tl::unexpected(std::move(error));
    }
    generation.sampling.push_back(request_.sampling);
    if (!request_.budget_given) generation.sampling.back().max_new_tokens = model_.budget(ids->size());
    prompt_tokens_ += static_cast<int64_t>(ids->size());
    generation.prompts.push_back(std::move(*ids));
  }
  auto format = model_.format(request_.stop);
  if (!format) return tl::unexpected(FromError(format.error()));
  generation.episode = SingleTurn(std::move(*format));
  const size_t choices = generation.prompts.size() * static_cast<size_t>(request_.n);
  for (size_t i = 0; i < choices; ++i) choices_.emplace_back(*model_.tokenizer, model_.end_ids, request_.stop);
  fresh_.resize(choices);
  return generation;
}

ApiResult<bool> Answering::Take(int wait_ms) {
  auto news = ticket_->Wait(wait_ms);
  if (!news) return tl::unexpected(FromError(news.error()));
  for (const ChoiceToken& token : news->tokens) {
    const auto i = static_cast<size_t>(token.choice);
    auto text = choices_[i].Push(token.token);
    if (!text) return tl::unexpected(FromError(text.error()));
    fresh_[i] += *text;
  }
  if (!news->ended) return false;
  for (size_t i = 0; i < choices_.size(); ++i) {
    auto rest = choices_[i].Finish();
    if (!rest) return tl::unexpected(FromError(rest.error()));
    fresh_[i] += *rest;
  }
  groups_ = ticket_->Groups();
  return true;
}

Usage Answering::CountUsage() const {
  Usage usage{prompt_tokens_, 0};
  for (const ChoiceText& choice : choices_) usage.completion_tokens += choice.sampled();
  return usage;
}

ApiResult<std::string> Answering::Whole() {
  constexpr int kWaitMs = 1000;
  for (;;) {
    auto done = Take(kWaitMs);
    if (!done) return tl::unexpected(done.error());
    if (*done) break;
  }
  ended_ = true;
  std::vector<FinishedChoice> finished;
  for (size_t i = 0; i < choices_.size(); ++i) finished.push_back(Finished(i));
  return ReplyJson(frame_, finished, CountUsage());
}

FinishedChoice Answering::Finished(size_t choice) {
  const auto n = static_cast<size_t>(request_.n);
  const Trace& trace = groups_[choice / n].traces_G[choice % n];
  if (model_.withholds && model_.withholds(trace)) return {model_.abstain_text, {}, &trace};
  return {std::string(choices_[choice].text()), choices_[choice].TakeTokens(), &trace};
}

std::string Answering::Events(int wait_ms) {
  std::string events;
  if (!begun_ && request_.endpoint == Endpoint::kChat)
    for (size_t i = 0; i < choices_.size(); ++i) events += Event(RoleChunk(frame_, static_cast<int32_t>(i)));
  begun_ = true;
  auto done = Take(wait_ms);
  if (!done) {
    ended_ = true;
    ticket_->Abandon();
    return events + Event(ToJson(done.error()));
  }
  AddNews(events);
  if (!*done) return events;
  AddEndings(events);
  ended_ = true;
  return events + Event("[DONE]");
}

void Answering::AddNews(std::string& events) {
  if (model_.withholds) return;  // the confidence comes last: what it may withhold is not shown before
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (fresh_[i].empty()) continue;
    events += Event(TextChunk(frame_, static_cast<int32_t>(i), fresh_[i], choices_[i].TakeTokens(), choices_[i].text()));
    fresh_[i].clear();
  }
}

void Answering::AddEndings(std::string& events) {
  for (size_t i = 0; i < choices_.size(); ++i) {
    const auto index = static_cast<int32_t>(i);
    const FinishedChoice choice = Finished(i);
    if (model_.withholds) events += Event(TextChunk(frame_, index, choice.text, choice.tokens, choice.text));
    events += Event(EndChunk(frame_, index, *choice.trace));
  }
  if (request_.stream_usage) events += Event(UsageChunk(frame_, CountUsage()));
}

}  // namespace candor
