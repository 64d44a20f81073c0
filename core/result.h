// Expected failures are values: Result<T> carries either the value or an Error that says what failed, where, and what to do about it.
// Programmer's errors abort through CANDOR_CHECK (check.h); exceptions of outside libraries are caught in the one file that owns the
// library and turned into an Error.
#pragma once
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace candor {

// What kind of failure; each kind maps to one exit code (ExitCode).
enum class ErrorCode {
  kInvalidInput,  // a recipe, row, model folder, message or checkpoint is malformed
  kNotFound,      // a file, key or peer does not exist
  kUnavailable,   // a peer or resource did not answer in time; worth retrying
  kUnauthorized,  // unknown key, wrong role, wrong run
  kVersionSkew,   // another protocol, schema or policy version
  kIo,            // the operating system refused: disk full, permission, broken file
  kCollective,    // a collective broke: the rank must restart
  kCancelled,     // stopped on request
  kInternal,      // a library failed in a way we did not expect
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string what;    // one sentence: what is wrong
  std::string where;   // file:line, key, peer, step: where it was noticed ("" when what says it)
  std::string fix;     // what the user can do ("" when nothing is known)
  bool retry = false;  // the same call may succeed later

  // "what (where); fix"
  std::string Message() const {
    std::string text = what;
    if (!where.empty()) text += " (" + where + ")";
    if (!fix.empty()) text += "; " + fix;
    return text;
  }
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> Fail(ErrorCode code, std::string what, std::string where = "", std::string fix = "") {
  return tl::unexpected<Error>(Error{code, std::move(what), std::move(where), std::move(fix), code == ErrorCode::kUnavailable});
}
inline tl::unexpected<Error> Fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

// One table of exit codes for every process of a run.
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,         // anything not listed below
  kUsage = 2,          // bad command line
  kInvalidInput = 3,   // bad recipe, data, model, checkpoint
  kUnavailable = 4,    // a peer never answered
  kRestart = 75,       // "restart me": a collective broke or a peer rank died (EX_TEMPFAIL)
  kInterrupted = 130,  // stopped by Ctrl-C or SIGTERM after a clean shutdown
};
ExitCode ExitCodeOf(ErrorCode code);
const char* ErrorCodeName(ErrorCode code);

}  // namespace candor

#define CANDOR_CONCAT_INNER(a, b) a##b
#define CANDOR_CONCAT(a, b) CANDOR_CONCAT_INNER(a, b)
// Returns the error of `expr` from the enclosing function, or goes on.
#define CANDOR_TRY(expr)                                                                              \
  do {                                                                                                \
    if (auto candor_status_ = (expr); !candor_status_) return ::candor::Fail(candor_status_.error()); \
  } while (0)
// `CANDOR_ASSIGN(auto x, F())`: x = value of F(), or returns its error.
#define CANDOR_ASSIGN(declaration, expr) CANDOR_ASSIGN_IMPL(CANDOR_CONCAT(candor_result_, __LINE__), declaration, expr)
#define CANDOR_ASSIGN_IMPL(result, declaration, expr) \
  auto result = (expr);                               \
  if (!result) return ::candor::Fail(result.error()); \
  declaration = std::move(*result)
