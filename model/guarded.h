// LibTorch reports its failures, out of memory included, as exceptions: here they become errors.
#pragma once
#include <string>

#include "core/result.h"
#include "model/aten.h"

namespace candor {

// f() without autograd; f returns a Result. An exception becomes "<what> failed: <its first line>; <fix>".
template <typename F>
auto Guarded(const char* what, const char* fix, const F& f) -> decltype(f()) {
  try {
    const at::NoGradGuard no_grad;
    return f();
  } catch (const std::exception& error) {
    const std::string text = error.what();  // behind the first line LibTorch writes a stack
    return Fail(ErrorCode::kInternal, std::string(what) + " failed: " + text.substr(0, text.find('\n')), "", fix);
  }
}

}  // namespace candor
