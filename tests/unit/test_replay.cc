// Anti-replay window of one stream and its pool (the protocol specification, section 8; W-14, W-15).
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "session/hot.h"
#include "session/replay.h"

namespace {

using session::ReplayVerdict;

// A window with memory of its own and a canary on both sides.
class Window {
 public:
  explicit Window(std::uint32_t bits) : bits_(bits), memory_(bits / 64 + 2) {
    memory_.front() = memory_.back() = kCanary;
  }
  ReplayVerdict peek(std::uint32_t sequence) const {
    return session::replay_peek(state_, &memory_[1], bits_, sequence);
  }
  ReplayVerdict commit(std::uint32_t sequence) {
    const ReplayVerdict verdict = session::replay_commit(state_, &memory_[1], bits_, sequence);
    EXPECT_EQ(memory_.front(), kCanary);
    EXPECT_EQ(memory_.back(), kCanary);
    return verdict;
  }
  std::uint32_t highest() const { return state_.highest; }
  const std::vector<std::uint64_t>& memory() const { return memory_; }

 private:
  static constexpr std::uint64_t kCanary = 0x5ca1ab1e5ca1ab1eULL;
  session::ReplayState state_;
  std::uint32_t bits_;
  std::vector<std::uint64_t> memory_;
};

class ReplayWidth : public ::testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Bits, ReplayWidth, ::testing::Values(1024U, 8192U, 65536U));

