#include "reward/group_channels.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "reward/verifiers/normalise.h"

namespace candor {

namespace {

void AddTiar(const std::vector<bool>& abstained_G, std::vector<ScoredTrace>& traces_G) {
  double correct = 0.0, answered = 0.0;
  for (size_t i = 0; i < traces_G.size(); ++i) {
    const ScoredTrace& scored = traces_G[i];
    if (scored.trace.greedy || abstained_G[i] || scored.label == Label::kUnknown) continue;
    answered += 1.0;
    correct += scored.label == Label::kCorrect ? 1.0 : 0.0;
  }
  if (answered == 0.0) return;
  for (size_t i = 0; i < traces_G.size(); ++i) traces_G[i].channels["tiar"] = abstained_G[i] ? 1.0 - 2.0 * correct / answered : 0.0;
}

// The answer that wins the vote, normalised; nullopt where nobody does.
std::optional<std::string> MajorityAnswer(const std::vector<bool>& abstained_G, const std::vector<ScoredTrace>& traces_G,
                                          double min_share) {
  std::map<std::string, double> votes;
  double all = 0.0;
  for (size_t i = 0; i < traces_G.size(); ++i)
    if (traces_G[i].format_ok && !traces_G[i].trace.greedy && !abstained_G[i])
      votes[NormaliseAnswer(traces_G[i].answer)] += 1.0, all += 1.0;
  double best = 0.0, second = 0.0;
  std::string answer;
  for (const auto& [text, count] : votes) {
    if (count > best)
      second = best, best = count, answer = text;
    else
      second = std::max(second, count);
  }
  if (best == second || best < min_share * all) return std::nullopt;
  return answer;
}

void AddMajority(const GroupChannelRules& rules, const std::vector<bool>& abstained_G, std::vector<ScoredTrace>& traces_G) {
  const std::optional<std::string> answer = MajorityAnswer(abstained_G, traces_G, rules.majority_min_share);
  if (!answer) return;
  for (size_t i = 0; i < traces_G.size(); ++i) {
    ScoredTrace& scored = traces_G[i];
    const bool agrees = scored.format_ok && !abstained_G[i] && NormaliseAnswer(scored.answer) == *answer;
    scored.channels["majority"] = agrees ? 1.0 : 0.0;
    if (scored.label != Label::kUnknown) scored.channels["majority_true"] = agrees == (scored.label == Label::kCorrect) ? 1.0 : 0.0;
  }
}

constexpr double kNothingStated = -1.0;

void AddHybrid(double group_share, std::vector<ScoredTrace>& traces_G) {
  double correct = 0.0, known = 0.0;
  for (const ScoredTrace& scored : traces_G) {
    if (scored.trace.greedy || scored.label == Label::kUnknown) continue;
    known += 1.0;
    correct += scored.label == Label::kCorrect ? 1.0 : 0.0;
  }
  if (known == 0.0) return;
  for (ScoredTrace& scored : traces_G) {
    if (scored.label == Label::kUnknown) continue;
    const double label = scored.label == Label::kCorrect ? 1.0 : 0.0, target = (1.0 - group_share) * label + group_share * correct / known;
    const double off = (scored.format_ok && scored.confidence ? scored.confidence->value() : kNothingStated) - target;
    scored.channels["hybrid_brier"] = -off * off, scored.channels["hybrid_gap"] = -std::abs(off);
  }
}

void AddRubric(const std::vector<CriterionOptions>& criteria, ScoredTrace& scored) {
  double sum = 0.0, weights = 0.0;
  bool veto = false;
  for (const CriterionOptions& criterion : criteria) {
    auto value = scored.channels.find(criterion.channel);
    if (value == scored.channels.end()) return;
    veto = veto || value->second < criterion.veto_below;
    sum += criterion.weight * value->second, weights += criterion.weight;
  }
  scored.channels["rubric"] = veto || !scored.format_ok || weights == 0.0 ? 0.0 : sum / weights;
}

}  // namespace

void AddGroupChannels(const GroupChannelRules& rules, const std::vector<bool>& abstained_G, std::optional<double> baseline,
                      std::vector<ScoredTrace>& traces_G) {
  if (rules.wanted.contains("tiar")) AddTiar(abstained_G, traces_G);
  if (rules.wanted.contains("majority") || rules.wanted.contains("majority_true")) AddMajority(rules, abstained_G, traces_G);
  if (rules.wanted.contains("hybrid_brier") || rules.wanted.contains("hybrid_gap")) AddHybrid(rules.hybrid_group_share, traces_G);
  for (ScoredTrace& scored : traces_G) {
    auto accuracy = scored.channels.find("accuracy");
    if (rules.wanted.contains("contrast") && baseline && accuracy != scored.channels.end())
      scored.channels["contrast"] = accuracy->second - *baseline;
    if (rules.wanted.contains("baseline") && baseline) scored.channels["baseline"] = *baseline;
    if (rules.wanted.contains("rubric")) AddRubric(rules.criteria, scored);  // the last: a criterion may be any of the others
  }
}

std::optional<double> ReadBaseline(std::string_view row_json, const std::string& field) {
  const auto row = nlohmann::json::parse(row_json, nullptr, false);
  if (!row.is_object() || !row.contains(field)) return std::nullopt;
  nlohmann::json scores = row[field].is_array() ? row[field] : nlohmann::json::array({row[field]});
  double sum = 0.0;
  for (const auto& score : scores) {
    if (!score.is_number() || !std::isfinite(score.get<double>())) return std::nullopt;
    sum += score.get<double>();
  }
  if (scores.empty()) return std::nullopt;
  return sum / static_cast<double>(scores.size());
}

}  // namespace candor
