#include "cli/done_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "core/signed_record.h"
#include "core/transport.h"

namespace candor::cli {

namespace {

using nlohmann::json;
constexpr char kTrainer[] = "trainer done", kRun[] = "run done";

Result<json> ReadRecord(const std::string& path, const std::string& purpose, const RunDir& run) {
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(run.path));
  CANDOR_ASSIGN(const std::string body, ReadSignedRecord(path, purpose, keys));
  return json::parse(body, nullptr, false);
}

}  // namespace

Status RecordTrainerDone(const RunDir& run, int64_t steps) {
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(run.path));
  return WriteSignedRecord(run.TrainerDone(), kTrainer, json{{"steps", steps}}.dump(), keys);
}

bool IsTrainerDone(const RunDir& run, int64_t steps) {
  const Result<json> record = ReadRecord(run.TrainerDone(), kTrainer, run);
  return record && record->value("steps", int64_t{-1}) >= steps;
}

Status RecordRunDone(const RunDir& run, const Recipe& recipe) {
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(run.path));
  std::string summary;  // a recipe without [[eval]] leaves none
  if (FileExists(run.Summary())) {
    CANDOR_ASSIGN(summary, HashFileHex(run.Summary()));
  }
  return WriteSignedRecord(run.Done(), kRun, json{{"name", recipe.run.name}, {"steps", recipe.trainer.steps}, {"summary", summary}}.dump(),
                           keys);
}

Status CheckRunDone(const RunDir& run) {
  CANDOR_ASSIGN(const json record, ReadRecord(run.Done(), kRun, run));
  return {};
}
bool IsRunDone(const RunDir& run) { return CheckRunDone(run).has_value(); }

std::string DescribeFinished(const RunDir& run, const Recipe& recipe) {
  std::string text = run.path + " holds a finished run";
  const Result<json> record = ReadRecord(run.Done(), kRun, run);
  const int64_t steps = record ? record->value("steps", int64_t{0}) : 0;
  if (steps < recipe.trainer.steps)
    text += fmt::format(" of {} steps, which is not made longer ({} are asked for): begin another one with model = \"{}\"", steps,
                        recipe.trainer.steps, run.FinalModel());
  return text;
}

Status EnsureKeys(const RunDir& run) {
  if (FileExists(run.path + "/keys/token")) return {};
  CANDOR_ASSIGN(const RunKeys keys, MakeRunKeys());
  return WriteRunKeys(keys, run.path);
}

}  // namespace candor::cli
