// E-process, CUSUM, Page-Hinkley.
#include "calibration/sequential.h"

#include <algorithm>
#include <cmath>

namespace candor::calibration {
namespace {

// ln of the mean of e^x over both arrays.
double MeanExp(const std::array<double, 8>& a, const std::array<double, 8>* b) {
  double sum = 0.0;
  for (double x : a) sum += std::exp(x);
  if (b != nullptr)
    for (double x : *b) sum += std::exp(x);
  return sum / (b != nullptr ? 16.0 : 8.0);
}

}  // namespace

void EProcess::AddPrompt(const Points& rollouts) {
  if (rollouts.empty()) return;
  double level = 0.0, tilt = 0.0;
  for (const Point& point : rollouts) {
    const double residual = (point.y - point.p) / static_cast<double>(rollouts.size());
    level += residual;
    tilt += point.p > 0.5 ? residual : point.p < 0.5 ? -residual : 0.0;
  }
  for (size_t i = 0; i < kBets.size(); ++i) {
    log_level_[i] += std::log1p(kBets[i] * level);
    log_tilt_[i] += std::log1p(kBets[i] * tilt);
  }
  ++prompts_;
  UpdateMax();
}

void EProcess::Merge(const EProcess& other) {
  for (size_t i = 0; i < kBets.size(); ++i) {
    log_level_[i] += other.log_level_[i];
    log_tilt_[i] += other.log_tilt_[i];
  }
  prompts_ += other.prompts_;
  UpdateMax();
}

void EProcess::UpdateMax() {
  max_e_ = std::max(max_e_, e());
  max_level_e_ = std::max(max_level_e_, level_e());
}

double EProcess::e() const { return MeanExp(log_level_, &log_tilt_); }
double EProcess::level_e() const { return MeanExp(log_level_, nullptr); }

EProcessRun RunEProcess(const Points& points, double alpha, bool with_tilt) {
  EProcess process;
  EProcessRun run;
  for (const auto& members : ClusterMembers(points)) {
    Points rollouts;
    for (size_t i : members) rollouts.push_back(points[i]);
    process.AddPrompt(rollouts);
    run.final_e = with_tilt ? process.e() : process.level_e();
    if (run.first_alarm < 0 && run.final_e >= 1.0 / alpha) run.first_alarm = process.prompts() - 1;
  }
  run.max_e = with_tilt ? process.max_e() : process.max_level_e();
  return run;
}

bool Cusum::Add(double x) {
  sum_ = std::max(0.0, sum_ + (x - mean_) / sd_ - k_);
  return sum_ > h_;
}

bool PageHinkley::Add(double x) {
  ++count_;
  mean_ += (x - mean_) / static_cast<double>(count_);
  up_ = options_.alpha * up_ + (x - mean_ - options_.delta);
  down_ = options_.alpha * down_ + (x - mean_ + options_.delta);
  up_min_ = std::min(up_min_, up_);
  down_max_ = std::max(down_max_, down_);
  const bool detected = count_ >= options_.min_instances && (up_ - up_min_ > options_.threshold || down_max_ - down_ > options_.threshold);
  if (detected) *this = PageHinkley(options_);
  return detected;
}

}  // namespace candor::calibration
