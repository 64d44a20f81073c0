// Keys: "s" series step group -> a group's sketch; "S" series step segment -> a merged one. A series is "stream\0signal\0slice\0"; numbers
// are big-endian, so a window is one scan.
#include "coordinator/record.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

namespace candor {

using calibration::CalSketch;

namespace {

constexpr char kGroupKey = 's', kMergedKey = 'S';
constexpr size_t kSketchesPerGroupMax = 64, kSlicesPerGroupMax = 32, kNameMax = 200;

bool GoodName(const std::string& name) { return name.size() <= kNameMax && name.find('\0') == std::string::npos; }

std::string SeriesPrefix(char kind, const SeriesKey& series) {
  std::string key(1, kind);
  for (const std::string* part : {&series.stream, &series.signal, &series.slice}) key.append(*part).push_back('\0');
  return key;
}

std::string KeyOf(char kind, const SeriesKey& series, StepId step, uint64_t last) {
  std::string key = SeriesPrefix(kind, series);
  AppendBigEndian(key, step.value);
  AppendBigEndian(key, last);
  return key;
}

struct ParsedKey {
  SeriesKey series;
  StepId step;
  uint64_t last = 0;  // group or segment
};
std::optional<ParsedKey> ParseKey(std::string_view key) {
  ParsedKey parsed;
  key.remove_prefix(1);
  for (std::string* part : {&parsed.series.stream, &parsed.series.signal, &parsed.series.slice}) {
    size_t end = key.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    *part = key.substr(0, end);
    key.remove_prefix(end + 1);
  }
  if (key.size() != 16) return std::nullopt;
  parsed.step = {ReadBigEndian(key)};
  parsed.last = ReadBigEndian(key.substr(8));
  return parsed;
}

Status MergeInto(CalSketch& sum, std::string_view bytes) {
  CANDOR_ASSIGN(CalSketch part, CalSketch::Decode(bytes));
  return sum.Merge(part);
}

}  // namespace

std::string StreamOf(const RunPlan& plan, GroupId group) {
  return IsEvalGroup(group) ? "eval/" + plan.evals.at(EvalIndexOf(group)).name : "train";
}

void PutObservations(const RunPlan& plan, const GroupScored& scored, StoreBatch& batch, std::vector<std::string>& complaints) {
  std::vector<std::string> slices = {""};
  for (const std::string& slice : scored.slices)
    if (GoodName(slice) && !slice.empty() && slices.size() <= kSlicesPerGroupMax) slices.push_back(slice);
  size_t taken = 0;
  for (const auto& [signal, bytes] : scored.sketches) {
    Result<CalSketch> sketch = CalSketch::Decode(bytes);
    const bool sound = sketch && sketch->n() <= scored.traces && GoodName(signal) && ++taken <= kSketchesPerGroupMax;
    if (!sound) {
      complaints.push_back(fmt::format("sketch '{}' of group {} is not recorded: {}", signal, scored.group.value,
                                       sketch ? "more observations than traces" : sketch.error().what));
      continue;
    }
    for (const std::string& slice : slices)
      batch.puts.emplace_back(KeyOf(kGroupKey, {StreamOf(plan, scored.group), signal, slice}, scored.wave, scored.group.value), bytes);
  }
}

Result<std::map<SeriesKey, CalSketch>> CalibrationRecord::MergeStep(const std::string& stream, StepId step) const {
  CANDOR_ASSIGN(std::vector<SeriesKey> all, List());
  std::map<SeriesKey, CalSketch> merged;
  for (const SeriesKey& series : all) {
    if (series.stream != stream) continue;
    CalSketch sum;
    Status added;
    CANDOR_TRY(store_.Scan(KeyOf(kGroupKey, series, step, 0), KeyOf(kGroupKey, series, {step.value + 1}, 0),
                           [&](std::string_view, std::string_view value) {
                             added = MergeInto(sum, value);
                             return added.has_value();
                           }));
    CANDOR_TRY(added);
    if (sum.n() + sum.missing() + sum.abstained() > 0) merged.emplace(series, std::move(sum));
  }
  return merged;
}

void CalibrationRecord::PutMerged(const std::map<SeriesKey, CalSketch>& merged, StepId step, SegmentId segment, StoreBatch& batch) {
  for (const auto& [series, sketch] : merged) batch.puts.emplace_back(KeyOf(kMergedKey, series, step, segment.value), sketch.Encode());
}

Status CalibrationRecord::PutEmptied(const std::string& stream, const std::map<SeriesKey, CalSketch>& merged, StepId step,
                                     SegmentId segment, StoreBatch& batch) const {
  CANDOR_ASSIGN(std::vector<SeriesKey> all, List());
  for (const SeriesKey& series : all) {
    if (series.stream != stream || merged.count(series)) continue;
    bool older = false;
    CANDOR_TRY(store_.Scan(KeyOf(kMergedKey, series, step, 0), KeyOf(kMergedKey, series, step, segment.value),
                           [&](std::string_view, std::string_view) {
                             older = true;
                             return false;
                           }));
    if (older) batch.puts.emplace_back(KeyOf(kMergedKey, series, step, segment.value), CalSketch().Encode());
  }
  return {};
}

Status CalibrationRecord::DropCovered(const std::string& stream, StepId through, StoreBatch& batch) const {
  CANDOR_ASSIGN(std::vector<SeriesKey> all, List());
  for (const SeriesKey& series : all)
    if (series.stream == stream)
      batch.delete_ranges.emplace_back(SeriesPrefix(kGroupKey, series), KeyOf(kGroupKey, series, {through.value + 1}, 0));
  return {};
}

Status CalibrationRecord::DropGroups(const std::string& stream, const std::vector<std::pair<StepId, GroupId>>& groups,
                                     StoreBatch& batch) const {
  if (groups.empty()) return {};
  const std::set<std::pair<StepId, GroupId>> gone(groups.begin(), groups.end());
  std::erase_if(batch.puts, [&](const auto& put) {
    if (!put.first.starts_with(kGroupKey)) return false;
    const std::optional<ParsedKey> parsed = ParseKey(put.first);
    return parsed && parsed->series.stream == stream && gone.count({parsed->step, {parsed->last}}) > 0;
  });
  CANDOR_ASSIGN(std::vector<SeriesKey> all, List());
  for (const SeriesKey& series : all) {
    if (series.stream != stream) continue;
    for (const auto& [step, group] : gone) {
      const std::string key = KeyOf(kGroupKey, series, step, group.value);
      batch.delete_ranges.emplace_back(key, key + '\0');
    }
  }
  return {};
}

Status CalibrationRecord::DropFrom(const std::string& stream, StepId from, StoreBatch& batch) const {
  std::erase_if(batch.puts, [&](const auto& put) {
    if (!put.first.starts_with(kGroupKey)) return false;
    const std::optional<ParsedKey> parsed = ParseKey(put.first);
    return parsed && parsed->series.stream == stream && parsed->step >= from;
  });
  CANDOR_ASSIGN(std::vector<SeriesKey> all, List());
  for (const SeriesKey& series : all)
    if (series.stream == stream)
      batch.delete_ranges.emplace_back(KeyOf(kGroupKey, series, from, 0), KeyOf(kGroupKey, series, {UINT64_MAX}, UINT64_MAX));
  return {};
}

Result<CalSketch> CalibrationRecord::Query(const SeriesKey& series, StepId from, StepId to) const {
  const StepId after{to.value == UINT64_MAX ? to.value : to.value + 1};
  std::map<StepId, CalSketch> by_step;
  Status added;
  std::set<StepId> merged;
  auto visit = [&](bool replace, std::string_view key, std::string_view value) {
    std::optional<ParsedKey> parsed = ParseKey(key);
    if (!parsed || (!replace && merged.count(parsed->step))) return true;
    if (replace) by_step[parsed->step] = {}, merged.insert(parsed->step);  // segments ascend: the newest stays
    added = MergeInto(by_step[parsed->step], value);
    return added.has_value();
  };
  CANDOR_TRY(store_.Scan(KeyOf(kMergedKey, series, from, 0), KeyOf(kMergedKey, series, after, 0),
                         [&](std::string_view k, std::string_view v) { return visit(true, k, v); }));
  CANDOR_TRY(added);
  CANDOR_TRY(store_.Scan(KeyOf(kGroupKey, series, from, 0), KeyOf(kGroupKey, series, after, 0),
                         [&](std::string_view k, std::string_view v) { return visit(false, k, v); }));
  CANDOR_TRY(added);
  CalSketch sum;
  for (const auto& [step, sketch] : by_step) CANDOR_TRY(sum.Merge(sketch));
  return sum;
}

// Jumps from series to series, so that the cost is in the number of series and not of groups.
Result<std::vector<SeriesKey>> CalibrationRecord::List() const {
  std::set<SeriesKey> found;
  for (char kind : {kGroupKey, kMergedKey}) {
    std::string from(1, kind);
    const std::string end = AfterPrefix(from);
    for (bool more = true; more;) {
      more = false;
      CANDOR_TRY(store_.Scan(from, end, [&](std::string_view key, std::string_view) {
        std::optional<ParsedKey> parsed = ParseKey(key);
        if (parsed) found.insert(parsed->series);
        from = parsed ? AfterPrefix(SeriesPrefix(kind, parsed->series)) : std::string(key) + '\0';
        more = true;
        return false;
      }));
    }
  }
  return std::vector<SeriesKey>(found.begin(), found.end());
}

std::string MainSignal(const std::map<SeriesKey, CalSketch>& merged) {
  std::set<std::string> signals;
  for (const auto& [series, sketch] : merged) signals.insert(series.signal);
  for (const char* preferred : {"slot", "slot/greedy", "verbal", "verbal/greedy"})
    if (signals.count(preferred)) return preferred;
  return signals.empty() ? "" : *signals.begin();
}

void AddSketchMetrics(const CalSketch& sketch, const std::string& prefix, std::map<std::string, double>& metrics) {
  const calibration::SketchMetrics m = calibration::ComputeSketchMetrics(sketch);
  auto add = [&](const char* name, double value) {
    if (std::isfinite(value)) metrics[prefix + name] = value;
  };
  add("n", static_cast<double>(m.n));
  add("missing", static_cast<double>(m.missing));
  add("abstained", static_cast<double>(m.abstained));
  if (m.n == 0) return;
  add("accuracy", m.accuracy);
  add("mean_confidence", m.mean_confidence);
  add("signed_gap", m.signed_gap);
  add("oce", m.oce);
  add("uce", m.uce);
  add("ece", m.ece15);
  add("ece10", m.ece10);
  add("ece20", m.ece20);
  add("ece_floor", m.floor15);
  add("smooth_ece", m.smooth_ece);
  add("brier", m.brier);
  add("nll", m.nll);
  add("murphy/reliability", m.murphy15.reliability);
  add("murphy/resolution", m.murphy15.resolution);
  add("murphy/uncertainty", m.murphy15.uncertainty);
  add("auroc", m.auroc.mid);
  add("auroc_low", m.auroc.low);
  add("auroc_high", m.auroc.high);
  add("augrc", m.augrc);
  add("aurc", m.aurc);
}

}  // namespace candor
