#include "eval/step_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/svg_chart.h"

namespace candor {

namespace {

using Steps = std::vector<std::map<std::string, double>>;

struct Series {
  const char* key;   // in metrics.jsonl
  const char* name;  // in the legend
};
struct Chart {
  const char* title;
  std::vector<Series> lines;
};

const std::vector<Chart>& Charts() {
  static const std::vector<Chart> charts = {
      {"Accuracy and mean confidence", {{"calibration/train/accuracy", "accuracy"}, {"calibration/train/mean_confidence", "confidence"}}},
      {"Brier score", {{"calibration/train/brier", "Brier"}}},
      {"ECE and its floor", {{"calibration/train/ece", "ECE"}, {"calibration/train/ece_floor", "floor"}}},
      {"AUROC", {{"calibration/train/auroc", "AUROC"}}},
      {"Entropy per token (nats)", {{"entropy/all/mean", "entropy"}}},
      {"Gradient norm", {{"optim/grad_norm", "norm"}}},
      {"|log p rollout - log p learner|", {{"mismatch/abs/mean", "mean per token"}}},
      {"Seconds per step", {{"time/step", "step"}, {"time/wait_for_batch", "waiting for traces"}}},
  };
  return charts;
}

constexpr double kWidth = 320, kHeight = 190, kLeft = 46, kTop = 28, kRight = 10, kBottom = 40;
constexpr const char* kColours[] = {"var(--accent)", "var(--second)", "var(--good)"};

std::string Text(double x, double y, const char* anchor, const std::string& style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" {}>{}</text>", x, y, anchor, style, calibration::EscapeXml(text));
}

double ValueOf(const std::map<std::string, double>& step, const char* key) {
  const auto found = step.find(key);
  return found == step.end() ? std::nan("") : found->second;
}

// Where a step (or what else goes to the right) and a value lie in the picture.
struct Plane {
  Axis right, axis;
  double X(double at) const { return kLeft + (kWidth - kLeft - kRight) * (at - right.low) / (right.high - right.low); }
  double Y(double value) const { return kTop + (kHeight - kTop - kBottom) * (1 - (value - axis.low) / (axis.high - axis.low)); }
};

std::string Ticks(const Plane& plane, const char* to_the_right) {
  const std::string small = "fill=\"var(--soft)\" font-size=\"10\"";
  std::string svg;
  for (double tick = plane.axis.low; tick < plane.axis.high + plane.axis.step / 2; tick += plane.axis.step) {
    const double y = plane.Y(tick);
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"var(--line)\"/>", kLeft, y, kWidth - kRight);
    svg += Text(kLeft - 5, y + 3.5, "end", small, fmt::format("{:.4g}", std::abs(tick) < plane.axis.step / 1e6 ? 0.0 : tick));
  }
  const double below = kHeight - kBottom + 14;
  svg += Text(kLeft, below, "middle", small, fmt::format("{:.4g}", plane.right.low)) +
         Text(kWidth - kRight, below, "end", small, fmt::format("{:.4g}", plane.right.high));
  return svg + Text((kLeft + kWidth - kRight) / 2, below, "middle", small, to_the_right);
}

std::string Begin(const char* title) {
  return fmt::format("<figure><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kWidth, kHeight, calibration::EscapeXml(title)) +
         Text(kLeft, 14, "start", "fill=\"currentColor\" font-size=\"12\" font-weight=\"600\"", title);
}

std::string Curve(const Plane& plane, const Steps& steps, const char* key, const char* colour) {
  std::string points;
  for (const auto& step : steps) {
    const double at = ValueOf(step, "step"), value = ValueOf(step, key);
    if (std::isfinite(at) && std::isfinite(value)) points += fmt::format("{:.1f},{:.1f} ", plane.X(at), plane.Y(value));
  }
  return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-linejoin=\"round\"/>", points,
                     colour);
}

// "" where no step has a number for it.
std::string Draw(const Chart& chart, const Steps& steps) {
  double low = std::numeric_limits<double>::infinity(), high = -low, last = 1;
  for (const auto& step : steps) {
    if (const double at = ValueOf(step, "step"); std::isfinite(at)) last = std::max(last, at);
    for (const Series& line : chart.lines)
      if (const double value = ValueOf(step, line.key); std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
  }
  if (!(low <= high)) return "";
  const Plane plane{{0, last, last}, AxisFor(low, high)};
  std::string svg = Begin(chart.title) + Ticks(plane, "step");
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    svg += Curve(plane, steps, chart.lines[i].key, kColours[i % 3]);
    if (chart.lines.size() == 1) continue;  // the title says it
    const double x = kLeft + 110.0 * static_cast<double>(i), y = kHeight - 8;
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}h14\" stroke=\"{}\" stroke-width=\"2\"/>", x, y - 3.5, kColours[i % 3]);
    svg += Text(x + 18, y, "start", "fill=\"currentColor\" font-size=\"10\"", chart.lines[i].name);
  }
  return svg + "</svg></figure>";
}

// A point per step, faint at the beginning and full at the end: does the policy grow overconfident as it grows sure of its words?
std::string DrawEntropyAndGap(const Steps& steps) {
  struct Point {
    double entropy, gap;
  };
  std::vector<Point> points;
  double low = 0, high = 0, least = std::numeric_limits<double>::infinity(), most = -least;
  for (const auto& step : steps) {
    const Point point{ValueOf(step, "entropy/all/mean"), ValueOf(step, "calibration/train/signed_gap")};
    if (!std::isfinite(point.entropy) || !std::isfinite(point.gap)) continue;
    points.push_back(point);
    low = std::min(low, point.gap), high = std::max(high, point.gap);
    least = std::min(least, point.entropy), most = std::max(most, point.entropy);
  }
  if (points.size() < 2) return "";
  const Plane plane{AxisFor(least, most), AxisFor(low, high)};
  std::string svg = Begin("Confidence - accuracy, against entropy") + Ticks(plane, "entropy per token (nats)");
  svg += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"var(--soft)\"/>", kLeft, plane.Y(0), kWidth - kRight);
  for (size_t i = 0; i < points.size(); ++i)
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\" fill=\"{}\" opacity=\"{:.2f}\"/>", plane.X(points[i].entropy),
                       plane.Y(points[i].gap), kColours[0], 0.15 + 0.85 * static_cast<double>(i) / static_cast<double>(points.size() - 1));
  return svg + Text(kLeft, kHeight - 8, "start", "fill=\"currentColor\" font-size=\"10\"", "a point per step, the last ones darkest") +
         "</svg></figure>";
}

}  // namespace

Axis AxisFor(double low, double high) {
  if (low >= 0.0 && low < 0.5 * high) low = 0.0;
  if (!(high - low > 1e-12 * std::max({std::abs(low), std::abs(high), 1.0})))
    low -= std::max(std::abs(low), 1.0) * 0.05, high += std::max(std::abs(high), 1.0) * 0.05;
  const double rough = (high - low) / 5.0, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10.0 * power;
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

std::string StepCharts(const Steps& steps) {
  std::string charts;
  for (const Chart& chart : Charts()) charts += Draw(chart, steps);
  charts += DrawEntropyAndGap(steps);
  if (charts.empty()) return "";
  return "<h2>Over the steps</h2><p class=\"note\">Training prompts, sampled answers; small sets a step, so the curves are noisy.</p><div "
         "class=\"curves\">" +
         charts + "</div>";
}

}  // namespace candor
