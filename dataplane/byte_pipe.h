// A pipe of bytes from one thread to another: bounded, without locks, copies in and out.
//
// One producer, one consumer. Each writes only its own position, on a cache line of its own; the memory is
// the caller's, a power of two of bytes. Full means that the producer keeps what it has: that is the
// back-pressure.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace dataplane {

class BytePipe {
 public:
  // Neither end may be in use.
  void init(std::span<std::uint8_t> memory) {
    memory_ = memory.data();
    mask_ = static_cast<std::uint32_t>(memory.size()) - 1;
    clear();
  }
  void clear() {
    written_.store(0, std::memory_order_relaxed);
    read_.store(0, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t capacity() const { return mask_ + 1; }

  // ---- producer
  [[nodiscard]] std::uint32_t room() const {
    return capacity() - (written_.load(std::memory_order_relaxed) - read_.load(std::memory_order_acquire));
  }
  // Contiguous room, to be filled in place, then committed.
  [[nodiscard]] std::span<std::uint8_t> space() {
    const std::uint32_t at = written_.load(std::memory_order_relaxed) & mask_;
    return {memory_ + at, std::min(room(), capacity() - at)};
  }
  void commit(std::uint32_t bytes) {
    written_.store(written_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }
  // How many of the bytes fitted.
  std::uint32_t write(std::span<const std::uint8_t> bytes) {
    std::uint32_t done = 0;
    while (done < bytes.size()) {
      const std::span<std::uint8_t> to = space();
      const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(to.size(), bytes.size() - done));
      if (n == 0) break;
      std::memcpy(to.data(), bytes.data() + done, n);
      commit(n);
      done += n;
    }
    return done;
  }
  // A record of two parts, which the consumer sees as a whole or not at all. There is room for it.
  void put(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second) {
    const std::uint32_t at = written_.load(std::memory_order_relaxed);
    copy_in(at, first);
    copy_in(at + static_cast<std::uint32_t>(first.size()), second);
    commit(static_cast<std::uint32_t>(first.size() + second.size()));
  }

  // ---- consumer
  [[nodiscard]] std::uint32_t size() const {
    return written_.load(std::memory_order_acquire) - read_.load(std::memory_order_relaxed);
  }
  // Contiguous bytes, to be read in place, then consumed.
  [[nodiscard]] std::span<const std::uint8_t> data() const {
    const std::uint32_t at = read_.load(std::memory_order_relaxed) & mask_;
    return {memory_ + at, std::min(size(), capacity() - at)};
  }
  // Copies bytes that are there, without consuming them.
  void peek(std::uint8_t* out, std::uint32_t bytes) const {
    const std::uint32_t at = read_.load(std::memory_order_relaxed) & mask_;
    const std::uint32_t first = std::min(bytes, capacity() - at);
    std::memcpy(out, memory_ + at, first);
    std::memcpy(out + first, memory_, bytes - first);
  }
  void consume(std::uint32_t bytes) {
    read_.store(read_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }

 private:
  void copy_in(std::uint32_t position, std::span<const std::uint8_t> bytes) {
    if (bytes.empty()) return;
    const std::uint32_t at = position & mask_;
    const std::size_t first = std::min<std::size_t>(bytes.size(), capacity() - at);
    std::memcpy(memory_ + at, bytes.data(), first);
    std::memcpy(memory_, bytes.data() + first, bytes.size() - first);
  }

  std::uint8_t* memory_ = nullptr;
  std::uint32_t mask_ = 0;
  alignas(64) std::atomic<std::uint32_t> written_{0};
  alignas(64) std::atomic<std::uint32_t> read_{0};
};

}  // namespace dataplane
