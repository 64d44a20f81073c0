#include "rollout/scheduler.h"

#include <algorithm>

#include "core/check.h"

namespace candor {

namespace {

constexpr int64_t kPrefixShare = 8;  // the prefix cache holds at most one page of this many

}  // namespace

BatchScheduler::BatchScheduler(const SchedulerOptions& options)
    : options_(options),
      pool_(options.pages),
      prefixes_(pool_, options.page_tokens, options.share_prefixes ? options.pages / kPrefixShare : 0) {}

Status BatchScheduler::Submit(GroupKey key, std::vector<int32_t> prompt_P, int32_t traces, int64_t trace_tokens) {
  CANDOR_CHECK(!prompt_P.empty() && traces > 0 && trace_tokens > 0 && groups_.count(key) == 0);
  GroupState group;
  group.prompt_P = std::move(prompt_P), group.trace_tokens = trace_tokens;
  const int64_t prompt_tokens = group.prompt_tokens();
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
  ++step_;
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
      if (queue_.empty() || wanted >= places) return;
      if (prefixes_.Gain(groups_.at(queue_.front()).prompt_P, step_) >= PrefixCache::kLeastTokens) return;
      if (!Admit(queue_.front(), plan)) return;
      wanted += groups_.at(prefilling_.front()).open;
    }
    // Prompts go one after the other, so the first to arrive is the first to start.
    const GroupKey key = prefilling_.front();
    GroupState& group = groups_.at(key);
    const int64_t rows = std::min(budget, group.prompt_tokens() - group.computed);
    plan.prefill.push_back({key, group.computed, rows, group.computed + rows == group.prompt_tokens()});
    group.computed += rows;
    budget -= rows;
    if (!plan.prefill.back().last) continue;
    if (group.weights == weights_) prefixes_.Insert(group.prompt_P, group.prompt_pages, step_);
    prefilling_.pop_front();
  }
}

bool BatchScheduler::Promise(int64_t pages) {
  if (pages > pool_.available() && pages > pool_.available() + prefixes_.Reclaimable()) return false;
  while (!pool_.Promise(pages)) CANDOR_CHECK(prefixes_.Evict(), "the prefix cache gave back fewer pages than it counted");
  return true;
}

bool BatchScheduler::Admit(GroupKey key, Plan& plan) {
  GroupState& group = groups_.at(key);
  const PrefixCache::Match match = prefixes_.Find(group.prompt_P, step_);
  const auto whole = static_cast<size_t>(match.tokens / options_.page_tokens);
  group.prompt_pages.assign(match.pages.begin(), match.pages.begin() + static_cast<std::ptrdiff_t>(whole));
  for (int32_t page : group.prompt_pages) pool_.Share(page);  // held before anything is let go of
  const int64_t own_pages = PagesFor(group.prompt_tokens()) - static_cast<int64_t>(whole);
  group.next_promise = TracePages(group);
  if (!Promise(own_pages + group.next_promise)) {
    for (int32_t page : group.prompt_pages) pool_.Release(page);
    group.prompt_pages.clear();
    group.next_promise = 0;
    return false;
  }
  for (int64_t i = 0; i < own_pages; ++i) group.prompt_pages.push_back(pool_.TakePromised());
  // The page in which the two part. It may have been let go of just now; whoever gets it writes to it after this copy.
  if (match.pages.size() > whole && match.pages[whole] != group.prompt_pages[whole])
    plan.copies.push_back({match.pages[whole], group.prompt_pages[whole]});
  group.computed = match.tokens;
  group.weights = weights_;
  reused_tokens_ += match.tokens;
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
  } else if (!Promise(wanted)) {
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
    if (group.unstarted == 0) {  // no other trace will read it: take the page itself
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
    CANDOR_CHECK(Promise(group.next_promise), "a trace gave back fewer pages than it was promised");
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

void BatchScheduler::ForgetPrefixes() {
  prefixes_.Clear();
  ++weights_;
}

}  // namespace candor
