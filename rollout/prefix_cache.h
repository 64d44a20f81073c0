// Prompts that were computed lately, and the pages that hold their keys and values: a new prompt that begins like one of them (the same
// system prompt, the same examples, the conversation so far) takes the common beginning over instead of computing it again. Integers only.
//
// Keys and values at a position depend on the tokens up to it and on the weights, on nothing else: what is here is of one version of the
// weights (Clear). The cache is one holder among others of its pages and lets go of the prompts that were used longest ago: when there are
// too many, and whenever somebody needs the pages. The trace that took a prompt's last page over writes behind the prompt's positions in
// it; nobody reads those from here. One thread.
#pragma once
#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "rollout/page_pool.h"

namespace candor {

class PrefixCache {
 public:
  static constexpr size_t kMaxPrompts = 64;
  static constexpr int64_t kLeastTokens = 16;  // shorter common beginnings are not worth copying a page

  // Holds at most `max_pages` pages; 0 turns it off.
  PrefixCache(PagePool& pool, int64_t page_tokens, int64_t max_pages);
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Match {
    int64_t tokens = 0;          // the common beginning; at least one token of the prompt is left to compute. 0: nothing worth taking
    std::vector<int32_t> pages;  // those that hold it, the last one perhaps in part
  };
  // The longest beginning that is computed before step `step`, and how much longer one is that `step` computes.
  Match Find(const std::vector<int32_t>& prompt_P, int64_t step);
  int64_t Gain(const std::vector<int32_t>& prompt_P, int64_t step) const;
  // A prompt whose last part step `step` computes, in all its pages.
  void Insert(const std::vector<int32_t>& prompt_P, const std::vector<int32_t>& pages, int64_t step);
  // Pages that would be free if the cache let go of everything.
  int64_t Reclaimable() const;
  // Lets go of the prompt that was used longest ago; false when there is none.
  bool Evict();
  void Clear();

  int64_t pages() const { return static_cast<int64_t>(held_.size()); }

 private:
  struct Entry {
    std::vector<int32_t> prompt_P, pages;
    int64_t step = 0;
  };
  int64_t Common(const Entry& entry, const std::vector<int32_t>& prompt_P) const;
  void Drop(std::list<Entry>::iterator entry);

  PagePool& pool_;
  int64_t page_tokens_, max_pages_;
  std::list<Entry> entries_;                   // the last used first
  std::unordered_map<int32_t, int32_t> held_;  // page: entries that hold it
};

}  // namespace candor
