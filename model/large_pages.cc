#include "model/large_pages.h"

#include <sys/mman.h>

#include <mutex>
#include <new>
#include <vector>

namespace candor {
namespace {

constexpr size_t kLargePage = 2 << 20;

struct Block {
  void* memory;
  size_t bytes;
};

Block Map(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  return {memory, bytes};
}

size_t BytesFor(int64_t elements, at::ScalarType type) {
  return (static_cast<size_t>(elements) * at::elementSize(type) + kLargePage - 1) / kLargePage * kLargePage;
}

// Blocks that the next step asks for again: a page that the system hands out anew is zeroed first, which costs as much as a pass over it.
class Spare {
 public:
  Block Take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto best = blocks_.end();
    for (auto i = blocks_.begin(); i != blocks_.end(); ++i)
      if (i->bytes >= bytes && i->bytes <= 2 * bytes && (best == blocks_.end() || i->bytes < best->bytes)) best = i;
    if (best == blocks_.end()) return Map(bytes);
    const Block found = *best;
    blocks_.erase(best);
    held_ -= found.bytes;
    return found;
  }
  void Return(const Block& block) {
    {
      const std::lock_guard lock(mutex_);
      if (held_ + block.bytes <= kHeldMax) {
        blocks_.push_back(block);
        held_ += block.bytes;
        return;
      }
    }
    ::munmap(block.memory, block.bytes);
  }

 private:
  static constexpr size_t kHeldMax = 512 << 20;  // as much as malloc keeps (process.h)
  std::mutex mutex_;
  std::vector<Block> blocks_;
  size_t held_ = 0;
};

Spare& SpareBlocks() {
  static Spare* spare = new Spare;  // outlives every tensor
  return *spare;
}

}  // namespace

at::Tensor LargePages(int64_t elements, at::ScalarType type) {
  const Block block = Map(BytesFor(elements, type));
  return at::from_blob(
      block.memory, {elements}, [block](void*) { ::munmap(block.memory, block.bytes); }, at::TensorOptions(type));
}

at::Tensor Room(int64_t elements, at::ScalarType type) {
  constexpr size_t kKeptByMalloc = 32 << 20;  // model/process.h
  if (static_cast<size_t>(elements) * at::elementSize(type) < kKeptByMalloc) return at::empty({elements}, at::TensorOptions(type));
  const Block block = SpareBlocks().Take(BytesFor(elements, type));
  return at::from_blob(
      block.memory, {elements}, [block](void*) { SpareBlocks().Return(block); }, at::TensorOptions(type));
}

}  // namespace candor
