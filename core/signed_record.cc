#include "core/signed_record.h"

#include <fmt/format.h>
#include <sodium.h>

#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "core/json_depth.h"

namespace candor {

namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;

// The coordinator's secret never leaves the run's folder; the token of the HTTP interface may be handed out and signs nothing.
Result<std::string> MacOf(const std::string& purpose, const std::string& body, const RunKeys& keys) {
  constexpr size_t kCoordinator = static_cast<size_t>(Role::kCoordinator);
  if (::sodium_init() < 0) return Fail(ErrorCode::kInternal, "libsodium cannot be used");
  if (keys.by_role.size() <= kCoordinator) return Fail(ErrorCode::kInternal, "a run has one key pair for each role");
  const std::string seed = "candor signed record\n" + keys.by_role[kCoordinator].secret_key, text = purpose + "\n" + body;
  unsigned char key[crypto_auth_KEYBYTES], mac[crypto_auth_BYTES];
  ::crypto_generichash(key, sizeof key, reinterpret_cast<const unsigned char*>(seed.data()), seed.size(), nullptr, 0);
  ::crypto_auth(mac, reinterpret_cast<const unsigned char*>(text.data()), text.size(), key);
  ::sodium_memzero(key, sizeof key);
  std::string hex;
  for (unsigned char byte : mac) hex += fmt::format("{:02x}", byte);
  return hex;
}

}  // namespace

Status WriteSignedRecord(const std::string& path, const std::string& purpose, const std::string& body, const RunKeys& keys) {
  const nlohmann::json parsed = nlohmann::json::parse(body, nullptr, false);
  if (!parsed.is_object()) return Fail(ErrorCode::kInternal, "a signed record is a JSON object", path);
  CANDOR_ASSIGN(const std::string mac, MacOf(purpose, parsed.dump(), keys));
  return WriteFileAtomic(path, nlohmann::json{{"record", parsed}, {"mac", mac}}.dump() + "\n");
}

Result<std::string> ReadSignedRecord(const std::string& path, const std::string& purpose, const RunKeys& keys) {
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kMaxBytes));
  const bool deep = BracketDepth(text) > kMaxJsonDepth;  // it is printed again before its code is known to fit
  const nlohmann::json whole = deep ? nlohmann::json() : nlohmann::json::parse(text, nullptr, false);
  const bool shaped =
      whole.is_object() && whole.contains("record") && whole["record"].is_object() && whole.contains("mac") && whole["mac"].is_string();
  if (!shaped) return Fail(ErrorCode::kUnauthorized, "this is no signed record", path, "remove it; the run writes its own when it is done");
  const std::string body = whole["record"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  CANDOR_ASSIGN(const std::string mac, MacOf(purpose, body, keys));
  const std::string given = whole["mac"].get<std::string>();
  if (given.size() != mac.size() || ::sodium_memcmp(given.data(), mac.data(), mac.size()) != 0)
    return Fail(ErrorCode::kUnauthorized, "the record's code does not fit: it was changed, or written with the keys of another run", path,
                "remove it; the run writes its own when it is done");
  return body;
}

}  // namespace candor
