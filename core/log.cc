#include "core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/fault_point.h"

namespace candor {

Status StartLog(const std::string& worker, const std::string& file, bool to_stderr) {
  if (!file.empty()) SetProcessName(worker);  // a role; a command that only prints has no name that a fault could mean
  std::vector<spdlog::sink_ptr> sinks;
  try {
    if (to_stderr) sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    if (!file.empty()) sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(file));
  } catch (const spdlog::spdlog_ex& error) {
    return Fail(ErrorCode::kIo, std::string("cannot open the log: ") + error.what(), file, "check that the run directory is writable");
  }
  auto logger = std::make_shared<spdlog::logger>("candor", sinks.begin(), sinks.end());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l " + worker + " %v");
  const char* level = std::getenv("CANDOR_LOG");
  const auto asked = spdlog::level::from_str(level ? level : "info");
  const bool unknown = asked == spdlog::level::off && std::strcmp(level, "off") != 0;
  logger->set_level(unknown ? spdlog::level::info : asked);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  if (unknown) spdlog::warn("CANDOR_LOG={} is no level (debug, info, warn, error, off): info it is", level);
  return {};
}

}  // namespace candor
