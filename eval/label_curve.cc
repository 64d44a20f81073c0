#include "eval/label_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "calibration/svg_chart.h"
#include "eval/step_charts.h"

namespace candor {

namespace {

using nlohmann::json;

double MetricOf(const MetricsOfStep& line, const std::string& name) {
  const auto found = line.find(name);
  return found == line.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

int64_t StepOfLine(const MetricsOfStep& line) { return static_cast<int64_t>(MetricOf(line, "step")); }

// Labels of the sampled answers of each step.
std::map<int64_t, double> SampledLabels(const std::vector<MetricsOfStep>& metrics) {
  std::map<int64_t, double> labels;
  for (const MetricsOfStep& line : metrics) {
    if (!line.contains("step")) continue;
    const double correct = MetricOf(line, "labels/correct"), wrong = MetricOf(line, "labels/wrong");
    labels[StepOfLine(line)] = (std::isfinite(correct) ? correct : 0) + (std::isfinite(wrong) ? wrong : 0);
  }
  return labels;
}

json OrNull(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

std::string ShownNumber(const json& point, const char* key) {
  return point[key].is_number() ? fmt::format("{:.3f}", point[key].get<double>()) : "-";
}

}  // namespace

Result<LabelCurve> CurveOfRun(const std::vector<MetricsOfStep>& metrics, const std::vector<MetricsOfStep>& evals, const std::string& eval,
                              const LabelsSpent& spent) {
  const std::map<int64_t, double> sampled = SampledLabels(metrics);
  const std::string prefix = "calibration/" + eval + "/";
  std::map<int64_t, LabelPoint> by_step;
  for (const MetricsOfStep& line : evals) {
    if (!line.contains("step") || !line.contains(prefix + "n")) continue;
    LabelPoint point;
    point.step = StepOfLine(line);
    double labels = 0;
    for (const auto& [step, count] : sampled)
      if (step <= point.step) labels += count;
    point.labels = spent.before_rl + std::llround(labels * (1.0 + spent.greedy_per_sampled));
    point.n = MetricOf(line, prefix + "n"), point.accuracy = MetricOf(line, prefix + "accuracy");
    point.brier = MetricOf(line, prefix + "brier"), point.auroc = MetricOf(line, prefix + "auroc");
    by_step[point.step] = point;
  }
  if (by_step.empty())
    return Fail(ErrorCode::kNotFound, "the run did not evaluate \"" + eval + "\" on the way", "evals.jsonl",
                "let its recipe ask it: [[eval]] name = \"" + eval + "\" with every = 10, say");
  LabelCurve curve{"RL", {}};
  for (const auto& [step, point] : by_step) curve.points.push_back(point);
  return curve;
}

std::vector<LabelPoint> SpreadOver(const std::vector<LabelPoint>& points, size_t count) {
  std::vector<LabelPoint> labelled;
  for (const LabelPoint& point : points)
    if (point.labels > 0 && (labelled.empty() || labelled.back().labels < point.labels)) labelled.push_back(point);
  if (labelled.size() <= count || count < 2) return labelled;
  std::vector<LabelPoint> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(labelled[(i * (labelled.size() - 1) + (count - 1) / 2) / (count - 1)]);
  return chosen;
}

namespace {

// In words: which way of spending all labels ends lowest.
std::string VerdictOfCurves(const std::vector<LabelCurve>& curves) {
  const LabelCurve* best = nullptr;
  for (const LabelCurve& curve : curves)
    if (!curve.points.empty() && std::isfinite(curve.points.back().brier) &&
        (!best || curve.points.back().brier < best->points.back().brier))
      best = &curve;
  if (!best) return "No method has a Brier score.";
  return fmt::format(
      "With all {} labels {} has the least Brier score, {:.3f}. Differences of a few thousandths mean nothing here: there are no "
      "intervals (candor compare has them).",
      best->points.back().labels, best->method, best->points.back().brier);
}

}  // namespace

json LabelCurvesJson(const std::string& eval, const std::vector<LabelCurve>& curves) {
  json all = {{"eval", eval}, {"curves", json::array()}, {"verdict", VerdictOfCurves(curves)}};
  for (const LabelCurve& curve : curves) {
    json points = json::array();
    for (const LabelPoint& p : curve.points) {
      points.push_back(
          {{"labels", p.labels}, {"n", p.n}, {"accuracy", OrNull(p.accuracy)}, {"brier", OrNull(p.brier)}, {"auroc", OrNull(p.auroc)}});
      if (p.step >= 0) points.back()["step"] = p.step;
    }
    all["curves"].push_back({{"method", curve.method}, {"points", points}});
  }
  return all;
}

std::string LabelCurvesText(const json& all) {
  std::string text = fmt::format("  {}, greedy answers\n  {:<26} {:>8} {:>6} {:>7} {:>9} {:>7} {:>7}\n", all["eval"].get<std::string>(),
                                 "method", "labels", "step", "n", "accuracy", "Brier", "AUROC");
  for (const json& curve : all["curves"])
    for (const json& p : curve["points"])
      text += fmt::format("  {:<26} {:>8} {:>6} {:>7.0f} {:>9} {:>7} {:>7}\n", curve["method"].get<std::string>(),
                          p["labels"].get<int64_t>(), p.contains("step") ? std::to_string(p["step"].get<int64_t>()) : "",
                          p["n"].get<double>(), ShownNumber(p, "accuracy"), ShownNumber(p, "brier"), ShownNumber(p, "auroc"));
  return text + "\n  " + all["verdict"].get<std::string>() + "\n";
}

namespace {

constexpr double kPlotWidth = 460, kPlotHeight = 270, kPlotLeft = 52, kPlotTop = 30, kPlotRight = 14, kPlotBottom = 46;
constexpr const char* kMethodColours[] = {"var(--accent)", "var(--second)", "var(--good)"};

constexpr char kCurveStyle[] = R"(
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#68707c;--line:#d9dde3;--paper:#fff;--accent:#1f6feb;--second:#c2762b;--good:#1a7f4b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ae;--line:#3a4048;--paper:#16181c;--accent:#6ea8fe;--second:#e9a15b;--good:#4cc38a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:0}p{color:var(--soft)}figure{display:inline-block;margin:.4rem}pre{overflow-x:auto;font-size:.8rem}
)";

struct CurvePlane {
  Axis labels, values;
  double X(double at) const { return kPlotLeft + (kPlotWidth - kPlotLeft - kPlotRight) * (at - labels.low) / (labels.high - labels.low); }
  double Y(double at) const {
    return kPlotTop + (kPlotHeight - kPlotTop - kPlotBottom) * (1 - (at - values.low) / (values.high - values.low));
  }
};

std::string CurveText(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" font-size=\"11\" fill=\"currentColor\">{}</text>", x, y, anchor,
                     calibration::EscapeXml(text));
}

std::string CurveGrid(const CurvePlane& plane) {
  std::string svg;
  for (double v = plane.values.low; v < plane.values.high + plane.values.step / 2; v += plane.values.step)
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"var(--line)\"/>", kPlotLeft, plane.Y(v), kPlotWidth - kPlotRight) +
           CurveText(kPlotLeft - 5, plane.Y(v) + 4, "end", fmt::format("{:.3g}", v));
  for (double x = plane.labels.low; x < plane.labels.high + plane.labels.step / 2; x += plane.labels.step)
    svg += CurveText(plane.X(x), kPlotHeight - kPlotBottom + 16, "middle", fmt::format("{:g}", x));
  return svg;
}

// "" where no curve has a number for it.
std::string CurvePicture(const json& all, const char* key, const std::string& title) {
  double low = std::numeric_limits<double>::infinity(), high = -low, most = 1;
  for (const json& curve : all["curves"])
    for (const json& p : curve["points"])
      if (p[key].is_number()) {
        low = std::min(low, p[key].get<double>()), high = std::max(high, p[key].get<double>());
        most = std::max(most, p["labels"].get<double>());
      }
  if (!(low <= high)) return "";
  const CurvePlane plane{AxisFor(0, most), AxisFor(low, high)};
  std::string svg = fmt::format("<figure><svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" role=\"img\" aria-label=\"{2}\">", kPlotWidth,
                                kPlotHeight, calibration::EscapeXml(title)) +
                    CurveText(kPlotLeft, 16, "start", title) + CurveGrid(plane);
  for (size_t i = 0; i < all["curves"].size(); ++i) {
    const json& curve = all["curves"][i];
    std::string path;
    for (const json& p : curve["points"])
      if (p[key].is_number())
        path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", plane.X(p["labels"].get<double>()), plane.Y(p[key].get<double>()));
    const double x = kPlotLeft + 140.0 * static_cast<double>(i);
    svg += fmt::format("<path class=\"curve\" d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>", path, kMethodColours[i % 3]);
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}h16\" stroke=\"{}\" stroke-width=\"2\"/>", x, kPlotHeight - 12, kMethodColours[i % 3]);
    svg += CurveText(x + 20, kPlotHeight - 8, "start", curve["method"].get<std::string>());
  }
  return svg + "</svg></figure>";
}

}  // namespace

std::string LabelCurvesHtml(const json& all) {
  return fmt::format(
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Label "
      "efficiency</title><style>{}</style><h1>Label efficiency</h1><p>What a confidence is worth after so many labelled answers (to the "
      "right): spent on "
      "RL, or on fitting the policy that RL starts from.</p>{}{}<pre>{}</pre></html>\n",
      kCurveStyle, CurvePicture(all, "brier", "Brier score (lower is better)"), CurvePicture(all, "auroc", "AUROC (higher is better)"),
      calibration::EscapeXml(LabelCurvesText(all)));
}

}  // namespace candor
