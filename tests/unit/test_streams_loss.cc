// Streams: what loss costs (W-10, W-22), and what was no loss.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "session/wire.h"
#include "tests/support/stream_pair.h"

namespace {

using session::StreamError;
using session::StreamNews;
using support::is_pattern;
using support::PatternSource;
using support::StreamPair;

std::uint16_t flags_of(std::span<const std::uint8_t> packet) {
  return session::load_be16(packet.data() + session::kOffFlags);
}

// One stream from a to b whose data packets a test may lose by their count, first transmissions only.
struct Transfer {
  explicit Transfer(std::uint64_t bytes_in, const StreamPair::Setup& setup = {})
      : pair(setup), bytes(bytes_in), id(open()), source(pair.a(), id, bytes) {
    pair.application = [this] { source.offer(); };
    pair.filter = [this](unsigned from, std::span<const std::uint8_t> packet) {
      if (from != 0 || (flags_of(packet) & session::kFlagReliable) == 0) return true;
      const std::uint32_t number = session::load_be32(packet.data() + session::kOffSequence);
      const bool again = any && static_cast<std::int32_t>(number - newest) <= 0;
      if (!again) newest = number;
      any = true;
      return again || number < lose_from || number >= lose_from + lose;
    };
  }
  std::uint16_t open() {
    StreamError error;
    return pair.a().open({}, error).value_or(0);
  }
  std::uint64_t run_ms() {
    EXPECT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }, 600'000));
    EXPECT_EQ(pair.end(1).received[id].size(), bytes);
    EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
    EXPECT_EQ(pair.broken(), "");
    return pair.elapsed_ms();
  }
  StreamPair pair;
  std::uint64_t bytes;
  std::uint16_t id;
  PatternSource source;
  std::uint32_t lose_from = 0, lose = 0, newest = 0;
  bool any = false;
};

constexpr std::uint64_t kRoundTrip_ms = 20;

