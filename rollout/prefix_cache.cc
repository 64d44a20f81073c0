#include "rollout/prefix_cache.h"

#include <algorithm>

namespace candor {

PrefixCache::PrefixCache(PagePool& pool, int64_t page_tokens, int64_t max_pages)
    : pool_(pool), page_tokens_(page_tokens), max_pages_(max_pages) {}

int64_t PrefixCache::Common(const Entry& entry, const std::vector<int32_t>& prompt_P) const {
  const auto end = std::mismatch(entry.prompt_P.begin(), entry.prompt_P.end(), prompt_P.begin(), prompt_P.end()).second;
  const auto common = std::min<int64_t>(end - prompt_P.begin(), static_cast<int64_t>(prompt_P.size()) - 1);
  return common < kLeastTokens ? 0 : common;
}

PrefixCache::Match PrefixCache::Find(const std::vector<int32_t>& prompt_P, int64_t step) {
  Match match;
  auto best = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const int64_t common = entry->step < step ? Common(*entry, prompt_P) : 0;
    if (common > match.tokens) match.tokens = common, best = entry;
  }
  if (best == entries_.end()) return match;
  match.pages.assign(best->pages.begin(), best->pages.begin() + (match.tokens + page_tokens_ - 1) / page_tokens_);
  entries_.splice(entries_.begin(), entries_, best);
  return match;
}

int64_t PrefixCache::Gain(const std::vector<int32_t>& prompt_P, int64_t step) const {
  int64_t computed = 0, coming = 0;
  for (const Entry& entry : entries_) {
    int64_t& longest = entry.step < step ? computed : coming;
    longest = std::max(longest, Common(entry, prompt_P));
  }
  return std::max<int64_t>(0, coming - computed);
}

void PrefixCache::Insert(const std::vector<int32_t>& prompt_P, const std::vector<int32_t>& pages, int64_t step) {
  if (static_cast<int64_t>(pages.size()) > max_pages_ || static_cast<int64_t>(prompt_P.size()) < kLeastTokens) return;
  for (int32_t page : pages) {
    pool_.Share(page);
    ++held_[page];
  }
  entries_.push_front({prompt_P, pages, step});
  while (entries_.size() > kMaxPrompts || this->pages() > max_pages_) Evict();
}

int64_t PrefixCache::Reclaimable() const {
  return std::count_if(held_.begin(), held_.end(), [&](const auto& page) { return pool_.holders(page.first) == page.second; });
}

void PrefixCache::Drop(std::list<Entry>::iterator entry) {
  for (int32_t page : entry->pages) {
    pool_.Release(page);
    if (--held_[page] == 0) held_.erase(page);
  }
  entries_.erase(entry);
}

bool PrefixCache::Evict() {
  if (entries_.empty()) return false;
  Drop(std::prev(entries_.end()));
  return true;
}

void PrefixCache::Clear() {
  while (Evict()) {
  }
}

}  // namespace candor
