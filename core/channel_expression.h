// What an objective learns from, as text: a sum of named reward channels such as "accuracy", "accuracy + brier" or "0.5*format +
// 0.5*accuracy + 0.5*brier".
//
//   expression = term { ("+" | "-") term }      term = factor { "*" factor }      factor = number | name | "-" factor | "(" expression ")"
//   name       = letter or "_", then letters, digits, "_", "." or "/"
//
// These names stand for published rewards and are expanded when parsed (q = confidence, a = correct, F = format held; RLCR is arXiv
// 2507.16806):
//   rlcr_paper  accuracy + brier - 1                      R = a - (q - a)^2, from -1 to 1; an invalid completion gets the least, -1
//   rlcr_code   0.5*format + 0.5*accuracy + 0.5*brier     the weights of damanimehul/RLCR configs/Qwen-7B/*/RLCR.yaml; an invalid
//   completion gets 0, the worst valid one 0.5 rlvr_code   0.5*format + 0.5*accuracy                 the same code's baseline
//   sayself     2*brier - 1                               1 - 2 (a - q)^2, no accuracy in it (a negative control); an invalid completion -1
//   rewarding_doubt  10*((log + 3.4538776)/3.4528771 + 0.25*accuracy), an invalid completion -30 (arXiv 2503.02623, scale 10)
//   dcpo_paper  hybrid_gap                                -|q - t|, t half the answer's label, half the group's mean (arXiv 2603.09117)
//   dcpo_code   0.5*hybrid_brier                          -0.5 (q - t)^2, as icip-cas/DCPO computes it; nothing stated is q = -1
//   truthrl     2*accuracy + abstained - 1                correct 1, abstained 0, wrong -1 (arXiv 2509.25760)
//   rlpr_paper  0.9*rlpr + 0.1*format                     the weights of OpenBMB/RLPR reproduce_qwen.sh
//   rlsf_verbal 2*accuracy*confidence - confidence - (1 - format)   the stated confidence for a right answer, minus it for a wrong one: a
//   reading of RLSF (arXiv 2507.21931) that pays for 0 and 1 only; an invalid completion gets the least, -1
//
// The value of a trace is missing (nullopt) when any channel it names is missing: an unknown label is never a zero. Pure, any thread.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

// Channels that are the policy's own view of its answer (reward/policy_channels.h): known whatever a verifier says.
const std::vector<std::string>& PolicyChannels();

class ChannelExpression {
 public:
  // Errors show the text with the place of the fault.
  static Result<ChannelExpression> Parse(std::string_view text);

  // nullopt when a channel is missing or the value is not finite.
  std::optional<double> Evaluate(const std::map<std::string, double>& channels) const;
  // The channels it reads, each once, in order of first use.
  const std::vector<std::string>& names() const { return names_; }
  // No verifier has a part in its value: it reads the policy's own view of its answer (PolicyChannels), and beside that only format,
  // confidence and abstained.
  bool NeedsNoLabel() const;
  const std::string& text() const { return text_; }

 private:
  friend class ChannelExpressionParser;
  enum class Op : unsigned char { kNumber, kChannel, kAdd, kSubtract, kMultiply, kNegate };
  struct Instruction {
    Op op;
    double number = 0.0;  // kNumber
    size_t channel = 0;   // kChannel: index into names_
  };
  ChannelExpression() = default;

  std::string text_;
  std::vector<std::string> names_;
  std::vector<Instruction> program_;  // postfix
};

}  // namespace candor
