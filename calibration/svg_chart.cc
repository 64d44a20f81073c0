// Both pictures share a frame: a square plot with axes from 0 to 1 (risk: 0 to its own top), a legend, and one style sheet with colours for
// light and dark pages.
#include "calibration/svg_chart.h"

#include <algorithm>
#include <cmath>

#include "calibration/bins.h"
#include "calibration/intervals.h"
#include "calibration/printf.h"
#include "calibration/ranking.h"

namespace candor::calibration {
namespace {

constexpr double kLineRows = 5;  // bins of fewer rows are marked but not joined: they would make the line jump
constexpr double kLeft = 56, kTop = 44, kSide = 360, kWidth = 440;
constexpr const char* kStyle =
    "<style>\n"
    "svg.candor{--ink:#1f2933;--soft:#7b8794;--grid:#e4e7eb;--band:#cbd2d9;--s0:#c2762b;--s1:#1f6feb;font:12px "
    "system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif}\n"
    "@media (prefers-color-scheme:dark){svg.candor{--ink:#e4e7eb;--soft:#9aa5b1;--grid:#323f4b;--band:#3e4c59;--s0:#e9a15b;--s1:#6ea8fe}}\n"
    ".candor text{fill:var(--ink)}.candor .soft{fill:var(--soft)}.candor .title{font-size:15px;font-weight:600}\n"
    ".candor .grid{stroke:var(--grid)}.candor .axis{stroke:var(--soft)}.candor .ideal{stroke:var(--soft);stroke-dasharray:4 4}\n"
    ".candor .band{fill:var(--band);opacity:.55}.candor .s0{stroke:var(--s0)}.candor .s1{stroke:var(--s1)}.candor "
    ".f0{fill:var(--s0)}.candor .f1{fill:var(--s1)}\n"
    ".candor .line{fill:none;stroke-width:2}.candor .dot{fill-opacity:.85}.candor .best{fill:none;stroke-dasharray:2 4}\n"
    "</style>\n";

double X(double share) { return kLeft + share * kSide; }
double Y(double share) { return kTop + (1.0 - share) * kSide; }

std::string Head(const std::string& title, const std::string& description, double height) {
  return Printf("<svg class=\"candor\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
                kWidth, height, EscapeXml(description).c_str()) +
         kStyle + Printf("<text class=\"title\" x=\"%.0f\" y=\"24\">%s</text>\n", kLeft, EscapeXml(title).c_str());
}

// Grid, ticks and axis names; the y axis ends at y_top.
std::string Frame(const char* x_name, const char* y_name, double y_top) {
  std::string svg;
  for (int i = 0; i <= 5; ++i) {
    const double share = i / 5.0;
    svg += Printf("<path class=\"grid\" d=\"M%.1f %.1fH%.1fM%.1f %.1fV%.1f\"/>", X(0), Y(share), X(1), X(share), Y(0), Y(1));
    svg += Printf("<text class=\"soft\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.1f</text>", X(share), Y(0) + 16, share);
    svg += Printf("<text class=\"soft\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n", X(0) - 6, Y(share) + 4,
                  y_top < 1.0 ? 2 : 1, share * y_top);
  }
  svg += Printf("<path class=\"axis\" fill=\"none\" d=\"M%.1f %.1fH%.1fM%.1f %.1fV%.1f\"/>\n", X(0), Y(0), X(1), X(0), Y(0), Y(1));
  svg += Printf("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>", X(0.5), Y(0) + 34, x_name);
  svg += Printf("<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", Y(0.5), y_name);
  return svg;
}

// Colours: the last series is the blue one.
int ColorOf(size_t index, size_t count) { return index + 1 == count ? 1 : 0; }

std::string Legend(const std::vector<ChartSeries>& series, const std::vector<std::string>& notes, double y) {
  std::string svg;
  for (size_t i = 0; i < series.size(); ++i) {
    const double line = y + 18 * static_cast<double>(i);
    svg += Printf("<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", ColorOf(i, series.size()), X(0) + 6, line - 4);
    svg += Printf("<text x=\"%.1f\" y=\"%.1f\">%s</text>", X(0) + 18, line,
                  EscapeXml(series[i].name + (series[i].name.empty() ? "" : ": ") + notes[i]).c_str());
  }
  return svg + "\n";
}

// Where a calibrated bin's accuracy lies 95 times in 100: normal limits of the mean of Bernoulli(p_i).
std::string NullBand(const Bins& bins) {
  std::string svg;
  for (size_t b = 0; b < bins.size(); ++b) {
    if (bins[b].n < 1.0) continue;
    const double half = 1.959964 * std::sqrt(std::max(bins[b].sum_p - bins[b].sum_pp, 0.0)) / bins[b].n;
    const double low = std::clamp(bins[b].mean_p() - half, 0.0, 1.0), high = std::clamp(bins[b].mean_p() + half, 0.0, 1.0);
    const double x0 = X(static_cast<double>(b) / static_cast<double>(bins.size())),
                 x1 = X(static_cast<double>(b + 1) / static_cast<double>(bins.size()));
    svg += Printf("<rect class=\"band\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", x0, Y(high), x1 - x0, Y(low) - Y(high));
  }
  return svg + "\n";
}

std::string ReliabilitySeries(const Bins& bins, int color) {
  double most = 1.0;
  for (const Bin& bin : bins) most = std::max(most, bin.n);
  std::string line, marks;
  for (const Bin& bin : bins) {
    if (bin.n < 1.0) continue;
    const double x = X(bin.mean_p()), y = Y(bin.mean_y());
    if (bin.n >= kLineRows) line += Printf("%s%.1f %.1f", line.empty() ? "M" : "L", x, y);
    const Interval wilson = WilsonInterval(bin.sum_y, bin.n);
    marks += Printf("<path class=\"s%d\" d=\"M%.1f %.1fV%.1f\"/>", color, x, Y(wilson.low), Y(wilson.high));
    marks += Printf(
        "<circle class=\"dot f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>%.0f rows: confidence %.3f, accuracy %.3f</title></circle>",
        color, x, y, 3.0 + 6.0 * std::sqrt(bin.n / most), bin.n, bin.mean_p(), bin.mean_y());
  }
  return (line.empty() ? "" : Printf("<path class=\"line s%d\" d=\"%s\"/>", color, line.c_str())) + marks + "\n";
}

// Shares of rows per bin as bars under the plot, series side by side.
std::string Histogram(const std::vector<Bins>& all_bins, double top, double height) {
  double most = 0.0;
  for (const Bins& bins : all_bins) {
    double n = 0.0;
    for (const Bin& bin : bins) n += bin.n;
    for (const Bin& bin : bins) most = std::max(most, n > 0.0 ? bin.n / n : 0.0);
  }
  std::string svg =
      Printf("<text class=\"soft\" x=\"%.1f\" y=\"%.1f\">share of rows (highest bar %.0f %%)</text>", X(0), top - 6, 100.0 * most);
  for (size_t s = 0; s < all_bins.size(); ++s) {
    double n = 0.0;
    for (const Bin& bin : all_bins[s]) n += bin.n;
    const double slot = kSide / static_cast<double>(all_bins[s].size()), width = (slot - 4) / static_cast<double>(all_bins.size());
    for (size_t b = 0; b < all_bins[s].size() && n > 0.0; ++b) {
      const double bar = height * all_bins[s][b].n / n / most;
      svg += Printf("<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", ColorOf(s, all_bins.size()),
                    X(0) + slot * static_cast<double>(b) + 2 + width * static_cast<double>(s), top + height - bar, width, bar);
    }
  }
  svg += Printf("<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", X(0), top + height, X(1));
  return svg;
}

}  // namespace

std::string EscapeXml(const std::string& text) {
  std::string result;
  for (char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) result += c;  // control characters are no XML
    }
  }
  return result;
}

