#include "reward/verifiers/builtin.h"

#include <algorithm>

#include "reward/verifiers/choice.h"
#include "reward/verifiers/normalise.h"
#include "reward/verifiers/numeric.h"

namespace candor {

namespace {

// What holds for all of them: no parsed answer is wrong, an empty answer is wrong, no accepted answer makes every answer wrong.
class BuiltinVerifier : public Verifier {
 public:
  Verdict Grade(const GradeRequest& request) const final {
    if (!request.has_answer) return BinaryVerdict(false, "no answer in the required format");
    if (request.row == nullptr) return UnknownVerdict("no data row");
    if (TrimSpace(request.answer).empty()) return BinaryVerdict(false, "empty answer");
    if (request.row->answers.empty()) return BinaryVerdict(false, "no answer is accepted for this row");
    return Compare(request.answer, *request.row);
  }

 protected:
  virtual Verdict Compare(std::string_view answer, const DataRow& row) const = 0;
};

class ExactMatch final : public BuiltinVerifier {
  Verdict Compare(std::string_view answer, const DataRow& row) const override {
    return BinaryVerdict(std::ranges::any_of(row.answers, [&](const std::string& accepted) { return AnswersMatch(answer, accepted); }));
  }
};

class AcceptedSet final : public BuiltinVerifier {
  Verdict Compare(std::string_view answer, const DataRow& row) const override {
    return BinaryVerdict(
        std::ranges::any_of(row.answers, [&](const std::string& accepted) { return TrimSpace(answer) == TrimSpace(accepted); }));
  }
};

class F1 final : public BuiltinVerifier {
 public:
  explicit F1(double threshold) : threshold_(threshold) {}

 private:
  Verdict Compare(std::string_view answer, const DataRow& row) const override {
    double best = 0.0;
    for (const std::string& accepted : row.answers) best = std::max(best, TokenF1(answer, accepted));
    return {best > 0.0 && best >= threshold_ ? Label::kCorrect : Label::kWrong, best, {{"f1", best}}, ""};
  }
  double threshold_;
};

class Numeric final : public BuiltinVerifier {
 public:
  Numeric(double absolute, double relative) : absolute_(absolute), relative_(relative) {}

 private:
  Verdict Compare(std::string_view answer, const DataRow& row) const override {
    std::optional<mpq_class> value = ParseRational(answer);
    bool any_number = false;  // accepted answers may be spelled out beside the number: "4", "four"
    for (const std::string& accepted : row.answers) {
      std::optional<mpq_class> target = ParseRational(accepted);
      any_number |= target.has_value();
      if (value && target && WithinTolerance(*value, *target, absolute_, relative_)) return BinaryVerdict(true);
      if (!target && AnswersMatch(answer, accepted)) return BinaryVerdict(true);
    }
    if (!any_number) return UnknownVerdict("the accepted answer \"" + row.answers[0].substr(0, 80) + "\" is not a number");
    return BinaryVerdict(false, value ? "" : "not a number");
  }
  double absolute_, relative_;
};

class Choice final : public BuiltinVerifier {
 public:
  explicit Choice(std::string field) : field_(std::move(field)) {}

 private:
  Verdict Compare(std::string_view answer, const DataRow& row) const override {
    Result<Choices> choices = ReadChoices(row.json, field_);
    if (!choices) return UnknownVerdict(choices.error().Message());
    return choices->texts.empty() ? CompareLetters(answer, row) : CompareChoices(answer, row, *choices);
  }

  static Verdict CompareLetters(std::string_view answer, const DataRow& row) {
    std::optional<size_t> letter = ChoiceLetter(answer);
    for (const std::string& accepted : row.answers) {
      if (std::optional<size_t> target = ChoiceLetter(accepted); target && letter == target) return BinaryVerdict(true);
      if (AnswersMatch(answer, accepted)) return BinaryVerdict(true);
    }
    return BinaryVerdict(false);
  }

  static Verdict CompareChoices(std::string_view answer, const DataRow& row, const Choices& choices) {
    std::optional<size_t> chosen = ResolveChoice(answer, choices);
    for (const std::string& accepted : row.answers) {
      std::optional<size_t> target = ResolveAcceptedChoice(accepted, choices);
      if (!target) return UnknownVerdict("the accepted answer \"" + accepted.substr(0, 80) + "\" is none of the row's choices");
      if (chosen == target) return BinaryVerdict(true);
    }
    return BinaryVerdict(false, chosen ? "" : "none of the choices");
  }

  std::string field_;
};

}  // namespace

std::unique_ptr<Verifier> MakeBuiltinVerifier(const VerifierOptions& options) {
  if (options.kind == "exact_match") return std::make_unique<ExactMatch>();
  if (options.kind == "accepted_set") return std::make_unique<AcceptedSet>();
  if (options.kind == "f1") return std::make_unique<F1>(options.f1_threshold);
  if (options.kind == "numeric") return std::make_unique<Numeric>(options.absolute_tolerance, options.relative_tolerance);
  if (options.kind == "choice") return std::make_unique<Choice>(options.choices_field);
  return nullptr;
}

}  // namespace candor
