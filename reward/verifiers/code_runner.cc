#include "reward/verifiers/code_runner.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/json_depth.h"

namespace candor {

namespace {

constexpr size_t kMaxProgram = size_t{1} << 16;
constexpr int kShownCharacters = 2000;  // of what a program prints: more would only fill the judge's context

}  // namespace

Result<std::unique_ptr<CodeRunner>> CodeRunner::Make(const std::string& sandbox, double seconds, const std::string& where) {
  SandboxSetup setup;
  setup.isolated = sandbox != "none";
  setup.limits.seconds = seconds;
  CANDOR_TRY(PrepareSandbox(setup, "code_runner.py", where));
  return std::unique_ptr<CodeRunner>(new CodeRunner(std::move(setup)));
}

Result<ProgramOutput> CodeRunner::Run(const std::string& code) const {
  if (code.size() > kMaxProgram) return ProgramOutput{false, "the code is larger than 64 KiB"};
  CANDOR_ASSIGN(const std::string nonce, SandboxNonce());
  const nlohmann::json question = {{"nonce", nonce}, {"code", code}, {"limit", kShownCharacters}};
  const Result<std::string> line = RunSandboxed(setup_, question.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n");
  if (!line && line.error().code == ErrorCode::kUnavailable) return ProgramOutput{false, line.error().what};
  if (!line) return Fail(line.error());
  return ReadProgramOutput(*line, nonce);
}

Result<ProgramOutput> ReadProgramOutput(std::string_view line, const std::string& nonce) {
  const auto no_output = [] { return Fail(ErrorCode::kInvalidInput, "the runner's line is no output of this run", "sandbox"); };
  if (BracketDepth(line) > 8) return no_output();
  const nlohmann::json said = nlohmann::json::parse(line, nullptr, false);
  if (!said.is_object() || said.value("nonce", nlohmann::json()) != nonce) return no_output();
  for (const bool ran : {true, false})
    if (const auto text = said.find(ran ? "printed" : "failed"); text != said.end() && text->is_string())
      return ProgramOutput{ran, text->get<std::string>()};
  return no_output();
}

}  // namespace candor
