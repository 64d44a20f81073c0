// Replies in OpenAI's shapes, whole and as chunks of a stream. Beyond them, a choice carries `confidence` (null where the reply did not
// keep the format) when the model has one, `answer` when the format has tags, and `abstained` where the server may withhold answers; a
// token's log-probabilities carry `id`. Pure; any thread.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/trace.h"
#include "rollout/episode.h"
#include "serve/choice_text.h"
#include "serve/request.h"

namespace candor {

// What is served, and how it speaks: filled by the command, read by every request. The functions may be called from any thread.
struct ServedModel {
  std::string name;
  int64_t created_unix_s = 0;
  const Tokenizer* tokenizer = nullptr;
  TagFormat tags;
  std::vector<int32_t> end_ids;  // sorted
  int64_t positions = 0;         // of the model; 0: no limit
  std::function<Result<std::vector<int32_t>>(const std::string& messages_json)> chat_prompt;
  std::function<Result<std::shared_ptr<const TurnFormat>>(const std::vector<std::string>& stop)> format;
  std::function<std::optional<double>(const Trace&)> confidence;
  std::function<int64_t(size_t prompt_tokens)> budget;
  std::function<bool(const Trace&)> withholds = {};  // an answer whose confidence is too low to be given; empty: all are given
  std::string abstain_text = {};                     // said in its place
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0;
};

// What every object of one reply has in common.
struct ReplyFrame {
  const ServedModel* model = nullptr;
  Endpoint endpoint = Endpoint::kChat;
  std::string id;
  int64_t created_unix_s = 0;
  bool log_probs = false;
};

struct FinishedChoice {
  std::string text;  // as shown
  std::vector<ShownToken> tokens;
  const Trace* trace = nullptr;
};

std::string ReplyJson(const ReplyFrame& frame, const std::vector<FinishedChoice>& choices, const Usage& usage);
// One event of a stream: the first of a chat's choice, some text with its tokens, the end of a choice, the usage of all.
std::string RoleChunk(const ReplyFrame& frame, int32_t choice);
std::string TextChunk(const ReplyFrame& frame, int32_t choice, const std::string& text, const std::vector<ShownToken>& tokens,
                      std::string_view text_so_far);
std::string EndChunk(const ReplyFrame& frame, int32_t choice, const Trace& trace);
std::string UsageChunk(const ReplyFrame& frame, const Usage& usage);
// The list of /v1/models, or its one element.
std::string ModelsJson(const ServedModel& model, bool list);

}  // namespace candor
