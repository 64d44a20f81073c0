// The picture of an experiment: a panel for each arm, confidence against the chance of the answer that was given, a line for each run.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "calibration/svg_chart.h"
#include "eval/arms.h"

namespace candor {

namespace {

using nlohmann::json;

constexpr double kPanel = 190, kPanelEdge = 26;

constexpr char kArmsStyle[] = R"(
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#68707c;--line:#d9dde3;--paper:#fff;--accent:#1f6feb}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ae;--line:#3a4048;--paper:#16181c;--accent:#6ea8fe}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1240px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:0}p{color:var(--soft)}figure{display:inline-block;margin:.4rem}figcaption{font-size:.85rem}
pre{overflow-x:auto;font-size:.75rem}
)";

double PanelX(double value) { return kPanelEdge + (kPanel - 2 * kPanelEdge) * value; }
double PanelY(double value) { return kPanel - kPanelEdge - (kPanel - 2 * kPanelEdge) * value; }

// The path through the tenths that have a value.
std::string PathThrough(const json& deciles, const auto& value) {
  std::string path;
  for (const json& decile : deciles) {
    if (!decile.contains("mean_chance")) continue;
    const json stated = value(decile);
    if (!stated.is_number()) continue;
    path +=
        fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", PanelX(decile["mean_chance"].get<double>()), PanelY(stated.get<double>()));
  }
  return path;
}

std::string Panel(const json& arm) {
  const std::string name = arm["name"].get<std::string>();
  std::string svg = fmt::format("<figure><svg width=\"{0}\" height=\"{0}\" role=\"img\" aria-label=\"{1}: confidence against chance\">",
                                kPanel, calibration::EscapeXml(name));
  for (double tick : {0.0, 0.5, 1.0})
    svg += fmt::format(
        "<path d=\"M{0:.1f} {1:.1f}H{2:.1f}M{3:.1f} {4:.1f}V{5:.1f}\" stroke=\"var(--line)\"/><text x=\"{6:.1f}\" y=\"{7:.1f}\" "
        "text-anchor=\"middle\" font-size=\"10\" fill=\"var(--soft)\">{8}</text><text x=\"{9:.1f}\" y=\"{10:.1f}\" text-anchor=\"end\" "
        "font-size=\"10\" fill=\"var(--soft)\">{8}</text>",
        PanelX(0), PanelY(tick), PanelX(1), PanelX(tick), PanelY(0), PanelY(1), PanelX(tick), PanelY(0) + 14, tick, PanelX(0) - 4,
        PanelY(tick) + 3);
  svg += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"var(--soft)\" stroke-dasharray=\"3 3\"/>", PanelX(0), PanelY(0),
                     PanelX(1), PanelY(1));
  for (size_t run = 0; run < arm["runs"].size(); ++run)
    svg += fmt::format("<path class=\"run\" d=\"{}\" fill=\"none\" stroke=\"var(--accent)\" opacity=\".3\"/>",
                       PathThrough(arm["deciles"], [&](const json& d) { return d["by_run"][run]; }));
  svg += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"var(--accent)\" stroke-width=\"2\"/>",
                     PathThrough(arm["deciles"], [](const json& d) { return d["mean_confidence"]; }));
  return svg + fmt::format("</svg><figcaption>{}</figcaption></figure>", calibration::EscapeXml(name));
}

}  // namespace

std::string ArmsHtml(const json& arms) {
  std::string panels;
  for (const json& arm : arms["arms"])
    if (arm.contains("deciles")) panels += Panel(arm);
  if (!panels.empty())
    panels =
        "<p>Confidence (upwards) against the true chance of the answer that was given, by tenths of the best answer's chance; thin lines "
        "are "
        "runs, dotted is the truth.</p>" +
        panels;
  return fmt::format(
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Arms</title>"
      "<style>{}</style><h1>Arms</h1>{}<pre>{}</pre></html>\n",
      kArmsStyle, panels, calibration::EscapeXml(ArmsText(arms)));
}

}  // namespace candor
