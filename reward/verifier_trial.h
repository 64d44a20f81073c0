// Tries a verifier before a run trusts it: rows with answers that must be right, answers that must be wrong, nothing and nonsense; then
// verdicts and latencies. `candor verifier test` prints it, `candor init` runs it on 20 rows.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reward/verifiers/verifier.h"
#include "text/tags.h"

namespace candor {

struct TrialCase {
  std::string row_id;
  std::string kind;    // "gold", "other row's" (a wrong answer), "empty", "nonsense"
  std::string answer;  // what was submitted
  Verdict verdict;
  double ms = 0.0;
};
struct TrialReport {
  std::vector<TrialCase> cases;
  double p50_ms = 0.0, p99_ms = 0.0;
  int gold = 0, gold_correct = 0;    // accepted answers submitted; called correct
  int wrong = 0, wrong_correct = 0;  // other submissions; called correct nevertheless
  int unknown = 0;
  bool ok() const { return gold > 0 && gold_correct == gold && wrong_correct == 0 && unknown == 0; }
  // Why it is not ok, one line each.
  std::vector<std::string> problems;
};

// Every row's first accepted answer; on the first rows also another row's answer, an empty one and nonsense. A row with an empty set of
// accepted answers gets only wrong submissions.
TrialReport TryVerifier(const Verifier& verifier, std::span<const DataRow> rows, const TagFormat& format);
std::string TrialTable(const TrialReport& report);

// An answer as a completion of the format, as a policy would write it.
std::string CompletionOf(const TagFormat& format, const std::string& answer);

}  // namespace candor
