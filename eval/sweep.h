// A sweep: runs of one recipe that differ in a few settings, as points of accuracy against Brier score. Pure.
#pragma once
#include <cmath>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace candor {

enum class PointState : uint8_t { kWaiting, kInterrupted, kFailed, kFinished };
const char* Name(PointState state);

// A number of a run's summary and its 95 % interval; NaN where it is not there.
struct Figure {
  double value = std::nan(""), low = std::nan(""), high = std::nan("");
};

struct SweepPoint {
  std::string name;                                           // "weight-0.5_seed-2": its folder's
  std::string folder;                                         // of its run
  std::vector<std::pair<std::string, std::string>> settings;  // key and value, in the order of the axes
  PointState state = PointState::kWaiting;
  std::string error;   // of a failed one
  double seconds = 0;  // that it ran so far
  int64_t questions = 0;
  Figure accuracy, brier, ece, auroc;  // of the held-out set, greedy answers, after RL
  bool pareto = false;
  bool HasFigures() const { return state == PointState::kFinished && std::isfinite(accuracy.value) && std::isfinite(brier.value); }
};

// Fills the figures from a run's summary.json: after RL, or before it where the recipe has none.
void ReadFigures(const nlohmann::json& summary, SweepPoint& point);
// Seconds of the points that an earlier sweep.json names; what is no such file tells nothing.
void ReadSeconds(const nlohmann::json& sheet, std::vector<SweepPoint>& points);
// A point is on the front unless another one with figures has at least its accuracy and at most its Brier score, and one of the two better.
void MarkPareto(std::vector<SweepPoint>& points);

// A table for the terminal, sweep.json, and one self-contained page with the picture. `title`: of the recipe.
std::string SweepText(const std::vector<SweepPoint>& points);
nlohmann::json SweepJson(const std::string& title, const std::vector<SweepPoint>& points);
std::string SweepHtml(const std::string& title, const std::vector<SweepPoint>& points);

}  // namespace candor
