#include "reward/judges/judge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "reward/judges/judge_parts.h"
#include "reward/judges/votes.h"

namespace candor {

namespace {

class PointwiseJudge final : public Verifier {
 public:
  PointwiseJudge(std::unique_ptr<JudgeParts> parts, std::optional<JudgeFile> meta) : parts_(std::move(parts)), meta_(std::move(meta)) {}

  Verdict Grade(const GradeRequest& request) const override {
    const JudgeOptions& options = parts_->options;
    const JudgeFields fields = FieldsOf(request);
    std::vector<JudgeQuestion> questions;
    AddQuestions(parts_->file, fields, request.id, 0, options.votes, questions);
    const auto answers = AskAndRun(*parts_, questions);
    std::vector<double> votes;
    std::vector<std::string> critiques;
    for (const auto& answer : answers)
      if (const auto vote = answer ? ReadVerdict(parts_->file, *answer) : std::nullopt)
        votes.push_back(*vote), critiques.push_back(answer->text);
    const double answered = static_cast<double>(votes.size()) / static_cast<double>(answers.size());
    if (std::ssize(votes) < options.min_votes) return Unjudged(request, WhyUnjudged(answers, options.min_votes));
    if (meta_) votes = Trusted(request, fields, votes, critiques);
    if (votes.empty()) return Unjudged(request, "the meta judge trusts none of its votes, or did not answer");
    const VoteSummary summary = SummariseVotes(votes);
    Verdict verdict;
    verdict.label = summary.mean >= options.correct_from ? Label::kCorrect : Label::kWrong;
    verdict.soft_label = summary.mean;
    verdict.rewards[options.name + "/answered"] = answered;
    if (summary.spread) verdict.rewards[options.name + "/spread"] = *summary.spread;
    if (summary.confidence) verdict.rewards[options.name + "/confidence"] = *summary.confidence;
    verdict.reason = fmt::format("votes {:.3g}", fmt::join(votes, " "));
    return verdict;
  }

 private:
  static JudgeFields FieldsOf(const GradeRequest& request) {
    return {{"prompt", std::string(request.prompt)},
            {"completion", std::string(request.completion)},
            {"answer", request.has_answer ? std::string(request.answer) : std::string(request.completion)},
            {"reference", ReferenceOf(request.row)}};
  }

  Verdict Unjudged(const GradeRequest& request, const std::string& why) const {
    parts_->failures.Note(parts_->options.name, request.id, {ErrorCode::kUnavailable, why, "", ""});
    return UnknownVerdict(why);
  }

  // The votes whose critiques the meta judge trusts most (DeepSeek-GRM, arXiv 2504.02495).
  std::vector<double> Trusted(const GradeRequest& request, const JudgeFields& fields, const std::vector<double>& votes,
                              const std::vector<std::string>& critiques) const {
    std::vector<JudgeQuestion> questions;
    for (size_t i = 0; i < votes.size(); ++i) {
      JudgeFields with_critique = fields;
      with_critique["critique"] = critiques[i];
      AddQuestions(*meta_, with_critique, request.id, 1 + i, 1, questions);
    }
    const auto answers = parts_->client->AskAll(questions);
    std::vector<std::optional<double>> trust;
    for (const auto& answer : answers) trust.push_back(answer ? ReadVerdict(*meta_, *answer) : std::nullopt);
    std::vector<double> kept;
    for (const size_t i : MostTrusted(trust, static_cast<size_t>(parts_->options.meta_keep))) kept.push_back(votes[i]);
    return kept;
  }

  const std::unique_ptr<JudgeParts> parts_;
  const std::optional<JudgeFile> meta_;
};

class StepJudge final : public Verifier {
 public:
  explicit StepJudge(std::unique_ptr<JudgeParts> parts) : parts_(std::move(parts)) {}

  Verdict Grade(const GradeRequest& request) const override {
    const JudgeOptions& options = parts_->options;
    const std::vector<std::string> steps = SplitSteps(parts_->file, request.completion);
    std::string why = "the completion has no steps";
    std::vector<double> verdicts;
    if (!steps.empty()) verdicts = parts_->file.ask_each_step ? JudgeEach(request, steps, why) : JudgeAll(request, steps, why);
    if (verdicts.empty()) {
      parts_->failures.Note(options.name, request.id, {ErrorCode::kUnavailable, why, "", ""});
      return UnknownVerdict(why);
    }
    const StepAggregates all = AggregateSteps(verdicts);
    Verdict verdict;
    verdict.soft_label = options.aggregate == "min" ? all.min : options.aggregate == "mean" ? all.mean : all.product;
    verdict.label = verdict.soft_label >= options.correct_from ? Label::kCorrect : Label::kWrong;
    verdict.rewards = {{options.name + "/min", all.min},
                       {options.name + "/mean", all.mean},
                       {options.name + "/product", all.product},
                       {options.name + "/steps", static_cast<double>(steps.size())}};
    verdict.reason = fmt::format("steps {:.3g}", fmt::join(verdicts, " "));
    return verdict;
  }

