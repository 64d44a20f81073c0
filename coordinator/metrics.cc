#include "coordinator/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/fs.h"

namespace candor {

namespace {

std::string LinePrefix(const std::string& file) { return "m" + file + '\0'; }
std::string LineKey(const std::string& file, uint64_t segment, uint64_t number, const std::string& tag) {
  std::string key = LinePrefix(file);
  AppendBigEndian(key, segment);
  AppendBigEndian(key, number);
  return key + tag;
}

// Names as users of other trainers know them.
std::string MeanName(const std::string& sum) {
  if (sum == "tokens") return "seq_len/all/mean";
  if (sum == "truncated") return "is_truncated/all/mean";
  return sum + "/mean";
}

void AddGroup(const GroupScored& header, StepId step, MetricLine& sums, MetricLine& line) {
  for (const auto& [name, value] : header.sums) sums[name] += value;
  line["groups/scored"] += 1;
  line["traces"] += header.traces;
  line["labels/correct"] += header.correct;
  line["labels/wrong"] += header.wrong;
  line["labels/unknown"] += header.unknown;
  line["format_ok/all/mean"] += header.format_ok;
  const double lag = static_cast<double>(step.value - 1) - static_cast<double>(header.oldest_version.value);
  line["staleness/max"] = std::max(line["staleness/max"], lag);
}

}  // namespace

MetricLine StepMetrics(const CoordinatorState& state, StepId step) {
  MetricLine line, sums;
  for (uint32_t position = 0; position < state.WaveSize(step); ++position) {
    auto found = state.groups().find(MakeGroupId(step.value, position));
    const std::optional<GroupStand> stand = state.StandOf(MakeGroupId(step.value, position));
    if (stand && stand->drop != DropReason::kNone) line[fmt::format("groups/drop/{}", Name(stand->drop))] += 1;
    if (found != state.groups().end() && found->second.header) AddGroup(*found->second.header, step, sums, line);
  }
  if (const RunPlan& plan = state.plan(); plan.curriculum.fill_batches > 1) {
    line["curriculum/batches"] = state.WaveBatches(step);
    line["curriculum/added"] = state.WaveSize(step) - plan.prompts_per_step;
  }
  if (const Curriculum& c = state.curriculum(); state.plan().curriculum.NeedsPast()) {
    line["curriculum/visits"] = static_cast<double>(c.cursor());
    line["curriculum/skipped"] = static_cast<double>(c.skipped());
    line["curriculum/resting"] = static_cast<double>(c.resting());
    line["curriculum/retired"] = static_cast<double>(c.retired());
    line["curriculum/explore_easy"] = c.explore_easy(), line["curriculum/explore_hard"] = c.explore_hard();
  }
  if (const auto threshold = state.moving_filter().ThresholdAt(step)) line["filter/threshold"] = *threshold;
  const double traces = line.count("traces") ? line["traces"] : 0;
  if (traces > 0) {
    line["format_ok/all/mean"] /= traces;
    for (const auto& [name, sum] : sums) line[MeanName(name)] = sum / traces;
  }
  const double labelled = line["labels/correct"] + line["labels/wrong"];
  if (labelled > 0) line["accuracy/all/mean"] = line["labels/correct"] / labelled;
  return line;
}

namespace {
void AddCalibration(const std::map<SeriesKey, calibration::CalSketch>& merged, const std::string& prefix, MetricLine& line) {
  const std::string main = MainSignal(merged);
  for (const auto& [series, sketch] : merged) {
    if (!series.slice.empty()) continue;
    if (series.signal == main) AddSketchMetrics(sketch, prefix + "/", line);
    AddSketchMetrics(sketch, prefix + "/" + series.signal + "/", line);
  }
}
}  // namespace

MetricLine StepLine(const CoordinatorState& state, StepId step, const std::map<SeriesKey, calibration::CalSketch>& merged,
                    double step_seconds, int64_t wall_ms) {
  MetricLine line = StepMetrics(state, step);
  AddCalibration(merged, "calibration/train", line);
  if (const auto& done = state.last_report(); done && done->report.step == step)
    for (const auto& [name, value] : done->report.metrics) line[name] = value;  // the learner knows better what it did
  line["step"] = static_cast<double>(step.value);
  line["segment"] = static_cast<double>(state.segment().value);
  if (step_seconds >= 0) line["time/step"] = step_seconds;
  line["wall_s"] = static_cast<double>(wall_ms) / 1000.0;
  return line;
}

MetricLine EvalLine(const std::string& eval, PolicyVersion version, const std::map<SeriesKey, calibration::CalSketch>& merged,
                    int64_t wall_ms) {
  MetricLine line;
  AddCalibration(merged, "calibration/" + eval, line);
  line["step"] = static_cast<double>(version.value);
  line["wall_s"] = static_cast<double>(wall_ms) / 1000.0;
  return line;
}

std::string ToJsonLine(const MetricLine& line) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : line) {
    if (!std::isfinite(value)) continue;  // JSON has no word for it; a missing name says the same
    if (value == std::floor(value) && std::fabs(value) < 1e15)
      json[name] = static_cast<int64_t>(value);
    else
      json[name] = value;
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void PutLine(const std::string& file, uint64_t segment, uint64_t number, const std::string& tag, const std::string& json,
             StoreBatch& batch) {
  batch.puts.emplace_back(LineKey(file, segment, number, tag), json);
}

void DropLines(const std::string& file, uint64_t segment, uint64_t from_number, StoreBatch& batch) {
  batch.delete_ranges.emplace_back(LineKey(file, segment, from_number, ""), LineKey(file, segment + 1, 0, ""));
}

Result<bool> HasLine(const Store& store, const std::string& file, uint64_t segment, uint64_t number, const std::string& tag) {
  CANDOR_ASSIGN(const std::optional<std::string> line, store.Get(LineKey(file, segment, number, tag)));
  return line.has_value();
}

Result<std::vector<std::string>> ReadLines(const Store& store, const std::string& file, uint64_t from_step) {
  std::vector<std::string> lines;
  const std::string end = AfterPrefix(LinePrefix(file));
  for (uint64_t segment = 0;; ++segment) {  // from segment to segment: a page that asks every second reads the new lines alone
    std::optional<uint64_t> next;
    CANDOR_TRY(store.Scan(LineKey(file, segment, 0, ""), end, [&](std::string_view key, std::string_view) {
      next = ReadBigEndian(key.substr(LinePrefix(file).size()));
      return false;
    }));
    if (!next) return lines;
    segment = *next;
    CANDOR_TRY(
        store.Scan(LineKey(file, segment, from_step, ""), LineKey(file, segment + 1, 0, ""), [&](std::string_view, std::string_view value) {
          lines.emplace_back(value);
          return true;
        }));
  }
}

Status ProjectLines(const Store& store, const std::string& file, const std::string& path, Disk& disk) {
  CANDOR_ASSIGN(std::vector<std::string> lines, ReadLines(store, file, 0));
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  if (disk.Exists(path)) {
    CANDOR_ASSIGN(std::string present, disk.Read(path, size_t{1} << 32));
    if (present == text) return {};
  } else if (text.empty()) {
    return {};
  }
  return WriteFileAtomic(disk, path, text);
}

}  // namespace candor
