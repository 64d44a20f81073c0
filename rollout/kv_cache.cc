#include "rollout/kv_cache.h"

#include <sys/mman.h>

#include <cstring>

namespace candor {
namespace {

// Zeroed memory that the kernel hands out page by page as it is touched. A block that was never written holds zeros, so masked lanes never
// see a NaN.
at::Tensor LazyZeros(at::IntArrayRef sizes, at::ScalarType dtype, const at::Device& device) {
  if (!device.is_cpu()) return at::zeros(sizes, at::TensorOptions(dtype).device(device));
  size_t bytes = at::elementSize(dtype);
  for (int64_t size : sizes) bytes *= static_cast<size_t>(size);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return {};
  if (bytes >= size_t{64} << 20) ::madvise(memory, bytes, MADV_HUGEPAGE);  // large pages: attention reads all of a sequence in every step
  return at::from_blob(
      memory, sizes, [bytes](void* data) { ::munmap(data, bytes); }, at::TensorOptions(dtype));
}

}  // namespace

Result<KvCache> KvCache::Make(const ModelConfig& config, at::ScalarType dtype, int64_t page_tokens, int64_t memory_mb,
                              const at::Device& device) {
  KvCache cache;
  cache.page_tokens_ = page_tokens;
  const int64_t page_bytes = 2 * config.num_layers * config.kv_size() * page_tokens * static_cast<int64_t>(at::elementSize(dtype));
  cache.pages_ = (memory_mb << 20) / page_bytes;
  if (cache.pages_ < 2)
    return Fail(ErrorCode::kInvalidInput,
                "rollout.kv_memory_mb = " + std::to_string(memory_mb) + " holds fewer than two pages of " +
                    std::to_string(page_bytes >> 10) + " KiB",
                "", "raise it to at least " + std::to_string((2 * page_bytes >> 20) + 1));
  cache.pages_ = std::min<int64_t>(cache.pages_, std::numeric_limits<int32_t>::max() / page_tokens);
  const int64_t blocks = cache.pages_ * (page_tokens / kBlockTokens);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    cache.keys_L_.push_back(LazyZeros({blocks, config.num_kv_heads, config.head_dim, kBlockTokens}, dtype, device));
    cache.values_L_.push_back(LazyZeros({blocks, config.num_kv_heads, kBlockTokens, config.head_dim}, dtype, device));
    if (!cache.keys_L_.back().defined() || !cache.values_L_.back().defined())
      return Fail(ErrorCode::kUnavailable, "no address space for a key-value cache of " + std::to_string(memory_mb) + " MiB", "",
                  "lower rollout.kv_memory_mb");
  }
  return cache;
}

void KvCache::AppendBlocks(const std::vector<int32_t>& pages, int64_t positions, std::vector<int32_t>& block_table) const {
  const auto blocks_per_page = static_cast<int32_t>(page_tokens_ / kBlockTokens);
  const int64_t blocks = (positions + kBlockTokens - 1) / kBlockTokens;
  for (int64_t b = 0; b < blocks; ++b)
    block_table.push_back(pages[static_cast<size_t>(b / blocks_per_page)] * blocks_per_page + static_cast<int32_t>(b % blocks_per_page));
}

void KvCache::Copy(const BatchScheduler::PageCopy& copy) const {
  for (const auto* layers : {&keys_L_, &values_L_})
    for (const at::Tensor& tensor : *layers) {
      if (!tensor.is_cpu()) {
        const int64_t blocks = tensor.size(0) / pages_;
        tensor.narrow(0, copy.to * blocks, blocks).copy_(tensor.narrow(0, copy.from * blocks, blocks));
        continue;
      }
      const size_t page_bytes = tensor.nbytes() / static_cast<size_t>(pages_);
      auto* base = static_cast<std::byte*>(tensor.data_ptr());
      std::memcpy(base + static_cast<size_t>(copy.to) * page_bytes, base + static_cast<size_t>(copy.from) * page_bytes, page_bytes);
    }
}

}  // namespace candor
