// The keys of a run on disk: RUN_DIR/keys/<role>.key ("public <Z85>\nsecret <Z85>\n") and RUN_DIR/keys/token, all of mode 0600. A file that
// others may read is refused, since whoever holds a role's secret key is that role.
#include "core/transport_keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/fs.h"

namespace candor {

namespace {

constexpr size_t kMaxKeyFileBytes = 4096;
constexpr size_t kTokenBytes = 24;

Status WriteSecret(const std::string& path, const std::string& text) {
  std::string temporary = path + ".tmp";
  ::unlink(temporary.c_str());
  int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return Fail(ErrorCode::kIo, fmt::format("cannot create a key file: {}", std::strerror(errno)), temporary);
  bool ok = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  ok = ::close(fd) == 0 && ok;
  if (!ok || ::rename(temporary.c_str(), path.c_str()) != 0) {
    int number = errno;
    ::unlink(temporary.c_str());
    return Fail(ErrorCode::kIo, fmt::format("cannot write a key file: {}", std::strerror(number)), path);
  }
  return {};
}

Result<std::string> ReadSecret(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0)
    return Fail(ErrorCode::kNotFound, "the run has no such key file", path, "start the run with `candor run`, which makes its keys");
  if (!S_ISREG(info.st_mode)) return Fail(ErrorCode::kUnauthorized, "a key file must be a plain file", path);
  if ((info.st_mode & 077) != 0)
    return Fail(ErrorCode::kUnauthorized, fmt::format("others may read or write this key file (mode {:04o})", info.st_mode & 07777), path,
                "chmod 600 it, and make new keys if somebody else could log in here");
  return ReadFile(path, kMaxKeyFileBytes);
}

std::string KeyPath(const std::string& run_dir, Role role) { return fmt::format("{}/keys/{}.key", run_dir, Name(role)); }

Result<KeyPair> ParseKey(const std::string& text, const std::string& path) {
  constexpr size_t kZ85 = 40;
  const std::string public_word = "public ", secret_word = "\nsecret ";
  bool shaped = text.size() == public_word.size() + kZ85 + secret_word.size() + kZ85 + 1 &&
                text.compare(0, public_word.size(), public_word) == 0 &&
                text.compare(public_word.size() + kZ85, secret_word.size(), secret_word) == 0 && text.back() == '\n';
  KeyPair pair;
  if (shaped) {
    pair.public_key = text.substr(public_word.size(), kZ85);
    pair.secret_key = text.substr(public_word.size() + kZ85 + secret_word.size(), kZ85);
  }
  if (!shaped || CurvePublicKey(pair.secret_key) != pair.public_key)
    return Fail(ErrorCode::kInvalidInput, "this is not a key pair of a run", path, "start the run anew: `candor run` makes its keys");
  return pair;
}

}  // namespace

const char* Name(Role role) {
  static constexpr const char* kNames[] = {"coordinator", "rollout", "reward", "trainer", "observer"};
  return static_cast<size_t>(role) < kRoleCount ? kNames[static_cast<size_t>(role)] : "unknown";
}

std::optional<Role> RoleFromName(const std::string& name) {
  for (int i = 0; i < kRoleCount; ++i)
    if (name == Name(static_cast<Role>(i))) return static_cast<Role>(i);
  return std::nullopt;
}

bool MayConnect(Role client, Role server) {
  switch (server) {
    case Role::kCoordinator:
      return client == Role::kRollout || client == Role::kReward || client == Role::kTrainer || client == Role::kObserver;
    case Role::kReward:
      return client == Role::kRollout || client == Role::kTrainer;
    case Role::kRollout:  // rollouts pass weights on to each other
      return client == Role::kReward || client == Role::kTrainer || client == Role::kRollout;
    case Role::kTrainer:
      return client == Role::kRollout || client == Role::kTrainer;
    case Role::kObserver:
      return false;
  }
  return false;
}

Result<RunKeys> MakeRunKeys() {
  RunKeys keys;
  for (int i = 0; i < kRoleCount; ++i) {
    CANDOR_ASSIGN(KeyPair pair, MakeCurveKeyPair());
    keys.by_role.push_back(std::move(pair));
  }
  unsigned char bytes[kTokenBytes];
  if (::getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes))
    return Fail(ErrorCode::kIo, "the system gave no random bytes for the run's token");
  for (unsigned char byte : bytes) keys.run_token += fmt::format("{:02x}", byte);
  return keys;
}

Status WriteRunKeys(const RunKeys& keys, const std::string& run_dir) {
  if (keys.by_role.size() != kRoleCount) return Fail(ErrorCode::kInternal, "a run has one key pair for each role");
  std::string folder = run_dir + "/keys";
  CANDOR_TRY(MakeFolders(folder));
  if (::chmod(folder.c_str(), 0700) != 0)
    return Fail(ErrorCode::kIo, fmt::format("cannot close the keys' folder to others: {}", std::strerror(errno)), folder);
  for (int i = 0; i < kRoleCount; ++i) {
    const KeyPair& pair = keys.by_role[static_cast<size_t>(i)];
    CANDOR_TRY(
        WriteSecret(KeyPath(run_dir, static_cast<Role>(i)), fmt::format("public {}\nsecret {}\n", pair.public_key, pair.secret_key)));
  }
  CANDOR_TRY(WriteSecret(folder + "/token", keys.run_token + "\n"));
  return SyncFolder(folder);
}

Result<RunKeys> ReadRunKeys(const std::string& run_dir) {
  RunKeys keys;
  for (int i = 0; i < kRoleCount; ++i) {
    std::string path = KeyPath(run_dir, static_cast<Role>(i));
    CANDOR_ASSIGN(std::string text, ReadSecret(path));
    CANDOR_ASSIGN(KeyPair pair, ParseKey(text, path));
    keys.by_role.push_back(std::move(pair));
  }
  CANDOR_ASSIGN(keys.run_token, ReadSecret(run_dir + "/keys/token"));
  while (!keys.run_token.empty() && keys.run_token.back() == '\n') keys.run_token.pop_back();
  if (keys.run_token.size() < 2 * kTokenBytes)
    return Fail(ErrorCode::kInvalidInput, "the run's token is too short", run_dir + "/keys/token");
  return keys;
}

}  // namespace candor