std::string ReliabilitySvg(const std::vector<ChartSeries>& series, const SvgOptions& options) {
  std::vector<Bins> all_bins;
  std::vector<std::string> notes;
  for (const ChartSeries& one : series) {
    all_bins.push_back(EqualWidthBins(one.points, std::max(options.bins, 1)));
    const double brier = ComputeMurphy(all_bins.back()).brier();
    notes.push_back(Printf("%zu rows, Brier %s, ECE %s, AUROC %s", one.points.size(), Shown(brier).c_str(),
                           Shown(Ece(EqualWidthBins(one.points, 15))).c_str(), Shown(Auroc(one.points)).c_str()));
  }
  const double histogram_top = Y(0) + 66, legend_top = histogram_top + 60 + 24;
  const std::string title = options.title.empty() ? "Reliability" : options.title;
  std::string svg = Head(title, title + ": accuracy against stated confidence", legend_top + 18 * static_cast<double>(series.size()) + 4);
  svg += Frame("stated confidence", "accuracy", 1.0);
  if (!all_bins.empty()) svg += NullBand(all_bins.back());
  svg += Printf("<path class=\"ideal\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", X(0), Y(0), X(1), Y(1));
  for (size_t i = 0; i < series.size(); ++i) svg += ReliabilitySeries(all_bins[i], ColorOf(i, series.size()));
  return svg + Histogram(all_bins, histogram_top, 60) + Legend(series, notes, legend_top) + "</svg>\n";
}

std::string RiskCoverageSvg(const std::vector<ChartSeries>& series, const SvgOptions& options) {
  double top = 0.05;
  std::vector<std::vector<RiskCoverage>> curves;
  std::vector<std::string> notes;
  for (const ChartSeries& one : series) {
    curves.push_back(RiskCoverageCurve(one.points));
    for (const RiskCoverage& point : curves.back())
      if (point.coverage >= 0.02) top = std::max(top, point.risk);  // the first few rows are noise: they must not set the scale
    notes.push_back(Printf("AUGRC %s, AURC %s", Shown(Augrc(one.points)).c_str(), Shown(Aurc(one.points)).c_str()));
  }
  top = std::min(1.0, std::ceil(top * 20.0) / 20.0);
  const double legend_top = Y(0) + 62;
  const std::string title = options.title.empty() ? "Risk and coverage" : options.title;
  std::string svg = Head(title, title + ": errors among the answered against the share answered",
                         legend_top + 18 * static_cast<double>(series.size()) + 4);
  svg += Frame("share answered, the surest first", "errors among them", top);
  for (size_t i = 0; i < curves.size(); ++i) {
    if (curves[i].empty()) continue;
    std::string line, best;
    const double risk = curves[i].back().risk;
    for (const RiskCoverage& point : curves[i])
      line += Printf("%s%.1f %.1f", line.empty() ? "M" : "L", X(point.coverage), Y(std::min(point.risk / top, 1.0)));
    for (int step = 0; step <= 100; ++step) {
      const double coverage = std::max(step / 100.0, 1e-9);
      best += Printf("%s%.1f %.1f", best.empty() ? "M" : "L", X(coverage),
                     Y(std::min(std::max(0.0, coverage - (1.0 - risk)) / coverage / top, 1.0)));
    }
    const int color = ColorOf(i, curves.size());
    svg += Printf("<path class=\"best s%d\" d=\"%s\"/><path class=\"line s%d\" d=\"%s\"/>\n", color, best.c_str(), color, line.c_str());
  }
  return svg + Legend(series, notes, legend_top) + "</svg>\n";
}

}  // namespace candor::calibration
