// A device for tests on machines without a GPU: LibTorch's PrivateUse1 backend over memory that host code cannot touch. Every allocation is
// one piece of memory that is mapped twice: tensors carry the address of the mapping that allows no access, and only the copy between host
// and device knows the other. Operators run by LibTorch's own fallback (copy to the CPU, compute there, copy back). So a test that passes
// here shows that nothing takes a device pointer for a host pointer (it would crash) and that no operator is given tensors of both sides
// (LibTorch refuses). It shows nothing about a GPU's arithmetic, speed or streams.
//
// Include it in exactly one file of a test program.
#pragma once
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "core/check.h"
#include "model/aten.h"

namespace candor::fake {

inline at::Device Device() { return at::Device(at::kPrivateUse1, 0); }

struct Mapping {
  char* closed = nullptr;  // what tensors carry
  char* open = nullptr;
  size_t bytes = 0;
};

// Mappings by the address that tensors carry.
class Memory {
 public:
  static Memory& Get() {
    static Memory memory;
    return memory;
  }
  void* Allocate(size_t bytes) {
    const int file = ::memfd_create("fake device", MFD_CLOEXEC);
    CANDOR_CHECK(file >= 0 && ::ftruncate(file, static_cast<off_t>(bytes)) == 0, "memory for the fake device");
    const auto map = [&](int access) { return static_cast<char*>(::mmap(nullptr, bytes, access, MAP_SHARED, file, 0)); };
    const Mapping mapping{map(PROT_NONE), map(PROT_READ | PROT_WRITE), bytes};
    ::close(file);
    const std::lock_guard lock(mutex_);
    mappings_[mapping.closed] = mapping;
    return mapping.closed;
  }
  void Free(void* closed) {
    const std::lock_guard lock(mutex_);
    const auto found = mappings_.find(static_cast<char*>(closed));
    ::munmap(found->second.closed, found->second.bytes);
    ::munmap(found->second.open, found->second.bytes);
    mappings_.erase(found);
  }
  // Where the bytes behind a tensor's address can be touched; null for an address that is not the device's.
  void* Open(const void* address) {
    const std::lock_guard lock(mutex_);
    char* const at = static_cast<char*>(const_cast<void*>(address));
    auto after = mappings_.upper_bound(at);
    if (after == mappings_.begin()) return nullptr;
    const Mapping& mapping = std::prev(after)->second;
    return at < mapping.closed + mapping.bytes ? mapping.open + (at - mapping.closed) : nullptr;
  }

 private:
  std::mutex mutex_;
  std::map<char*, Mapping> mappings_;
};

class Allocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = bytes == 0 ? nullptr : Memory::Get().Allocate(bytes);
    return {memory, memory, &Delete, Device()};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Delete; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(Memory::Get().Open(to), Memory::Get().Open(from), bytes);
  }
  static Allocator& Get() {
    static Allocator allocator;
    return allocator;
  }

 private:
  static void Delete(void* memory) {
    if (memory) Memory::Get().Free(memory);
  }
};

// The bytes of a tensor as a tensor of the host.
inline at::Tensor HostView(const at::Tensor& x) {
  if (x.is_cpu() || x.numel() == 0) return x.is_cpu() ? x : at::empty(x.sizes(), x.options().device(at::kCPU));
  return at::from_blob(Memory::Get().Open(x.const_data_ptr()), x.sizes(), x.strides(), at::TensorOptions(x.scalar_type()));
}

inline at::Tensor CopyFrom(const at::Tensor& from, const at::Tensor& to, bool) {
  if (to.numel() > 0) HostView(to).copy_(HostView(from));
  return to;
}
// What a tensor held is lost when it grows: operators resize only results that they have not written yet.
inline const at::Tensor& Resize(const at::Tensor& x, at::IntArrayRef sizes, std::optional<at::MemoryFormat>) {
  const size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * x.element_size();
  c10::StorageImpl* storage = x.storage().unsafeGetStorageImpl();
  if (storage->nbytes() < bytes) {
    storage->set_data_ptr_noswap(Allocator::Get().allocate(bytes));
    storage->set_nbytes(bytes);
  }
  x.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return x;
}
inline at::Tensor CopyFromAndResize(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes()) Resize(to, from.sizes(), std::nullopt);
  return CopyFrom(from, to, false);
}
inline at::Tensor Empty(at::IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
                        std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, &Allocator::Get(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype.value_or(at::kFloat),
                                   format);
}
inline at::Tensor EmptyStrided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> dtype,
                               std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(sizes, strides, &Allocator::Get(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           dtype.value_or(at::kFloat));
}
inline void Fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) { at::native::cpu_fallback(op, stack); }

C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1>);

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&Fallback>()); }
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &Empty);
  m.impl("empty_strided", &EmptyStrided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("resize_", &Resize);
  m.impl("_copy_from", &CopyFrom);
  m.impl("_copy_from_and_resize", &CopyFromAndResize);
}

}  // namespace candor::fake
