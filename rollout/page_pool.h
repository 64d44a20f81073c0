// Pages of the key-value cache as integers: who holds which page, how often it is shared, how many are promised. The memory itself is
// kv_cache.h's business.
//
// Holds: a page is free or has a count of at least 1; promised pages are never handed to anybody else, so a sequence that was admitted can
// always grow to what it was promised and nothing ever has to be thrown out. Freed pages are reused last in, first out, so the memory
// touched stays near what is needed at once. One thread.
#pragma once
#include <cstdint>
#include <vector>

namespace candor {

class PagePool {
 public:
  explicit PagePool(int64_t pages);

  int64_t total() const { return static_cast<int64_t>(counts_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t used() const { return total() - free(); }
  int64_t promised() const { return promised_; }
  int64_t available() const { return free() - promised_; }  // may be promised or taken
  int64_t reused() const { return reused_; }                // pages handed out that somebody had held before

  // Promises `pages` more; false when fewer are available.
  bool Promise(int64_t pages);
  void TakeBack(int64_t pages);  // a promise that is no longer needed
  // One page against an earlier promise, with a count of 1.
  int32_t TakePromised();
  void Share(int32_t page);    // one more holder
  void Release(int32_t page);  // one holder less; the last one frees it
  int32_t holders(int32_t page) const { return counts_[static_cast<size_t>(page)]; }

 private:
  std::vector<int32_t> counts_;
  std::vector<bool> touched_;
  std::vector<int32_t> free_;
  int64_t promised_ = 0;
  int64_t reused_ = 0;
};

}  // namespace candor
