// What an exception that nobody caught leaves behind: a line that says what it was and what to do, instead of std::terminate's silence.
#pragma once
#include <string>

namespace candor {

// From here on an exception that escapes, in any thread, ends the process: "candor run: internal error: ..." on stderr, and the exit code
// of ErrorCode::kInternal. Nothing is unwound, so no destructor can wait for a thread that will never end, and nothing goes on. `command`:
// as typed, "candor run".
void TellEscapedExceptions(const std::string& command);

}  // namespace candor
