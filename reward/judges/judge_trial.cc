#include "reward/judges/judge_trial.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>

#include "core/thread.h"

namespace candor {

namespace {

constexpr size_t kReasonsKept = 5;

// Calls `one(i)` for every row, on so many threads.
void ForEachRow(size_t rows, int64_t threads, const std::function<void(size_t)>& one) {
  std::atomic<size_t> next = 0;
  std::vector<NamedThread> workers;
  for (int64_t t = 0; t < threads; ++t)
    workers.emplace_back(fmt::format("gold-{}", t), [&] {
      for (size_t i = next++; i < rows; i = next++) one(i);
    });
}

void Count(Rate& rate, bool hit) { ++rate.n, rate.count += hit ? 1 : 0; }

std::string ShowRate(const Rate& rate) {
  if (rate.n == 0) return "none";
  const calibration::Interval interval = rate.interval();
  return fmt::format("{:.3f} [{:.3f}, {:.3f}]  ({} of {})", rate.value(), interval.low, interval.high, rate.count, rate.n);
}

void NoteUnknown(JudgeTrial& trial, const std::string& why) {
  ++trial.unknown;
  if (trial.reasons.size() < kReasonsKept) trial.reasons.push_back(why);
}

std::string CalibrationText(const JudgeTrial& trial) {
  const calibration::CalibrationSummary said = calibration::ComputeSummary(trial.said);
  std::string text = fmt::format(
      "its numbers against the truth: mean {:.3f} where {:.3f} are right; Brier {:.3f}, AUROC {:.3f}, ECE {:.3f} (a calibrated judge: "
      "below "
      "{:.3f})\n",
      said.confidence.mean, said.accuracy.mean, said.brier, said.auroc, said.ece[1], said.ece_null95[1]);
  if (trial.sure.empty()) return text + "its confidence in itself: needs votes >= 2\n";
  const calibration::CalibrationSummary sure = calibration::ComputeSummary(trial.sure);
  return text + fmt::format("its confidence in itself (1 - 2 spread): mean {:.3f} where its verdict is right {:.3f}; AUROC {:.3f}\n",
                            sure.confidence.mean, sure.accuracy.mean, sure.auroc);
}

}  // namespace

calibration::Interval Rate::interval() const { return calibration::WilsonInterval(static_cast<double>(count), static_cast<double>(n)); }

JudgeTrial TryJudge(const JudgeOptions& options, const Verifier& judge, const GoldSet& gold, int64_t threads) {
  JudgeTrial trial;
  const auto start = std::chrono::steady_clock::now();
  std::vector<Verdict> verdicts(gold.rows.size());
  ForEachRow(gold.rows.size(), threads, [&](size_t i) {
    const GoldRow& row = gold.rows[i];
    verdicts[i] = judge.Grade({fmt::format("gold/{}", i), row.row.prompt, row.completion, row.answer, true, &row.row});
  });
  for (size_t i = 0; i < verdicts.size(); ++i) {
    const Verdict& verdict = verdicts[i];
    const GoldRow& row = gold.rows[i];
    ++trial.rows;
    if (verdict.label == Label::kUnknown) {
      NoteUnknown(trial, row.row.id + ": " + verdict.reason);
      continue;
    }
    const bool yes = verdict.label == Label::kCorrect, right = yes == row.correct;
    Count(trial.accuracy, right);
    Count(row.correct ? trial.false_negative : trial.false_positive, !right);
    trial.said.push_back({Confidence::From(verdict.soft_label), row.correct ? 1.0 : 0.0, row.row.prompt});
    if (const auto sure = verdict.rewards.find(options.name + "/confidence"); sure != verdict.rewards.end())
      trial.sure.push_back({Confidence::From(sure->second), right ? 1.0 : 0.0, row.row.prompt});
  }
  trial.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return trial;
}

JudgeTrial TryGroupJudge(const JudgeOptions& options, const GroupJudge& judge, const GoldSet& gold, int64_t threads) {
  JudgeTrial trial;
  const auto start = std::chrono::steady_clock::now();
  std::vector<GroupChannels> channels(gold.rows.size());
  ForEachRow(gold.rows.size(), threads, [&](size_t i) {
    const GoldRow& row = gold.rows[i];
    const bool chosen_first = i % 2 == 0;  // each pair is asked about in both orders anyway
    channels[i] = judge.Judge(
        {i, row.row.prompt, &row.row, {chosen_first ? row.chosen : row.rejected, chosen_first ? row.rejected : row.chosen}, {true, true}});
  });
  for (size_t i = 0; i < channels.size(); ++i) {
    ++trial.rows;
    const auto& chosen = channels[i][i % 2 == 0 ? 0 : 1];
    const auto share = chosen.find(options.name);
    if (share == chosen.end()) {
      NoteUnknown(trial, gold.rows[i].row.id + ": not judged in both orders");
      continue;
    }
    Count(trial.accuracy, share->second > 0.5);
    Count(trial.ties, share->second == 0.5);
    Count(trial.consistent, chosen.at(options.name + "/consistent") == 1.0);
    trial.said.push_back({Confidence::From(share->second), 1.0, gold.rows[i].row.prompt});
  }
  trial.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return trial;
}

std::string JudgeTrialTable(const JudgeTrial& trial, bool pairs) {
  std::string text =
      fmt::format("{} gold rows, {} judged, {} unknown; {:.1f} s\n", trial.rows, trial.accuracy.n, trial.unknown, trial.seconds);
  for (const std::string& reason : trial.reasons) text += "  unknown: " + reason.substr(0, 200) + "\n";
  if (trial.accuracy.n == 0) return text;
  if (pairs)
    return text + fmt::format("prefers the better one  {}\nties                    {}\nboth orders agree       {}\n",
                              ShowRate(trial.accuracy), ShowRate(trial.ties), ShowRate(trial.consistent));
  text += fmt::format("accuracy                {}\nwrong called correct    {}\ncorrect called wrong    {}\n", ShowRate(trial.accuracy),
                      ShowRate(trial.false_positive), ShowRate(trial.false_negative));
  text += CalibrationText(trial);
  const double a = trial.false_positive.value(), b = trial.false_negative.value();
  return text +
         fmt::format(
             "trained on these labels, the best confidence lies in [{:.3f}, {:.3f}]; a confidence or an accuracy c measured by them is "
             "(c - {:.3f})/{:.3f} in truth\n",
             a, 1.0 - b, a, 1.0 - a - b);
}

Result<std::string> NoiseToml(const JudgeTrial& trial, const std::string& judge) {
  const Rate &fp = trial.false_positive, &fn = trial.false_negative;
  if (fp.n == 0 || fn.n == 0)
    return Fail(ErrorCode::kInvalidInput, fmt::format("{} wrong and {} right answers were judged; both rates need some", fp.n, fn.n), "",
                "add gold rows of both kinds, or find out why the judge does not answer");
  if (fp.value() + fn.value() >= 1.0)
    return Fail(ErrorCode::kInvalidInput, fmt::format("the two error rates sum to {:.3f}: its labels say nothing", fp.value() + fn.value()),
                "", "take another judge or another prompt");
  const auto line = [](const char* key, const Rate& rate) {
    const calibration::Interval interval = rate.interval();
    return fmt::format("{} = {:.6f}  # 95 % interval [{:.3f}, {:.3f}], {} of {}\n", key, rate.value(), interval.low, interval.high,
                       rate.count, rate.n);
  };
  return fmt::format("# How often {} errs, measured on a gold set. Read by the channels denoised and denoised_brier.\n[reward]\n", judge) +
         line("label_false_positive", fp) + line("label_false_negative", fn);
}

}  // namespace candor
