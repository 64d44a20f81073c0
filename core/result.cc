#include "core/result.h"

namespace candor {

ExitCode ExitCodeOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidInput:
    case ErrorCode::kNotFound:
    case ErrorCode::kVersionSkew:
      return ExitCode::kInvalidInput;
    case ErrorCode::kUnavailable:
      return ExitCode::kUnavailable;
    case ErrorCode::kCollective:
      return ExitCode::kRestart;
    case ErrorCode::kCancelled:
      return ExitCode::kInterrupted;
    case ErrorCode::kUnauthorized:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return ExitCode::kFailed;
  }
  return ExitCode::kFailed;
}

const char* ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidInput:
      return "invalid input";
    case ErrorCode::kNotFound:
      return "not found";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kUnauthorized:
      return "unauthorized";
    case ErrorCode::kVersionSkew:
      return "version skew";
    case ErrorCode::kIo:
      return "input/output";
    case ErrorCode::kCollective:
      return "collective";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "unknown";
}

}  // namespace candor
