// Expanded keys as control hands them out: none twice, all wiped when they come back.
#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "session/key_pool.h"

namespace {

TEST(KeyPool, HandsOutEveryIndexOnceThenNone) {
  std::vector<crypto::KeySlot> slots(5);
  session::KeyPool pool(slots);
  std::set<std::uint32_t> seen;
  for (unsigned i = 0; i < 5; ++i) EXPECT_TRUE(seen.insert(pool.allocate()).second);
  EXPECT_EQ(*seen.rbegin(), 4U);
  EXPECT_EQ(pool.allocate(), session::kNone);
  EXPECT_EQ(pool.free_count(), 0U);
  EXPECT_EQ(pool.size(), 5U);
}

TEST(KeyPool, ReleaseWipesTheWholeSlot) {
  std::vector<crypto::KeySlot> slots(1);
  session::KeyPool pool(slots);
  const std::uint32_t index = pool.allocate();
  std::memset(&pool.slot(index), 0xa5, sizeof(crypto::KeySlot));
  pool.release(index);
  EXPECT_TRUE(std::all_of(std::begin(slots[0].bytes), std::end(slots[0].bytes),
                          [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_EQ(pool.free_count(), 1U);
}

TEST(KeyPool, DoubleReleaseAndForeignIndicesChangeNothing) {
  std::vector<crypto::KeySlot> slots(2);
  session::KeyPool pool(slots);
  const std::uint32_t first = pool.allocate();
  const std::uint32_t second = pool.allocate();
  pool.release(first);
  pool.release(first);
  pool.release(session::kNone);
  pool.release(2);
  EXPECT_EQ(pool.free_count(), 1U);
  EXPECT_EQ(pool.allocate(), first);
  EXPECT_EQ(pool.allocate(), session::kNone);
  EXPECT_NE(first, second);
}

}  // namespace