 private:
  JudgeFields FieldsOf(const GradeRequest& request, const std::vector<std::string>& steps, size_t step) const {
    JudgeFields fields = {{"prompt", std::string(request.prompt)}, {"reference", ReferenceOf(request.row)}};
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::string numbered = fmt::format("Step {}: {}\n\n", i + 1, steps[i]);
      fields["steps"] += numbered;
      if (i < step) fields["before"] += numbered;
    }
    fields.try_emplace("before", "");
    fields["step"] = steps[std::min(step, steps.size() - 1)];
    return fields;
  }

  // Of each step the mean over the answers that named a verdict for every step.
  std::vector<double> JudgeAll(const GradeRequest& request, const std::vector<std::string>& steps, std::string& why) const {
    std::vector<JudgeQuestion> questions;
    AddQuestions(parts_->file, FieldsOf(request, steps, steps.size()), request.id, 0, parts_->options.votes, questions);
    const auto answers = AskAndRun(*parts_, questions);
    std::vector<double> sums(steps.size());
    int64_t read = 0;
    for (const auto& answer : answers)
      if (const auto verdicts = answer ? ReadStepVerdicts(parts_->file, *answer, steps.size()) : std::nullopt) {
        for (size_t i = 0; i < sums.size(); ++i) sums[i] += (*verdicts)[i];
        ++read;
      }
    why = WhyUnjudged(answers, parts_->options.min_votes);
    if (read < parts_->options.min_votes) return {};
    for (double& sum : sums) sum /= static_cast<double>(read);
    return sums;
  }

  std::vector<double> JudgeEach(const GradeRequest& request, const std::vector<std::string>& steps, std::string& why) const {
    const auto votes = static_cast<size_t>(parts_->options.votes);
    std::vector<JudgeQuestion> questions;
    for (size_t i = 0; i < steps.size(); ++i)
      AddQuestions(parts_->file, FieldsOf(request, steps, i), request.id, i, parts_->options.votes, questions);
    const auto answers = AskAndRun(*parts_, questions);
    why = WhyUnjudged(answers, parts_->options.min_votes);
    std::vector<double> verdicts;
    for (size_t i = 0; i < steps.size(); ++i) {
      std::vector<double> read;
      for (size_t v = i * votes; v < (i + 1) * votes; ++v)
        if (const auto vote = answers[v] ? ReadVerdict(parts_->file, *answers[v]) : std::nullopt) read.push_back(*vote);
      if (std::ssize(read) < parts_->options.min_votes) return {};
      verdicts.push_back(SummariseVotes(read).mean);
    }
    return verdicts;
  }

  const std::unique_ptr<JudgeParts> parts_;
};

}  // namespace

Result<std::unique_ptr<JudgeParts>> MakeJudgeParts(const JudgeOptions& options) {
  CANDOR_TRY(KindOfJudge(options));
  auto parts = std::make_unique<JudgeParts>();
  parts->options = options;
  CANDOR_ASSIGN(parts->file, ReadJudgeFile(options.prompt));
  CANDOR_ASSIGN(parts->client, JudgeClient::Make(options));
  if (parts->file.runs_code) {
    CANDOR_ASSIGN(parts->runner, CodeRunner::Make(options.code_sandbox, options.code_timeout_s, "judge " + options.name));
  }
  return parts;
}

void AddQuestions(const JudgeFile& file, const JudgeFields& fields, const std::string& id, uint64_t part, int64_t votes,
                  std::vector<JudgeQuestion>& questions) {
  const std::string user = FillJudgeTemplate(file.user, fields);
  uint64_t seed = part;
  for (const char c : id) seed = SplitMix64(seed ^ static_cast<unsigned char>(c));
  for (int64_t vote = 0; vote < votes; ++vote)
    questions.push_back({file.system, user, SplitMix64(seed + static_cast<uint64_t>(vote)), file.form == VerdictForm::kProbability});
}

