// malformed_driver KIND FILE: one file through the library function that reads it in a run, for files that no command takes alone. Prints
// the error as commands do and exits with its code; prints "accepted" when there is none.
#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>

#include "calibration/sketch.h"
#include "cli/command_line.h"
#include "coordinator/ledger_record.h"
#include "core/fs.h"
#include "core/rendezvous.h"
#include "core/transport.h"
#include "model/config.h"
#include "proto/messages.h"
#include "reward/spool.h"
#include "reward/verifiers/json_protocol.h"
#include "text/safetensors_header.h"
#include "trainer/file_list.h"

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
