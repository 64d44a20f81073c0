// malformed_driver KIND FILE: one file through the library function that reads it in a run, for files that no command takes alone. Prints
// the error as commands do and exits with its code; prints "accepted" when there is none.
#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <sstream>

#include "calibration/sketch.h"
#include "cli/command_line.h"
#include "cli/slurm_client.h"
#include "cli/sweep_points.h"
#include "coordinator/ledger_record.h"
#include "core/fs.h"
#include "core/rendezvous.h"
#include "core/signed_record.h"
#include "core/transport.h"
#include "eval/answers.h"
#include "eval/baseline_file.h"
#include "eval/truth.h"
#include "model/config.h"
#include "proto/messages.h"
#include "reward/judges/judge_client.h"
#include "reward/judges/judge_trial.h"
#include "reward/reward_heads.h"
#include "reward/spool.h"
#include "reward/verifiers/json_protocol.h"
#include "reward/verifiers/python_tests.h"
#include "serve/request.h"
#include "text/safetensors_header.h"
#include "trainer/checkpoint_manifest.h"
#include "trainer/file_list.h"
#include "weights/manifest.h"

namespace candor {
namespace {

template <typename T>
Status Outcome(const Result<T>& result) {
  if (result) return {};
  return Fail(result.error());
}

// A reader of bytes knows no path: its error gets one.
template <typename T>
Status At(const std::string& path, const Result<T>& result) {
  if (result) return {};
  Error error = result.error();
  error.where = error.where.empty() ? path : path + ": " + error.where;
  return Fail(error);
}

Status ReadSpool(const std::string& path) {
  CANDOR_ASSIGN(auto spool, Spool::Open(std::filesystem::path(path).parent_path().string(), 1 << 30));
  if (spool->set_aside() > 0) return Fail(ErrorCode::kIo, "the spool set the file aside", path);
  for (const SpooledGroup& entry : spool->List()) {
    CANDOR_ASSIGN(std::string payload, spool->Fetch(entry.group, entry.hash));
    CANDOR_TRY(At(path, DecodePayload(payload)));
  }
  return {};
}

Status ReadServed(Endpoint endpoint, const std::string& path) {
  const ApiResult<ServedRequest> request = ReadRequest(endpoint, *ReadFile(path));
  if (request) return {};
  return Fail(ErrorCode::kInvalidInput, request.error().message,
              path + (request.error().param.empty() ? "" : ": ") + request.error().param);
}

Status ReadGold(const std::string& path, bool pairs) {
  const std::vector<std::string> tags = {"answer", "confidence"};
  CANDOR_ASSIGN(const TagFormat format, TagFormat::From(tags, "verbal"));
  return Outcome(ReadGoldSet(path, format, pairs));
}

// PATH is that of a file that is still growing, NAME.part.
Status ReadBaselinePart(const std::string& path) {
  DataSet rows;
  rows.rows.resize(2);
  for (size_t i = 0; i < 2; ++i)
    rows.rows[i].json = R"({"id": "r0", "prompt": "p"})", rows.rows[i].where = "rows.jsonl:" + std::to_string(i + 1);
  return Outcome(BaselineFile::Open(path.substr(0, path.rfind(".part")), {"scores", "m k=2"}, rows));
}

// One argument of `candor sweep` a line.
Status ReadSweep(const std::string& path) {
  std::istringstream lines(*ReadFile(path));
  std::vector<std::string> arguments;
  for (std::string line; std::getline(lines, line);) arguments.push_back(line);
  CANDOR_ASSIGN(const cli::SweepPlan plan, cli::PlanSweep(arguments));
  return Outcome(cli::PointsOf(plan, "runs/sweep"));
}

int Run(const std::string& kind, const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const auto bytes = [&] { return *ReadFile(path); };
  const std::map<std::string, std::function<Status()>> kinds = {
      {"safetensors", [&] { return Outcome(ReadSafetensorsIndex(path)); }},
      {"config", [&] { return Outcome(ParseModelConfig(bytes(), "", path)); }},
      {"spool", [&] { return ReadSpool(path); }},
      {"payload", [&] { return At(path, DecodePayload(bytes())); }},
      {"message", [&] { return At(path, Decode(bytes())); }},
      {"ledger", [&] { return At(path, DecodeRecord(bytes())); }},
      {"sketch", [&] { return At(path, calibration::CalSketch::Decode(bytes())); }},
      {"manifest", [&] { return Outcome(ListedFileFromJson(bytes(), path)); }},
      {"verifier", [&] { return At(path, DecodeGradeReply(bytes(), "1/0#1")); }},
      {"keys", [&] { return Outcome(ReadRunKeys(std::filesystem::path(folder).parent_path().string())); }},
      {"endpoint", [&] { return Outcome(FindCoordinator(folder)); }},
      {"judge_file", [&] { return Outcome(ReadJudgeFile(path)); }},
      {"judge_reply", [&] { return At(path, ReadChatReply(bytes())); }},
      {"gold", [&] { return ReadGold(path, false); }},
      {"pairs", [&] { return ReadGold(path, true); }},
      {"verdict", [&] { return At(path, ReadTestVerdict(bytes(), "nonce")); }},
      {"heads", [&] { return Outcome(ParseRewardHeads(bytes(), path)); }},
      {"baseline", [&] { return ReadBaselinePart(path); }},
      {"answers", [&] { return Outcome(ReadAnswers(path)); }},
      {"chances", [&] { return Outcome(ReadChances(path)); }},
      {"sweep", [&] { return ReadSweep(path); }},
      {"submitted", [&] { return Outcome(cli::ReadSubmitted({std::filesystem::path(folder).parent_path().string()})); }},
      {"signed", [&] { return Outcome(ReadSignedRecord(path, "run done", *MakeRunKeys())); }},
      {"chat", [&] { return ReadServed(Endpoint::kChat, path); }},
      {"completions", [&] { return ReadServed(Endpoint::kCompletions, path); }},
      {"version", [&] { return Outcome(ParseVersionManifest(bytes(), path)); }},
      {"packing", [&] { return Outcome(ParsePacking(bytes(), path)); }},
      {"checkpoint", [&] { return At(path, ParseCheckpointManifest(bytes(), path)); }},
  };
  const auto found = kinds.find(kind);
  if (found == kinds.end()) return std::fprintf(stderr, "malformed_driver: no kind %s\n", kind.c_str()), 2;
  const Status read = found->second();
  if (read) return std::puts("accepted"), 0;
  return cli::ReportFailure(kind, read.error());
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: malformed_driver KIND FILE\n"), 2;
  spdlog::set_pattern("%v");
  return candor::Run(argv[1], argv[2]);
}
