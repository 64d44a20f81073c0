// A secret that a command or a recipe names without spelling it: the file that holds it, or the environment variable. Never in arguments
// (every user of the machine reads those), never in a log: errors tell where it was looked for, not what it is.
#pragma once
#include <string>

#include "core/result.h"

namespace candor {

// The content of `file` or of the environment variable `variable`, without white space at its ends; "" when neither is named. Errors: both
// are named, it is missing or empty, or it is not one line of printable ASCII of at most 4 KiB (as a header must be).
Result<std::string> ReadSecret(const std::string& file, const std::string& variable);

}  // namespace candor
