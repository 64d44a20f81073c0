#include "core/escaped_exception.h"

#include <cxxabi.h>
#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <system_error>
#include <typeinfo>

#include "core/result.h"

namespace candor {

namespace {

constexpr char kGoOn[] = "; a run that was under way goes on with --resume";

std::string& EscapedFrom() {
  static std::string command = "candor";
  return command;
}

std::string TypeName(const std::type_info& type) {
  int failed = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(type.name(), nullptr, nullptr, &failed), std::free);
  return failed == 0 ? name.get() : type.name();
}

Error AsError(const std::exception& exception) {
  const std::string text = exception.what();
  Error error{ErrorCode::kInternal, TypeName(typeid(exception)) + ": " + text.substr(0, text.find('\n')), "", "", false};
  if (dynamic_cast<const std::bad_alloc*>(&exception))
    error.fix =
        "there was no memory left: free some, or let the recipe hold less at once (candor run RECIPE --dry-run shows what each "
        "process takes)";
  else if (dynamic_cast<const std::system_error*>(&exception))
    error.fix = "mend what the system names here";
  else
    error.fix = "this is a mistake in Candor: please report this line with what candor --version prints";
  return error;
}

// Of the exception that is on its way in this thread.
Error EscapedError() {
  Error error{ErrorCode::kInternal, "std::terminate was called", "", "please report this line with what candor --version prints", false};
  const std::exception_ptr escaped = std::current_exception();
  if (!escaped) return error;
  try {
    std::rethrow_exception(escaped);
  } catch (const std::exception& exception) {
    error = AsError(exception);
  } catch (...) {  // told below by its type
    if (const std::type_info* type = abi::__cxa_current_exception_type()) error.what = "an exception of type " + TypeName(*type);
  }
  return error;
}

[[noreturn]] void EndWithWords() {
  static std::atomic<bool> speaking = false;
  if (speaking.exchange(true)) std::abort();  // a second one, perhaps of this very function
  Error error = EscapedError();
  char thread[32] = "?";
  pthread_getname_np(pthread_self(), thread, sizeof thread);
  error.what = "internal error: " + error.what, error.where = std::string("thread ") + thread, error.fix += kGoOn;
  std::fflush(stdout);  // what was found before comes first
  std::fprintf(stderr, "%s: %s\n", EscapedFrom().c_str(), error.Message().c_str());
  std::fflush(stderr);
  std::_Exit(static_cast<int>(ExitCodeOf(error.code)));
}

}  // namespace

void TellEscapedExceptions(const std::string& command) {
  EscapedFrom() = command;
  std::set_terminate(EndWithWords);
}

}  // namespace candor
