// One self-contained HTML page about a run: the verdict in words, tables with intervals and baselines, reliability diagrams before and
// after, risk-coverage, curves over the steps, slices, the recipe. No scripts and nothing to load, so that it can be mailed. Pure.
#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "eval/answers.h"

namespace candor {

struct ReportInput {
  std::string name, title;
  const nlohmann::json* summary = nullptr;  // eval/run_summary.h; must outlive the call
  std::vector<AnswerRow> before, after;
  std::vector<std::map<std::string, double>> steps;  // metrics.jsonl
  std::string recipe_toml;
};

std::string ReportHtml(const ReportInput& input);

}  // namespace candor
