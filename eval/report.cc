#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "calibration/svg_chart.h"
#include "eval/select.h"

namespace candor {

namespace {

using nlohmann::json;

constexpr char kStyle[] = R"(
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#68707c;--line:#d9dde3;--paper:#fff;--good:#1a7f4b;--bad:#b3362b;--accent:#2f6fb0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ae;--line:#3a4048;--paper:#16181c;--good:#4cc38a;--bad:#ef7f74;--accent:#7fb2e5}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
p.sub{color:var(--soft);margin-top:.2rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;display:block;overflow-x:auto}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}
td small{color:var(--soft)}.row{display:flex;flex-wrap:wrap;gap:1.2rem}.row>*{flex:1 1 300px;min-width:280px}
pre{font-size:.8rem;overflow-x:auto;border:1px solid var(--line);padding:.8rem;border-radius:6px}li.good{color:var(--good)}li.bad{color:var(--bad)}
figure{margin:0}figcaption{color:var(--soft);font-size:.85rem}svg{max-width:100%;height:auto}
)";

std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

std::string Cell(const json& n, const char* key) {
  if (!n.contains(key) || !n[key].is_number()) return "<td>-</td>";
  std::string cell = fmt::format("{:.3f}", n[key].get<double>());
  const std::string interval = std::string(key) + "_interval";
  if (n.contains(interval) && n[interval].is_array() && n[interval][0].is_number())
    cell += fmt::format(" <small>[{:.3f}, {:.3f}]</small>", n[interval][0].get<double>(), n[interval][1].get<double>());
  return "<td>" + cell + "</td>";
}

constexpr const char* kColumns[][2] = {{"accuracy", "accuracy"},
                                       {"mean_confidence", "mean confidence"},
                                       {"confidence_sd", "spread"},
                                       {"brier", "Brier"},
                                       {"mcb", "MCB"},
                                       {"dsc", "DSC"},
                                       {"ece", "ECE"},
                                       {"ece_null95", "its null 95 %"},
                                       {"auroc", "AUROC"},
                                       {"within_answer_auroc", "AUROC within answer"},
                                       {"augrc", "AUGRC"}};

std::string Head(const std::string& first) {
  std::string head = "<tr><th>" + first + "</th><th>n</th>";
  for (const auto& column : kColumns) head += fmt::format("<th>{}</th>", column[1]);
  return head + "</tr>";
}
std::string Row(const std::string& name, const json& n) {
  std::string row = fmt::format("<tr><td>{}</td><td>{}</td>", Escape(name), n.value("n", 0));
  for (const auto& column : kColumns) row += Cell(n, column[0]);
  return row + "</tr>\n";
}

std::string MainTables(const json& s) {
  std::string html = "<h2>Held out, out of domain</h2><table>" + Head("greedy answers");
  for (const char* moment : {"before", "after"})
    if (s.contains(moment))
      for (const auto& [name, numbers] : s[moment]["sets"].items()) html += Row(fmt::format("{} RL: {}", moment, name), numbers);
  for (const char* moment : {"before", "after"})
    if (s.contains(moment) && s[moment].contains("held_out_sampled"))
      html += Row(fmt::format("{} RL: held out, sampled answers", moment), s[moment]["held_out_sampled"]);
  html +=
      "</table><h2>Confidences that need no RL</h2><p>On the same held-out answers; fitted on dev. Beating them is the aim.</p><table>" +
      Head("baseline");
  for (const char* moment : {"before", "after"})
    if (s["baselines"].contains(moment))
      for (const auto& [name, numbers] : s["baselines"][moment].items()) html += Row(fmt::format("{} RL: {}", moment, name), numbers);
  return html + "</table>";
}

std::string SliceTable(const json& s) {
  const char* moment = s.contains("after") ? "after" : "before";
  std::string html =
      fmt::format("<h2>Slices</h2><p>Held out, greedy, {} RL. Mistakes hide in rare slices.</p><table>", moment) + Head("slice");
  for (const auto& [name, numbers] : s[moment]["slices"].items()) html += Row(name, numbers);
  return html + "</table>";
}

std::string Verdict(const json& s) {
  std::string html = "<ul>";
  for (const json& sentence : s["verdict"]) {
    const std::string words = sentence.get<std::string>();
    const bool bad = words.find("WORSE") != std::string::npos || words.find("is worse") != std::string::npos;
    const bool good = words.find("improved") != std::string::npos || words.find("beats") != std::string::npos;
    html += fmt::format("<li class=\"{}\">{}</li>", bad ? "bad" : good ? "good" : "", Escape(words));
  }
  return html + "</ul>";
}

calibration::Points HeldOutPoints(const std::vector<AnswerRow>& rows) {
  return calibration::PointsOf(ToRows(Select(rows, {.role = "held_out", .greedy = true})));
}

