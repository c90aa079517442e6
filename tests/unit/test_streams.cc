// Streams joined by a link: opening, sending, finishing, resetting, ids, priorities, limits.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "tests/support/stream_pair.h"

namespace {

using session::StreamError;
using session::StreamNews;
using session::StreamOptions;
using session::StreamPriority;
using session::Streams;
using support::is_pattern;
using support::PatternSource;
using support::StreamPair;

std::uint16_t open(Streams& streams, const StreamOptions& options = {}) {
  StreamError error;
  const auto id = streams.open(options, error);
  EXPECT_EQ(error, StreamError::kOk);
  return id.value_or(0);
}

void expect_memory_is_back(StreamPair& pair) {
  for (unsigned i = 0; i < 2; ++i) {
    const auto usage = pair.end(i).memory.usage();
    EXPECT_EQ(usage.streams, 0U) << i;
    EXPECT_EQ(usage.segments, 0U) << i;
    EXPECT_EQ(usage.blocks, 0U) << i;
    EXPECT_EQ(pair.end(i).wheel.armed(), 0U) << i;
  }
}

// A transfer from a to b and the closing of both directions.
void transfer(StreamPair& pair, std::uint64_t bytes, std::uint64_t at_most_ms = 600'000) {
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, bytes);
  bool answered = false;
  pair.application = [&] {
    source.offer();
    if (!answered && pair.saw(1, id, StreamNews::kFinished))
      answered = pair.b().finish(id) == StreamError::kOk;
  };
  ASSERT_TRUE(
      pair.run([&] { return pair.saw(0, id, StreamNews::kClosed) && pair.saw(1, id, StreamNews::kClosed); },
               at_most_ms))
      << "received " << pair.end(1).received[id].size() << " of " << bytes;
  EXPECT_EQ(pair.end(1).received[id].size(), bytes);
  EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
  EXPECT_EQ(pair.broken(), "");
  EXPECT_EQ(pair.a().bandwidth(0).inflight_bytes, 0U);
  pair.application = nullptr;
  pair.run_for_ms(60'000);
  expect_memory_is_back(pair);
}

TEST(Streams, TransfersOverAPerfectLink) {
  StreamPair pair({});
  transfer(pair, 3'000'000);
  const auto& sent = pair.a().counters();
  EXPECT_EQ(sent.sent_bytes, 3'000'000U);
  EXPECT_EQ(sent.segments_again + sent.segments_resealed, 0U);
  EXPECT_EQ(pair.b().counters().received_bytes, 3'000'000U);
}

TEST(Streams, TransfersOverALossyReorderingDuplicatingLink) {
  StreamPair::Setup setup;
  setup.link.loss = 0.05;
  setup.link.duplicates = 0.02;
  setup.link.jitter_ns = 8'000'000;
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    setup.seed = seed;
    StreamPair pair(setup);
    transfer(pair, 2'000'000);
    EXPECT_GT(pair.a().counters().segments_again, 20U);
  }
}

TEST(Streams, AnEmptyStreamFinishes) {
  StreamPair pair({});
  transfer(pair, 0);
}

}  // namespace
