// Bars from block characters.
#include "calibration/terminal_chart.h"

#include <algorithm>
#include <cmath>

#include "calibration/intervals.h"
#include "calibration/printf.h"
#include "calibration/ranking.h"

namespace candor::calibration {
namespace {

struct Glyphs {
  const char *full, *over, *under, *mark, *empty, *rule, *tick, *dash;
};
constexpr Glyphs kUnicode = {"█", "░", "▓", "◆", " ", "─", "┴", "–"};
constexpr Glyphs kAscii = {"#", ".", "+", "|", " ", "-", "+", "-"};

int ColumnOf(double share, int width) { return std::clamp(static_cast<int>(std::lround(share * width)), 0, width); }

// Column by column: up to the accuracy full, then shaded to the confidence (over), or shaded back from the accuracy (under), and the mark
// at the confidence.
std::string Bar(const Bin& bin, int width, const Glyphs& glyphs) {
  const int accuracy = ColumnOf(bin.mean_y(), width), mark = std::min(ColumnOf(bin.mean_p(), width), width - 1);
  std::string bar;
  for (int column = 0; column < width; ++column) {
    if (column == mark) {
      bar += glyphs.mark;
    } else if (column < accuracy) {
      bar += column > mark ? glyphs.under : glyphs.full;
    } else {
      bar += column < mark ? glyphs.over : glyphs.empty;
    }
  }
  return bar;
}

std::string Scale(int width, const Glyphs& glyphs) {
  std::string rule;
  for (int column = 0; column <= width; ++column) rule += column % std::max(1, width / 4) == 0 ? glyphs.tick : glyphs.rule;
  return rule;
}

}  // namespace

std::string DrawReliability(const Bins& bins, const ChartOptions& options) {
  const Glyphs& glyphs = options.ascii ? kAscii : kUnicode;
  const int width = std::clamp(options.width, 8, 200);
  std::string text = "  confidence       n  0" + std::string(width - 2, ' ') + "1   accuracy [95 %]       gap\n";
  for (size_t b = 0; b < bins.size(); ++b) {
    const double size = static_cast<double>(bins.size());
    text += Printf("  %.2f%s%.2f %7.0f  ", static_cast<double>(b) / size, glyphs.dash, static_cast<double>(b + 1) / size, bins[b].n);
    if (bins[b].n > 0.0) {
      const Interval wilson = WilsonInterval(bins[b].sum_y, bins[b].n);
      text +=
          Bar(bins[b], width, glyphs) + Printf("   %.2f [%.2f, %.2f]    %+.2f", bins[b].mean_y(), wilson.low, wilson.high, bins[b].gap());
    }
    text += "\n";
  }
  text += std::string(21, ' ') + Scale(width, glyphs) + "\n";
  text += std::string("  ") + glyphs.full + " accuracy   " + glyphs.mark + " mean confidence   " + glyphs.over + " over-confident   " +
          glyphs.under + " under-confident\n";
  return text;
}

std::string DrawReliability(const std::vector<Row>& rows, int bins, const ChartOptions& options) {
  return DrawReliability(EqualWidthBins(PointsOf(rows), bins), options);
}

std::string DrawRiskCoverage(const Points& points, const ChartOptions& options) {
  if (points.empty()) return "";
  const Glyphs& glyphs = options.ascii ? kAscii : kUnicode;
  const int width = std::clamp(options.width, 8, 200);
  double most = 0.0;
  for (int tenth = 1; tenth <= 10; ++tenth) most = std::max(most, 1.0 - AccuracyAtCoverage(points, tenth / 10.0));
  const double top = most > 0.0 ? most : 1.0;
  std::string text = "  answered   errors among them\n";
  for (int tenth = 1; tenth <= 10; ++tenth) {
    const double risk = 1.0 - AccuracyAtCoverage(points, tenth / 10.0);
    std::string bar;
    for (int column = 0; column < ColumnOf(risk / top, width); ++column) bar += glyphs.full;
    text += Printf("  %6d %%   %.3f  ", tenth * 10, risk) + bar + "\n";
  }
  return text;
}

}  // namespace candor::calibration
