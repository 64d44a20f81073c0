#include "reward/grading_pool.h"

#include <fmt/format.h>

#include "core/fault_point.h"

namespace candor {

GradingPool::GradingPool(const Verifier& verifier, const ScoreRules& rules, int threads, GroupJudges judges)
    : verifier_(verifier), rules_(rules), judges_(std::move(judges)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back(fmt::format("grade-{}", i), [this] { Work(); });
}

GradingPool::~GradingPool() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
    has_work_.notify_all();
  }
  threads_.clear();
}

void GradingPool::Submit(TraceGroup group, const DataRow& row) {
  auto job = std::make_shared<Job>();
  size_t traces = group.traces_G.size();
  job->group = std::move(group);
  job->row = &row;
  job->read_G.resize(traces);
  job->verdicts_G.resize(traces);
  job->left = traces;
  std::scoped_lock lock(mutex_);
  jobs_.push_back(std::move(job));
  has_work_.notify_all();
}

std::optional<ScoredGroup> GradingPool::TakeScored() {
  std::scoped_lock lock(mutex_);
  if (scored_.empty()) return std::nullopt;
  ScoredGroup group = std::move(scored_.front());
  scored_.pop_front();
  return group;
}

void GradingPool::GradeTrace(Job& job, size_t index) const {
  const Trace& trace = job.group.traces_G[index];
  ReadCompletion read = ReadTrace(rules_, trace);
  const bool has_answer = read.format_ok || (rules_.Wants("ungated_accuracy") && !read.answer.empty());
  GradeRequest request{fmt::format("{}/{}", job.group.id.value, index),
                       job.row->prompt,
                       trace.text,
                       read.answer,
                       has_answer,
                       job.row,
                       IsEvaluation(job.group.id)};
  job.verdicts_G[index] = verifier_.Grade(request);
  job.read_G[index] = std::move(read);
}

void GradingPool::JudgeGroup(Job& job) const {
  if (judges_.empty() || IsEvaluation(job.group.id)) return;
  GroupToJudge group{job.group.id.value, job.row->prompt, job.row, {}, {}};
  for (const Trace& trace : job.group.traces_G) group.completions_G.push_back(trace.text), group.plays_G.push_back(!trace.greedy);
  for (const auto& judge : judges_) {
    const GroupChannels channels_G = judge->Judge(group);
    for (size_t i = 0; i < channels_G.size(); ++i) job.verdicts_G[i].rewards.insert(channels_G[i].begin(), channels_G[i].end());
  }
}

RowFacts GradingPool::FactsOf(const DataRow& row) const {
  RowFacts facts;
  if (!rules_.baseline_field.empty() && (rules_.Wants("contrast") || rules_.Wants("baseline")))
    facts.baseline = ReadBaseline(row.json, rules_.baseline_field);
  if (rules_.Wants("reference_length") && !row.answers.empty()) facts.reference_characters = CountCharacters(row.answers.front());
  return facts;
}

void GradingPool::Work() {
  for (;;) {
    std::shared_ptr<Job> job;
    size_t index = 0;
    {
      std::unique_lock lock(mutex_);
      has_work_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = jobs_.front();
      index = job->next++;
      if (job->next == job->group.traces_G.size()) jobs_.pop_front();
    }
    GradeTrace(*job, index);
    FaultPoint("reward.score");
    if (job->left.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
    JudgeGroup(*job);
    ScoredGroup scored = ScoreGroup(rules_, std::move(job->group), job->read_G, job->verdicts_G, FactsOf(*job->row));
    std::scoped_lock lock(mutex_);
    scored_.push_back(std::move(scored));
  }
}

}  // namespace candor
