// A refusal in the shape that OpenAI's clients read: {"error": {"message", "type", "param", "code"}} with an HTTP status. Plain data.
#pragma once
#include <string>
#include <tl/expected.hpp>

namespace candor {

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;  // the field that is wrong; "" = none
  std::string type = "invalid_request_error";
  std::string code;  // a word for programs; "" = none
};
template <typename T>
using ApiResult = tl::expected<T, ApiError>;

std::string ToJson(const ApiError& error);

}  // namespace candor
