// The memory of the paged key-value cache: for every layer one tensor of keys and one of values in the blocks that model/attention.h reads.
// A page (page_pool.h) is page_tokens / 16 consecutive blocks. Memory is reserved at once and, on the CPU, touched as pages are used; a
// device gives all of it at once. One thread.
#pragma once
#include <vector>

#include "model/attention.h"
#include "model/config.h"
#include "rollout/scheduler.h"

namespace candor {

class KvCache {
 public:
  // kUnavailable when the address space cannot be had. Throws LibTorch's exception when a device has no such memory.
  static Result<KvCache> Make(const ModelConfig& config, at::ScalarType dtype, int64_t page_tokens, int64_t memory_mb,
                              const at::Device& device = at::kCPU);

  int64_t pages() const { return pages_; }
  int64_t page_tokens() const { return page_tokens_; }
  const at::Tensor& keys(int64_t layer) const { return keys_L_[static_cast<size_t>(layer)]; }
  const at::Tensor& values(int64_t layer) const { return values_L_[static_cast<size_t>(layer)]; }

  // Slot (block * 16 + offset) of a position in a sequence that holds `pages`.
  int64_t Slot(const std::vector<int32_t>& pages, int64_t position) const {
    const int64_t page = pages[static_cast<size_t>(position / page_tokens_)];
    return page * page_tokens_ + position % page_tokens_;
  }
  // Appends the blocks of the first `positions` positions to a block table.
  void AppendBlocks(const std::vector<int32_t>& pages, int64_t positions, std::vector<int32_t>& block_table) const;
  void Copy(const BatchScheduler::PageCopy& copy) const;

 private:
  KvCache() = default;
  std::vector<at::Tensor> keys_L_, values_L_;
  int64_t pages_ = 0, page_tokens_ = 0;
};

}  // namespace candor
