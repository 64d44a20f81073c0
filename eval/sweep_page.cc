// The picture of a sweep: accuracy against Brier score, the Pareto points joined, each point with its 95 % intervals.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "calibration/svg_chart.h"
#include "eval/step_charts.h"
#include "eval/sweep.h"

namespace candor {

namespace {

using calibration::EscapeXml;

constexpr double kPageWidth = 760, kPageHeight = 480, kPageLeft = 64, kPageTop = 20, kPageRight = 24, kPageBottom = 52;

constexpr char kSweepStyle[] = R"(
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#68707c;--line:#d9dde3;--paper:#fff;--accent:#1f6feb}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ae;--line:#3a4048;--paper:#16181c;--accent:#6ea8fe}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:0}p{color:var(--soft)}svg{max-width:100%;height:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}td small{color:var(--soft)}tr.pareto td{font-weight:600}tr.pareto small{font-weight:400}
)";

struct SweepPlane {
  Axis brier, accuracy;
  double X(double value) const {
    return kPageLeft + (kPageWidth - kPageLeft - kPageRight) * (value - brier.low) / (brier.high - brier.low);
  }
  double Y(double value) const {
    return kPageTop + (kPageHeight - kPageTop - kPageBottom) * (1 - (value - accuracy.low) / (accuracy.high - accuracy.low));
  }
};

double Low(const Figure& figure) { return std::isfinite(figure.low) ? figure.low : figure.value; }
double High(const Figure& figure) { return std::isfinite(figure.high) ? figure.high : figure.value; }

std::string Word(double x, double y, const char* anchor, const char* colour, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\" font-size=\"11\">{}</text>", x, y, anchor, colour,
                     EscapeXml(text));
}

SweepPlane PlaneOf(const std::vector<const SweepPoint*>& points) {
  const double most = std::numeric_limits<double>::infinity();
  double low_x = most, high_x = -most, low_y = most, high_y = -most;
  for (const SweepPoint* p : points) {
    low_x = std::min(low_x, Low(p->brier)), high_x = std::max(high_x, High(p->brier));
    low_y = std::min(low_y, Low(p->accuracy)), high_y = std::max(high_y, High(p->accuracy));
  }
  return {AxisFor(low_x, high_x), AxisFor(low_y, high_y)};
}

std::string SweepAxes(const SweepPlane& plane) {
  std::string svg;
  const auto each = [](const Axis& axis, const auto& draw) {
    for (int i = 0; axis.low + axis.step * i < axis.high + axis.step / 2; ++i) draw(axis.low + axis.step * i);
  };
  const double bottom = kPageHeight - kPageBottom;
  each(plane.accuracy, [&](double tick) {
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"var(--line)\"/>", kPageLeft, plane.Y(tick), kPageWidth - kPageRight);
    svg += Word(kPageLeft - 6, plane.Y(tick) + 4, "end", "var(--soft)", fmt::format("{:.4g}", tick));
  });
  each(plane.brier, [&](double tick) {
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}V{:.1f}\" stroke=\"var(--line)\"/>", plane.X(tick), kPageTop, bottom);
    svg += Word(plane.X(tick), bottom + 16, "middle", "var(--soft)", fmt::format("{:.4g}", tick));
  });
  svg += Word((kPageLeft + kPageWidth) / 2, kPageHeight - 12, "middle", "var(--ink)", "Brier score (lower is better)");
  return svg +
         fmt::format(
             "<text transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\" fill=\"var(--ink)\" font-size=\"11\">accuracy "
             "(higher is better)</text>",
             (kPageTop + bottom) / 2);
}

std::string DrawPoint(const SweepPlane& plane, const SweepPoint& p) {
  const double x = plane.X(p.brier.value), y = plane.Y(p.accuracy.value);
  const char* colour = p.pareto ? "var(--accent)" : "var(--soft)";
  std::string svg = fmt::format("<g><title>{}: accuracy {:.3f}, Brier {:.3f}</title>", EscapeXml(p.name), p.accuracy.value, p.brier.value);
  svg += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}M{:.1f} {:.1f}V{:.1f}\" stroke=\"{}\" opacity=\".45\"/>", plane.X(Low(p.brier)), y,
                     plane.X(High(p.brier)), x, plane.Y(Low(p.accuracy)), plane.Y(High(p.accuracy)), colour);
  svg += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"/>", p.pareto ? "pareto" : "point", x, y,
                     p.pareto ? 5.5 : 4.0, colour);
  return svg + Word(x + 8, y - 7, "start", p.pareto ? "var(--ink)" : "var(--soft)", p.name) + "</g>";
}

// The front as stairs: between two of its points the better Brier score is had only at the lower accuracy.
std::string DrawFront(const SweepPlane& plane, std::vector<const SweepPoint*> points) {
  std::erase_if(points, [](const SweepPoint* p) { return !p->pareto; });
  std::sort(points.begin(), points.end(), [](auto* a, auto* b) { return a->brier.value < b->brier.value; });
  std::string path;
  for (const SweepPoint* p : points) {
    if (path.empty())
      path = fmt::format("M{:.1f} {:.1f}", plane.X(p->brier.value), plane.Y(p->accuracy.value));
    else
      path += fmt::format("H{:.1f}V{:.1f}", plane.X(p->brier.value), plane.Y(p->accuracy.value));
  }
  return path.empty() ? "" : "<path d=\"" + path + "\" fill=\"none\" stroke=\"var(--accent)\" stroke-dasharray=\"4 3\"/>";
}

std::string SweepCell(const Figure& f) {
  if (!std::isfinite(f.value)) return "<td>-</td>";
  if (!std::isfinite(f.low)) return fmt::format("<td>{:.3f}</td>", f.value);
  return fmt::format("<td>{:.3f} <small>[{:.3f}, {:.3f}]</small></td>", f.value, f.low, f.high);
}

std::string SweepTable(const std::vector<SweepPoint>& points) {
  std::string html = "<table><tr><th>point</th><th>accuracy</th><th>Brier</th><th>ECE</th><th>AUROC</th><th>state</th></tr>\n";
  for (const SweepPoint& p : points)
    html += fmt::format("<tr{}><td>{}</td>{}{}{}{}<td>{}</td></tr>\n", p.pareto ? " class=\"pareto\"" : "", EscapeXml(p.name),
                        SweepCell(p.accuracy), SweepCell(p.brier), SweepCell(p.ece), SweepCell(p.auroc), Name(p.state));
  return html + "</table>";
}

}  // namespace

std::string SweepHtml(const std::string& title, const std::vector<SweepPoint>& points) {
  std::vector<const SweepPoint*> drawn;
  for (const SweepPoint& point : points)
    if (point.HasFigures()) drawn.push_back(&point);
  std::string picture = "<p>No point has finished yet.</p>";
  if (!drawn.empty()) {
    const SweepPlane plane = PlaneOf(drawn);
    picture = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"accuracy against Brier score\">", kPageWidth, kPageHeight);
    picture += SweepAxes(plane) + DrawFront(plane, drawn);
    for (const SweepPoint* point : drawn) picture += DrawPoint(plane, *point);
    picture += "</svg>";
  }
  return fmt::format(
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>"
      "<style>{1}</style><h1>{0}</h1><p>Held-out set, greedy answers, after RL. Filled and joined: no other point has at least this "
      "accuracy "
      "and at most this Brier score. Lines and brackets are 95 % intervals over questions of one run each; another seed moves a point as "
      "well.</p>{2}{3}</html>\n",
      EscapeXml(title), kSweepStyle, picture, SweepTable(points));
}

}  // namespace candor
