// Watching calibration over a run: tests that may be looked at after every prompt, and change detectors for a stream of numbers.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "calibration/rows.h"

namespace candor::calibration {

inline constexpr std::array<double, 8> kBets = {-0.9, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 0.9};

// Betting against calibration. Under it E[y - p | past] = 0, so prod(1 + bet * s(p) (y - p)) is a fair game's wealth; e is the mean wealth
// of 16 games: 8 bets on the level (s = 1) and 8 on the tilt (s = sign(p - 1/2)), which catch over-confidence at the top that hides
// under-confidence at the bottom. P(e ever reaches 1 / alpha) <= alpha, whenever one looks (Ville; Ramdas et al., arXiv 2210.01948). One
// factor per PROMPT, 1 + bet * mean_i s(p_i)(y_i - p_i), at the prompt's first visit only: rollouts of one prompt are not independent, and
// a factor for each of them raises false alarms far above alpha. Log wealths are sums, so that workers' processes merge.
class EProcess {
 public:
  // All rows of one prompt's visit. The caller sees to it that a prompt comes once.
  void AddPrompt(const Points& rollouts);
  // The other's prompts after this one's; the running maximum is then only a lower bound.
  void Merge(const EProcess& other);

  double e() const;        // level and tilt
  double level_e() const;  // level bets alone
  double max_e() const { return max_e_; }
  double max_level_e() const { return max_level_e_; }
  int64_t prompts() const { return prompts_; }
  const std::array<double, 8>& log_level() const { return log_level_; }
  const std::array<double, 8>& log_tilt() const { return log_tilt_; }

 private:
  void UpdateMax();
  std::array<double, 8> log_level_{}, log_tilt_{};
  int64_t prompts_ = 0;
  double max_e_ = 1.0, max_level_e_ = 1.0;
};

struct EProcessRun {
  double final_e = 1.0, max_e = 1.0;
  int64_t first_alarm = -1;  // index of the prompt at which e first reached 1 / alpha; -1: never
};
// Over the points in order, each cluster one factor at its first appearance.
EProcessRun RunEProcess(const Points& points, double alpha = 0.05, bool with_tilt = true);

// One-sided cumulative sum in units of sd: s = max(0, s + (x - mean) / sd - k), alarm when s > h.
class Cusum {
 public:
  Cusum(double mean, double sd, double k = 0.5, double h = 5.0) : mean_(mean), sd_(sd), k_(k), h_(h) {}
  bool Add(double x);  // true at and after an alarm
  double value() const { return sum_; }

 private:
  double mean_, sd_, k_, h_, sum_ = 0.0;
};

// Page-Hinkley test for a rising mean; starts afresh after a detection.
class PageHinkley {
 public:
  struct Options {
    int min_instances = 30;
    double delta = 0.005, threshold = 1.0, alpha = 0.9999;
  };
  PageHinkley() : PageHinkley(Options()) {}
  explicit PageHinkley(Options options) : options_(options) {}
  bool Add(double x);  // true when a change is detected at x

 private:
  Options options_;
  double mean_ = 0.0, up_ = 0.0, up_min_ = 0.0, down_ = 0.0, down_max_ = 0.0;
  int64_t count_ = 0;
};

}  // namespace candor::calibration
