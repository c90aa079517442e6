// Anti-replay window of one stream: exact width, serial-number arithmetic over u32 (protocol.md 8, W-14,
// W-15).
//
// Owner: the shard's worker. peek() is advisory (no change); commit() decides and records, in packet order.
// A window of `bits` accepts sequences highest-bits+1 .. highest once each, and anything ahead by less than
// 2^31.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace session {

enum class ReplayVerdict : std::uint8_t { kNew, kDuplicate, kTooOld, kNoRoom };

// View of a window in pool memory: a ring of `bits` bits (a power of two), bit (sequence mod bits).
struct ReplayState {
  std::uint32_t highest = 0;
  bool initialised = false;
};
ReplayVerdict replay_peek(const ReplayState& state, const std::uint64_t* words, std::uint32_t bits,
                          std::uint32_t sequence);
ReplayVerdict replay_commit(ReplayState& state, std::uint64_t* words, std::uint32_t bits,
                            std::uint32_t sequence);

// Windows of a shard, allocated per (session, stream) on the first authentic packet of that stream.
class WindowPool {
 public:
  // 32 bytes: two a cache line, none across two.
  struct alignas(32) Entry {
    ReplayState state;
    std::uint16_t stream = 0;
    bool revived = false;     // from a tombstone: what of `floor` and below it was seen is not known
    std::uint32_t next = 0;   // ring of a session's windows, or the free list
    std::uint32_t floor = 0;  // of a revived window
    std::uint32_t prev = 0;   // ring of a session's windows
  };

  static std::size_t bytes_needed(std::uint32_t count, std::uint32_t bits);
  void init(std::span<std::byte> memory, std::uint32_t count, std::uint32_t bits);

  [[nodiscard]] std::uint32_t allocate(
      std::uint16_t stream);  // kNone when the pool is empty; window is clear
  void release(std::uint32_t index);
  [[nodiscard]] Entry& entry(std::uint32_t index) { return entries_[index]; }
  [[nodiscard]] const Entry& entry(std::uint32_t index) const { return entries_[index]; }
  [[nodiscard]] std::uint64_t* words(std::uint32_t index) {
    return words_ + std::size_t{index} * (bits_ / 64);
  }
  [[nodiscard]] const std::uint64_t* words(std::uint32_t index) const {
    return words_ + std::size_t{index} * (bits_ / 64);
  }
  [[nodiscard]] std::uint32_t bits() const { return bits_; }
  [[nodiscard]] std::uint32_t free_count() const { return free_count_; }

 private:
  Entry* entries_ = nullptr;
  std::uint64_t* words_ = nullptr;
  std::uint32_t bits_ = 0;
  std::uint32_t free_ = 0;
  std::uint32_t free_count_ = 0;
};

}  // namespace session
