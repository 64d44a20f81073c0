#include "cli/metrics_tail.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace candor::cli {

std::optional<StepMetrics> ParseStepLine(const std::string& line) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  StepMetrics metrics;
  for (const auto& [key, value] : object.items())
    if (value.is_number()) metrics[key] = value.get<double>();
  return metrics;
}

std::vector<StepMetrics> MetricsTail::Read() {
  std::vector<StepMetrics> lines;
  std::error_code missing;
  const auto size = std::filesystem::file_size(path_, missing);
  if (missing || size == offset_) return lines;
  if (size < offset_) offset_ = 0;
  std::ifstream file(path_);
  file.seekg(static_cast<std::streamoff>(offset_));
  for (std::string line; std::getline(file, line) && !file.eof(); offset_ += line.size() + 1)
    if (std::optional<StepMetrics> metrics = ParseStepLine(line)) lines.push_back(std::move(*metrics));
  return lines;
}

}  // namespace candor::cli
