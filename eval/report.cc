#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "calibration/svg_chart.h"
#include "eval/run_summary.h"
#include "eval/select.h"
#include "eval/step_charts.h"

namespace candor {

namespace {

using calibration::EscapeXml;
using nlohmann::json;

constexpr char kStyle[] = R"(
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#68707c;--line:#d9dde3;--paper:#fff;--good:#1a7f4b;--bad:#b3362b;--accent:#1f6feb;--second:#c2762b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ae;--line:#3a4048;--paper:#16181c;--good:#4cc38a;--bad:#ef7f74;--accent:#6ea8fe;--second:#e9a15b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
td:first-child{min-width:8rem;white-space:normal}p.sub,p.note{color:var(--soft);margin-top:.2rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;display:block;overflow-x:auto}
th,td{padding:.25rem .45rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{white-space:normal;vertical-align:bottom;font-weight:600}th:first-child,td:first-child{text-align:left}
td small{color:var(--soft);display:block;font-size:.78em}td{vertical-align:top}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:1.2rem}.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:1rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:.8rem;margin:1.2rem 0}.card{border:1px solid var(--line);border-radius:8px;padding:.6rem .9rem}
.card b{font-size:1.35rem;font-variant-numeric:tabular-nums}.card span{color:var(--soft);font-size:.85rem;display:block}
tr.first td{border-top:2px solid var(--line)}
pre{font-size:.8rem;overflow-x:auto;border:1px solid var(--line);padding:.8rem;border-radius:6px}li.good{color:var(--good)}li.bad{color:var(--bad)}
figure{margin:0}figcaption{color:var(--soft);font-size:.85rem}svg{max-width:100%;height:auto}
)";

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
                                       {"ece_null95", "ECE's null 95 %"},
                                       {"auroc", "AUROC"},
                                       {"within_answer_auroc", "AUROC within answer"},
                                       {"augrc", "AUGRC"}};

std::string Head(const std::string& first) {
  std::string head = "<tr><th>" + first + "</th><th>n</th>";
  for (const auto& column : kColumns) head += fmt::format("<th>{}</th>", column[1]);
  return head + "</tr>";
}
std::string Row(const std::string& name, const json& n, bool first = false) {
  std::string row = fmt::format("<tr{}><td>{}</td><td>{}</td>", first ? " class=\"first\"" : "", EscapeXml(name), n.value("n", 0));
  for (const auto& column : kColumns) row += Cell(n, column[0]);
  return row + "</tr>\n";
}

