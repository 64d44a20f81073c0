#include "eval/truth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "calibration/decisions.h"
#include "core/fs.h"

namespace candor {

namespace {

using nlohmann::json;

struct Sums {
  double n = 0, right = 0, best = 0, stated = 0, error = 0, confidence = 0;
};

json Mean(double sum, double n) { return n > 0 ? json(sum / n) : json(nullptr); }

json Describe(const Sums& s) {
  return {{"n", s.n},
          {"accuracy", Mean(s.right, s.n)},
          {"bayes_accuracy", Mean(s.best, s.n)},
          {"stated", s.stated},
          {"mean_confidence", Mean(s.confidence, s.stated)},
          {"confidence_error", Mean(s.error, s.stated)}};
}

std::string Shown(const json& value) { return value.is_number() ? fmt::format("{:.3f}", value.get<double>()) : "-"; }

Result<std::pair<std::string, std::map<std::string, double>>> ParseChances(const std::string& line, const std::string& where) {
  const json row = json::parse(line, nullptr, false);
  const auto bad = [&](const char* what) {
    return Fail(ErrorCode::kInvalidInput, what, where, "{\"id\": \"row-1\", \"chance\": {\"yes\": 0.7, \"no\": 0.3}}");
  };
  if (!row.is_object() || !row.contains("id") || !row["id"].is_string()) return bad("a row needs an `id`");
  if (!row.contains("chance") || !row["chance"].is_object()) return bad("a row needs `chance`, an object from answers to probabilities");
  std::map<std::string, double> chances;
  for (const auto& [answer, chance] : row["chance"].items()) {
    if (!chance.is_number() || !(0.0 <= chance.get<double>() && chance.get<double>() <= 1.0))
      return bad("a chance must lie between 0 and 1");
    chances[answer] = chance.get<double>();
  }
  if (chances.empty()) return bad("`chance` names no answer");
  return std::pair(row["id"].get<std::string>(), std::move(chances));
}

}  // namespace

Result<KnownChances> ReadChances(const std::string& path) {
  CANDOR_ASSIGN(const std::string bytes, ReadFile(path));
  KnownChances known;
  std::istringstream lines(bytes);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.empty()) continue;
    CANDOR_ASSIGN(auto row, ParseChances(line, fmt::format("{}:{}", path, number)));
    known.by_row.insert(std::move(row));
  }
  return known;
}

std::string PlainAnswer(const std::string& answer) {
  std::string plain;
  for (const char c : answer) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || std::isalnum(byte) != 0) plain += static_cast<char>(std::tolower(byte));
  }
  return plain;
}

double ChanceOf(const std::map<std::string, double>& chances, const std::string& answer) {
  if (const auto as_written = chances.find(answer); as_written != chances.end()) return as_written->second;
  const std::string plain = PlainAnswer(answer);
  if (plain.empty()) return 0.0;
  for (const auto& [other, chance] : chances)
    if (PlainAnswer(other) == plain) return chance;
  return 0.0;
}

Result<GivenChance> ChanceOf(const KnownChances& chances, const AnswerRow& row) {
  const auto known = chances.by_row.find(row.prompt);
  if (known == chances.by_row.end())
    return Fail(ErrorCode::kInvalidInput, "nothing is known about the chances of `" + row.prompt + "`", row.dataset,
                "give the file that the runs were evaluated on");
  GivenChance chance{ChanceOf(known->second, row.answer), 0.0};
  for (const auto& [answer, of_answer] : known->second) chance.best = std::max(chance.best, of_answer);
  return chance;
}

int TruthDecile(double best) { return std::min(kTruthDeciles - 1, static_cast<int>(best * kTruthDeciles)); }

Result<json> MeasureAgainstTruth(const KnownChances& chances, const std::vector<AnswerRow>& rows) {
  Sums all, by_best[kTruthDeciles];
  std::vector<calibration::KnownPoint> points;
  double surely_wrong = 0;
  for (const AnswerRow& row : rows) {
    CANDOR_ASSIGN(const GivenChance chance, ChanceOf(chances, row));
    const auto [right, best] = chance;
    surely_wrong += right == 0.0 && best > 0.0 ? 1 : 0;
    for (Sums* sums : {&all, &by_best[TruthDecile(best)]}) {
      sums->n += 1, sums->right += right, sums->best += best;
      if (row.confidence) sums->stated += 1, sums->confidence += *row.confidence, sums->error += std::abs(*row.confidence - right);
    }
    if (row.confidence) points.push_back({*row.confidence, right});
  }
  json result = Describe(all);
  result["surely_wrong"] = Mean(surely_wrong, all.n);
  const double slope = calibration::LogitSlope(points);
  result["slope"] = std::isfinite(slope) ? json(slope) : json(nullptr);
  result["deciles"] = json::array();
  for (const Sums& sums : by_best) result["deciles"].push_back(Describe(sums));
  return result;
}

std::string TruthText(const json& runs) {
  std::string text = "\n  against the known truth       accuracy  (Bayes)  surely wrong  |c - p*|  worst decile   slope\n";
  for (const json& run : runs) {
    double worst = 0;
    for (const json& decile : run["deciles"])
      if (decile["confidence_error"].is_number()) worst = std::max(worst, decile["confidence_error"].get<double>());
    text += fmt::format("  {:<28} {:>9}  {:>7}  {:>12}  {:>8}  {:>12.3f}  {:>6}\n", run["name"].get<std::string>(), Shown(run["accuracy"]),
                        "(" + Shown(run["bayes_accuracy"]) + ")", Shown(run["surely_wrong"]), Shown(run["confidence_error"]), worst,
                        Shown(run["slope"]));
  }
  text += "\n  |c - p*| by the best answer's chance, in tenths\n";
  for (const json& run : runs) {
    text += fmt::format("  {:<28}", run["name"].get<std::string>());
    for (const json& decile : run["deciles"]) text += " " + Shown(decile["confidence_error"]);
    text += "\n";
  }
  return text;
}

}  // namespace candor
