#include "reward/verifiers/verifier.h"

#include <fmt/format.h>

#include <algorithm>

#include "reward/judges/judge.h"
#include "reward/verifiers/builtin.h"
#include "reward/verifiers/command_verifier.h"
#include "reward/verifiers/http_verifier.h"
#include "reward/verifiers/json_protocol.h"
#include "reward/verifiers/python_tests.h"

namespace candor {

namespace {

// Numbers decide in process; what they do not accept goes to the math-verify children.
class MathVerifier final : public Verifier {
 public:
  MathVerifier(std::unique_ptr<Verifier> numeric, std::unique_ptr<Verifier> symbolic)
      : numeric_(std::move(numeric)), symbolic_(std::move(symbolic)) {}

  Verdict Grade(const GradeRequest& request) const override {
    Verdict first = numeric_->Grade(request);
    bool nothing_to_ask = !request.has_answer || request.row == nullptr || request.row->answers.empty();
    if (first.label == Label::kCorrect || nothing_to_ask) return first;
    return symbolic_->Grade(request);
  }

 private:
  std::unique_ptr<Verifier> numeric_, symbolic_;
};

Result<std::unique_ptr<Verifier>> MakeMathVerifier(VerifierOptions options) {
  if (options.command.empty()) options.command = {"python3"};
  if (options.command.size() == 1) {  // an interpreter only: add the adapter
    CANDOR_ASSIGN(std::string adapter, FindAdapter("math_verify_adapter.py"));
    options.command.push_back(adapter);
  }
  CANDOR_ASSIGN(std::unique_ptr<Verifier> symbolic, MakeCommandVerifier(options));
  VerifierOptions numeric = options;
  numeric.kind = "numeric";
  return std::unique_ptr<Verifier>(std::make_unique<MathVerifier>(MakeBuiltinVerifier(numeric), std::move(symbolic)));
}

// The main verifier's label and everybody's rewards.
class VerifierSet final : public Verifier {
 public:
  struct Member {
    std::string name;
    bool listed = false;  // a [[verifier]] or a [[judge]]: its label is a channel
    std::unique_ptr<Verifier> verifier;
    bool judge = false;
  };
  VerifierSet(std::vector<Member> members, size_t main) : members_(std::move(members)), main_(main) {}

  Verdict Grade(const GradeRequest& request) const override {
    Verdict result;
    std::map<std::string, double> channels;
    for (size_t i = 0; i < members_.size(); ++i) {
      if (request.label_only && members_[i].judge && i != main_) continue;
      Verdict verdict = members_[i].verifier->Grade(request);
      for (const auto& [name, value] : verdict.rewards)
        if (!channels.emplace(name, value).second) channels.emplace(members_[i].name + "/" + name, value);
      if (members_[i].listed && verdict.label != Label::kUnknown) channels.emplace(members_[i].name, verdict.soft_label);
      if (i == main_) result = std::move(verdict);
    }
    result.rewards = std::move(channels);
    return result;
  }

 private:
  std::vector<Member> members_;
  size_t main_;
};

}  // namespace

Result<std::unique_ptr<Verifier>> MakeVerifier(const VerifierOptions& given) {
  VerifierOptions options = given;
  if (options.kind.empty()) options.kind = !options.command.empty() ? "command" : !options.url.empty() ? "http" : "exact_match";
  if (options.kind == "command") return MakeCommandVerifier(options);
  if (options.kind == "http") return MakeHttpVerifier(options);
  if (options.kind == "math") return MakeMathVerifier(options);
  if (options.kind == "python_tests") return MakePythonTestsVerifier(options);
  if (std::unique_ptr<Verifier> verifier = MakeBuiltinVerifier(options)) return verifier;
  return Fail(ErrorCode::kInvalidInput, "no such kind of verifier: '" + options.kind + "'", "verifier " + options.name,
              "use exact_match, accepted_set, f1, numeric, choice, math, command, http or python_tests");
}

// A name for a verifier or a judge: a channel that Candor does not fill, and nobody else's.
static Status TakeName(const std::string& name, const std::string& list, std::vector<std::string>& names) {
  if (!IsUserChannel(name))
    return Fail(ErrorCode::kInvalidInput, fmt::format("'{}' cannot be the name of a {}", name, list.substr(2, list.size() - 4)), list,
                "use letters, digits, _ . / and none of the channels that Candor fills itself");
  if (std::find(names.begin(), names.end(), name) != names.end())
    return Fail(ErrorCode::kInvalidInput, "two " + list + " are called '" + name + "'", list, "rename one");
  names.push_back(name);
  return {};
}

static Status AddJudges(const RewardOptions& options, std::vector<std::string>& names, std::vector<VerifierSet::Member>& members) {
  for (const JudgeOptions& judge : options.judges) {
    CANDOR_TRY(TakeName(judge.name, "[[judge]]", names));
    CANDOR_ASSIGN(const JudgeKind kind, KindOfJudge(judge));
    if (kind == JudgeKind::kPairwise) {
      if (judge.name == options.verifier)
        return Fail(ErrorCode::kInvalidInput, "the judge '" + judge.name + "' compares answers, it does not label them",
                    "[reward] verifier", "name a verifier, or a judge of the kind pointwise or steps");
      continue;
    }
    CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeJudge(judge));
    members.push_back({judge.name, true, std::move(verifier), true});
  }
  return {};
}

Result<std::unique_ptr<Verifier>> MakeVerifiers(const RewardOptions& options) {
  std::vector<VerifierSet::Member> members;
  std::vector<std::string> names;
  for (const VerifierOptions& listed : options.verifiers) {
    CANDOR_TRY(TakeName(listed.name, "[[verifier]]", names));
    CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeVerifier(listed));
    members.push_back({listed.name, true, std::move(verifier)});
  }
  CANDOR_TRY(AddJudges(options, names, members));
  const auto named = [&](const VerifierSet::Member& member) { return member.name == options.verifier; };
  const auto main = std::find_if(members.begin(), members.end(), named);
  size_t main_index = static_cast<size_t>(main - members.begin());
  if (options.verifier.empty() && !options.verifiers.empty()) main_index = 0;
  if (main_index == members.size()) {
    VerifierOptions builtin;
    builtin.name = builtin.kind = options.verifier.empty() ? "exact_match" : options.verifier;
    std::vector<std::string> known = names;
    for (const char* kind : {"exact_match", "accepted_set", "f1", "numeric", "choice", "math", "python_tests"}) known.push_back(kind);
    if (std::find(known.begin(), known.end(), builtin.kind) == known.end()) {
      std::string nearest = NearestName(builtin.kind, known);
      return Fail(ErrorCode::kInvalidInput, "no verifier is called '" + builtin.kind + "'", "[reward] verifier",
                  nearest.empty() ? "" : "did you mean '" + nearest + "'?");
    }
    CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeVerifier(builtin));
    members.push_back({builtin.name, false, std::move(verifier)});
  }
  return std::unique_ptr<Verifier>(std::make_unique<VerifierSet>(std::move(members), main_index));
}

Result<std::vector<std::unique_ptr<GroupJudge>>> MakeGroupJudges(const RewardOptions& options) {
  std::vector<std::unique_ptr<GroupJudge>> judges;
  for (const JudgeOptions& judge : options.judges) {
    CANDOR_ASSIGN(const JudgeKind kind, KindOfJudge(judge));
    if (kind != JudgeKind::kPairwise) continue;
    CANDOR_ASSIGN(std::unique_ptr<GroupJudge> made, MakeGroupJudge(judge));
    judges.push_back(std::move(made));
  }
  return judges;
}

}  // namespace candor
