// Receive windows of a session's streams: bounded memory, streams given up and come back (W-30).
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "session/stream_windows.h"

namespace {

using session::kDirectRxStreams;
using session::kNone;
using session::ReplayVerdict;
using session::SessionHot;
using session::StreamWindows;

constexpr std::uint32_t kBits = 1024;
constexpr unsigned kFirstChained = kDirectRxStreams;

class Streams {
 public:
  explicit Streams(StreamWindows::Limits limits, unsigned sessions = 1)
      : memory_((StreamWindows::bytes_needed(limits) + sizeof(Line) - 1) / sizeof(Line)), hot_(sessions) {
    windows_.init(std::as_writable_bytes(std::span(memory_)), limits);
    for (SessionHot& hot : hot_) hot.window.fill(kNone);
  }
  ReplayVerdict peek(unsigned stream, std::uint32_t sequence, unsigned session = 0) const {
    return windows_.peek(hot_[session], static_cast<std::uint16_t>(stream), sequence);
  }
  ReplayVerdict commit(unsigned stream, std::uint32_t sequence, unsigned session = 0) {
    return windows_.commit(hot_[session], static_cast<std::uint16_t>(stream), sequence);
  }
  SessionHot& hot(unsigned session = 0) { return hot_[session]; }
  StreamWindows& windows() { return windows_; }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> memory_;
  std::vector<SessionHot> hot_;
  StreamWindows windows_;
};

constexpr StreamWindows::Limits kSmall{16, kBits, 6, 8, 4};

TEST(StreamWindows, EveryStreamHasItsOwnSequenceSpace) {
  Streams streams({64, kBits, 64, 8, 8});
  for (unsigned stream : {0U, 1U, 19U, 20U, 21U, 40000U, 65535U}) {
    EXPECT_EQ(streams.peek(stream, 7), ReplayVerdict::kNew);
    EXPECT_EQ(streams.commit(stream, 7), ReplayVerdict::kNew) << stream;
  }
  for (unsigned stream : {0U, 1U, 19U, 20U, 21U, 40000U, 65535U}) {
    EXPECT_EQ(streams.peek(stream, 7), ReplayVerdict::kDuplicate);
    EXPECT_EQ(streams.commit(stream, 7), ReplayVerdict::kDuplicate) << stream;
    EXPECT_EQ(streams.commit(stream, 8), ReplayVerdict::kNew) << stream;
  }
  EXPECT_EQ(streams.hot().window_count, 7U);
}

TEST(StreamWindows, PeekAllocatesNothing) {
  Streams streams(kSmall);
  for (unsigned stream = 0; stream < 65536; ++stream) {
    ASSERT_EQ(streams.peek(stream, 1), ReplayVerdict::kNew);
  }
  EXPECT_EQ(streams.windows().free_windows(), kSmall.windows);
  EXPECT_EQ(streams.windows().free_tombstones(), kSmall.tombstones);
}

TEST(StreamWindows, LeastRecentlyUsedIsGivenUpAndRemembered) {
  Streams streams(kSmall);
  for (unsigned i = 0; i < 6; ++i) streams.commit(kFirstChained + i, 100);
  streams.commit(kFirstChained, 101);  // the oldest becomes the most recently used
  ASSERT_EQ(streams.commit(kFirstChained + 6, 5), ReplayVerdict::kNew);
  EXPECT_EQ(streams.hot().window_count, 6U);
  EXPECT_EQ(streams.hot().tombstone_count, 1U);
  EXPECT_EQ(streams.peek(kFirstChained, 99), ReplayVerdict::kNew) << "still has its window";
  EXPECT_NE(streams.peek(kFirstChained + 1, 99), ReplayVerdict::kNew) << "this one was given up";
  EXPECT_EQ(streams.peek(kFirstChained + 1, 101), ReplayVerdict::kNew);
}

// Nobody knows which sequences below a tombstone's arrived. To call one of them a duplicate would have it
// acknowledged, and a RELIABLE packet that never came would be lost for good.
TEST(StreamWindows, WhatATombstoneForgotIsTooOldNotADuplicate) {
  Streams streams(kSmall);
  streams.commit(kFirstChained, 100);
  for (unsigned i = 1; i <= 6; ++i) streams.commit(kFirstChained + i, 1);
  ASSERT_EQ(streams.hot().tombstone_count, 1U);
  EXPECT_EQ(streams.peek(kFirstChained, 100), ReplayVerdict::kDuplicate) << "this one surely was seen";
  EXPECT_EQ(streams.peek(kFirstChained, 99), ReplayVerdict::kTooOld);
  EXPECT_EQ(streams.commit(kFirstChained, 99), ReplayVerdict::kTooOld);
  ASSERT_EQ(streams.commit(kFirstChained, 105), ReplayVerdict::kNew) << "back from its tombstone";
  EXPECT_EQ(streams.commit(kFirstChained, 99), ReplayVerdict::kTooOld);
  EXPECT_EQ(streams.commit(kFirstChained, 100), ReplayVerdict::kDuplicate);
  EXPECT_EQ(streams.commit(kFirstChained, 103), ReplayVerdict::kNew) << "above the floor all is known";
  EXPECT_EQ(streams.commit(kFirstChained, 103), ReplayVerdict::kDuplicate);
  EXPECT_EQ(streams.commit(kFirstChained, 105), ReplayVerdict::kDuplicate);
}

TEST(StreamWindows, TombstonesWorkAcrossTheWrap) {
  Streams streams(kSmall);
  streams.commit(kFirstChained, 0xfffffffeU);
  for (unsigned i = 1; i <= 6; ++i) streams.commit(kFirstChained + i, 1);
  EXPECT_EQ(streams.peek(kFirstChained, 0xfffffff0U), ReplayVerdict::kTooOld);
  EXPECT_EQ(streams.commit(kFirstChained, 3), ReplayVerdict::kNew);
  EXPECT_EQ(streams.commit(kFirstChained, 0xffffffffU), ReplayVerdict::kNew);
  EXPECT_EQ(streams.commit(kFirstChained, 0xfffffffeU), ReplayVerdict::kDuplicate);
  EXPECT_EQ(streams.commit(kFirstChained, 0xfffffffdU), ReplayVerdict::kTooOld);
}

// A floor of long ago says nothing about numbers that came round again.
TEST(StreamWindows, AFloorFarBehindIsForgotten) {
  Streams streams(kSmall);
  streams.commit(kFirstChained, 100);
  for (unsigned i = 1; i <= 6; ++i) streams.commit(kFirstChained + i, 1);
  for (const std::uint32_t at : {101U, 0x60000000U, 0xb0000000U}) {
    ASSERT_EQ(streams.commit(kFirstChained, at), ReplayVerdict::kNew);
    EXPECT_EQ(streams.commit(kFirstChained, at), ReplayVerdict::kDuplicate) << at;
  }
}

// With every tombstone taken no new stream is let in, but one that has a tombstone may change places with the
// least recently used window: a session's busy streams must not be locked out for good.
TEST(StreamWindows, AStreamWithATombstoneComesBackWhenTombstonesAreUsedUp) {
  Streams streams(kSmall);
  for (unsigned i = 0; i < 10; ++i) ASSERT_EQ(streams.commit(kFirstChained + i, 50), ReplayVerdict::kNew);
  ASSERT_EQ(streams.hot().tombstone_count, kSmall.tombstones_per_session);
  EXPECT_EQ(streams.commit(kFirstChained + 10, 50), ReplayVerdict::kNoRoom);
  for (int round = 1; round < 20; ++round) {
    for (unsigned i = 0; i < 10; ++i) {
      ASSERT_EQ(streams.commit(kFirstChained + i, 50U + static_cast<unsigned>(round)), ReplayVerdict::kNew)
          << "round " << round << " stream " << i;
    }
  }
  EXPECT_EQ(streams.hot().window_count, kSmall.per_session);
  EXPECT_EQ(streams.hot().tombstone_count, kSmall.tombstones_per_session);
}

TEST(StreamWindows, ARefusedStreamChangesNothing) {
  Streams streams({2, kBits, 6, 8, 4}, 2);
  streams.commit(1, 5, 0);
  streams.commit(2, 5, 0);  // both windows there are, and neither can be given up
  EXPECT_EQ(streams.commit(30, 5, 1), ReplayVerdict::kNoRoom);
  EXPECT_EQ(streams.commit(30, 5, 0), ReplayVerdict::kNoRoom);
  EXPECT_EQ(streams.hot(1).window_count, 0U);
  EXPECT_EQ(streams.windows().free_tombstones(), 8U);
  EXPECT_EQ(streams.commit(1, 5, 0), ReplayVerdict::kDuplicate);
}

TEST(StreamWindows, ReleaseGivesEverythingBack) {
  Streams streams(kSmall, 2);
  for (int round = 0; round < 50; ++round) {
    for (unsigned i = 0; i < 9; ++i) streams.commit(17 + i, 9, 0);
    streams.commit(20, 9, 1);
    streams.windows().release_all(streams.hot(0));
    EXPECT_EQ(streams.windows().free_windows(), kSmall.windows - 1);
    EXPECT_EQ(streams.windows().free_tombstones(), kSmall.tombstones);
    EXPECT_EQ(streams.hot(0).tombstone_count, 0U);
    EXPECT_EQ(streams.peek(20, 9, 0), ReplayVerdict::kNew) << "a new session starts clean";
    EXPECT_EQ(streams.peek(20, 9, 1), ReplayVerdict::kDuplicate) << "the other keeps its own";
  }
}

TEST(StreamWindows, PrefetchIsSafeForAnyStream) {
  Streams streams(kSmall);
  streams.commit(3, 1);
  for (unsigned stream = 0; stream < 65536; stream += 7) {
    streams.windows().prefetch(streams.hot(), static_cast<std::uint16_t>(stream), 0xffffffffU);
  }
  streams.windows().prefetch(streams.hot(), 3, 0xffffffffU);
  EXPECT_EQ(streams.hot().window_count, 1U);
}

// W-30: packets on all 65,536 stream ids of one session.
TEST(StreamWindows, AllStreamIdsOfOneSessionInBoundedMemory) {
  const StreamWindows::Limits limits{4096, kBits, 32, 16384, 256};
  Streams streams(limits, 2);
  // The index has two to four buckets of 16 bytes for each of both.
  EXPECT_LE(StreamWindows::bytes_needed(limits), 4096 * (kBits / 8 + 32 + 64) + 16384 * (16 + 64));
  std::vector<unsigned> accepted;
  for (unsigned stream = 0; stream < 65536; ++stream) {
    const ReplayVerdict verdict = streams.commit(stream, 1000 + stream);
    if (verdict == ReplayVerdict::kNew) accepted.push_back(stream);
    if (verdict != ReplayVerdict::kNew) {
      ASSERT_EQ(verdict, ReplayVerdict::kNoRoom);
    }
  }
  EXPECT_EQ(accepted.size(), limits.per_session + limits.tombstones_per_session);
  EXPECT_EQ(limits.windows - streams.windows().free_windows(), limits.per_session);
  EXPECT_EQ(limits.tombstones - streams.windows().free_tombstones(), limits.tombstones_per_session);
  for (const unsigned id : accepted) {
    ASSERT_EQ(streams.commit(id, 1000U + id), ReplayVerdict::kDuplicate) << "the oldest are replay-safe";
    ASSERT_NE(streams.peek(id, 999U + id - kBits), ReplayVerdict::kNew);
  }
  EXPECT_EQ(streams.commit(7, 1, 1), ReplayVerdict::kNew) << "another session has its share";
}

// Against a model that remembers everything: never does a stream take a sequence twice, and a live window
// takes everything new.
TEST(StreamWindows, RandomStreamsNeverTakeASequenceTwice) {
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
    std::mt19937 random(seed);
    Streams streams({24, kBits, 22, 16, 12});
    std::set<std::pair<std::uint16_t, std::uint32_t>> seen;
    for (int step = 0; step < 40'000; ++step) {
      const auto stream = static_cast<std::uint16_t>(10 + random() % 30);
      const auto sequence =
          static_cast<std::uint32_t>(0xffffff00U + static_cast<unsigned>(step) / 100 + random() % 40);
      const ReplayVerdict hint = streams.peek(stream, sequence);
      const ReplayVerdict verdict = streams.commit(stream, sequence);
      if (verdict != ReplayVerdict::kNoRoom) {
        ASSERT_EQ(hint, verdict);
      }
      const bool known = seen.count({stream, sequence}) != 0;
      if (verdict == ReplayVerdict::kDuplicate) {
        ASSERT_TRUE(known);
      }
      if (verdict != ReplayVerdict::kNew) continue;
      ASSERT_FALSE(known) << "stream " << stream << " sequence " << sequence;
      seen.insert({stream, sequence});
    }
    EXPECT_GT(seen.size(), 1000U);
  }
}

