#include "rollout/page_pool.h"

#include "core/check.h"

namespace candor {

PagePool::PagePool(int64_t pages) : counts_(static_cast<size_t>(pages), 0), touched_(static_cast<size_t>(pages), false) {
  free_.reserve(static_cast<size_t>(pages));
  for (int64_t page = pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

bool PagePool::Promise(int64_t pages) {
  CANDOR_CHECK(pages >= 0);
  if (pages > available()) return false;
  promised_ += pages;
  return true;
}

void PagePool::TakeBack(int64_t pages) {
  CANDOR_CHECK(0 <= pages && pages <= promised_, "a promise was taken back twice");
  promised_ -= pages;
}

int32_t PagePool::TakePromised() {
  CANDOR_CHECK(promised_ > 0 && !free_.empty(), "a page was taken that nobody was promised");
  --promised_;
  const int32_t page = free_.back();
  free_.pop_back();
  const auto index = static_cast<size_t>(page);
  counts_[index] = 1;
  reused_ += touched_[index] ? 1 : 0;
  touched_[index] = true;
  return page;
}

void PagePool::Share(int32_t page) {
  int32_t& count = counts_.at(static_cast<size_t>(page));
  CANDOR_CHECK(count > 0, "a free page was shared");
  ++count;
}

void PagePool::Release(int32_t page) {
  int32_t& count = counts_.at(static_cast<size_t>(page));
  CANDOR_CHECK(count > 0, "a free page was released");
  if (--count == 0) free_.push_back(page);
}

}  // namespace candor