TEST_P(ReplayWidth, IsExactToTheBit) {
  for (const std::uint32_t top : {100'000U, 131'072U, 131'071U, 0U, 17U}) {
    Window window(GetParam());
    ASSERT_EQ(window.commit(top), ReplayVerdict::kNew);
    EXPECT_EQ(window.peek(top - GetParam() + 1), ReplayVerdict::kNew);
    EXPECT_EQ(window.peek(top - GetParam()), ReplayVerdict::kTooOld);
    EXPECT_EQ(window.commit(top - GetParam()), ReplayVerdict::kTooOld);
    EXPECT_EQ(window.commit(top - GetParam() + 1), ReplayVerdict::kNew);
    EXPECT_EQ(window.commit(top - GetParam() + 1), ReplayVerdict::kDuplicate);
    EXPECT_EQ(window.commit(top), ReplayVerdict::kDuplicate);
  }
}

TEST_P(ReplayWidth, EverySequenceOnceInAnyOrderInsideTheWindow) {
  const std::uint32_t bits = GetParam();
  Window window(bits);
  const std::uint32_t base = 0U - bits / 2;  // across the wrap
  ASSERT_EQ(window.commit(base + bits - 1), ReplayVerdict::kNew);
  for (std::uint32_t i = 0; i + 1 < bits; ++i) {
    ASSERT_EQ(window.commit(base + i * 769 % (bits - 1)), ReplayVerdict::kNew) << i;
  }
  for (std::uint32_t i = 0; i < bits; ++i) ASSERT_EQ(window.commit(base + i), ReplayVerdict::kDuplicate);
}

// What slides out must leave no bit behind for the sequence that takes its place.
TEST_P(ReplayWidth, StepsOfEverySizeLeaveNoStaleBit) {
  const std::uint32_t bits = GetParam();
  for (const std::uint32_t step : {1U, 63U, 64U, 65U, bits - 1, bits, bits + 1, 2 * bits + 5, 0x7fffffffU}) {
    Window window(bits);
    const std::uint32_t start = 0xfffffff0U - bits;
    for (std::uint32_t i = 0; i < bits; ++i) ASSERT_EQ(window.commit(start + i), ReplayVerdict::kNew);
    const std::uint32_t top = start + bits - 1 + step;
    ASSERT_EQ(window.commit(top), ReplayVerdict::kNew) << step;
    for (std::uint32_t back = 1; back < bits; ++back) {
      const bool seen = back >= step;
      ASSERT_EQ(window.peek(top - back), seen ? ReplayVerdict::kDuplicate : ReplayVerdict::kNew)
          << "step " << step << " back " << back;
    }
  }
}

TEST(Replay, FirstPacketIsAcceptedWhateverItIs) {
  for (const std::uint32_t first : {0U, 1U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    Window window(1024);
    EXPECT_EQ(window.peek(first), ReplayVerdict::kNew);
    EXPECT_EQ(window.commit(first), ReplayVerdict::kNew);
    EXPECT_EQ(window.commit(first), ReplayVerdict::kDuplicate);
  }
}

TEST(Replay, PeekAndRefusalsChangeNothing) {
  Window window(1024);
  window.commit(5000);
  const auto before = window.memory();
  for (const std::uint32_t sequence : {5000U, 5001U, 4999U, 1U, 0x90000000U}) (void)window.peek(sequence);
  (void)window.commit(5000);
  (void)window.commit(5000 - 1024);
  EXPECT_EQ(window.memory(), before);
  EXPECT_EQ(window.highest(), 5000U);
}

// W-14: the counter passes 2^32 and the window goes on.
TEST(Replay, SequenceWrap) {
  Window window(1024);
  EXPECT_EQ(window.commit(0xfffffffeU), ReplayVerdict::kNew);
  EXPECT_EQ(window.commit(0), ReplayVerdict::kNew);
  EXPECT_EQ(window.commit(0xffffffffU), ReplayVerdict::kNew);
  EXPECT_EQ(window.commit(0xffffffffU), ReplayVerdict::kDuplicate);
  EXPECT_EQ(window.commit(0xfffffffeU), ReplayVerdict::kDuplicate);
  EXPECT_EQ(window.commit(1), ReplayVerdict::kNew);
  EXPECT_EQ(window.commit(1U - 1024), ReplayVerdict::kTooOld);
}

TEST(Replay, HalfTheNumberSpaceAheadIsBehind) {
  Window window(1024);
  window.commit(10);
  EXPECT_EQ(window.commit(10 + 0x80000000U), ReplayVerdict::kTooOld);
  EXPECT_EQ(window.commit(10 + 0x80000001U), ReplayVerdict::kTooOld);
  EXPECT_EQ(window.commit(10 + 0x7fffffffU), ReplayVerdict::kNew);
  EXPECT_EQ(window.commit(10), ReplayVerdict::kTooOld);
}

TEST(WindowPool, HandsOutClearWindowsUntilItIsEmpty) {
  constexpr std::uint32_t kCount = 5;
  std::vector<std::byte> raw(session::WindowPool::bytes_needed(kCount, 1024) + 64);
  void* at = raw.data();
  std::size_t space = raw.size();
  std::align(64, session::WindowPool::bytes_needed(kCount, 1024), at, space);
  session::WindowPool pool;
  pool.init({static_cast<std::byte*>(at), session::WindowPool::bytes_needed(kCount, 1024)}, kCount, 1024);
  std::set<std::uint32_t> given;
  for (std::uint16_t i = 0; i < kCount; ++i) {
    const std::uint32_t index = pool.allocate(i);
    ASSERT_NE(index, session::kNone);
    EXPECT_TRUE(given.insert(index).second);
    EXPECT_EQ(pool.entry(index).stream, i);
    session::replay_commit(pool.entry(index).state, pool.words(index), pool.bits(), 900U + i);
  }
  EXPECT_EQ(pool.allocate(9), session::kNone);
  EXPECT_EQ(pool.free_count(), 0U);
  pool.release(2);
  const std::uint32_t again = pool.allocate(77);
  EXPECT_EQ(again, 2U);
  EXPECT_FALSE(pool.entry(again).state.initialised);
  for (std::uint32_t w = 0; w < 1024 / 64; ++w) EXPECT_EQ(pool.words(again)[w], 0U);
  // The neighbours kept theirs.
  EXPECT_EQ(session::replay_peek(pool.entry(1).state, pool.words(1), 1024, pool.entry(1).state.highest),
            ReplayVerdict::kDuplicate);
}

}  // namespace
