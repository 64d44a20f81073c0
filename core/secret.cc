#include "core/secret.h"

#include <algorithm>
#include <cstdlib>

#include "core/fs.h"

namespace candor {

Result<std::string> ReadSecret(const std::string& file, const std::string& variable) {
  constexpr size_t kMaxSecretBytes = 4096;
  if (file.empty() && variable.empty()) return std::string();
  if (!file.empty() && !variable.empty())
    return Fail(ErrorCode::kInvalidInput, "a secret is named twice", file + ", " + variable, "name the file or the environment variable");
  std::string secret;
  const std::string where = file.empty() ? "environment variable " + variable : file;
  if (file.empty()) {
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr) return Fail(ErrorCode::kNotFound, "the secret is not set", where, "export it before the command");
    secret = value;
  } else {
    CANDOR_ASSIGN(secret, ReadFile(file, kMaxSecretBytes));
  }
  constexpr const char* kSpace = " \t\r\n";
  const size_t first = secret.find_first_not_of(kSpace), last = secret.find_last_not_of(kSpace);
  if (first == std::string::npos) return Fail(ErrorCode::kInvalidInput, "the secret is empty", where);
  secret = secret.substr(first, last - first + 1);
  const bool printable = std::all_of(secret.begin(), secret.end(), [](char c) { return 0x21 <= c && c <= 0x7e; });
  if (!printable || secret.size() > kMaxSecretBytes)
    return Fail(ErrorCode::kInvalidInput, "the secret is not one line of printable ASCII without spaces", where);
  return secret;
}

}  // namespace candor
