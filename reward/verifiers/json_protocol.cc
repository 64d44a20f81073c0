#include "reward/verifiers/json_protocol.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/channel_expression.h"
#include "core/json_depth.h"
#include "reward/channels.h"

namespace candor {

namespace {

using Json = nlohmann::json;
constexpr size_t kMaxReason = 1000;
constexpr int kMaxReplyDepth = 16;  // nlohmann recurses when it destroys values; a hostile reply may not choose how deep

std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, 120));
  return "\"" + shown + (text.size() > 120 ? "\"..." : "\"");
}
tl::unexpected<Error> Malformed(const std::string& what, std::string_view reply) {
  return Fail(ErrorCode::kInvalidInput, what, "reply " + Json(Shown(reply)).dump(-1, ' ', true, Json::error_handler_t::replace));
}

Status ReadLabel(const Json& label, std::string_view reply, Verdict& verdict) {
  if (label.is_boolean()) {
    verdict.label = label.get<bool>() ? Label::kCorrect : Label::kWrong;
  } else if (label.is_number()) {
    double value = label.get<double>();
    if (!(0.0 <= value && value <= 1.0)) return Malformed("a numeric label must lie in [0, 1]", reply);
    verdict.label = value >= 0.5 ? Label::kCorrect : Label::kWrong;
    verdict.soft_label = value;
    return {};
  } else if (label == "correct") {
    verdict.label = Label::kCorrect;
  } else if (label == "wrong") {
    verdict.label = Label::kWrong;
  } else if (!label.is_null() && label != "unknown") {
    return Malformed("label must be \"correct\", \"wrong\", \"unknown\" or a number in [0, 1]", reply);
  }
  verdict.soft_label = verdict.label == Label::kCorrect ? 1.0 : 0.0;
  return {};
}

Status ReadRewards(const Json& rewards, std::string_view reply, Verdict& verdict) {
  if (rewards.is_null()) return {};
  if (!rewards.is_object()) return Malformed("rewards must be an object of numbers", reply);
  if (rewards.size() > kMaxRewards) return Malformed(fmt::format("{} rewards; {} is the limit", rewards.size(), kMaxRewards), reply);
  for (const auto& [name, value] : rewards.items()) {
    if (!IsUserChannel(name))
      return Malformed(
          "reward \"" + name.substr(0, 100) + "\" cannot be a channel; use letters, digits, _ . / and none of Candor's own channels",
          reply);
    if (value.is_null()) continue;  // missing for this completion
    if (!value.is_number() && !value.is_boolean()) return Malformed("reward \"" + name + "\" is not a number", reply);
    double number = value.is_boolean() ? (value.get<bool>() ? 1.0 : 0.0) : value.get<double>();
    if (!std::isfinite(number)) return Malformed("reward \"" + name + "\" is not finite", reply);
    verdict.rewards[name] = number;
  }
  return {};
}

}  // namespace

bool IsUserChannel(const std::string& name) {
  if (std::ranges::find(ReservedChannels(), name) != ReservedChannels().end()) return false;
  Result<ChannelExpression> alone = ChannelExpression::Parse(name);
  return alone && alone->names() == std::vector<std::string>{name};
}

std::string EncodeGradeRequest(const GradeRequest& request) {
  Json body = {{"id", request.id}, {"prompt", request.prompt}, {"completion", request.completion}};
  body["answer"] = request.has_answer ? Json(request.answer) : Json(nullptr);
  std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string row = "null";  // the row's own line, as it stood: numbers keep their spelling
  if (request.row != nullptr && !request.row->json.empty()) row = request.row->json;
  for (char& c : row)
    if (c == '\n' || c == '\r') c = ' ';
  text.pop_back();
  return text + ",\"row\":" + row + "}";
}

Result<Verdict> DecodeGradeReply(std::string_view reply, std::string_view expected_id) {
  if (BracketDepth(reply) > kMaxReplyDepth) return Malformed("the reply is nested too deeply", reply);
  Json body = Json::parse(reply, nullptr, false);
  if (!body.is_object())
    return Malformed("the reply is not a JSON object (a verifier must print only its replies to stdout; notes belong on stderr)", reply);
  auto id = body.find("id");
  if (id == body.end() || *id != expected_id) return Malformed("the reply's id is not " + std::string(expected_id), reply);
  if (!body.contains("label") && !body.contains("rewards")) return Malformed("the reply has neither label nor rewards", reply);
  Verdict verdict;
  CANDOR_TRY(ReadLabel(body.value("label", Json()), reply, verdict));
  CANDOR_TRY(ReadRewards(body.value("rewards", Json()), reply, verdict));
  if (auto reason = body.find("reason"); reason != body.end() && reason->is_string())
    verdict.reason = reason->get<std::string>().substr(0, kMaxReason);
  if (verdict.label == Label::kUnknown && verdict.reason.empty()) verdict.reason = "the verifier says unknown";
  return verdict;
}

}  // namespace candor