// ---- many streams

TEST(StreamWindows, TenThousandStreamsAtOnceEachWithItsWindow) {
  Streams streams({10'100, kBits, 10'000, 64, 64});
  for (const std::uint32_t sequence : {500U, 498U, 501U}) {
    for (unsigned stream = 20; stream < 10'020; ++stream) {
      ASSERT_EQ(streams.commit(stream, sequence), ReplayVerdict::kNew) << stream;
      ASSERT_EQ(streams.commit(stream, sequence), ReplayVerdict::kDuplicate) << stream;
    }
  }
  EXPECT_EQ(streams.hot().window_count, 10'000U);
  EXPECT_EQ(streams.hot().tombstone_count, 0U);
  streams.windows().release_all(streams.hot());
  EXPECT_EQ(streams.windows().free_windows(), 10'100U);
  EXPECT_EQ(streams.peek(20, 500), ReplayVerdict::kNew);
}

// W-30 at the largest limits: every id there is, windows for a few, and none is ever forgotten.
TEST(StreamWindows, AllIdsHaveTheirTombstones) {
  Streams streams({100, kBits, 64, 65'536, 65'536});
  for (unsigned stream = 0; stream < 65'536; ++stream) {
    ASSERT_EQ(streams.commit(stream, 1000 + stream), ReplayVerdict::kNew) << stream;
  }
  EXPECT_EQ(streams.hot().window_count, 64U);
  EXPECT_EQ(streams.hot().tombstone_count, 65'536U - 64U);
  for (unsigned stream = 0; stream < 65'536; ++stream) {
    ASSERT_EQ(streams.peek(stream, 1000 + stream), ReplayVerdict::kDuplicate) << stream;
  }
  for (unsigned stream = 20; stream < 65'536; ++stream) {  // all come back, in the order they went
    ASSERT_EQ(streams.commit(stream, 1000 + stream), ReplayVerdict::kDuplicate) << stream;
    ASSERT_EQ(streams.commit(stream, 1001 + stream), ReplayVerdict::kNew) << stream;
  }
  EXPECT_EQ(streams.hot().window_count, 64U);
  streams.windows().release_all(streams.hot());
  EXPECT_EQ(streams.windows().free_tombstones(), 65'536U);
}

// Anyone may ask for any id: what a look-up costs must not grow with what a session holds.
TEST(StreamWindows, ALookUpCostsTheSameWhateverTheSessionHolds) {
  Streams streams({10'100, kBits, 10'000, 65'536, 65'536}, 2);
  const auto steps = [&](unsigned session) {
    std::uint64_t sum = 0;
    for (unsigned id = 0; id < 65'536; ++id) {
      const std::uint32_t probes =
          streams.windows().probes(streams.hot(session), static_cast<std::uint16_t>(id));
      EXPECT_LE(probes, session::StreamIndex::kMaxProbes);
      sum += probes;
    }
    return static_cast<double>(sum) / 65'536;
  };
  EXPECT_LE(steps(0), 1.01) << "an empty session";
  for (unsigned stream = 0; stream < 65'536; ++stream) streams.commit(stream, 5);
  ASSERT_EQ(streams.hot().tombstone_count, 65'536U - 10'000U);
  EXPECT_LE(steps(0), 2.0) << "all ids there";
  EXPECT_LE(steps(1), 2.5) << "none there, in the same table";
}

// ---- the index by itself

class Index : public ::testing::Test {
 protected:
  void make(std::uint32_t keys, std::uint64_t hash_key) {
    memory_.resize(session::StreamIndex::bytes_needed(keys) / 8);
    index_.init(std::as_writable_bytes(std::span(memory_)), keys, hash_key);
  }
  std::vector<std::uint64_t> memory_;
  session::StreamIndex index_;
};

TEST_F(Index, AgainstAMapOverManyLives) {
  make(1000, 0x1234567890abcdefULL);
  std::mt19937 random(5);
  std::map<std::uint64_t, std::uint32_t> model;
  for (std::uint32_t step = 0; step < 200'000; ++step) {
    const std::uint64_t key = random() % 2500;
    const auto known = model.find(key);
    ASSERT_EQ(index_.find(key), known == model.end() ? kNone : known->second);
    if (known != model.end() && random() % 2 == 0) {
      index_.erase(key);
      model.erase(known);
    } else if (known != model.end()) {
      index_.replace(key, step);
      known->second = step;
    } else if (model.size() < 1000) {
      ASSERT_TRUE(index_.insert(key, step));
      model[key] = step;
    }
  }
  std::uint64_t steps = 0;
  for (std::uint64_t key = 0; key < 2500; ++key) steps += index_.probes(key);
  EXPECT_LE(steps, 2500U * 3);
}

// Keys that a peer would choose to lie together under one hash key are scattered under another.
TEST_F(Index, TheHashDependsOnTheSecret) {
  std::vector<std::uint64_t> together;
  make(512, 1);
  ASSERT_TRUE(index_.insert(7, 1));
  for (std::uint64_t key = 1000; together.size() < 100; ++key) {
    if (index_.probes(key) > 1) together.push_back(key);
  }
  std::vector<std::uint64_t> apart;
  make(512, 2);
  ASSERT_TRUE(index_.insert(7, 1));
  for (const std::uint64_t key : together) {
    if (index_.probes(key) > 1) apart.push_back(key);
  }
  EXPECT_LE(apart.size(), 5U);
}

TEST_F(Index, KeysFromOneHomeEndAtTheBound) {
  make(4096, 3);
  ASSERT_TRUE(index_.insert(0, 9));
  std::vector<std::uint64_t> colliding;
  for (std::uint64_t key = 1; colliding.size() < 2 * session::StreamIndex::kMaxProbes; ++key) {
    if (index_.probes(key) > 1) colliding.push_back(key);  // the bucket of key 0 is their home
  }
  index_.erase(0);
  std::uint32_t taken = 0;
  for (const std::uint64_t key : colliding) taken += index_.insert(key, 1) ? 1 : 0;
  EXPECT_EQ(taken, session::StreamIndex::kMaxProbes);
  for (const std::uint64_t key : colliding) ASSERT_LE(index_.probes(key), session::StreamIndex::kMaxProbes);
  for (std::uint32_t i = 0; i < taken; ++i) ASSERT_EQ(index_.find(colliding[i]), 1U);
  for (std::uint32_t i = 0; i < taken; i += 2) index_.erase(colliding[i]);
  for (std::uint32_t i = 1; i < taken; i += 2) ASSERT_EQ(index_.find(colliding[i]), 1U);
}

}  // namespace
