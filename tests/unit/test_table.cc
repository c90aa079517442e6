// Session table: against std::map under random load, with collisions, full and aged (session/table.h).
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "session/table.h"

namespace {

using session::kNone;
using session::SessionHot;
using session::SessionTable;
using Id = std::array<std::uint8_t, session::kSessionIdBytes>;

// A table and the session records it compares against. Ids differ in their last bytes, or in the first too.
class TableRig {
 public:
  explicit TableRig(std::uint32_t sessions)
      : hot_(sessions), memory_(SessionTable::bytes_needed(sessions) / sizeof(std::uint64_t) + 1) {
    table_.init(std::as_writable_bytes(std::span(memory_)), sessions, hot_.data());
    for (std::uint32_t i = sessions; i-- > 0;) free_.push_back(i);
  }
  bool insert(const Id& id) {
    const std::uint32_t slot = free_.back();
    hot_[slot].id = id;
    if (!table_.insert(id.data(), slot)) return false;
    free_.pop_back();
    model_[id] = slot;
    return true;
  }
  bool erase(const Id& id) {
    if (!table_.erase(id.data())) return false;
    free_.push_back(model_.at(id));
    model_.erase(id);
    return true;
  }
  std::uint32_t find(const Id& id) const { return table_.find(id.data()); }
  std::uint32_t expected(const Id& id) const {
    const auto at = model_.find(id);
    return at == model_.end() ? kNone : at->second;
  }
  void expect_all() const {
    for (const auto& [id, slot] : model_) ASSERT_EQ(find(id), slot);
  }
  bool has_room() const { return !free_.empty(); }
  const SessionTable& table() const { return table_; }
  const std::map<Id, std::uint32_t>& model() const { return model_; }

 private:
  std::vector<SessionHot> hot_;
  std::vector<std::uint64_t> memory_;
  SessionTable table_;
  std::vector<std::uint32_t> free_;
  std::map<Id, std::uint32_t> model_;
};

Id id_of(std::uint64_t head, std::uint64_t tail = 0) {
  Id id{};
  std::memcpy(id.data(), &head, 8);
  std::memcpy(id.data() + 24, &tail, 8);
  return id;
}

void random_script(TableRig& rig, std::uint64_t seed, std::uint64_t heads, std::uint64_t tails) {
  std::mt19937_64 random(seed);
  for (int step = 0; step < 20'000; ++step) {
    const Id id = id_of(random() % heads, random() % tails);
    const bool present = rig.expected(id) != kNone;
    switch (random() % 3) {
      case 0:
        if (rig.has_room()) {
          ASSERT_EQ(rig.insert(id), !present);
        }
        break;
      case 1:
        ASSERT_EQ(rig.erase(id), present);
        break;
      default:
        ASSERT_EQ(rig.find(id), rig.expected(id));
    }
    if (step % 500 == 0) rig.expect_all();
  }
}

TEST(SessionTable, AgreesWithAMapUnderRandomLoad) {
  TableRig rig(300);
  random_script(rig, 1, 900, 1);
}

// Equal first eight bytes: one bucket chain and one tag for all; only the 32-byte compare tells them apart.
TEST(SessionTable, AgreesWithAMapWhenEverythingCollides) {
  TableRig rig(100);
  random_script(rig, 2, 2, 150);
}

TEST(SessionTable, SmallestTable) {
  TableRig rig(1);
  random_script(rig, 3, 3, 1);
}

TEST(SessionTable, HoldsAsManyAsItWasMadeForAndForgetsNoneWhenOthersGo) {
  constexpr std::uint32_t kSessions = 1000;
  TableRig rig(kSessions);
  for (std::uint64_t i = 0; i < kSessions; ++i) ASSERT_TRUE(rig.insert(id_of(i * 0x10001)));
  rig.expect_all();
  for (std::uint64_t i = 0; i < kSessions; i += 2) ASSERT_TRUE(rig.erase(id_of(i * 0x10001)));
  rig.expect_all();
  for (std::uint64_t i = 0; i < kSessions; i += 2) EXPECT_EQ(rig.find(id_of(i * 0x10001)), kNone);
}

TEST(SessionTable, SecondInsertOfAnIdIsRefused) {
  TableRig rig(8);
  ASSERT_TRUE(rig.insert(id_of(7)));
  EXPECT_FALSE(rig.insert(id_of(7)));
  EXPECT_EQ(rig.find(id_of(7)), rig.expected(id_of(7)));
}

// Years of coming and going must not make misses long: with tombstones in place of backward shifts this test
// would never end.
TEST(SessionTable, AgedTableStillMisses) {
  TableRig rig(16);
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(rig.insert(id_of(i)));
    ASSERT_TRUE(rig.erase(id_of(i)));
  }
  EXPECT_EQ(rig.find(id_of(1)), kNone);
}

TEST(SessionTable, BatchFindsWhatFindFinds) {
  TableRig rig(256);
  std::mt19937_64 random(4);
  for (int i = 0; i < 200; ++i) (void)rig.insert(id_of(random() % 400, 0));
  for (unsigned n : {1U, 7U, crypto::kMaxBatch}) {
    std::vector<Id> ids;
    std::vector<const std::uint8_t*> pointers;
    for (unsigned i = 0; i < n; ++i) ids.push_back(id_of(random() % 400, 0));
    for (const Id& id : ids) pointers.push_back(id.data());
    std::vector<std::uint32_t> slots(n, 12345);
    rig.table().find_batch(pointers.data(), n, slots.data());
    for (unsigned i = 0; i < n; ++i) ASSERT_EQ(slots[i], rig.expected(ids[i]));
  }
}

// Configured ids are often 1, 2, 3 in one byte or another: they must not all fall to one worker.
TEST(ShardOf, SpreadsIdsThatDifferInOneByte) {
  for (unsigned byte = 0; byte < 8; ++byte) {
    for (const unsigned shards : {1U, 2U, 3U, 7U, 16U}) {
      std::vector<unsigned> load(shards);
      for (unsigned value = 0; value < 256; ++value) {
        Id id{};
        id[byte] = static_cast<std::uint8_t>(value);
        const unsigned owner = session::shard_of(id.data(), shards);
        ASSERT_LT(owner, shards);
        ++load[owner];
      }
      EXPECT_GT(*std::min_element(load.begin(), load.end()), 256 / shards / 3) << byte << " of " << shards;
      EXPECT_LT(*std::max_element(load.begin(), load.end()), 256 / shards * 2 + 2)
          << byte << " of " << shards;
    }
  }
}

}  // namespace
