#include "reward/verifier_trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "reward/verifiers/normalise.h"

namespace candor {

namespace {

constexpr size_t kRowsWithWrongAnswers = 5;
constexpr const char* kNonsense = "zqx blorf 7\xE2\x88\x9E {";

double Percentile(std::vector<double> values, double q) {
  if (values.empty()) return 0.0;
  std::ranges::sort(values);
  auto at = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::clamp<size_t>(at, 1, values.size()) - 1];
}

// The first other row's answer that this row does not accept; "" when there is none.
std::string WrongAnswerFor(const DataRow& row, std::span<const DataRow> rows) {
  for (const DataRow& other : rows)
    for (const std::string& answer : other.answers)
      if (std::ranges::none_of(row.answers, [&](const std::string& accepted) { return AnswersMatch(answer, accepted); })) return answer;
  return "";
}

class Trial {
 public:
  Trial(const Verifier& verifier, const TagFormat& format, TrialReport& report) : verifier_(verifier), format_(format), report_(report) {}

  void Submit(const DataRow& row, const std::string& kind, const std::string& answer) {
    std::string completion = CompletionOf(format_, answer);
    GradeRequest request{fmt::format("trial/{}", report_.cases.size()), row.prompt, completion, answer, true, &row};
    auto start = std::chrono::steady_clock::now();
    Verdict verdict = verifier_.Grade(request);
    double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    bool correct = verdict.label == Label::kCorrect;
    if (verdict.label == Label::kUnknown && ++report_.unknown == 1)
      report_.problems.push_back(fmt::format("row {}: an answer could not be graded{}", row.id, Because(verdict)));
    if (kind == "gold") {
      ++report_.gold;
      report_.gold_correct += correct;
      if (verdict.label == Label::kWrong)
        report_.problems.push_back(
            fmt::format("row {}: its own answer \"{}\" is called wrong{}", row.id, answer.substr(0, 60), Because(verdict)));
    } else {
      ++report_.wrong;
      report_.wrong_correct += correct;
      if (correct)
        report_.problems.push_back(fmt::format("row {}: {} answer \"{}\" is called correct", row.id, kind, answer.substr(0, 60)));
    }
    report_.cases.push_back({row.id, kind, answer, std::move(verdict), ms});
  }

 private:
  static std::string Because(const Verdict& verdict) { return verdict.reason.empty() ? "" : ": " + verdict.reason; }
  const Verifier& verifier_;
  const TagFormat& format_;
  TrialReport& report_;
};

}  // namespace

std::string CompletionOf(const TagFormat& format, const std::string& answer) {
  if (format.tags.empty()) return answer;
  std::string text;
  for (PolicyTag tag : format.tags) {
    std::string inner = tag == PolicyTag::kAnswer ? answer : tag == PolicyTag::kConfidence ? "0.50" : "...";
    text += std::string(OpenTag(tag)) + inner + std::string(CloseTag(tag));
  }
  return text;
}

TrialReport TryVerifier(const Verifier& verifier, std::span<const DataRow> rows, const TagFormat& format) {
  TrialReport report;
  Trial trial(verifier, format, report);
  for (size_t i = 0; i < rows.size(); ++i) {
    const DataRow& row = rows[i];
    if (!row.answers.empty()) trial.Submit(row, "gold", row.answers[0]);
    if (i >= kRowsWithWrongAnswers) continue;
    if (std::string wrong = WrongAnswerFor(row, rows); !wrong.empty()) trial.Submit(row, "another row's", wrong);
    trial.Submit(row, "empty", "");
    trial.Submit(row, "nonsense", kNonsense);
  }
  std::vector<double> times;
  for (const TrialCase& item : report.cases) times.push_back(item.ms);
  report.p50_ms = Percentile(times, 0.5);
  report.p99_ms = Percentile(times, 0.99);
  if (report.gold == 0) report.problems.push_back("no row has an accepted answer to try");
  return report;
}

std::string TrialTable(const TrialReport& report) {
  std::string table =
      fmt::format("{:<20} {:<14} {:<24} {:<8} {:>6} {:>9}  rewards, reason\n", "row", "submitted", "answer", "label", "soft", "ms");
  const auto end_of = [](const std::string& id) { return id.size() <= 20 ? id : "..." + id.substr(id.size() - 17); };  // a path's end tells
  for (const TrialCase& item : report.cases) {
    std::string notes;
    for (const auto& [name, value] : item.verdict.rewards) notes += fmt::format("{}={:.4g} ", name, value);
    notes += item.verdict.reason.substr(0, 160);
    std::string answer = item.answer.substr(0, 24);
    std::ranges::replace(answer, '\n', ' ');
    std::ranges::replace(notes, '\n', ' ');
    table += fmt::format("{:<20} {:<14} {:<24} {:<8} {:>6.3g} {:>9.2f}  {}\n", end_of(item.row_id), item.kind, answer,
                         Name(item.verdict.label), item.verdict.soft_label, item.ms, notes);
  }
  table += fmt::format(
      "\naccepted answers called correct: {} of {}    other answers called correct: {} of {}    unknown: {}\nlatency: p50 {:.2f} ms, p99 "
      "{:.2f} ms\n",
      report.gold_correct, report.gold, report.wrong_correct, report.wrong, report.unknown, report.p50_ms, report.p99_ms);
  for (const std::string& problem : report.problems) table += "problem: " + problem + "\n";
  return table;
}

}  // namespace candor
