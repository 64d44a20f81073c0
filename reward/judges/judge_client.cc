#include "reward/judges/judge_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/json_depth.h"
#include "core/secret.h"

namespace candor {

namespace {

using Json = nlohmann::json;
constexpr size_t kJudgeReplyBytesMax = size_t{16} << 20;  // log-probabilities of a long answer are large
constexpr int kTopLogProbs = 20;                          // what OpenAI allows
constexpr int64_t kFirstPauseMs = 200, kLongestPauseMs = 5000;

std::string QuestionBody(const JudgeOptions& options, const JudgeQuestion& question) {
  Json messages = Json::array();
  if (!question.system.empty()) messages.push_back({{"role", "system"}, {"content", question.system}});
  messages.push_back({{"role", "user"}, {"content", question.user}});
  if (!question.then.empty()) {
    messages.push_back({{"role", "assistant"}, {"content", question.said}});
    messages.push_back({{"role", "user"}, {"content", question.then}});
  }
  Json body = {{"messages", messages}, {"temperature", options.temperature}, {"max_tokens", options.max_tokens}};
  body["seed"] = question.seed >> 33;  // 31 bits: every endpoint takes those
  if (!options.model.empty()) body["model"] = options.model;
  if (question.log_probs) body["logprobs"] = true, body["top_logprobs"] = kTopLogProbs;
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* Member(const Json* object, const char* name) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto at = object->find(name);
  return at == object->end() ? nullptr : &*at;
}

std::optional<AnswerToken> ReadToken(const Json& json, bool with_top) {
  const Json *text = Member(&json, "token"), *log_prob = Member(&json, "logprob"), *top = Member(&json, "top_logprobs");
  if (text == nullptr || !text->is_string() || log_prob == nullptr || !log_prob->is_number()) return std::nullopt;
  AnswerToken token{text->get<std::string>(), log_prob->get<double>(), {}};
  if (!with_top || top == nullptr || !top->is_array()) return token;
  for (const Json& other : *top)
    if (auto read = ReadToken(other, false)) token.top.emplace_back(std::move(read->text), read->log_prob);
  return token;
}

}  // namespace

Result<JudgeAnswer> ReadChatReply(std::string_view body) {
  constexpr int kMaxReplyNesting = 32;
  const auto bad = [](const std::string& what) { return Fail(ErrorCode::kInvalidInput, "the reply " + what); };
  if (BracketDepth(body) > kMaxReplyNesting) return bad("is nested too deeply");
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) return bad("is not a JSON object");
  const Json* choices = Member(&json, "choices");
  if (choices == nullptr || !choices->is_array() || choices->empty()) return bad("has no choices");
  const Json* content = Member(Member(&choices->front(), "message"), "content");
  if (content == nullptr || !content->is_string()) return bad("has no text: choices[0].message.content");
  JudgeAnswer answer{content->get<std::string>(), {}};
  if (const Json* tokens = Member(Member(&choices->front(), "logprobs"), "content"); tokens != nullptr && tokens->is_array())
    for (const Json& token : *tokens)
      if (auto read = ReadToken(token, true)) answer.tokens.push_back(std::move(*read));
  return answer;
}

struct JudgeClient::Batch {
  const std::vector<JudgeQuestion>& questions;
  std::vector<std::optional<Result<JudgeAnswer>>> answers;
  size_t left;
};

Result<std::unique_ptr<JudgeClient>> JudgeClient::Make(const JudgeOptions& options) {
  const std::string where = "judge " + options.name;
  auto key = ReadSecret(options.api_key_file, options.api_key_env);
  if (!key) {
    Error error = key.error();
    error.where = where + ": " + error.where;
    return Fail(std::move(error));
  }
  std::string url = options.url;
  while (url.ends_with('/')) url.pop_back();
  HttpTarget target{url + "/chat/completions", {options.allow_hosts, options.allow_private}, *key, options.timeout_s, options.concurrency,
                    kJudgeReplyBytesMax};
  CANDOR_ASSIGN(std::unique_ptr<HttpPoster> poster, HttpPoster::Make(std::move(target), where));
  return std::unique_ptr<JudgeClient>(new JudgeClient(options, std::move(poster)));
}

JudgeClient::JudgeClient(const JudgeOptions& options, std::unique_ptr<HttpPoster> poster) : options_(options), poster_(std::move(poster)) {
  for (int64_t i = 0; i < options_.concurrency; ++i) threads_.emplace_back(fmt::format("judge-{}", i), [this] { Work(); });
}

JudgeClient::~JudgeClient() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
    has_work_.notify_all();
  }
  threads_.clear();
}

std::vector<Result<JudgeAnswer>> JudgeClient::AskAll(const std::vector<JudgeQuestion>& questions) const {
  Batch batch{questions, {}, questions.size()};
  batch.answers.resize(questions.size());
  {
    std::unique_lock lock(mutex_);
    for (size_t i = 0; i < questions.size(); ++i) waiting_.emplace_back(&batch, i);
    has_work_.notify_all();
    has_answer_.wait(lock, [&] { return batch.left == 0; });  // bounded: each question has its deadline and its number of repetitions
  }
  std::vector<Result<JudgeAnswer>> answers;
  for (auto& answer : batch.answers) answers.push_back(std::move(*answer));
  return answers;
}

void JudgeClient::Work() const {
  std::unique_lock lock(mutex_);
  for (;;) {
    has_work_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const auto [batch, index] = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    Result<JudgeAnswer> answer = Ask(batch->questions[index]);
    lock.lock();
    batch->answers[index] = std::move(answer);
    if (--batch->left == 0) has_answer_.notify_all();
  }
}

Result<JudgeAnswer> JudgeClient::Ask(const JudgeQuestion& question) const {
  const std::string body = QuestionBody(options_, question);
  for (int64_t tries = 0;; ++tries) {
    const Result<HttpReply> reply = poster_->Post(body);
    const bool busy = reply && (reply->status == 429 || reply->status >= 500);
    if (reply && reply->status == 200) return ReadChatReply(reply->body);
    const bool again = busy || (!reply && reply.error().code == ErrorCode::kUnavailable);
    if (!again || tries == options_.retries) {
      if (!reply) return Fail(reply.error());
      return Fail(busy ? ErrorCode::kUnavailable : ErrorCode::kInvalidInput,
                  fmt::format("answered with HTTP status {}: {}", reply->status, reply->body.substr(0, 200)), poster_->url());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(kLongestPauseMs, kFirstPauseMs << std::min<int64_t>(tries, 10))));
  }
}

}  // namespace candor
