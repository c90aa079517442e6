// Streams: flow control and speed (W-13, W-18, W-23, W-24, W-31, W-38).
#include <array>
#include <cstdint>
#include <cstdio>
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

std::uint16_t open(Streams& streams) {
  StreamError error;
  return streams.open({}, error).value_or(0);
}

bool is_credit(std::span<const std::uint8_t> packet) {
  return (session::load_be16(packet.data() + session::kOffFlags) & session::kFlagWindowUpdate) != 0;
}

// Part of the path that carried new data, from the second on in which it began to be full.
double share_of_path(const support::LinkShape& link) {
  StreamPair::Setup setup;
  setup.link = link;
  setup.check_images = false;
  StreamPair pair(setup);
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, 50'000'000);
  pair.application = [&] { source.offer(); };
  pair.run_for_ms(1'000);
  const std::uint64_t early = pair.end(1).received[id].size(), from_ms = pair.elapsed_ms();
  EXPECT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
  const double seconds = static_cast<double>(pair.elapsed_ms() - from_ms) / 1000;
  const double bytes = (50e6 - static_cast<double>(early)) *
                       (session::TRANSPORT_MTU + session::kPacketOverhead) / session::TRANSPORT_MTU;
  std::printf("%.1f %% of the path, loss %.0f %%\n",
              100 * bytes / seconds / static_cast<double>(link.bytes_per_s), 100 * link.loss);
  return bytes / seconds / static_cast<double>(link.bytes_per_s);
}

TEST(StreamsCredit, FillsAPathOf100MbitWith50Milliseconds_W23) {
  support::LinkShape link;
  link.delay_ns = 25'000'000;
  link.bytes_per_s = 12'500'000;
  EXPECT_GT(share_of_path(link), 0.9);
  link.loss = 0.01;
  EXPECT_GT(share_of_path(link), 0.85);
}

TEST(StreamsCredit, NoTimerSetsThePace_W38) {
  StreamPair::Setup setup;
  setup.link.delay_ns = 20'000;
  StreamPair pair(setup);
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, 10'000'000);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_LT(pair.elapsed_ms(), 400U);  // at four segments a tick of 10 ms it were 19 s
}

TEST(StreamsCredit, OneSendOfFourMebibytesIsTakenInParts_W18) {
  StreamPair::Setup setup;
  setup.a.limits.send_bytes = 1 << 20;
  StreamPair pair(setup);
  const std::uint16_t id = open(pair.a());
  std::vector<std::uint8_t> message(4 << 20);
  for (std::size_t i = 0; i < message.size(); ++i) message[i] = support::pattern(id, i);
  StreamError error;
  std::size_t taken = pair.a().send(id, message, error);
  EXPECT_EQ(taken, 1U << 20);
  std::size_t writable = 0;
  pair.application = [&] {
    for (const auto& event : pair.end(0).events) {
      if (event.news != StreamNews::kWritable) continue;
      ++writable;
      taken += pair.a().send(id, std::span(message).subspan(taken), error);
    }
    pair.end(0).events.clear();
    if (taken == message.size()) pair.a().finish(id);
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_EQ(pair.end(1).received[id], message);
  EXPECT_GE(writable, 3U);
}

TEST(StreamsCredit, ATransferOutlivesTheLossOfItsCredit_W13) {
  for (const std::uint64_t dark_ms : {1'000ULL, 20'000ULL, 100'000ULL}) {
    StreamPair pair({});
    const std::uint16_t id = open(pair.a());
    PatternSource source(pair.a(), id, 2'000'000);
    pair.application = [&] { source.offer(); };
    bool dark = true;
    pair.filter = [&](unsigned, std::span<const std::uint8_t> packet) { return !dark || !is_credit(packet); };
    pair.run_for_ms(dark_ms);
    EXPECT_LT(pair.end(1).received[id].size(), 200'000U);
    dark = false;
    ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }, 10'000)) << dark_ms;
    EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
    EXPECT_GT(pair.a().counters().probes, 0U);
  }
}

TEST(StreamsCredit, ALostUpdateIsMadeGoodByTheNextWithoutGrantingTwice) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, 5'000'000);
  pair.application = [&] { source.offer(); };
  unsigned count = 0;
  pair.filter = [&](unsigned, std::span<const std::uint8_t> packet) {
    return !is_credit(packet) || ++count % 3 != 0;
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_EQ(pair.b().counters().overrun, pair.a().counters().probes);
  EXPECT_LT(pair.elapsed_ms(), 5'000U);
}

TEST(StreamsCredit, AReaderThatNeverReadsCostsABoundedAmountAndAnother_W24) {
  StreamPair pair({});
  const std::uint16_t stuck = open(pair.a()), flows = open(pair.a());
  PatternSource first(pair.a(), stuck, 20'000'000), second(pair.a(), flows, 5'000'000);
  pair.end(1).reads = false;
  pair.application = [&] {
    first.offer();
    second.offer();
    for (auto part = pair.b().readable(flows); !part.empty(); part = pair.b().readable(flows)) {
      auto& bytes = pair.end(1).received[flows];
      bytes.insert(bytes.end(), part.begin(), part.end());
      pair.b().consume(flows, part.size(), pair.now_ns());
    }
  };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, flows, StreamNews::kFinished); }));
  EXPECT_TRUE(is_pattern(flows, pair.end(1).received[flows]));
  pair.run_for_ms(300'000);
  const std::size_t most = session::StreamLimits{}.receive_bytes + session::INITIAL_STREAM_WINDOW;
  EXPECT_LT(pair.end(1).memory.usage().blocks, most / 1300 + 64);
  EXPECT_LT(pair.end(1).memory.usage().blocks, 200U);  // a window that nobody read does not grow
  pair.end(1).reads = true;
  pair.read(1);
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, stuck, StreamNews::kFinished); }, 60'000));
  EXPECT_TRUE(is_pattern(stuck, pair.end(1).received[stuck]));
}

