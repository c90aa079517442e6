#include "tests/support/alloc_counter.h"

#include <atomic>
#include <cstddef>

namespace support {
namespace {
std::atomic<std::uint64_t> counter{0};
}

std::uint64_t allocations() {
  return counter.load(std::memory_order_relaxed);
}
}  // namespace support

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

// As in sanitizer/allocator_interface.h, which Debian ships with clang alone.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             std::size_t),
                                                         void (*free_hook)(const volatile void*));

namespace {
void on_malloc(const volatile void*, std::size_t) {
  support::counter.fetch_add(1, std::memory_order_relaxed);
}
void on_free(const volatile void*) {}
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}  // namespace

#else

// glibc lets a program supply these; its own versions keep these names.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* old, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* p);

void* malloc(std::size_t bytes) {
  support::counter.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) {
  support::counter.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) {
  support::counter.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  support::counter.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, bytes);
}
void free(void* p) {
  __libc_free(p);
}
}

#endif
