// A way to judge, as data: what a judge is asked and how its answer is read. Shipped ones lie in recipes/judges/; a user's own is a TOML
// file of the same shape (docs/formats.md). Reading one checks all of it, so that a template which cannot be filled is found before a run.
//
// A text of the template may hold {prompt}, {completion}, {answer}, {reference}, for pairs {first} and {second}, for steps {steps}, {step},
// {before}, for a meta judge {critique}. Behind a letter, as in \boxed{step}, a brace is a brace. They are replaced in one pass: what a
// policy wrote is never read as a template. Pure apart from reading the file; any thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace re2 {
class RE2;
}

namespace candor {

enum class JudgeKind : uint8_t {
  kPointwise,  // one completion at a time
  kPairwise,   // two completions: which is better
  kSteps,      // the steps of one completion
  kMeta,       // a critique: how far is it to be trusted
};
const char* Name(JudgeKind kind);

enum class VerdictForm : uint8_t { kNumber, kWord, kProbability };

struct JudgeFile {
  std::string path, about;
  JudgeKind kind = JudgeKind::kPointwise;
  std::string system, user;
  bool runs_code = false;                 // a program in an answer is run, and the judge goes on from what it printed
  std::string after_code;                 // kept for what it is asked then, with {output}
  bool ask_each_step = false;             // kSteps: a question per step, else one for all
  std::shared_ptr<const re2::RE2> split;  // kSteps: what stands between two steps
  VerdictForm form = VerdictForm::kWord;
  std::shared_ptr<const re2::RE2> pattern;           // one group: the verdict (shared: RE2 cannot be copied)
  bool first = false;                                // of several matches the first counts, not the last
  double least = 0.0, most = 1.0;                    // kNumber: mapped to 0 and 1; outside is unreadable
  std::vector<std::string> positive, negative, tie;  // kWord and kProbability, lower case; a tie is 1/2
};

Result<JudgeFile> ReadJudgeFile(const std::string& path);
Result<JudgeFile> ParseJudgeFile(std::string_view text, const std::string& name);

using JudgeFields = std::map<std::string, std::string, std::less<>>;
// The text with its placeholders replaced.
std::string FillJudgeTemplate(std::string_view text, const JudgeFields& fields);
// The steps of a completion, white space around them and empty ones left out. At most kMaxJudgedSteps: what follows belongs to the last.
std::vector<std::string> SplitSteps(const JudgeFile& file, std::string_view completion);
inline constexpr size_t kMaxJudgedSteps = 64;

// A token of an answer with what else could have stood there.
struct AnswerToken {
  std::string text;
  double log_prob = 0.0;
  std::vector<std::pair<std::string, double>> top;
};
struct JudgeAnswer {
  std::string text;
  std::vector<AnswerToken> tokens;  // where the form is kProbability
};
// The first ```python block of an answer, and the answer up to its end; nullopt where there is none. What a judge says behind its code it
// says without having seen what the code prints.
struct WrittenProgram {
  std::string code, said;
};
std::optional<WrittenProgram> ProgramIn(std::string_view answer);

// In [0, 1]; nullopt: the answer cannot be read, which is not a no.
std::optional<double> ReadVerdict(const JudgeFile& file, const JudgeAnswer& answer);
// One number per step, where all steps were asked about at once; nullopt unless there are exactly `steps`.
std::optional<std::vector<double>> ReadStepVerdicts(const JudgeFile& file, const JudgeAnswer& answer, size_t steps);

}  // namespace candor
