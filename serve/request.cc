#include "serve/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json_depth.h"
#include "core/options.h"

namespace candor {

namespace {

using Json = nlohmann::json;
constexpr auto kReplace = Json::error_handler_t::replace;
constexpr int64_t kBudgetMax = 1 << 24;
constexpr int64_t kCompletionBudget = 16;  // OpenAI's default of /v1/completions

ApiError Wrong(const std::string& param, const std::string& message) { return {400, message, param, "invalid_request_error", ""}; }

// A body's fields, each read at most once; the first fault is kept.
class Fields {
 public:
  Fields(Json body, std::optional<ApiError>& fault) : body_(std::move(body)), fault_(fault) {}

  // nullptr where the field is missing or null.
  const Json* Find(const char* name) {
    known_.insert(name);
    const auto at = body_.find(name);
    return at == body_.end() || at->is_null() ? nullptr : &*at;
  }
  void Blame(const std::string& name, const std::string& message) {
    if (!fault_) fault_ = Wrong(name, fmt::format("'{}' {}", name, message));
  }
  double Real(const char* name, double otherwise, double least, double most) {
    const Json* value = Find(name);
    if (value == nullptr) return otherwise;
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (least <= number && number <= most) return number;
    Blame(name, fmt::format("must be a number in [{:g}, {:g}], but is {}", least, most, Shown(*value)));
    return otherwise;
  }
  int64_t Whole(const char* name, int64_t otherwise, int64_t least, int64_t most) {
    const Json* value = Find(name);
    if (value == nullptr) return otherwise;
    const bool fits = value->is_number_integer() && (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX);
    const int64_t number = fits ? value->get<int64_t>() : 0;
    if (fits && least <= number && number <= most) return number;
    Blame(name, fmt::format("must be a whole number in [{}, {}], but is {}", least, most, Shown(*value)));
    return otherwise;
  }
  bool Flag(const char* name) {
    const Json* value = Find(name);
    if (value != nullptr && !value->is_boolean()) Blame(name, "must be true or false, but is " + Shown(*value));
    return value != nullptr && value->is_boolean() && value->get<bool>();
  }
  // A field that is taken only where it says what is done anyway.
  void Only(const char* name, const std::vector<Json>& harmless) {
    const Json* value = Find(name);
    if (value != nullptr && std::find(harmless.begin(), harmless.end(), *value) == harmless.end())
      Blame(name, "is not supported: leave it out");
  }
  void Ignore(const char* name) { known_.insert(name); }
  // Whatever nobody asked for.
  void NothingElse() {
    for (const auto& [name, value] : body_.items()) {
      if (known_.contains(name)) continue;
      const std::string nearest = NearestName(name, {known_.begin(), known_.end()});
      return Blame(name.substr(0, 100), "is not a field of this request" + (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
    }
  }
  static std::string Shown(const Json& value) {
    const std::string text = value.dump(-1, ' ', false, kReplace);
    return text.size() <= 60 ? text : text.substr(0, 60) + "...";
  }

 private:
  Json body_;
  std::optional<ApiError>& fault_;
  std::set<std::string> known_;
};

// A message's content: a text, or a list of text parts, which become one text.
std::optional<std::string> ContentOf(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return std::nullopt;
  std::string text;
  for (const Json& part : content) {
    if (!part.is_object() || part.value("type", Json()) != "text" || !part.contains("text") || !part["text"].is_string())
      return std::nullopt;
    text += part["text"].get<std::string>();
  }
  return text;
}

void ReadMessages(Fields& fields, ServedRequest& request) {
  const Json* messages = fields.Find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    return fields.Blame("messages", "must be a list of at least one {\"role\", \"content\"}");
  Json kept = Json::array();
  for (size_t i = 0; i < messages->size(); ++i) {
    const Json& message = (*messages)[i];
    const std::string where = fmt::format("messages[{}]", i);
    if (!message.is_object()) return fields.Blame(where, "must be an object with role and content");
    const Json role = message.value("role", Json());
    if (role != "system" && role != "developer" && role != "user" && role != "assistant")
      return fields.Blame(where + ".role", "must be system, developer, user or assistant, but is " + Fields::Shown(role));
    const std::optional<std::string> content = ContentOf(message.value("content", Json()));
    if (!content) return fields.Blame(where + ".content", "must be a text or a list of {\"type\": \"text\", \"text\"}");
    kept.push_back({{"role", role == "developer" ? Json("system") : role}, {"content", *content}});
  }
  request.messages_json = kept.dump();
}

std::optional<std::vector<int32_t>> TokenIds(const Json& value) {
  std::vector<int32_t> ids;
  for (const Json& id : value) {
    if (!id.is_number_integer() || !(0 <= id.get<int64_t>() && id.get<int64_t>() <= INT32_MAX)) return std::nullopt;
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void ReadPrompts(Fields& fields, ServedRequest& request) {
  const auto blame = [&] { fields.Blame("prompt", "must be a text, a list of token ids, or a list of either; none of them empty"); };
  const Json* prompt = fields.Find("prompt");
  if (prompt == nullptr) return blame();
  const bool many = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  for (const Json& one : many ? *prompt : Json::array({*prompt})) {
    if (one.is_string() && !one.get<std::string>().empty()) {
      request.prompts.emplace_back(one.get<std::string>());
    } else if (const auto ids = one.is_array() && !one.empty() ? TokenIds(one) : std::nullopt) {
      request.prompts.emplace_back(*ids);
    } else {
      return blame();
    }
  }
}

void ReadStops(Fields& fields, const RequestLimits& limits, ServedRequest& request) {
  const Json* stop = fields.Find("stop");
  if (stop == nullptr) return;
  const Json list = stop->is_array() ? *stop : Json::array({*stop});
  for (const Json& text : list) {
    if (!text.is_string() || text.get<std::string>().empty() || text.get<std::string>().size() > limits.stop_bytes_max)
      return fields.Blame("stop", fmt::format("must be a text of 1 to {} bytes, or a list of them", limits.stop_bytes_max));
    request.stop.push_back(text.get<std::string>());
  }
  if (list.size() > limits.stops_max) fields.Blame("stop", fmt::format("holds {} texts; {} is the most", list.size(), limits.stops_max));
}

void ReadSampling(Fields& fields, const RequestLimits& limits, ServedRequest& request) {
  request.n = static_cast<int32_t>(fields.Whole("n", 1, 1, limits.choices_max));
  request.sampling.temperature = fields.Real("temperature", 1.0, 0.0, 2.0);
  request.sampling.top_p = fields.Real("top_p", 1.0, 0.0, 1.0);
  if (request.sampling.top_p == 0.0) fields.Blame("top_p", "must be above 0");
  request.sampling.top_k = fields.Whole("top_k", 0, -1, INT32_MAX);
  request.sampling.top_k = std::max<int64_t>(0, request.sampling.top_k);  // -1 is "off" elsewhere
  request.sampling.min_p = fields.Real("min_p", 0.0, 0.0, 1.0);
  if (fields.Find("seed") != nullptr) request.seed = static_cast<uint64_t>(fields.Whole("seed", 0, INT64_MIN, INT64_MAX));
  ReadStops(fields, limits, request);
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    if (request.endpoint == Endpoint::kCompletions && std::string_view(name) != "max_tokens") continue;
    if (fields.Find(name) == nullptr) continue;
    request.sampling.max_new_tokens = fields.Whole(name, 1, 1, kBudgetMax);
    request.budget_given = true;
  }
  if (request.endpoint == Endpoint::kCompletions && !request.budget_given)
    request.sampling.max_new_tokens = kCompletionBudget, request.budget_given = true;
}

void ReadLogProbs(Fields& fields, const RequestLimits& limits, ServedRequest& request) {
  if (request.endpoint == Endpoint::kCompletions) {
    request.log_probs = fields.Find("logprobs") != nullptr;
    request.top_log_probs = static_cast<int32_t>(fields.Whole("logprobs", 0, 0, limits.top_log_probs_max));
    return;
  }
  request.log_probs = fields.Flag("logprobs");
  request.top_log_probs = static_cast<int32_t>(fields.Whole("top_logprobs", 0, 0, limits.top_log_probs_max));
  if (request.top_log_probs > 0 && !request.log_probs) fields.Blame("top_logprobs", "needs \"logprobs\": true");
}

void ReadStream(Fields& fields, ServedRequest& request) {
  request.stream = fields.Flag("stream");
  const Json* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!request.stream) return fields.Blame("stream_options", "needs \"stream\": true");
  if (!options->is_object()) return fields.Blame("stream_options", "must be an object");
  const Json usage = options->value("include_usage", Json(false));
  if (!usage.is_boolean()) return fields.Blame("stream_options.include_usage", "must be true or false");
  request.stream_usage = usage.get<bool>();
}

void ReadUnsupported(Fields& fields, Endpoint endpoint) {
  for (const char* name : {"user", "metadata", "store", "service_tier"}) fields.Ignore(name);
  for (const char* name : {"presence_penalty", "frequency_penalty"}) fields.Only(name, {0, 0.0});
  fields.Only("logit_bias", {Json::object()});
  if (endpoint == Endpoint::kCompletions) {
    fields.Only("echo", {false});
    fields.Only("suffix", {""});
    fields.Only("best_of", {1});
    return;
  }
  for (const char* name : {"tools", "functions"}) fields.Only(name, {Json::array()});
  for (const char* name : {"tool_choice", "function_call"}) fields.Only(name, {"none", "auto"});
  fields.Only("response_format", {Json{{"type", "text"}}});
  fields.Only("modalities", {Json::array({"text"})});
  fields.Only("parallel_tool_calls", {true, false});
}

}  // namespace

std::string ToJson(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  const Json json = {
      {"error",
       {{"message", error.message}, {"type", error.type}, {"param", text_or_null(error.param)}, {"code", text_or_null(error.code)}}}};
  return json.dump(-1, ' ', false, kReplace);
}

ApiResult<ServedRequest> ReadRequest(Endpoint endpoint, std::string_view body, const RequestLimits& limits) {
  if (BracketDepth(body) > kMaxJsonDepth) return tl::unexpected(Wrong("", "the body is nested too deeply"));
  Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) return tl::unexpected(Wrong("", "the body is not JSON (in UTF-8)"));
  if (!json.is_object()) return tl::unexpected(Wrong("", "the body must be a JSON object"));
  std::optional<ApiError> fault;
  Fields fields(std::move(json), fault);
  ServedRequest request;
  request.endpoint = endpoint;
  if (const Json* model = fields.Find("model")) {
    if (model->is_string())
      request.model = model->get<std::string>();
    else
      fields.Blame("model", "must be a text");
  }
  if (endpoint == Endpoint::kChat)
    ReadMessages(fields, request);
  else
    ReadPrompts(fields, request);
  ReadSampling(fields, limits, request);
  ReadLogProbs(fields, limits, request);
  ReadStream(fields, request);
  ReadUnsupported(fields, endpoint);
  fields.NothingElse();
  const auto choices = static_cast<int64_t>(std::max<size_t>(1, request.prompts.size())) * request.n;
  if (choices > limits.choices_max)
    fields.Blame("n", fmt::format("times the number of prompts is {}; {} is the most", choices, limits.choices_max));
  if (fault) return tl::unexpected(std::move(*fault));
  return request;
}

}  // namespace candor