std::string Diagrams(const ReportInput& input) {
  std::vector<calibration::ChartSeries> series{{"before RL", HeldOutPoints(input.before)}};
  if (!input.after.empty()) series.push_back({"after RL", HeldOutPoints(input.after)});
  return "<h2>Reliability</h2><div class=\"row\"><figure>" + calibration::ReliabilitySvg(series, {.title = "Reliability, held out"}) +
         "<figcaption>Of the answers given with confidence c, the share c should be right.</figcaption></figure><figure>" +
         calibration::RiskCoverageSvg(series, {.title = "Risk and coverage, held out"}) +
         "<figcaption>Errors among the answers kept, when the least sure are withheld.</figcaption></figure></div>";
}

// One line chart over the steps.
std::string Curve(const std::vector<std::map<std::string, double>>& steps, const std::string& title,
                  const std::vector<std::pair<std::string, std::string>>& lines) {
  constexpr double kWidth = 320, kHeight = 170, kLeft = 44, kTop = 24, kRight = 8, kBottom = 22;
  double low = std::numeric_limits<double>::infinity(), high = -low, last = 1;
  for (const auto& step : steps)
    for (const auto& [key, name] : lines)
      if (auto found = step.find(key); found != step.end() && std::isfinite(found->second))
        low = std::min(low, found->second), high = std::max(high, found->second);
  if (!(low <= high)) return "";
  if (high - low < 1e-9) high = low + 1e-3 + std::abs(low) * 0.1;
  for (const auto& step : steps)
    if (auto found = step.find("step"); found != step.end()) last = std::max(last, found->second);
  auto x = [&](double step) { return kLeft + (kWidth - kLeft - kRight) * step / last; };
  auto y = [&](double value) { return kTop + (kHeight - kTop - kBottom) * (1 - (value - low) / (high - low)); };
  std::string svg = fmt::format(
      "<figure><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><text x=\"{}\" y=\"14\" fill=\"currentColor\" "
      "font-size=\"12\">{}</text>",
      kWidth, kHeight, Escape(title), kLeft, Escape(title));
  for (double value : {low, high})
    svg += fmt::format(
        "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\" fill=\"currentColor\" font-size=\"10\">{:.3g}</text>"
        "<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"currentColor\" opacity=\".15\"/>",
        kLeft - 4, y(value) + 3, value, kLeft, kWidth - kRight, y(value), y(value));
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"currentColor\" font-size=\"10\">step {:.0f}</text>",
                     kWidth - kRight, kHeight - 6, last);
  const char* const colours[] = {"var(--accent)", "var(--bad)", "var(--good)"};
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string points;
    for (const auto& step : steps) {
      auto at = step.find("step"), value = step.find(lines[i].first);
      if (at != step.end() && value != step.end() && std::isfinite(value->second))
        points += fmt::format("{:.1f},{:.1f} ", x(at->second), y(value->second));
    }
    svg += fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/><text x=\"{}\" y=\"{}\" fill=\"{}\" "
        "font-size=\"10\">{}</text>",
        points, colours[i % 3], kLeft + 6 + 90.0 * static_cast<double>(i), kHeight - 6, colours[i % 3], Escape(lines[i].second));
  }
  return svg + "</svg></figure>";
}

std::string Curves(const std::vector<std::map<std::string, double>>& steps) {
  if (steps.empty()) return "";
  std::string html =
      "<h2>Over the steps</h2><p>Training prompts, sampled answers; small sets a step, so the curves are noisy.</p><div class=\"row\">";
  html += Curve(steps, "Accuracy and mean confidence",
                {{"calibration/train/accuracy", "accuracy"}, {"calibration/train/mean_confidence", "confidence"}});
  html += Curve(steps, "Brier score", {{"calibration/train/brier", "Brier"}});
  html += Curve(steps, "ECE and its floor", {{"calibration/train/ece", "ECE"}, {"calibration/train/ece_floor", "floor"}});
  html += Curve(steps, "AUROC", {{"calibration/train/auroc", "AUROC"}});
  html += Curve(steps, "Entropy per token", {{"entropy/all/mean", "nats"}});
  html += Curve(steps, "Gradient norm", {{"optim/grad_norm", "norm"}});
  html += Curve(steps, "Rollout against learner, abs log p", {{"mismatch/abs/mean", "mean"}});
  html += Curve(steps, "Seconds per step", {{"time/step", "step"}, {"time/wait_for_batch", "waiting"}});
  return html + "</div>";
}

}  // namespace

std::string ReportHtml(const ReportInput& input) {
  const json& s = *input.summary;
  std::string html =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>" +
      Escape(input.name) + " - Candor report</title><style>" + kStyle + "</style></head><body>";
  html += "<h1>" + Escape(input.name) + "</h1><p class=\"sub\">" + Escape(input.title) + "</p>" + Verdict(s) + Diagrams(input) +
          MainTables(s) + Curves(input.steps) + SliceTable(s);
  html += "<h2>Recipe</h2><details><summary>every key with its value</summary><pre>" + Escape(input.recipe_toml) +
          "</pre></details></body></html>\n";
  return html;
}

}  // namespace candor
