#include "session/replay.h"

#include <algorithm>
#include <cstring>

#include "session/hot.h"

namespace session {
namespace {

constexpr std::uint32_t kHalfSpace = 1U << 31;
constexpr std::uint32_t kWordBits = 64;

std::uint64_t bit_of(std::uint32_t sequence) {
  return std::uint64_t{1} << (sequence % kWordBits);
}

// Forgets the positions of `count` sequences from `first` on: they held numbers that fall out of the window.
void clear_range(std::uint64_t* words, std::uint32_t bits, std::uint32_t first, std::uint32_t count) {
  const std::uint32_t word_mask = bits / kWordBits - 1;
  while (count > 0) {
    const std::uint32_t offset = first % kWordBits;
    const std::uint32_t here = std::min(kWordBits - offset, count);
    const std::uint64_t run = here == kWordBits ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1;
    words[(first / kWordBits) & word_mask] &= ~(run << offset);
    first += here;
    count -= here;
  }
}

}  // namespace

ReplayVerdict replay_peek(const ReplayState& state, const std::uint64_t* words, std::uint32_t bits,
                          std::uint32_t sequence) {
  if (!state.initialised) return ReplayVerdict::kNew;
  const std::uint32_t ahead = sequence - state.highest;
  if (ahead != 0 && ahead < kHalfSpace) return ReplayVerdict::kNew;
  if (state.highest - sequence >= bits) return ReplayVerdict::kTooOld;
  const std::uint64_t word = words[(sequence / kWordBits) & (bits / kWordBits - 1)];
  return (word & bit_of(sequence)) != 0 ? ReplayVerdict::kDuplicate : ReplayVerdict::kNew;
}

ReplayVerdict replay_commit(ReplayState& state, std::uint64_t* words, std::uint32_t bits,
                            std::uint32_t sequence) {
  const ReplayVerdict verdict = replay_peek(state, words, bits, sequence);
  if (verdict != ReplayVerdict::kNew) return verdict;
  const std::uint32_t ahead = sequence - state.highest;
  if (!state.initialised) {
    state.initialised = true;
    state.highest = sequence;
  } else if (ahead < kHalfSpace) {
    if (ahead != 1) clear_range(words, bits, state.highest + 1, std::min(ahead, bits));  // 1: set right below
    state.highest = sequence;
  }
  words[(sequence / kWordBits) & (bits / kWordBits - 1)] |= bit_of(sequence);
  return ReplayVerdict::kNew;
}

std::size_t WindowPool::bytes_needed(std::uint32_t count, std::uint32_t bits) {
  return std::size_t{count} * (bits / 8) + (std::size_t{count} * sizeof(Entry) + 63) / 64 * 64;
}

void WindowPool::init(std::span<std::byte> memory, std::uint32_t count, std::uint32_t bits) {
  words_ = reinterpret_cast<std::uint64_t*>(memory.data());
  entries_ = reinterpret_cast<Entry*>(memory.data() + std::size_t{count} * (bits / 8));
  bits_ = bits;
  free_ = kNone;
  free_count_ = count;
  for (std::uint32_t i = count; i-- > 0;) {
    entries_[i].next = free_;
    free_ = i;
  }
}

std::uint32_t WindowPool::allocate(std::uint16_t stream) {
  if (free_ == kNone) return kNone;
  const std::uint32_t index = free_;
  free_ = entries_[index].next;
  --free_count_;
  entries_[index] = Entry{{}, stream, false, kNone, 0, kNone};
  std::memset(words(index), 0, bits_ / 8);
  return index;
}

void WindowPool::release(std::uint32_t index) {
  entries_[index].next = free_;
  free_ = index;
  ++free_count_;
}

}  // namespace session
