// A program that a model wrote, run in the sandbox of python_tests (sandbox.h), for what it prints. Thread rule: any thread; the caller
// waits.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "reward/verifiers/sandbox.h"

namespace candor {

// What a program did: its words, or in words why there are none (it raised, took too long, held too much). Nothing that it wrote is
// believed to be more than text.
struct ProgramOutput {
  bool ran = false;
  std::string text;
};

class CodeRunner {
 public:
  // `sandbox`: "bwrap" or "none". Errors: a sandbox that does not work here, scripts that are not found; `where` names whose it is.
  static Result<std::unique_ptr<CodeRunner>> Make(const std::string& sandbox, double seconds, const std::string& where);
  // Errors: the sandbox itself failed.
  Result<ProgramOutput> Run(const std::string& code) const;

 private:
  explicit CodeRunner(SandboxSetup setup) : setup_(std::move(setup)) {}
  const SandboxSetup setup_;
};

// The words of the runner's line. kInvalidInput: not the line with this run's nonce.
Result<ProgramOutput> ReadProgramOutput(std::string_view line, const std::string& nonce);

}  // namespace candor
