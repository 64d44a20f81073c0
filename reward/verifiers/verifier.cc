#include "reward/verifiers/verifier.h"

#include <fmt/format.h>

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
    bool listed = false;  // a [[verifier]]: its label is a channel
    std::unique_ptr<Verifier> verifier;
  };
  VerifierSet(std::vector<Member> members, size_t main) : members_(std::move(members)), main_(main) {}

  Verdict Grade(const GradeRequest& request) const override {
    Verdict result;
    std::map<std::string, double> channels;
    for (size_t i = 0; i < members_.size(); ++i) {
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

Result<std::unique_ptr<Verifier>> MakeVerifiers(const RewardOptions& options) {
  std::vector<VerifierSet::Member> members;
  std::vector<std::string> names;
  size_t main = options.verifiers.size();
  for (const VerifierOptions& listed : options.verifiers) {
    if (!IsUserChannel(listed.name))
      return Fail(ErrorCode::kInvalidInput, "'" + listed.name + "' cannot be a verifier's name", "[[verifier]]",
                  "use letters, digits, _ . / and none of the channels that Candor fills itself");
    for (const std::string& name : names)
      if (name == listed.name)
        return Fail(ErrorCode::kInvalidInput, "two [[verifier]] are called '" + name + "'", "[[verifier]]", "rename one");
    CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeVerifier(listed));
    if (listed.name == options.verifier) main = members.size();
    names.push_back(listed.name);
    members.push_back({listed.name, true, std::move(verifier)});
  }
  if (main == options.verifiers.size()) {
    if (options.verifier.empty() && !members.empty())
      return std::unique_ptr<Verifier>(std::make_unique<VerifierSet>(std::move(members), 0));
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
  return std::unique_ptr<Verifier>(std::make_unique<VerifierSet>(std::move(members), main));
}

}  // namespace candor
