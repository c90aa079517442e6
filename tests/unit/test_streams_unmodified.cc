// Streams towards an unmodified peer, by the rules of the protocol specification, 1.4. The peer is played by
// Streams that have its habits: a window of 1,024, no second acknowledgement, order of arrival.
#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "session/wire.h"
#include "tests/support/stream_pair.h"

namespace {

using session::StreamError;
using session::StreamNews;
using support::PatternSource;
using support::StreamPair;

StreamPair::Setup unmodified() {
  StreamPair::Setup setup;
  setup.a.unmodified_peer = setup.b.unmodified_peer = true;
  setup.window_bits = 1024;
  setup.acknowledge_once[1] = true;
  return setup;
}

std::uint16_t flags_of(std::span<const std::uint8_t> packet) {
  return session::load_be16(packet.data() + session::kOffFlags);
}
std::uint32_t number_of(std::span<const std::uint8_t> packet) {
  return session::load_be32(packet.data() + session::kOffSequence);
}
std::uint32_t acked_by(std::span<const std::uint8_t> packet) {
  return session::load_be32(packet.data() + session::kPayloadOffset);
}
bool is_ack(std::span<const std::uint8_t> packet) {
  return (flags_of(packet) & session::kFlagAck) != 0;
}
bool is_data(std::span<const std::uint8_t> packet) {
  return (flags_of(packet) & session::kFlagReliable) != 0 && packet.size() > session::kPacketOverhead;
}

std::uint16_t open(StreamPair& pair) {
  StreamError error;
  pair.b().set_accept_options({false, session::StreamPriority::kNormal});
  return pair.a().open({}, error).value_or(0);
}

// All of the pattern, in any order.
void expect_all(std::uint16_t id, std::vector<std::uint8_t> got, std::size_t size) {
  std::vector<std::uint8_t> sent(size);
  for (std::size_t i = 0; i < size; ++i) sent[i] = support::pattern(id, i);
  std::sort(got.begin(), got.end());
  std::sort(sent.begin(), sent.end());
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_EQ(got, sent);
}

TEST(StreamsUnmodified, IdsCountFromTwo) {
  StreamPair pair(unmodified());
  EXPECT_EQ(open(pair), 2);
  EXPECT_EQ(open(pair), 3);
}

TEST(StreamsUnmodified, WhatIsEmittedKeepsTheRules) {
  StreamPair pair(unmodified());
  const std::uint16_t id = open(pair);
  std::set<std::uint32_t> unacked;
  std::uint32_t newest = 0;
  std::uint32_t widest = 0;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    const auto h = session::decode_header(packet.first<session::kHeaderBytes>());
    if (from == 1) {
      if (is_ack(packet)) unacked.erase(acked_by(packet));
      return true;
    }
    EXPECT_EQ(h.path_id, 0);  // rule 1
    EXPECT_EQ(h.flags & (session::kFlagCoalesced | session::kFlagRekey | session::kFlagControl), 0);  // 3, 5
    EXPECT_LE(packet.size(), session::TRANSPORT_MTU + session::kPacketOverhead);
    if ((h.flags & session::kFlagAck) == 0) {
      EXPECT_EQ(h.ack_delay_us, 0);
    }
    if ((h.flags & session::kFlagFin) != 0) {
      EXPECT_TRUE(unacked.empty());
    }
    if (is_data(packet)) unacked.insert(h.sequence);
    newest = std::max(newest, h.sequence);
    if (!unacked.empty()) widest = std::max(widest, newest - *unacked.begin());
    return true;
  };
  pair.a().set_path(7, 1408);
  PatternSource source(pair.a(), id, 5'000'000), back(pair.b(), id, 3'000'000);
  pair.application = [&] {
    source.offer();
    if (pair.saw(1, id, StreamNews::kOpened)) back.offer();
  };
  ASSERT_TRUE(pair.run(
      [&] { return pair.saw(1, id, StreamNews::kFinished) && pair.saw(0, id, StreamNews::kFinished); }));
  EXPECT_LT(widest, 1024U);  // 4
  EXPECT_GT(widest, 200U);
  expect_all(id, pair.end(1).received[id], 5'000'000);
  EXPECT_TRUE(support::is_pattern(id, pair.end(0).received[id]));  // ordered by numbers of control packets
  EXPECT_EQ(pair.a().counters().gaps_given_up, 0U);
}

TEST(StreamsUnmodified, ASegmentLostUnderHeavyLoadBothWaysGetsThroughItsWindow_W15) {
  StreamPair::Setup setup = unmodified();
  setup.link.bytes_per_s = 30'000'000;  // more than 20,000 packets a second
  StreamPair pair(setup);
  const std::uint16_t id = open(pair);
  std::map<std::uint32_t, unsigned> tries;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    if (from != 0 || !is_data(packet)) return true;
    const unsigned n = tries[number_of(packet)]++;
    return n != 0 || number_of(packet) % 701 != 300;
  };
  PatternSource source(pair.a(), id, 10'000'000), back(pair.b(), id, 10'000'000);
  pair.application = [&] {
    source.offer();
    if (pair.saw(1, id, StreamNews::kOpened)) back.offer();
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }, 60'000));
  expect_all(id, pair.end(1).received[id], 10'000'000);
  EXPECT_EQ(pair.a().counters().presumed, 0U);
  EXPECT_LT(pair.elapsed_ms(), 10'000U);
}

