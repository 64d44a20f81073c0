// What decides whether an answer is right. Three states: correct, wrong, unknown; unknown means that the verifier failed, and is never
// counted as wrong.
//
// Thread rule: Grade may be called from many threads at once. It always returns, within the verifier's own deadline; whatever goes wrong
// inside becomes an unknown with a reason.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/trace.h"
#include "reward/options.h"
#include "text/rows.h"

namespace candor {

class GroupJudge;  // reward/judges/judge.h

struct GradeRequest {
  std::string id;           // unique among the requests in flight: "<group>/<trace>"
  std::string_view prompt;  // the question as text
  std::string_view completion;
  std::string_view answer;  // the parsed answer; meaningless unless has_answer
  bool has_answer = false;  // false: the format did not hold. Built-in verifiers call it wrong; the user's own still see the completion.
  const DataRow* row = nullptr;
  bool label_only = false;  // an evaluation: judges whose label does not count need not be asked
};

struct Verdict {
  Label label = Label::kUnknown;
  double soft_label = 0.0;                // in [0, 1]
  std::map<std::string, double> rewards;  // finite; each becomes a channel
  std::string reason;                     // why: always set when unknown
};

inline Verdict UnknownVerdict(std::string reason) { return {Label::kUnknown, 0.0, {}, std::move(reason)}; }
inline Verdict BinaryVerdict(bool correct, std::string reason = "") {
  return {correct ? Label::kCorrect : Label::kWrong, correct ? 1.0 : 0.0, {}, std::move(reason)};
}

class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual Verdict Grade(const GradeRequest& request) const = 0;
};

// Errors: a kind that needs a command or url and has none, a program that does not exist.
Result<std::unique_ptr<Verifier>> MakeVerifier(const VerifierOptions& options);

// All of a recipe's verifiers, and its judges of single completions and steps, as one: the label is the main one's; every reward is a
// channel, and so is each [[verifier]]'s and [[judge]]'s own soft label under its name. A reward name that two verifiers use is
// "<verifier>/<name>" for the later one.
Result<std::unique_ptr<Verifier>> MakeVerifiers(const RewardOptions& options);
// Its judges of pairs, which look at whole groups.
Result<std::vector<std::unique_ptr<GroupJudge>>> MakeGroupJudges(const RewardOptions& options);

}  // namespace candor