TEST(StreamsLoss, EightLostInARowCostNoMoreThanThreeRoundTrips_W22) {
  for (const std::uint32_t from : {30U, 60U, 150U, 300U}) {
    Transfer t(500'000);
    t.lose_from = from;
    t.lose = 8;
    const auto received = [&] { return t.pair.end(1).received[t.id].size(); };
    ASSERT_TRUE(t.pair.run([&] { return t.any && t.newest >= from; }));
    const std::uint64_t lost_ms = t.pair.elapsed_ms();
    ASSERT_TRUE(t.pair.run([&] { return received() >= (from + 8) * session::TRANSPORT_MTU; }));
    EXPECT_LE(t.pair.elapsed_ms() - lost_ms, 3 * kRoundTrip_ms) << from;
    t.run_ms();
    EXPECT_EQ(t.pair.a().counters().segments_again, 8U);
    EXPECT_EQ(t.pair.a().counters().timeouts, 0U);
  }
}

TEST(StreamsLoss, ALostTailIsFoundByAProbeLongBeforeTheTimeout) {
  const std::uint64_t clean_ms = Transfer(500'000).run_ms();
  for (const std::uint32_t lost : {1U, 2U, 8U}) {
    Transfer t(500'000);
    t.lose = lost;
    t.lose_from =
        (500'000 + session::TRANSPORT_MTU - 1) / session::TRANSPORT_MTU + 1 - lost;  // FIN is the last
    EXPECT_LE(t.run_ms(), clean_ms + 7 * kRoundTrip_ms) << lost;
    EXPECT_EQ(t.pair.a().counters().timeouts, 0U) << lost;
  }
}

TEST(StreamsLoss, ALostAcknowledgementIsRepeatedOnce_W10) {
  Transfer t(500'000);
  unsigned dropped = 0;
  const auto data = t.pair.filter;
  t.pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    if (from == 1 && (flags_of(packet) & session::kFlagAck) != 0 && dropped == 0 &&
        session::load_be32(packet.data() + session::kPayloadOffset) == 100) {
      ++dropped;
      return false;
    }
    return data(from, packet);
  };
  t.run_ms();
  t.pair.run_for_ms(1'000);
  EXPECT_EQ(dropped, 1U);
  EXPECT_EQ(t.pair.b().counters().acks_again, 1U);
  EXPECT_EQ(t.pair.a().counters().segments_again, 1U);
  EXPECT_EQ(t.pair.end(0).memory.usage().segments, 0U);
}

TEST(StreamsLoss, ReplaysAreAcknowledgedWithinABudget_W10) {
  session::StreamMemory memory({16, 64, 4096});
  session::TimerWheel wheel(0);
  session::Streams streams(session::Streams::Config{}, memory, wheel, 0);
  std::uint64_t now_ns = 1'000'000'000;
  std::uint32_t number = 0;
  const auto replay = [&](unsigned times) {
    unsigned acks = 0;
    for (unsigned i = 0; i < times; ++i) {
      streams.on_duplicate(3, i % 1000, 0, now_ns);
      session::StreamPacket packet;
      while (streams.next_packet(packet, now_ns)) {
        if ((packet.flags & session::kFlagAck) != 0) ++acks;
        streams.numbered(packet, number++);
        streams.sealed(packet, 0, packet.sequence, 69, now_ns);
      }
    }
    return acks;
  };
  EXPECT_EQ(replay(100'000), session::kDuplicateBurst);
  EXPECT_EQ(streams.counters().acks_withheld, 100'000 - session::kDuplicateBurst);
  now_ns += 100'000'000;
  EXPECT_EQ(replay(100'000), session::kDuplicatesPerSecond / 10);
  now_ns += 3'600'000'000'000;
  EXPECT_EQ(replay(100'000), session::kDuplicateBurst);
  EXPECT_EQ(streams.counters().acks_again, 2 * session::kDuplicateBurst + session::kDuplicatesPerSecond / 10);
}

TEST(StreamsLoss, ATimeoutBacksOffOnceForAllThatWereLost_W22) {
  Transfer t(200'000);
  ASSERT_TRUE(t.pair.run([&] { return t.pair.end(1).received[t.id].size() > 60'000; }));
  const auto before = t.pair.a().counters();
  bool dead = true;
  const auto data = t.pair.filter;
  t.pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    return !dead && data(from, packet);
  };
  t.pair.run_for_ms(3'000);
  const auto& after = t.pair.a().counters();
  EXPECT_GE(after.timeouts - before.timeouts, 3U);  // 200, 400, 800, 1600 ms
  EXPECT_LE(after.timeouts - before.timeouts, 4U);
  dead = false;
  t.run_ms();
}

TEST(StreamsLoss, AnOutageOfMinutesIsSurvived) {
  Transfer t(2'000'000);
  ASSERT_TRUE(t.pair.run([&] { return t.pair.end(1).received[t.id].size() > 60'000; }));
  bool dead = true;
  t.pair.filter = [&](unsigned, std::span<const std::uint8_t>) { return !dead; };
  t.pair.run_for_ms(300'000);
  dead = false;
  t.run_ms();
  EXPECT_LE(t.pair.elapsed_ms(), 300'000U + 20'000U);
}

TEST(StreamsLoss, ReorderingIsLearntAndNotTakenForLoss) {
  StreamPair::Setup setup;
  setup.link.delay_ns = 20'000'000;
  setup.link.jitter_ns = 8'000'000;
  Transfer t(3'000'000, setup);
  t.run_ms();
  const auto& c = t.pair.a().counters();
  EXPECT_LT(c.segments_again, c.segments / 20) << c.segments_again << " of " << c.segments;
}

TEST(StreamsLoss, AThirdOfAllPacketsMayBeLost) {
  StreamPair::Setup setup;
  setup.link.loss = 0.33;
  setup.link.jitter_ns = 5'000'000;
  setup.link.duplicates = 0.1;
  for (const std::uint64_t seed : {5U, 6U, 7U}) {
    setup.seed = seed;
    Transfer t(200'000, setup);
    EXPECT_LT(t.run_ms(), 120'000U);
  }
}

TEST(StreamsLoss, AcknowledgementsOfWhatWasNeverSentAreCountedAndChangeNothing) {
  StreamPair pair({});
  StreamError error;
  const std::uint16_t id = pair.a().open({}, error).value_or(0);
  pair.a().on_ack(id, 5, 0, false, pair.now_ns());
  PatternSource source(pair.a(), id, 50'000);
  pair.application = [&] {
    source.offer();
    pair.a().on_ack(id, 1'000'000, 0, false, pair.now_ns());
    pair.a().on_ack(500, 0x40000000, 0, false, pair.now_ns());
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
  EXPECT_GT(pair.a().counters().ack_unknown, 10U);
}

}  // namespace
