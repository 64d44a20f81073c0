#include "eval/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace candor {

namespace {

using nlohmann::json;

Figure FigureOf(const json& numbers, const char* key) {
  Figure figure;
  const auto value = numbers.find(key), interval = numbers.find(std::string(key) + "_interval");
  if (value != numbers.end() && value->is_number()) figure.value = value->get<double>();
  if (interval != numbers.end() && interval->is_array() && interval->size() == 2 && (*interval)[0].is_number() &&
      (*interval)[1].is_number())
    figure.low = (*interval)[0].get<double>(), figure.high = (*interval)[1].get<double>();
  return figure;
}

json Finite(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

void PutFigure(const Figure& figure, const std::string& key, json& out) {
  out[key] = Finite(figure.value);
  if (std::isfinite(figure.low)) out[key + "_interval"] = {figure.low, figure.high};
}

std::string FigureText(const Figure& figure) {
  if (!std::isfinite(figure.value)) return "-";
  std::string text = fmt::format("{:.3f}", figure.value);
  if (std::isfinite(figure.low)) text += fmt::format(" [{:.3f}, {:.3f}]", figure.low, figure.high);
  return text;
}

bool Beats(const SweepPoint& a, const SweepPoint& b) {
  return a.accuracy.value >= b.accuracy.value && a.brier.value <= b.brier.value &&
         (a.accuracy.value > b.accuracy.value || a.brier.value < b.brier.value);
}

}  // namespace

const char* Name(PointState state) {
  switch (state) {
    case PointState::kWaiting:
      return "waiting";
    case PointState::kInterrupted:
      return "interrupted";
    case PointState::kFailed:
      return "failed";
    case PointState::kFinished:
      return "finished";
  }
  return "";
}

void ReadFigures(const json& summary, SweepPoint& point) {
  const char* moment = summary.contains("after") ? "after" : "before";
  if (!summary.is_object() || !summary.contains(moment) || !summary[moment].contains("held_out")) return;
  const json& numbers = summary[moment]["held_out"];
  if (!numbers.is_object()) return;
  if (const auto n = numbers.find("n"); n != numbers.end() && n->is_number_integer()) point.questions = n->get<int64_t>();
  point.accuracy = FigureOf(numbers, "accuracy"), point.brier = FigureOf(numbers, "brier");
  point.ece = FigureOf(numbers, "ece"), point.auroc = FigureOf(numbers, "auroc");
}

void ReadSeconds(const json& sheet, std::vector<SweepPoint>& points) {
  if (!sheet.is_object() || !sheet.contains("points")) return;
  for (const json& one : sheet["points"]) {
    if (!one.is_object() || !one.contains("name") || !one.contains("seconds") || !one["seconds"].is_number()) continue;
    for (SweepPoint& point : points)
      if (one["name"] == point.name) point.seconds = one["seconds"].get<double>();
  }
}

void MarkPareto(std::vector<SweepPoint>& points) {
  for (SweepPoint& point : points)
    point.pareto = point.HasFigures() && std::none_of(points.begin(), points.end(),
                                                      [&](const SweepPoint& other) { return other.HasFigures() && Beats(other, point); });
}

std::string SweepText(const std::vector<SweepPoint>& points) {
  size_t width = 5;
  for (const SweepPoint& point : points) width = std::max(width, point.name.size());
  std::string text = fmt::format("  {:<{}}  {:<22} {:<22} {:<8} {:<22} {}\n", "point", width, "accuracy", "Brier", "ECE", "AUROC", "state");
  for (const SweepPoint& p : points)
    text += fmt::format("{} {:<{}}  {:<22} {:<22} {:<8} {:<22} {}\n", p.pareto ? '*' : ' ', p.name, width, FigureText(p.accuracy),
                        FigureText(p.brier), FigureText(p.ece), FigureText(p.auroc), Name(p.state));
  return text + "* no other point has at least this accuracy and at most this Brier score; brackets are 95 % intervals of one run\n";
}

json SweepJson(const std::string& title, const std::vector<SweepPoint>& points) {
  json list = json::array();
  for (const SweepPoint& p : points) {
    json one{{"name", p.name}, {"folder", p.folder}, {"state", Name(p.state)}, {"seconds", p.seconds}, {"pareto", p.pareto}};
    one["settings"] = json::object();
    for (const auto& [key, value] : p.settings) one["settings"][key] = value;
    if (!p.error.empty()) one["error"] = p.error;
    if (p.questions > 0) one["n"] = p.questions;
    PutFigure(p.accuracy, "accuracy", one), PutFigure(p.brier, "brier", one);
    PutFigure(p.ece, "ece", one), PutFigure(p.auroc, "auroc", one);
    list.push_back(std::move(one));
  }
  return {{"title", title}, {"points", std::move(list)}};
}

}  // namespace candor
