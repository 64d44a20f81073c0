#include "text/bigmath.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "core/rng.h"
#include "text/json_records.h"

namespace candor {

namespace {

using BigMathJson = nlohmann::ordered_json;

constexpr size_t kLongestAnswer = 19;  // characters of a plain number

// "solved_0.25_0.50": quarters of the solve rate.
std::string RateSlice(double rate) {
  const double low = std::min(std::floor(rate * 4), 3.0) / 4;
  return fmt::format("solved_{:.2f}_{:.2f}", low, low + 0.25);
}

std::string BigMathLine(const BigMathProblem& p) {
  std::vector<std::string> slices;
  if (!p.source.empty()) slices.push_back(p.source);
  if (p.solve_rate) slices.push_back(RateSlice(*p.solve_rate));
  BigMathJson json = {{"id", "bigmath-" + HashHex(p.problem).substr(0, 16)},
                      {"prompt", p.problem},
                      {"answer", p.answer},
                      {"slice", slices},
                      {"domain", p.domains}};
  json["llama8b_solve_rate"] = p.solve_rate ? BigMathJson(*p.solve_rate) : BigMathJson(nullptr);
  return json.dump(-1, ' ', false, BigMathJson::error_handler_t::replace);
}

// Why this problem is left out; "" if it is not.
std::string WhyNot(const BigMathProblem& p, const BigMathOptions& options) {
  if (!options.any_answer && (p.answer.size() > kLongestAnswer || !IsPlainNumber(p.answer)))
    return "with an answer that is no plain number";
  if (!p.solve_rate) return "without a solve rate";
  if (!(options.above < *p.solve_rate && *p.solve_rate < options.below)) return "with a solve rate outside the bounds";
  return "";
}

}  // namespace

bool IsPlainNumber(const std::string& text) {
  double number = 0;
  const char* begin = text.data() + (text.size() > 1 && text[0] == '+' && text[1] != '-' ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(number);
}

Result<BigMathProblem> ReadBigMathProblem(const BigMathJson& record, const std::string& where) {
  const RecordFields fields(record, where);
  BigMathProblem p;
  CANDOR_ASSIGN(p.problem, fields.Text("problem", "is this Big-Math-RL-Verified, with problem, answer and llama8b_solve_rate?"));
  CANDOR_ASSIGN(p.answer, fields.Text("answer", "give the verified answer as a text"));
  CANDOR_ASSIGN(p.source, fields.TextIfAny("source"));
  CANDOR_ASSIGN(p.solve_rate, fields.NumberIfAny("llama8b_solve_rate"));
  if (p.solve_rate && !(0 <= *p.solve_rate && *p.solve_rate <= 1))
    return fields.Bad("llama8b_solve_rate", "is not a share", "give a number from 0 to 1, or null");
  if (const BigMathJson* domains = fields.Find("domain")) {
    const auto texts = TextsOf(*domains);
    if (!texts) return fields.Bad("domain", "is not a list of texts", "give a list, or leave it out");
    p.domains = *texts;
  }
  return p;
}

Result<PublicRows> PrepareBigMath(const BigMathOptions& options, const QuestionNormaliser& normalise) {
  PublicRows rows;
  rows.splits = {{"train", options.train_rows, {}}, {"dev", options.dev_rows, {}}, {"test", options.test_rows, {}}};
  std::vector<std::pair<uint64_t, BigMathProblem>> usable;
  CANDOR_TRY(ForEachRecord(options.file, [&](const BigMathJson& record, const std::string& where) -> Result<bool> {
    CANDOR_ASSIGN(BigMathProblem problem, ReadBigMathProblem(record, where));
    ++rows.read;
    if (const std::string why = WhyNot(problem, options); !why.empty())
      ++rows.dropped[why];
    else
      usable.emplace_back(RandomBits(options.seed, RngStream::kSplit, NameBits(problem.problem)), std::move(problem));
    return true;
  }));
  std::stable_sort(usable.begin(), usable.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::set<std::string> seen;
  for (const auto& [order, problem] : usable) {
    const auto split = std::find_if(rows.splits.begin(), rows.splits.end(), [](const PublicSplit& one) { return !one.full(); });
    if (split == rows.splits.end())
      ++rows.dropped["more than wanted"];
    else if (!seen.insert(normalise(problem.problem)).second)
      ++rows.dropped["of a problem that was taken already"];
    else
      split->lines.push_back(BigMathLine(problem));
  }
  CANDOR_TRY(CheckFull(rows, options.file));
  return rows;
}

}  // namespace candor
