// Judges: models that say what they think of an answer (DeepSeek-GRM, RRM, RM-R1, StepWiser, GenPRM, ThinkPRM: recipes/judges/). One
// interface for all: what is asked and how it is read is a file (judge_file.h), who is asked is an endpoint (judge_client.h).
//
// A judge of single completions or of their steps is a verifier: its mean is the soft label and, under its name, a channel. A judge of
// pairs looks at a whole group. A judge that does not answer, or not readably, leaves its channels out and its label unknown: never wrong.
//
// Channels of a judge called J (all in [0, 1], but for counts):
//   pointwise  J the mean of its votes; J/spread their standard deviation and J/confidence 1 - 2 spread (from two votes on); J/answered the
//              share of votes that could be read
//   steps      J, and J/min, J/mean, J/product over the verdicts on the steps; J/steps how many there are
//   pairwise   J the score of a tournament within the group (votes.h), each pair asked about in both orders; J/consistent the share of a
//              trace's games in which both orders agree; J/games how many were judged. Greedy traces do not play
// Thread rule: as of a verifier.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reward/judges/judge_client.h"
#include "reward/judges/judge_file.h"
#include "reward/judges/judge_options.h"
#include "reward/verifiers/verifier.h"

namespace candor {

// A judge of completions or steps. Errors: its file, its address, its key, settings that do not go together.
Result<std::unique_ptr<Verifier>> MakeJudge(const JudgeOptions& options);

struct GroupToJudge {
  uint64_t id = 0;
  std::string_view prompt;
  const DataRow* row = nullptr;
  std::vector<std::string_view> completions_G;
  std::vector<bool> plays_G;  // false: is left out
};
using GroupChannels = std::vector<std::map<std::string, double>>;  // by trace

class GroupJudge {
 public:
  virtual ~GroupJudge() = default;
  virtual GroupChannels Judge(const GroupToJudge& group) const = 0;
};
Result<std::unique_ptr<GroupJudge>> MakeGroupJudge(const JudgeOptions& options);

// Which of the two makers takes it; the settings are checked.
Result<JudgeKind> KindOfJudge(const JudgeOptions& options);
// Every channel that it can fill.
std::vector<std::string> ChannelsOfJudge(const JudgeOptions& options, JudgeKind kind);

}  // namespace candor
