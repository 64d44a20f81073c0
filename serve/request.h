// The bodies of POST /v1/chat/completions and /v1/completions, read into a type that cannot be wrong. Fields that Candor has no meaning for
// are refused by name, unless they say what is done anyway (n: 1, presence_penalty: 0) or only describe the caller (user, metadata, store).
// Beyond OpenAI's fields: top_k, min_p, and prompts as token ids. Pure; any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "rollout/options.h"
#include "serve/api_error.h"

namespace candor {

enum class Endpoint { kChat, kCompletions };
using PromptInput = std::variant<std::string, std::vector<int32_t>>;  // text, or token ids taken as they are

struct ServedRequest {
  Endpoint endpoint = Endpoint::kChat;
  std::string model;                 // "" = whatever is served
  std::string messages_json;         // kChat
  std::vector<PromptInput> prompts;  // kCompletions; at least one
  int32_t n = 1;
  SamplingOptions sampling;  // max_new_tokens counts only where budget_given
  bool budget_given = false;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool stream = false, stream_usage = false;
  bool log_probs = false;
  int32_t top_log_probs = 0;
};

struct RequestLimits {
  int32_t choices_max = 128;  // n times prompts
  int32_t top_log_probs_max = 20;
  size_t stops_max = 16, stop_bytes_max = 1024;
};

ApiResult<ServedRequest> ReadRequest(Endpoint endpoint, std::string_view body, const RequestLimits& limits = {});

}  // namespace candor
