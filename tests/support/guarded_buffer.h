// Memory between two unreadable pages: touching a byte in front of it or behind it ends the test with
// SIGSEGV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

namespace test_support {

class GuardedBuffer {
 public:
  // Room for `bytes`; at_end(n) and at_start() choose which guard is the close one.
  explicit GuardedBuffer(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    inner_bytes_ = (bytes + page - 1) / page * page;
    if (inner_bytes_ == 0) inner_bytes_ = page;
    map_bytes_ = inner_bytes_ + 2 * page;
    void* map = mmap(nullptr, map_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<std::uint8_t*>(map);
    start_ = map_ + page;
    if (mprotect(start_, inner_bytes_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  }
  ~GuardedBuffer() { munmap(map_, map_bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  // The last `bytes` in front of the guard behind.
  [[nodiscard]] std::uint8_t* at_end(std::size_t bytes) const { return start_ + inner_bytes_ - bytes; }
  [[nodiscard]] std::uint8_t* at_start() const { return start_; }

 private:
  std::uint8_t* map_ = nullptr;
  std::uint8_t* start_ = nullptr;
  std::size_t inner_bytes_ = 0;
  std::size_t map_bytes_ = 0;
};

}  // namespace test_support
