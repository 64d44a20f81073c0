// Continuous batching as integers: which traces run in the next step, which part of which prompt is computed beside them, which pages they
// use. Knows no tensors.
//
// A group's prompt is computed once, in chunks within the step's token budget; its pages are then shared by the group's traces. The last
// prompt page, when only partly filled, is copied for each trace that starts (copy-on-write; the last to start takes the page itself). What
// a prompt has in common with an earlier one is taken over from it (prefix_cache.h): whole pages are shared, the one in which they part is
// copied. A prompt that begins like one which is being computed in this step waits for the next one. A trace is promised all the pages it
// can ever need when it starts, so nothing is ever preempted. Prompts are computed a little ahead of the places, so that a place that
// becomes free is taken in the next step. Nobody waits for ever: a group whose prompt is in the cache and that still has traces to start
// either has a trace running or holds the promise for its next one. One thread.
#pragma once
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "rollout/page_pool.h"
#include "rollout/prefix_cache.h"

namespace candor {

struct SchedulerOptions {
  int64_t max_batch = 64;
  int64_t page_tokens = 32;
  int64_t pages = 1;
  int64_t prefill_tokens = 512;
  bool share_prefixes = true;  // a prompt takes over what an earlier one has in common with it
};

class BatchScheduler {
 public:
  using GroupKey = int64_t;
  struct TraceKey {
    GroupKey group = 0;
    int32_t index = 0;
    friend bool operator==(const TraceKey&, const TraceKey&) = default;
  };
  struct PrefillChunk {
    GroupKey group = 0;
    int64_t begin = 0;  // first prompt position of the chunk
    int64_t rows = 0;
    bool last = false;  // the prompt is complete after it
  };
  struct PageCopy {
    int32_t from = 0;
    int32_t to = 0;
  };
  struct Plan {
    std::vector<TraceKey> running;  // every trace in the batch, in order of joining
    std::vector<TraceKey> joined;   // those that joined now
    std::vector<PageCopy> copies;   // to be done before the step
    std::vector<PrefillChunk> prefill;
  };

  explicit BatchScheduler(const SchedulerOptions& options);

  // `trace_tokens`: the most tokens each trace can hold. Refused when it could never fit into the cache.
  Status Submit(GroupKey group, std::vector<int32_t> prompt_P, int32_t traces, int64_t trace_tokens);
  // Starts waiting traces, admits prompts. The prefill chunks count as done when the next plan is asked for.
  Plan Next();
  // After a group's last chunk: the trace needs steps of its own (it waits for a place), or it ended on its first token.
  void Await(TraceKey trace);
  void Skip(TraceKey trace);
  // Makes room for `positions` positions of a running trace and gives its pages.
  const std::vector<int32_t>& Grow(TraceKey trace, int64_t positions);
  const std::vector<int32_t>& PromptPages(GroupKey group) const;
  // A running trace leaves; its pages go back.
  void Finish(TraceKey trace);
  // Takes a group and all its traces out, whatever they are doing.
  void Cancel(GroupKey group);
  // New weights: what has been computed is nothing to take over any more. Running groups keep theirs.
  void ForgetPrefixes();

  const PagePool& pool() const { return pool_; }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting_groups() const { return static_cast<int64_t>(queue_.size()); }
  int64_t waiting_traces() const { return static_cast<int64_t>(ready_.size()); }
  int64_t joins() const { return joins_; }
  int64_t leaves() const { return leaves_; }
  // Pages of running traces and of prompts on their way; pages that only wait for a prompt that begins like theirs are not among them.
  int64_t pages_in_use() const { return pool_.used() - prefixes_.Reclaimable(); }
  int64_t reused_tokens() const { return reused_tokens_; }  // prompt tokens taken over from earlier prompts
  bool idle() const { return groups_.empty(); }

 private:
  struct TraceState {
    std::vector<int32_t> pages;
    int64_t promised = 0;  // pages it may still take
  };
  struct GroupState {
    std::vector<int32_t> prompt_P;
    int64_t trace_tokens = 0;
    int64_t computed = 0;  // prompt positions taken over or planned so far
    int64_t weights = 0;   // which weights began it
    std::vector<int32_t> prompt_pages;
    int64_t next_promise = 0;  // pages held back for the next trace to start
    int32_t running = 0;
    int32_t unstarted = 0;  // traces that have neither started nor been skipped
    int32_t open = 0;       // traces that have not ended
    std::vector<TraceState> traces;

    int64_t prompt_tokens() const { return static_cast<int64_t>(prompt_P.size()); }
  };

  int64_t PagesFor(int64_t positions) const { return (positions + options_.page_tokens - 1) / options_.page_tokens; }
  int64_t SharedPages(const GroupState& group) const { return group.prompt_tokens() / options_.page_tokens; }
  int64_t TracePages(const GroupState& group) const { return PagesFor(group.prompt_tokens() + group.trace_tokens) - SharedPages(group); }
  // A promise, for which the prefix cache lets go of pages if it must.
  bool Promise(int64_t pages);
  bool Start(TraceKey key, Plan& plan);
  bool Admit(GroupKey key, Plan& plan);
  void PlanPrefill(Plan& plan);
  void DropUnstarted(GroupState& group);
  void CloseTrace(GroupKey key);

  SchedulerOptions options_;
  PagePool pool_;
  PrefixCache prefixes_;
  std::unordered_map<GroupKey, GroupState> groups_;
  std::deque<GroupKey> queue_;       // not admitted yet
  std::deque<GroupKey> prefilling_;  // admitted, prompt not complete
  std::deque<TraceKey> ready_;       // wait for a place in the batch
  std::vector<TraceKey> running_;
  int64_t joins_ = 0, leaves_ = 0, reused_tokens_ = 0;
  int64_t step_ = 0;     // plans so far
  int64_t weights_ = 0;  // counts ForgetPrefixes
};

}  // namespace candor
