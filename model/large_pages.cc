#include "model/large_pages.h"

#include <sys/mman.h>

#include <new>

namespace candor {

at::Tensor LargePages(int64_t elements, at::ScalarType type) {
  constexpr size_t kLargePage = 2 << 20;
  const size_t bytes = (static_cast<size_t>(elements) * at::elementSize(type) + kLargePage - 1) / kLargePage * kLargePage;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  return at::from_blob(
      memory, {elements}, [bytes](void* data) { ::munmap(data, bytes); }, at::TensorOptions(type));
}

at::Tensor Room(int64_t elements, at::ScalarType type) {
  constexpr size_t kKeptByMalloc = 32 << 20;  // model/process.h
  if (static_cast<size_t>(elements) * at::elementSize(type) >= kKeptByMalloc) return LargePages(elements, type);
  return at::empty({elements}, at::TensorOptions(type));
}

}  // namespace candor
