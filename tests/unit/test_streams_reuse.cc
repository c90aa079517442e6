// An id that is used again before the other end is done with its last use, and numbers that go on where a
// reservation says.
#include <array>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "session/wire.h"
#include "tests/support/stream_pair.h"

namespace {

using session::StreamError;
using session::StreamNews;
using session::Streams;
using support::is_pattern;
using support::PatternSource;
using support::StreamPair;

constexpr std::uint16_t kId = 2;

// Everything so far is forgotten, the id is opened again and carries something else than before.
void expect_next_use_arrives(StreamPair& pair) {
  for (unsigned i = 0; i < 2; ++i) {
    pair.end(i).received.clear();
    pair.end(i).events.clear();
  }
  ASSERT_EQ(pair.a().open_as(kId, {}), StreamError::kOk);
  PatternSource source(pair.a(), kId, 20'000);
  pair.application = [&] { source.offer(); };
  EXPECT_TRUE(pair.run([&] { return pair.saw(1, kId, StreamNews::kFinished); }, 30'000))
      << pair.end(1).received[kId].size() << " of 20000 bytes";
  EXPECT_FALSE(pair.saw(0, kId, StreamNews::kReset));
  EXPECT_EQ(pair.end(1).received[kId].size(), 20'000U);
  EXPECT_TRUE(is_pattern(kId, pair.end(1).received[kId]));
  pair.application = nullptr;
}

TEST(StreamsReuse, WhatComesWhileTheLastUseLingersIsNotAcknowledged) {
  StreamPair pair({});
  ASSERT_EQ(pair.a().open_as(kId, {}), StreamError::kOk);
  PatternSource hello(pair.a(), kId, 1'000, false);
  pair.application = [&] { hello.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.end(1).received[kId].size() == 1'000; }));
  ASSERT_EQ(pair.a().reset(kId), StreamError::kOk);
  ASSERT_TRUE(pair.run([&] { return pair.saw(0, kId, StreamNews::kClosed); }));
  ASSERT_FALSE(pair.saw(1, kId, StreamNews::kClosed));  // or the test shows nothing
  expect_next_use_arrives(pair);
  EXPECT_GT(pair.b().counters().no_room, 0U);
}

// Our reset is not acknowledged yet, the peer has it and goes on.
TEST(StreamsReuse, WhatComesWhileAResetWaitsForItsAnswerIsNotAcknowledged) {
  StreamPair pair({});
  ASSERT_EQ(pair.a().open_as(kId, {}), StreamError::kOk);
  PatternSource hello(pair.a(), kId, 1'000, false);
  pair.application = [&] { hello.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.end(1).received[kId].size() == 1'000; }));
  bool deaf = true;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    const auto h = session::decode_header(packet.first<session::kHeaderBytes>());
    return !(deaf && from == 0 && (h.flags & session::kFlagAck) != 0);
  };
  ASSERT_EQ(pair.b().reset(kId), StreamError::kOk);
  ASSERT_TRUE(pair.run([&] { return pair.saw(0, kId, StreamNews::kClosed); }));
  ASSERT_FALSE(pair.saw(1, kId, StreamNews::kClosed));
  for (auto* events : {&pair.end(0).events, &pair.end(1).events}) events->clear();
  ASSERT_EQ(pair.a().open_as(kId, {}), StreamError::kOk);
  PatternSource source(pair.a(), kId, 20'000);
  pair.end(1).received.clear();
  pair.application = [&] { source.offer(); };
  pair.run_for_ms(300);  // the first packets of the next use arrive
  deaf = false;
  EXPECT_TRUE(pair.run([&] { return pair.saw(1, kId, StreamNews::kFinished); }, 30'000))
      << pair.end(1).received[kId].size() << " of 20000 bytes";
  EXPECT_TRUE(is_pattern(kId, pair.end(1).received[kId]));
}

TEST(StreamsReuse, TheBeginningOfTheNextUseMayBeLostLikeAnythingElse) {
  StreamPair pair({});
  bool lose = false;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    const auto h = session::decode_header(packet.first<session::kHeaderBytes>());
    if (from != 0) return true;
    if ((h.flags & session::kFlagAck) != 0) return false;  // b never hears that its FIN arrived
    const bool beginning = lose && h.ack_delay_us == session::kPriorFirst;
    if (beginning) lose = false;
    return !beginning;
  };
  ASSERT_EQ(pair.a().open_as(kId, {}), StreamError::kOk);
  PatternSource source(pair.a(), kId, 5'000);
  bool answered = false;
  pair.application = [&] {
    source.offer();
    if (!answered && pair.saw(1, kId, StreamNews::kFinished)) {
      answered = pair.b().finish(kId) == StreamError::kOk;
    }
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(0, kId, StreamNews::kClosed); }));
  ASSERT_FALSE(pair.saw(1, kId, StreamNews::kClosed));
  lose = true;
  expect_next_use_arrives(pair);
  EXPECT_FALSE(lose);
  EXPECT_EQ(pair.b().counters().after_fin, 0U);
}

TEST(StreamsReuse, AReservationMayBeginInTheUpperHalfOfTheNumbers) {
  constexpr std::uint32_t kFirst = 0x9000'0000;
  session::StreamMemory memory({16, 16, 16});
  session::TimerWheel wheel(0);
  Streams streams(Streams::Config{}, memory, wheel, 0);
  ASSERT_EQ(streams.open_as(40, {}), StreamError::kOk);  // before anything is known
  streams.set_dynamic_limit(kFirst, kFirst + 1000);
  ASSERT_EQ(streams.open_as(42, {}), StreamError::kOk);
  for (const std::uint16_t id : std::array<std::uint16_t, 3>{40, 42, 44}) {  // the last one is unknown
    EXPECT_EQ(streams.counter(id)->next, kFirst) << id;
    EXPECT_EQ(streams.counter(id)->limit, kFirst + 1000) << id;
  }
  streams.counter(42)->next += 5;
  streams.set_dynamic_limit(kFirst - 7, kFirst + 2000);  // never backwards
  EXPECT_EQ(streams.counter(44)->next, kFirst);
  EXPECT_EQ(streams.counter(42)->next, kFirst + 5);
  EXPECT_EQ(streams.counter(42)->limit, kFirst + 2000);
}

}  // namespace