TEST(StreamsUnmodified, LostAcknowledgementsDoNotStopTheTransfer_W10) {
  StreamPair::Setup setup = unmodified();
  setup.link.loss = 0.01;
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    setup.seed = seed;
    StreamPair pair(setup);
    const std::uint16_t id = open(pair);
    PatternSource source(pair.a(), id, 3'000'000);
    pair.application = [&] { source.offer(); };
    ASSERT_TRUE(pair.run(
        [&] { return pair.end(1).received[id].size() == 3'000'000 && pair.a().at_rest(pair.now_ns()); },
        120'000))
        << pair.end(1).received[id].size();
    expect_all(id, pair.end(1).received[id], 3'000'000);
    EXPECT_GT(pair.a().counters().presumed, 5U);
    EXPECT_EQ(pair.a().bandwidth(0).inflight_bytes, 0U);
  }
}

TEST(StreamsUnmodified, TheLastAcknowledgementLostIsPresumedWhenAnEmptySegmentWasAcknowledged_W10) {
  StreamPair pair(unmodified());
  const std::uint16_t id = open(pair);
  std::uint32_t last = 0;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    if (from == 0 && is_data(packet)) last = number_of(packet);
    return from == 0 || !is_ack(packet) || acked_by(packet) != 3;
  };
  PatternSource source(pair.a(), id, 4 * session::TRANSPORT_MTU);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }, 120'000));
  EXPECT_EQ(last, 3U);
  EXPECT_EQ(pair.a().counters().presumed, 1U);
  EXPECT_EQ(pair.end(1).received[id].size(), 4 * session::TRANSPORT_MTU);
}

TEST(StreamsUnmodified, WhereNothingMayBePresumedTheStreamIsReset) {
  StreamPair::Setup setup = unmodified();
  setup.a.presume_delivered = false;
  StreamPair pair(setup);
  const std::uint16_t id = open(pair);
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    return from == 0 || !is_ack(packet) || acked_by(packet) != 20;
  };
  PatternSource source(pair.a(), id, 2'000'000);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.saw(0, id, StreamNews::kReset); }, 60'000));
  EXPECT_EQ(pair.a().counters().retries_used_up, 1U);
  StreamError error;
  EXPECT_TRUE(pair.a().open({}, error));  // the session lives
}

TEST(StreamsUnmodified, AFinishIsRepeatedWithANewNumber_W20) {
  StreamPair pair(unmodified());
  const std::uint16_t id = open(pair);
  std::set<std::uint32_t> fins;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    if (from == 0 && (flags_of(packet) & session::kFlagFin) != 0) {
      EXPECT_TRUE(fins.insert(number_of(packet)).second);
    }
    return from == 0 || !is_ack(packet) || fins.size() == 3 || fins.count(acked_by(packet)) == 0;
  };
  PatternSource source(pair.a(), id, 10'000);
  pair.application = [&] {
    source.offer();
    if (pair.saw(1, id, StreamNews::kFinished)) pair.b().finish(id);
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(0, id, StreamNews::kClosed); }, 60'000));
  EXPECT_EQ(fins.size(), 3U);
  EXPECT_EQ(pair.broken(), "");
  EXPECT_EQ(pair.a().bandwidth(0).inflight_bytes, 0U);
}

TEST(StreamsUnmodified, CreditThatWasLostIsGrantedAgain_W13) {
  StreamPair pair(unmodified());
  const std::uint16_t id = open(pair);
  PatternSource source(pair.b(), id, 1'000'000), hello(pair.a(), id, 10, false);
  pair.application = [&] {
    hello.offer();
    if (pair.saw(1, id, StreamNews::kOpened)) source.offer();
  };
  bool dark = true;
  pair.filter = [&](unsigned, std::span<const std::uint8_t> packet) {
    return !dark || (flags_of(packet) & session::kFlagWindowUpdate) == 0;
  };
  pair.run_for_ms(400);
  EXPECT_LE(pair.end(0).received[id].size(), session::INITIAL_STREAM_WINDOW);
  pair.run_for_ms(3'000);
  dark = false;
  ASSERT_TRUE(pair.run([&] { return pair.saw(0, id, StreamNews::kFinished); }, 20'000));
  EXPECT_TRUE(support::is_pattern(id, pair.end(0).received[id]));
  EXPECT_GT(pair.a().counters().credits, 20U);
}

}  // namespace
