#include "rollout/scheduler.h"

#include <algorithm>

#include "core/check.h"

namespace candor {

BatchScheduler::BatchScheduler(const SchedulerOptions& options) : options_(options), pool_(options.pages) {}

Status BatchScheduler::Submit(GroupKey key, int64_t prompt_tokens, int32_t traces, int64_t trace_tokens) {
  CANDOR_CHECK(prompt_tokens > 0 && traces > 0 && trace_tokens > 0 && groups_.count(key) == 0);
  GroupState group;
  group.prompt_tokens = prompt_tokens, group.trace_tokens = trace_tokens;
  const int64_t needed = PagesFor(prompt_tokens) + TracePages(group);
  if (needed > pool_.total())
    return Fail(ErrorCode::kInvalidInput,
                "a prompt of " + std::to_string(prompt_tokens) + " tokens with up to " + std::to_string(trace_tokens) + " new ones needs " +
                    std::to_string(needed) + " cache pages of " + std::to_string(options_.page_tokens) + " positions, but there are " +
                    std::to_string(pool_.total()),
                "", "raise rollout.kv_memory_mb or lower rollout.max_new_tokens");
  group.unstarted = group.open = traces;
  group.traces.resize(static_cast<size_t>(traces));
  groups_.emplace(key, std::move(group));
  queue_.push_back(key);
  return {};
}

BatchScheduler::Plan BatchScheduler::Next() {
  Plan plan;
  while (!ready_.empty() && running() < options_.max_batch && Start(ready_.front(), plan)) ready_.pop_front();
  plan.running = running_;
  PlanPrefill(plan);
  return plan;
}

void BatchScheduler::PlanPrefill(Plan& plan) {
  int64_t budget = options_.prefill_tokens;
  int64_t wanted = running() + waiting_traces();  // places, counting every trace whose prompt is computed or about to be
  for (GroupKey key : prefilling_) wanted += groups_.at(key).open;
  const int64_t places = options_.max_batch + options_.max_batch / 8;
  while (budget > 0) {
    if (prefilling_.empty()) {
      if (queue_.empty() || wanted >= places || !Admit(queue_.front())) return;
      wanted += groups_.at(prefilling_.front()).open;
    }
    // Prompts go one after the other, so the first to arrive is the first to start.
    const GroupKey key = prefilling_.front();
    GroupState& group = groups_.at(key);
    const int64_t rows = std::min(budget, group.prompt_tokens - group.computed);
    plan.prefill.push_back({key, group.computed, rows, group.computed + rows == group.prompt_tokens});
    group.computed += rows;
    budget -= rows;
    if (plan.prefill.back().last) prefilling_.pop_front();
  }
}

bool BatchScheduler::Admit(GroupKey key) {
  GroupState& group = groups_.at(key);
  const int64_t prompt_pages = PagesFor(group.prompt_tokens);
  group.next_promise = TracePages(group);
  if (!pool_.Promise(prompt_pages + group.next_promise)) {
    group.next_promise = 0;
    return false;
  }
  for (int64_t i = 0; i < prompt_pages; ++i) group.prompt_pages.push_back(pool_.TakePromised());
  queue_.pop_front();
  prefilling_.push_back(key);
  return true;
}

void BatchScheduler::Await(TraceKey trace) { ready_.push_back(trace); }

void BatchScheduler::Skip(TraceKey trace) {
  GroupState& group = groups_.at(trace.group);
  --group.unstarted;
  if (group.unstarted == 0) DropUnstarted(group);
  CloseTrace(trace.group);
}

bool BatchScheduler::Start(TraceKey key, Plan& plan) {
  GroupState& group = groups_.at(key.group);
  TraceState& trace = group.traces[static_cast<size_t>(key.index)];
  const int64_t wanted = TracePages(group);
  if (group.next_promise > 0) {
    group.next_promise = 0;  // handed over
  } else if (!pool_.Promise(wanted)) {
    return false;
  }
  trace.promised = wanted;
  const auto shared = static_cast<size_t>(SharedPages(group));
  for (size_t i = 0; i < shared; ++i) {
    pool_.Share(group.prompt_pages[i]);
    trace.pages.push_back(group.prompt_pages[i]);
  }
  --group.unstarted;
  ++group.running;
  if (shared < group.prompt_pages.size()) {
    const int32_t partial = group.prompt_pages[shared];
    if (group.unstarted == 0) {  // nobody else will read it: take the page itself
      trace.pages.push_back(partial);
      group.prompt_pages.pop_back();
      pool_.TakeBack(1);
      --trace.promised;
    } else {
      trace.pages.push_back(pool_.TakePromised());
      --trace.promised;
      plan.copies.push_back({partial, trace.pages.back()});
    }
  }
  if (group.unstarted == 0) DropUnstarted(group);
  running_.push_back(key);
  plan.joined.push_back(key);
  ++joins_;
  return true;
}

// No further trace will start: the group itself lets go of its prompt.
void BatchScheduler::DropUnstarted(GroupState& group) {
  for (int32_t page : group.prompt_pages) pool_.Release(page);
  group.prompt_pages.clear();
  pool_.TakeBack(group.next_promise);
  group.next_promise = 0;
}

const std::vector<int32_t>& BatchScheduler::Grow(TraceKey key, int64_t positions) {
  TraceState& trace = groups_.at(key.group).traces[static_cast<size_t>(key.index)];
  while (static_cast<int64_t>(trace.pages.size()) < PagesFor(positions)) {
    CANDOR_CHECK(trace.promised > 0, "a trace grew beyond what it was promised");
    --trace.promised;
    trace.pages.push_back(pool_.TakePromised());
  }
  return trace.pages;
}

const std::vector<int32_t>& BatchScheduler::PromptPages(GroupKey group) const { return groups_.at(group).prompt_pages; }

void BatchScheduler::Finish(TraceKey key) {
  TraceState& trace = groups_.at(key.group).traces[static_cast<size_t>(key.index)];
  for (int32_t page : trace.pages) pool_.Release(page);
  trace.pages.clear();
  pool_.TakeBack(trace.promised);
  trace.promised = 0;
  GroupState& group = groups_.at(key.group);
  if (--group.running == 0 && group.unstarted > 0) {  // what this trace gave back is kept for the group's next one
    group.next_promise = TracePages(group);
    CANDOR_CHECK(pool_.Promise(group.next_promise), "a trace gave back fewer pages than it was promised");
  }
  running_.erase(std::find(running_.begin(), running_.end(), key));
  ++leaves_;
  CloseTrace(key.group);
}

void BatchScheduler::CloseTrace(GroupKey key) {
  if (--groups_.at(key).open == 0) groups_.erase(key);
}

void BatchScheduler::Cancel(GroupKey key) {
  auto it = groups_.find(key);
  if (it == groups_.end()) return;
  GroupState& group = it->second;
  const auto size_before = running_.size();
  for (TraceState& trace : group.traces) {
    for (int32_t page : trace.pages) pool_.Release(page);
    pool_.TakeBack(trace.promised);
  }
  DropUnstarted(group);
  std::erase_if(running_, [&](const TraceKey& k) { return k.group == key; });
  leaves_ += static_cast<int64_t>(size_before - running_.size());
  std::erase_if(ready_, [&](const TraceKey& k) { return k.group == key; });
  std::erase(queue_, key);
  std::erase(prefilling_, key);
  groups_.erase(it);
}

}  // namespace candor
