// Big-Math-RL-Verified (Albalak et al. 2025, arXiv 2502.17387; Hugging Face SynthLabsAI/Big-Math-RL-Verified) as Candor's rows. The
// defaults are "Big-Math-digits" of RLCR (arXiv 2507.16806; the rule as in damanimehul/RLCR data/creation_scripts/big-math-digits.py):
// answers that are one number of fewer than 20 characters, to problems that Llama-3.1-8B solves sometimes, but less than three times in
// four.
//
// Read are records {"problem", "answer", "source", "domain", "llama8b_solve_rate"} as JSON lines or an array.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "text/public_rows.h"

namespace candor {

struct BigMathProblem {
  std::string problem, answer, source;
  std::vector<std::string> domains;
  std::optional<double> solve_rate;
};
Result<BigMathProblem> ReadBigMathProblem(const nlohmann::ordered_json& record, const std::string& where);

struct BigMathOptions {
  std::string file;
  uint64_t seed = 1;
  int64_t train_rows = 30000, dev_rows = 1000, test_rows = 1000;
  double above = 0.0, below = 0.75;  // solve rates that are taken, both ends excluded
  bool any_answer = false;           // not only plain numbers
};
// A plain decimal number, finite: "12", "-0.5", "1e3". Not "1/2", "inf", "1,000".
bool IsPlainNumber(const std::string& text);
// The usable problems in an order that is a function of seed and problem; train first, then dev, then test. No problem, normalised, twice.
Result<PublicRows> PrepareBigMath(const BigMathOptions& options, const QuestionNormaliser& normalise);

}  // namespace candor
