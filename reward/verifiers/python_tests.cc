#include "reward/verifiers/python_tests.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/json_depth.h"
#include "reward/verifiers/command_verifier.h"
#include "reward/verifiers/failure_log.h"
#include "reward/verifiers/normalise.h"
#include "reward/verifiers/sandbox.h"

namespace candor {

namespace {

using Json = nlohmann::json;
constexpr size_t kMaxCode = size_t{1} << 20;

class PythonTests final : public Verifier {
 public:
  PythonTests(const VerifierOptions& options, SandboxSetup setup) : options_(options), setup_(std::move(setup)), free_(options.processes) {}

  Verdict Grade(const GradeRequest& request) const override {
    Result<Verdict> verdict = Judge(request);
    if (verdict) return std::move(*verdict);
    failures_.Note(options_.name, request.id, verdict.error());
    return UnknownVerdict(verdict.error().Message());
  }

 private:
  Result<Verdict> Judge(const GradeRequest& request) const {
    if (request.row == nullptr) return UnknownVerdict("no data row");
    const Json row = Json::parse(request.row->json, nullptr, false);
    const auto tests = row.is_object() ? row.find(options_.tests_field) : row.end();
    if (!row.is_object() || tests == row.end() || tests->empty())
      return UnknownVerdict("the row has no field \"" + options_.tests_field + "\" with tests");
    const std::string code = CodeOf(request.has_answer ? request.answer : request.completion);
    if (TrimSpace(code).empty()) return BinaryVerdict(false, "no code");
    if (code.size() > kMaxCode) return BinaryVerdict(false, "the code is larger than 1 MiB");
    CANDOR_ASSIGN(const std::string nonce, SandboxNonce());
    const Json question = {{"nonce", nonce}, {"code", code}, {"tests", *tests}};
    Result<std::string> line = Run(question.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n");
    // What the code did to itself (time, memory) is its own failure; that the sandbox did not start is not.
    if (!line && line.error().code == ErrorCode::kUnavailable) return BinaryVerdict(false, line.error().what);
    if (!line) return Fail(line.error());
    return ReadTestVerdict(*line, nonce);
  }

  Result<std::string> Run(const std::string& question) const {
    std::unique_lock lock(mutex_);
    has_free_.wait(lock, [&] { return free_ > 0; });  // bounded: every holder has a deadline
    --free_;
    lock.unlock();
    Result<std::string> line = RunSandboxed(setup_, question);
    lock.lock();
    ++free_;
    has_free_.notify_one();
    return line;
  }

  const VerifierOptions options_;
  const SandboxSetup setup_;
  mutable FailureLog failures_;
  mutable std::mutex mutex_;
  mutable std::condition_variable has_free_;
  mutable int64_t free_;
};

}  // namespace

Result<Verdict> ReadTestVerdict(std::string_view line, const std::string& nonce) {
  const auto no_verdict = [] { return Fail(ErrorCode::kInvalidInput, "the judge's line is no verdict of this run", "sandbox"); };
  if (BracketDepth(line) > kMaxJsonDepth) return no_verdict();  // JSON that nests deeply is copied deeply
  const Json said = Json::parse(line, nullptr, false);
  if (!said.is_object() || said.value("nonce", Json()) != nonce || !said.value("pass", Json()).is_boolean()) return no_verdict();
  const Json why = said.value("why", Json());
  return BinaryVerdict(said["pass"].get<bool>(), why.is_string() ? why.get<std::string>() : "");
}

std::string CodeOf(std::string_view text) {
  constexpr std::string_view kFence = "```";
  const size_t close = text.rfind(kFence);
  const size_t open = close == text.npos || close == 0 ? text.npos : text.rfind(kFence, close - 1);
  if (open == text.npos) return std::string(text);
  const size_t line = text.find('\n', open);
  if (line == text.npos || line > close) return std::string(text);
  return std::string(text.substr(line + 1, close - line - 1));
}

Result<std::unique_ptr<Verifier>> MakePythonTestsVerifier(const VerifierOptions& options) {
  SandboxSetup setup;
  if (!options.command.empty()) setup.python = options.command[0];
  setup.isolated = options.sandbox != "none";
  setup.limits.seconds = options.timeout_s;
  if (options.memory_mb > 0) setup.limits.memory_mb = options.memory_mb;
  if (options.max_processes > 0) setup.limits.processes = options.max_processes;
  CANDOR_TRY(PrepareSandbox(setup, "code_tester.py", "verifier " + options.name));
  return std::unique_ptr<Verifier>(std::make_unique<PythonTests>(options, std::move(setup)));
}

}  // namespace candor
