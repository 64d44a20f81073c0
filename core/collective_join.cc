#include "core/collective_join.h"

#include <sys/stat.h>

#include <cstdlib>
#include <initializer_list>

#include "core/collective_tcp.h"
#include "core/fs.h"
#include "core/launch.h"

namespace candor {

namespace {

std::string Text(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

Result<int> Number(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const std::string text = Text(name); !text.empty()) {
      char* end = nullptr;
      const long number = std::strtol(text.c_str(), &end, 10);
      if (*end == 0 && 0 <= number && number < 65536) return static_cast<int>(number);
      return Fail(ErrorCode::kInvalidInput, std::string(name) + " is \"" + text + "\"", "environment", "a whole number, 0 or more");
    }
  return Fail(ErrorCode::kInvalidInput, std::string(*names.begin()) + " is missing", "environment",
              "every rank needs CANDOR_RANK, CANDOR_WORLD_SIZE and a rendezvous");
}

Result<std::string> Secret(const std::string& given) {
  const std::string path = Text("CANDOR_RENDEZVOUS_SECRET_FILE");
  if (!given.empty() || path.empty()) return given;
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 077) != 0)
    return Fail(ErrorCode::kUnauthorized, "others may read the secret of the rendezvous", path, "chmod 600 " + path);
  CANDOR_ASSIGN(std::string secret, ReadFile(path, 4096));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.size() < 16)
    return Fail(ErrorCode::kUnauthorized, "the secret of the rendezvous is shorter than 16 characters", path,
                "head -c 24 /dev/urandom | base64 > FILE");
  return secret;
}

}  // namespace

bool HasLauncher(const std::string& rendezvous) {
  return LauncherOfThisProcess() || !rendezvous.empty() || !Text("CANDOR_RENDEZVOUS").empty() || !Text("CANDOR_WORLD_SIZE").empty();
}

Result<std::unique_ptr<Collective>> JoinRanks(const JoinOptions& options) {
  if (LauncherOfThisProcess() && options.rendezvous.empty()) return MakeMpiCollective(options.collective);
  if (!HasLauncher(options.rendezvous)) return std::move(MakeLocalCollectives(1, options.collective).front());
  TcpRendezvous rendezvous;
  CANDOR_ASSIGN(rendezvous.rank, Number({"CANDOR_RANK", "SLURM_PROCID"}));
  CANDOR_ASSIGN(rendezvous.size, Number({"CANDOR_WORLD_SIZE", "SLURM_NTASKS"}));
  if (rendezvous.rank >= rendezvous.size)
    return Fail(ErrorCode::kInvalidInput, "rank " + std::to_string(rendezvous.rank) + " of " + std::to_string(rendezvous.size) + " ranks",
                "CANDOR_RANK", "ranks count from 0");
  rendezvous.place = options.rendezvous.empty() ? Text("CANDOR_RENDEZVOUS") : options.rendezvous;
  CANDOR_ASSIGN(rendezvous.secret, Secret(options.secret));
  rendezvous.deadline_ms = options.collective.join_ms;
  return MakeTcpCollective(rendezvous, options.collective);
}

}  // namespace candor