std::string Spaced(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// Set by set, before beside after: that is what is compared.
std::string MainTables(const json& s) {
  std::string html = "<h2>Held out, out of domain</h2><table>" + Head("greedy answers");
  for (const std::string& name : SetNames(s))
    for (const auto& [moment, title] : kMoments)
      if (s.contains(moment) && s[moment]["sets"].contains(name))
        html += Row(fmt::format("{}, {}", name, title), s[moment]["sets"][name], std::string(moment) == "before");
  for (const char* moment : {"before", "after"})
    if (s.contains(moment) && s[moment].contains("held_out_sampled"))
      html += Row(fmt::format("held out, sampled answers, {} RL", moment), s[moment]["held_out_sampled"], std::string(moment) == "before");
  html +=
      "</table><p class=\"note\">In brackets: 95 % intervals that resample prompts. Brier = MCB (miscalibration) - DSC (discrimination) + "
      "base "
      "rate's; lower Brier, MCB, ECE and AUGRC are better, higher DSC and AUROC. An ECE below its null 95 % cannot be told from perfect "
      "calibration.</p>";
  html +=
      "<h2>Confidences that need no RL</h2><p class=\"note\">On the same held-out answers; fitted on dev. Beating them is the "
      "aim.</p><table>" +
      Head("baseline");
  for (const char* moment : {"before", "after"})
    if (s["baselines"].contains(moment)) {
      bool first = true;
      for (const auto& [name, numbers] : s["baselines"][moment].items())
        html += Row(fmt::format("{}, {} RL", Spaced(name), moment), numbers, std::exchange(first, false));
    }
  return html + "</table>";
}

// One table of what the sets that have `key` say about it, before beside after.
std::string ConsistencyTable(const json& s, const char* key, const std::string& head, const std::vector<const char*>& means) {
  std::string rows;
  for (const std::string& name : SetNames(s))
    for (const auto& [moment, title] : kMoments) {
      if (!s.contains(moment) || !s[moment]["sets"].contains(name) || !s[moment]["sets"][name].contains(key)) continue;
      const json& figures = s[moment]["sets"][name][key];
      rows += fmt::format("<tr><td>{}, {}</td>", EscapeXml(name), title);
      for (const char* mean : means) {
        const json& value = figures[mean];
        const bool interval = value.is_object() && value["low"].is_number();
        rows += !value.is_object() ? "<td>-</td>"
                                   : fmt::format("<td>{:.3f}{}</td>", value["mean"].get<double>(),
                                                 interval ? fmt::format(" <small>[{:.3f}, {:.3f}]</small>", value["low"].get<double>(),
                                                                        value["high"].get<double>())
                                                          : "");
      }
      rows += "</tr>\n";
    }
  return rows.empty() ? "" : head + rows + "</table>";
}

std::string ConsistencyTables(const json& s) {
  return ConsistencyTable(s, "semantic_entropy",
                          "<h2>Several answers to one question</h2><p class=\"note\">Entropy over the different sampled answers, in nats. "
                          "It should be small where the greedy answer is right.</p><table><tr><th>sampled answers</th><th>all</th>"
                          "<th>greedy answer right</th><th>greedy answer wrong</th></tr>",
                          {"all", "greedy_right", "greedy_wrong"}) +
         ConsistencyTable(s, "paraphrases",
                          "<h2>Several phrasings of one question</h2><p class=\"note\">Over pairs of phrasings; all should be small."
                          "</p><table><tr><th>greedy answers</th><th>confidence differs by</th><th>answer changes</th>"
                          "<th>right becomes wrong</th></tr>",
                          {"confidence_difference", "answer_changed", "grade_changed"});
}

// The headline: before and after, and the paired difference.
std::string Cards(const json& s) {
  std::string html;
  const json& now = s[s.contains("after") ? "after" : "before"]["held_out"];
  const std::pair<const char*, const char*> metrics[] = {
      {"accuracy", "Accuracy"}, {"brier", "Brier score"}, {"auroc", "AUROC"}, {"ece", "ECE"}};
  for (const auto& [key, title] : metrics) {
    if (!now.contains(key) || !now[key].is_number()) continue;
    std::string value = fmt::format("{:.3f}", now[key].get<double>()), note = "held out";
    if (s.contains("after") && s["before"]["held_out"][key].is_number())
      value = fmt::format("{:.3f} \u2192 {}", s["before"]["held_out"][key].get<double>(), value);
    if (s.contains("paired") && s["paired"].contains(key) && s["paired"][key]["interval"][0].is_number())
      note = fmt::format("{:+.3f} [{:+.3f}, {:+.3f}]", s["paired"][key]["delta"].get<double>(),
                         s["paired"][key]["interval"][0].get<double>(), s["paired"][key]["interval"][1].get<double>());
    html += fmt::format("<div class=\"card\"><span>{}</span><b>{}</b><span>{}</span></div>", title, value, note);
  }
  return "<div class=\"cards\">" + html + "</div>";
}

std::string SliceTable(const json& s) {
  const char* moment = s.contains("after") ? "after" : "before";
  std::string html =
      fmt::format("<h2>Slices</h2><p>Held out, greedy, {} RL. Mistakes hide in rare slices.</p><table>", moment) + Head("slice");
  for (const auto& [name, numbers] : s[moment]["slices"].items()) html += Row(name, numbers);
  return html + "</table>";
}

std::string VerdictText(const json& s) {
  std::string html = "<ul>";
  for (const json& sentence : s["verdict"]) {
    const std::string words = sentence.get<std::string>();
    const bool bad = words.find("WORSE") != std::string::npos || words.find("is worse") != std::string::npos;
    const bool good = words.find("improved") != std::string::npos || words.find("beats") != std::string::npos;
    html += fmt::format("<li class=\"{}\">{}</li>", bad ? "bad" : good ? "good" : "", EscapeXml(words));
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

}  // namespace

std::string ReportHtml(const ReportInput& input) {
  const json& s = *input.summary;
  std::string html =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>" +
      EscapeXml(input.name) + " - Candor report</title><style>" + kStyle + "</style></head><body>";
  html += "<h1>" + EscapeXml(input.name) + "</h1><p class=\"sub\">" + EscapeXml(input.title) + "</p>" + Cards(s) + VerdictText(s) +
          Diagrams(input) + MainTables(s) + ConsistencyTables(s) + StepCharts(input.steps) + SliceTable(s);
  html += "<h2>Recipe</h2><details><summary>every key with its value</summary><pre>" + EscapeXml(input.recipe_toml) +
          "</pre></details></body></html>\n";
  return html;
}

}  // namespace candor