std::vector<Result<JudgeAnswer>> AskAndRun(const JudgeParts& parts, const std::vector<JudgeQuestion>& questions) {
  std::vector<Result<JudgeAnswer>> answers = parts.client->AskAll(questions);
  if (!parts.runner) return answers;
  std::vector<JudgeQuestion> next;
  std::vector<size_t> of;
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto program = answers[i] ? ProgramIn(answers[i]->text) : std::nullopt;
    if (!program) continue;
    const Result<ProgramOutput> output = parts.runner->Run(program->code);
    if (!output) {
      answers[i] = Fail(output.error());
      continue;
    }
    const std::string shown = output->ran ? output->text : "(the program failed: " + output->text + ")";
    next.push_back(questions[i]);
    next.back().said = program->said, next.back().then = FillJudgeTemplate(parts.file.after_code, {{"output", shown}});
    of.push_back(i);
  }
  std::vector<Result<JudgeAnswer>> last = parts.client->AskAll(next);
  for (size_t i = 0; i < of.size(); ++i) answers[of[i]] = std::move(last[i]);
  return answers;
}

std::string ReferenceOf(const DataRow* row) { return row == nullptr ? "" : fmt::format("{}", fmt::join(row->answers, " | ")); }

std::string WhyUnjudged(const std::vector<Result<JudgeAnswer>>& answers, int64_t needed) {
  for (const auto& answer : answers)
    if (!answer) return answer.error().Message();
  std::string shown = answers.empty() ? "" : answers.front()->text.substr(0, 120);
  std::replace(shown.begin(), shown.end(), '\n', ' ');
  return fmt::format("fewer than {} of {} answers can be read; the first is \"{}\"", needed, answers.size(), shown);
}

Result<JudgeKind> KindOfJudge(const JudgeOptions& o) {
  const std::string where = "judge " + o.name;
  CANDOR_ASSIGN(const JudgeFile file, ReadJudgeFile(o.prompt));
  const auto bad = [&](const std::string& what, const std::string& fix) { return Fail(ErrorCode::kInvalidInput, what, where, fix); };
  if (file.kind == JudgeKind::kMeta) return bad("its prompt is a judge of judgements", "name it as meta, beside a pointwise prompt");
  if (o.votes > 1 && o.temperature == 0.0) return bad("several votes at temperature 0 are one vote", "set temperature = 0.7, or votes = 1");
  if (o.min_votes > o.votes) return bad(fmt::format("min_votes is {} of {} votes", o.min_votes, o.votes), "lower it");
  if (o.meta.empty() != (o.meta_keep == 0)) return bad("meta and meta_keep go together", "name the file and how many votes it keeps");
  if (!o.meta.empty() && file.kind != JudgeKind::kPointwise)
    return bad(fmt::format("a meta judge filters votes on single completions, and this judge is {}", Name(file.kind)), "take meta out");
  if (o.meta_keep > o.votes) return bad(fmt::format("meta_keep is {} of {} votes", o.meta_keep, o.votes), "lower it");
  if (o.meta.empty()) return file.kind;
  CANDOR_ASSIGN(const JudgeFile meta, ReadJudgeFile(o.meta));
  if (meta.kind != JudgeKind::kMeta) return bad("the file named as meta is of the kind " + std::string(Name(meta.kind)), "kind = \"meta\"");
  return file.kind;
}

Result<std::unique_ptr<Verifier>> MakeJudge(const JudgeOptions& options) {
  CANDOR_ASSIGN(std::unique_ptr<JudgeParts> parts, MakeJudgeParts(options));
  if (parts->file.kind == JudgeKind::kSteps) return std::unique_ptr<Verifier>(std::make_unique<StepJudge>(std::move(parts)));
  std::optional<JudgeFile> meta;
  if (!options.meta.empty()) {
    CANDOR_ASSIGN(meta, ReadJudgeFile(options.meta));
  }
  return std::unique_ptr<Verifier>(std::make_unique<PointwiseJudge>(std::move(parts), std::move(meta)));
}

std::vector<std::string> ChannelsOfJudge(const JudgeOptions& options, JudgeKind kind) {
  std::vector<std::string> names = {options.name};
  const auto add = [&](std::initializer_list<const char*> parts) {
    for (const char* part : parts) names.push_back(options.name + "/" + part);
  };
  if (kind == JudgeKind::kPointwise) add({"answered", "spread", "confidence"});
  if (kind == JudgeKind::kSteps) add({"min", "mean", "product", "steps"});
  if (kind == JudgeKind::kPairwise) add({"consistent", "games"});
  return names;
}

}  // namespace candor
