// A judge against a gold set: how often it is right, how often it errs in each direction, and whether its own numbers mean anything. The
// two error rates are what the channels denoised and denoised_brier take (reward/channels.h). `candor judge test` prints it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibration/intervals.h"
#include "calibration/summary.h"
#include "reward/judges/judge.h"
#include "text/tags.h"

namespace candor {

// A completion of which it is known whether it is right; or, for judges of pairs, two of which it is known which is better.
struct GoldRow {
  DataRow row;  // prompt and accepted answers
  std::string completion, answer;
  bool correct = false;
  std::string chosen, rejected;
};
struct GoldSet {
  std::vector<GoldRow> rows;
  int64_t unlabelled = 0;  // left out: their label is unknown
  bool made = false;       // from data rows: each row's own answer, and another row's as a wrong one
};
// JSON lines, each of one of these shapes:
//   {"prompt", "completion", "label": 1 | 0 | true | false | "correct" | "wrong" | "unknown", "answer"?: accepted}
//   {"prompt", "chosen", "rejected", "answer"?}                    for judges of pairs
//   {"question", "text", "answer", "accepted", "label", ..}        what `candor eval --out` writes: the policy's own answers
//   {"prompt", "answer"}                                           data rows
// A completion's answer is what `format` finds in it, else all of it.
Result<GoldSet> ReadGoldSet(const std::string& path, const TagFormat& format, bool pairs, int64_t limit = 0);

// A share of `n`, with its Wilson interval at 95 %.
struct Rate {
  int64_t count = 0, n = 0;
  double value() const { return n > 0 ? static_cast<double>(count) / static_cast<double>(n) : 0.0; }
  calibration::Interval interval() const;
};

struct JudgeTrial {
  int64_t rows = 0, unknown = 0;
  Rate accuracy;                        // of the judged ones
  Rate false_positive, false_negative;  // of the wrong ones, of the right ones
  Rate ties, consistent;                // judges of pairs
  std::vector<calibration::Row> said;   // its mean against the gold label
  std::vector<calibration::Row> sure;   // its confidence in itself against being right; empty with one vote
  std::vector<std::string> reasons;     // of the first few unknown ones
  double seconds = 0.0;
};
// `threads` rows at a time.
JudgeTrial TryJudge(const JudgeOptions& options, const Verifier& judge, const GoldSet& gold, int64_t threads);
JudgeTrial TryGroupJudge(const JudgeOptions& options, const GroupJudge& judge, const GoldSet& gold, int64_t threads);

std::string JudgeTrialTable(const JudgeTrial& trial, bool pairs);
// [reward] label_false_positive and label_false_negative, with their intervals as comments. Errors: nothing was judged, or so little was
// that a rate has no rows; errors so frequent that labels say nothing.
Result<std::string> NoiseToml(const JudgeTrial& trial, const std::string& judge);

}  // namespace candor