TEST(StreamsCredit, AStallOfTenSecondsIsOverAtOnceWhenTheReaderReads) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, 3'000'000);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.end(1).received[id].size() > 500'000; }));
  pair.end(1).reads = false;
  pair.run_for_ms(10'000);
  pair.end(1).reads = true;
  const std::uint64_t from_ms = pair.elapsed_ms();
  pair.read(1);
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_LT(pair.elapsed_ms() - from_ms, 700U);
}

TEST(StreamsCredit, MoreThanTheCapIsCountedAndCapped) {
  for (const bool unmodified : {false, true}) {
    session::StreamMemory memory({});
    session::TimerWheel wheel(0);
    Streams::Config config;
    config.unmodified_peer = unmodified;
    Streams streams(config, memory, wheel, 0);
    const std::uint16_t id = open(streams);
    for (int i = 0; i < 10; ++i) streams.on_credit(id, 0xffffffffU, 0, 1);
    EXPECT_EQ(streams.counters().credit_overflow, 10U);
    streams.on_credit(9999, 5, 0, 1);
    EXPECT_EQ(streams.count(), 1U);
  }
}

TEST(StreamsCredit, DataBeyondTheCreditIsCountedAndBounded) {
  session::StreamMemory memory({4, 4, 4096});
  session::TimerWheel wheel(0);
  Streams::Config config;
  config.initiator = false;
  config.limits.receive_bytes = 100'000;
  config.limits.acks = 100'000;
  Streams streams(config, memory, wheel, 0);
  const std::vector<std::uint8_t> text(1300);
  const std::uint16_t flags = session::kFlagReliable | session::kFlagEncrypted;
  std::size_t taken = 0;
  for (std::uint32_t i = 0; i < 10'000; ++i) {
    const auto prior = static_cast<std::uint16_t>(taken == 0 ? session::kPriorFirst : i - (taken - 1));
    const auto number = static_cast<std::uint32_t>(taken);
    if (!streams.has_room(2, number, flags, taken == 0 ? prior : std::uint16_t{1}, 1300)) continue;
    streams.on_data(2, number, flags, taken == 0 ? prior : std::uint16_t{1}, 0, text, 1);
    ++taken;
  }
  EXPECT_LE(taken * 1300, 100'000U + session::INITIAL_STREAM_WINDOW);
  EXPECT_GT(streams.counters().overrun, 0U);
  EXPECT_GT(streams.counters().no_room, 9'000U);
}

}  // namespace
