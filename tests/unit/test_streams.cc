// Streams joined by a link: opening, sending, finishing, resetting, ids, turns, epochs, paths.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "session/wire.h"
#include "tests/support/stream_pair.h"

namespace {

using session::StreamError;
using session::StreamNews;
using session::StreamOptions;
using session::StreamPacket;
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
    EXPECT_EQ(pair.end(i).streams->bandwidth(0).inflight_bytes, 0U) << i;
  }
}

bool closed(const StreamPair& pair, std::uint16_t id) {
  return pair.saw(0, id, StreamNews::kClosed) && pair.saw(1, id, StreamNews::kClosed);
}

// A transfer from a to b and the closing of both directions.
void transfer(StreamPair& pair, std::uint64_t bytes, const StreamOptions& options = {}) {
  const std::uint16_t id = open(pair.a(), options);
  PatternSource source(pair.a(), id, bytes);
  bool answered = false;
  pair.application = [&] {
    source.offer();
    if (!answered && pair.saw(1, id, StreamNews::kFinished)) {
      answered = pair.b().finish(id) == StreamError::kOk;
    }
  };
  ASSERT_TRUE(pair.run([&] { return closed(pair, id); }, 600'000))
      << "received " << pair.end(1).received[id].size() << " of " << bytes;
  EXPECT_EQ(pair.end(1).received[id].size(), bytes);
  EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
  EXPECT_EQ(pair.broken(), "");
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

TEST(Streams, AnUnorderedStreamLosesNothingAndFinishesBehindEverything) {
  StreamPair::Setup setup;
  setup.link.loss = 0.05;
  setup.link.jitter_ns = 8'000'000;
  StreamPair pair(setup);
  pair.b().set_accept_options({false, StreamPriority::kNormal});
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, 1'000'000);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  auto got = pair.end(1).received[id];
  EXPECT_EQ(got.size(), 1'000'000U);
  EXPECT_FALSE(is_pattern(id, got));  // arrival order
  std::vector<std::uint8_t> sent(1'000'000);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = support::pattern(id, i);
  std::sort(got.begin(), got.end());
  std::sort(sent.begin(), sent.end());
  EXPECT_EQ(got, sent);
}

TEST(Streams, AFinishThatOvertakesTheOnlyDataWaitsForIt) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  bool first = true;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t>) {
    return !(from == 0 && std::exchange(first, false));
  };
  PatternSource source(pair.a(), id, 100);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }, 10'000));
  EXPECT_EQ(pair.end(1).received[id].size(), 100U);
}

TEST(Streams, BothDirectionsAtOnceAndOneClosedBeforeTheOther) {
  StreamPair::Setup setup;
  setup.link.loss = 0.02;
  StreamPair pair(setup);
  const std::uint16_t id = open(pair.a());
  PatternSource there(pair.a(), id, 100'000), back(pair.b(), id, 2'000'000);
  pair.application = [&] {
    there.offer();
    if (pair.saw(1, id, StreamNews::kFinished)) back.offer();  // half-closed by a
  };
  ASSERT_TRUE(pair.run([&] { return closed(pair, id); }));
  EXPECT_EQ(pair.end(1).received[id].size(), 100'000U);
  EXPECT_EQ(pair.end(0).received[id].size(), 2'000'000U);
  EXPECT_TRUE(is_pattern(id, pair.end(0).received[id]));
}

TEST(Streams, ClosingWithSegmentsQueuedLosesNone_W20) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  std::vector<std::uint8_t> bytes(100 * session::TRANSPORT_MTU);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = support::pattern(id, i);
  StreamError error;
  ASSERT_EQ(pair.a().send(id, bytes, error), bytes.size());
  ASSERT_EQ(pair.a().finish(id), StreamError::kOk);
  EXPECT_EQ(pair.a().send(id, bytes, error), 0U);
  EXPECT_EQ(error, StreamError::kFinished);
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_EQ(pair.end(1).received[id], bytes);
  pair.b().finish(id);
  ASSERT_TRUE(pair.run([&] { return closed(pair, id); }));
  expect_memory_is_back(pair);
}

TEST(Streams, AResetEndsBothDirectionsAndGivesEverythingBack) {
  for (const double loss : {0.0, 0.3}) {
    StreamPair::Setup setup;
    setup.link.loss = loss;
    setup.link.jitter_ns = 20'000'000;
    StreamPair pair(setup);
    const std::uint16_t id = open(pair.a());
    PatternSource there(pair.a(), id, 3'000'000), back(pair.b(), id, 3'000'000);
    pair.application = [&] {
      there.offer();
      if (pair.saw(1, id, StreamNews::kOpened)) back.offer();
    };
    ASSERT_TRUE(pair.run([&] { return pair.end(1).received[id].size() > 50'000; }));
    ASSERT_EQ(pair.a().reset(id), StreamError::kOk);
    pair.application = nullptr;
    ASSERT_TRUE(pair.run([&] { return closed(pair, id); })) << loss;
    EXPECT_TRUE(pair.saw(1, id, StreamNews::kReset));
    EXPECT_FALSE(pair.saw(0, id, StreamNews::kReset));
    pair.run_for_ms(120'000);
    expect_memory_is_back(pair);
    EXPECT_EQ(pair.b().count(), 0U);  // nothing late opened it again
  }
}

TEST(Streams, ResetsThatCrossEndToo) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  PatternSource there(pair.a(), id, 10'000);
  pair.application = [&] { there.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kOpened); }));
  pair.application = nullptr;
  pair.a().reset(id);
  pair.b().reset(id);
  ASSERT_TRUE(pair.run([&] { return closed(pair, id); }));
  pair.run_for_ms(10'000);
  expect_memory_is_back(pair);
}

// ---- ids and numbers

TEST(Streams, InitiatorsOpenEvenIdsRespondersOddOnes) {
  StreamPair pair({});
  EXPECT_EQ(open(pair.a()), 2);
  EXPECT_EQ(open(pair.a()), 4);
  EXPECT_EQ(open(pair.b()), 3);
  EXPECT_EQ(pair.a().open_as(1, {}), StreamError::kOk);
  EXPECT_EQ(pair.a().open_as(1, {}), StreamError::kExists);
  EXPECT_EQ(pair.a().open_as(0, {}), StreamError::kUnknown);
  StreamError error;
  std::array<std::uint8_t, 4> bytes{};
  EXPECT_EQ(pair.a().send(999, bytes, error), 0U);
  EXPECT_EQ(error, StreamError::kUnknown);
  EXPECT_EQ(pair.a().finish(999), StreamError::kUnknown);
  EXPECT_EQ(pair.a().reset(999), StreamError::kUnknown);
}

TEST(Streams, IdsRunOutAndAreLimited) {
  session::StreamMemory memory({40'000, 16, 16});
  session::TimerWheel wheel(0);
  Streams::Config config;
  config.limits.streams = 100'000;
  Streams streams(config, memory, wheel, 0);
  StreamError error;
  unsigned opened = 0;
  while (streams.open({}, error)) ++opened;
  EXPECT_EQ(error, StreamError::kNoIds);
  EXPECT_EQ(opened, 32'767U);  // 2, 4, ... 65,534
  config.limits.streams = 5;
  Streams few(config, memory, wheel, 0);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(few.open({}, error));
  EXPECT_FALSE(few.open({}, error));
  EXPECT_EQ(error, StreamError::kLimit);
}

TEST(Streams, SeventyThousandStreamsShareTheIdsAndNoNumberTwice_W04) {
  StreamPair::Setup setup;
  setup.link.delay_ns = 100'000;
  setup.memory = {400, 2000, 2000};
  setup.a.limits.streams = setup.b.limits.streams = 300;
  StreamPair pair(setup);
  constexpr unsigned kAll = 70'000;
  unsigned opened = 0, finished = 0;
  StreamError error;
  const std::array<std::uint8_t, 3> bytes{1, 2, 3};
  pair.application = [&] {
    for (const auto& event : pair.end(1).events) {
      if (event.news == StreamNews::kFinished) pair.b().finish(event.stream);
    }
    for (unsigned i = 0; i < 2; ++i) {
      for (const auto& event : pair.end(i).events) {
        if (event.news == StreamNews::kClosed && i == 0) ++finished;
        if (event.news == StreamNews::kClosed) pair.end(i).received.erase(event.stream);
        ASSERT_NE(event.news, StreamNews::kReset) << event.reason;
      }
      pair.end(i).events.clear();
    }
    while (opened < kAll && pair.a().count() < 200) {
      const auto id = pair.a().open({}, error);
      ASSERT_TRUE(id);
      ++opened;
      ASSERT_EQ(pair.a().send(*id, bytes, error), bytes.size());
      ASSERT_EQ(pair.a().finish(*id), StreamError::kOk);
    }
  };
  ASSERT_TRUE(pair.run([&] { return finished == kAll; }, 3'600'000)) << opened << " " << finished;
  EXPECT_EQ(pair.broken(), "");
  EXPECT_EQ(pair.b().counters().received_bytes, kAll * bytes.size());
}

TEST(Streams, AnAcknowledgementAfterTheEndTakesANumberBehindAllOthers_W06) {
  StreamPair pair({});
  std::uint16_t id = 0;
  while (id < session::kDynamicFirst) id = open(pair.a());
  std::vector<std::uint8_t> first;
  std::uint32_t last_of_b = 0;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    const auto h = session::decode_header(packet.first<session::kHeaderBytes>());
    if (from == 0 && h.stream_id == id && first.empty()) first.assign(packet.begin(), packet.end());
    if (from == 1 && h.stream_id == id) last_of_b = h.sequence;
    return true;
  };
  PatternSource source(pair.a(), id, 20'000);
  pair.application = [&] {
    source.offer();
    if (pair.saw(1, id, StreamNews::kFinished)) pair.b().finish(id);
  };
  ASSERT_TRUE(pair.run([&] { return closed(pair, id); }));
  pair.application = nullptr;
  pair.run_for_ms(5'000);
  const std::uint32_t before = last_of_b;
  const auto late = session::decode_header(std::span(first).first<session::kHeaderBytes>());
  pair.b().on_duplicate(id, late.sequence, 0, pair.now_ns());
  pair.pump(1);
  EXPECT_GT(last_of_b, before);
  EXPECT_EQ(pair.broken(), "");
  EXPECT_EQ(pair.b().count(), 0U);
}

TEST(Streams, AllIdsOfAPeerAreBounded_W30) {
  session::StreamMemory memory({200, 64, 512});
  session::TimerWheel wheel(0);
  Streams::Config config;
  config.initiator = false;
  config.limits.streams = 100;
  Streams streams(config, memory, wheel, 0);
  const std::array<std::uint8_t, 10> text{};
  const std::uint16_t flags = session::kFlagReliable | session::kFlagEncrypted;
  for (unsigned id = 0; id < 65'536; ++id) {
    const auto stream = static_cast<std::uint16_t>(id);
    if (streams.has_room(stream, 0, flags, session::kPriorFirst, text.size())) {
      streams.on_data(stream, 0, flags, session::kPriorFirst, 0, text, 1);
    }
  }
  EXPECT_EQ(streams.count(), 100U);
  EXPECT_GT(streams.counters().stream_limit, 30'000U);
  EXPECT_GT(streams.counters().no_stream, 30'000U);     // of our own ids: answered with resets
  EXPECT_GT(streams.counters().acks_dropped, 60'000U);  // their queue is bounded
  EXPECT_LE(memory.usage().streams, 100U);
  StreamPacket packet;
  unsigned sent = 0;
  while (streams.next_packet(packet, 2)) {
    streams.numbered(packet, sent++);
    streams.sealed(packet, 0, packet.sequence, 73, 2);
  }
  EXPECT_EQ(sent, config.limits.acks);
}

// ---- turns

TEST(Streams, SharesBySixteenFourOneAndNoneStarves_W36) {
  StreamPair::Setup setup;
  setup.link.delay_ns = 5'000'000;
  setup.link.bytes_per_s = 5'000'000;
  StreamPair pair(setup);
  std::vector<std::uint16_t> ids;
  std::vector<PatternSource> sources;
  for (const auto priority : {StreamPriority::kLow, StreamPriority::kNormal, StreamPriority::kHigh}) {
    ids.push_back(open(pair.a(), {true, priority}));
    sources.emplace_back(pair.a(), ids.back(), 100'000'000, false);
  }
  pair.application = [&] {
    for (auto& source : sources) source.offer();
  };
  pair.run_for_ms(4'000);
  std::array<std::size_t, 3> before{};
  for (unsigned i = 0; i < 3; ++i) before[i] = pair.end(1).received[ids[i]].size();
  pair.run_for_ms(6'000);
  std::array<double, 3> moved{};
  for (unsigned i = 0; i < 3; ++i) {
    moved[i] = static_cast<double>(pair.end(1).received[ids[i]].size() - before[i]);
  }
  EXPECT_GT(moved[0], 0);
  EXPECT_NEAR(moved[1] / moved[0], 4, 0.8);
  EXPECT_NEAR(moved[2] / moved[0], 16, 3.2);
}

TEST(Streams, AcknowledgementsOfABurstLeaveTogetherBeforeData_W34) {
  session::StreamMemory memory({});
  session::TimerWheel wheel(0);
  Streams::Config config;
  Streams streams(config, memory, wheel, 0);
  StreamError error;
  const std::uint16_t own = open(streams);
  const std::vector<std::uint8_t> bytes(5'000);
  streams.send(own, bytes, error);
  const std::uint16_t flags = session::kFlagReliable | session::kFlagEncrypted;
  for (std::uint32_t i = 0; i < 32; ++i) {
    const std::uint16_t prior = i == 0 ? session::kPriorFirst : std::uint16_t{1};
    ASSERT_TRUE(streams.has_room(3, i, flags, prior, 100));
    streams.on_data(3, i, flags, prior, 0, std::span(bytes).first(100), 1'000'000);
  }
  std::vector<StreamPacket> burst;
  StreamPacket packet;
  std::uint32_t number = 0;
  while (streams.next_packet(packet, 1'250'000)) {
    if (packet.kind != StreamPacket::Kind::kAgain) streams.numbered(packet, number++);
    burst.push_back(packet);
  }
  ASSERT_GT(burst.size(), 33U);
  for (std::uint32_t i = 0; i < 32; ++i) {
    EXPECT_EQ(burst[i].flags, session::kFlagAck | session::kFlagEncrypted);
    EXPECT_EQ(session::load_be32(burst[i].text.data()), i);
    EXPECT_EQ(burst[i].ack_delay, 250U);
  }
  EXPECT_EQ(burst[32].kind, StreamPacket::Kind::kNew);
  EXPECT_EQ(burst[32].ack_delay, session::kPriorFirst);
  for (const StreamPacket& each : burst) streams.sealed(each, 0, each.sequence, 100, 1'300'000);
}

TEST(Streams, WhatWasNotSentIsChargedOnce_W21) {
  session::StreamMemory memory({});
  session::TimerWheel wheel(0);
  Streams streams(Streams::Config{}, memory, wheel, 0);
  const std::uint16_t id = open(streams);
  StreamError error;
  std::vector<std::uint8_t> bytes(session::INITIAL_STREAM_WINDOW);
  ASSERT_EQ(streams.send(id, bytes, error), bytes.size());
  StreamPacket packet;
  std::uint64_t now = 1'000'000;
  for (int i = 0; i < 100; ++i) {  // no number was to be had
    ASSERT_TRUE(streams.next_packet(packet, now));
    EXPECT_EQ(packet.kind, StreamPacket::Kind::kNew);
    streams.not_sent(packet, now);
  }
  ASSERT_TRUE(streams.next_packet(packet, now));
  streams.numbered(packet, 7);
  const std::uint16_t prior = packet.ack_delay;
  for (int i = 0; i < 100; ++i) {  // a number was taken, and is kept
    streams.not_sent(packet, now);
    ASSERT_TRUE(streams.next_packet(packet, now));
    EXPECT_EQ(packet.kind, StreamPacket::Kind::kReseal);
    EXPECT_EQ(packet.sequence, 7U);
    EXPECT_EQ(packet.ack_delay, prior);
  }
  streams.sealed(packet, 0, 7, 1369, now);
  // The whole initial window still goes, and no byte more.
  std::uint32_t sequence = 8;
  std::size_t sent = packet.text.size();
  for (std::uint32_t acked = 7; sent < bytes.size() && acked < 200; ++acked) {
    now += 5'000'000;
    streams.on_ack(id, acked, 0, false, now);
    while (streams.next_packet(packet, now)) {
      if (packet.kind == StreamPacket::Kind::kNew) streams.numbered(packet, sequence++);
      if (packet.kind == StreamPacket::Kind::kNew) sent += packet.text.size();
      streams.sealed(packet, 0, packet.sequence, 1369, now);
    }
  }
  EXPECT_EQ(sent, bytes.size());
  streams.reset(id);
}

// ---- epochs and paths

TEST(Streams, RepeatsTheImageInsideAnEpochAndSealsItAgainInTheNext) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  std::map<std::uint32_t, std::vector<std::vector<std::uint8_t>>> images;
  bool lose = true;
  pair.filter = [&](unsigned from, std::span<const std::uint8_t> packet) {
    const auto h = session::decode_header(packet.first<session::kHeaderBytes>());
    if (from != 0 || (h.flags & session::kFlagReliable) == 0) return true;
    images[h.sequence].emplace_back(packet.begin(), packet.end());
    return !lose;
  };
  PatternSource source(pair.a(), id, 4'000, false);
  pair.application = [&] { source.offer(); };
  pair.run_for_ms(3'500);  // the first timeout is a second
  const auto first = images;
  ASSERT_GE(first.at(0).size(), 2U);
  for (const auto& [number, copies] : first) {
    for (const auto& copy : copies) EXPECT_EQ(copy, copies.front());
  }
  pair.set_epoch(0, 1);
  lose = false;
  ASSERT_TRUE(pair.run([&] { return pair.end(1).received[id].size() == 4'000; }));
  for (const auto& [number, copies] : first) {
    const auto& later = images[number].back();
    EXPECT_EQ(later[session::kOffEpoch], 1);
    EXPECT_NE(later, copies.front());
    EXPECT_EQ(session::load_be16(later.data() + session::kOffFlags) & session::kFlagRekey, 0);
  }
  EXPECT_GT(pair.a().counters().segments_resealed, 0U);
  EXPECT_EQ(pair.broken(), "");
}

TEST(Streams, MovesToAnotherPathWithWhatIsUnderWay) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  bool dead = false;  // the first way; images keep its id when they go the second
  pair.filter = [&](unsigned from, std::span<const std::uint8_t>) { return !(dead && from == 0); };
  PatternSource source(pair.a(), id, 1'000'000);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.end(1).received[id].size() > 100'000; }));
  dead = true;
  pair.run_for_ms(1'000);
  pair.a().set_path(3, 1200);  // smaller than what was cut for path 0
  dead = false;
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }, 20'000));
  EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
  EXPECT_EQ(pair.broken(), "");
  EXPECT_GT(pair.a().bandwidth(3).min_rtt_ns, 0U);
  EXPECT_EQ(pair.a().bandwidth(0).inflight_bytes, 0U);
  EXPECT_EQ(pair.a().bandwidth(9).min_rtt_ns, 0U);
}

TEST(Streams, ComesToRestWhileHeldAndGoesOn) {
  StreamPair pair({});
  const std::uint16_t id = open(pair.a());
  PatternSource source(pair.a(), id, 2'000'000);
  pair.application = [&] { source.offer(); };
  ASSERT_TRUE(pair.run([&] { return pair.end(1).received[id].size() > 100'000; }));
  EXPECT_FALSE(pair.a().at_rest(pair.now_ns()));
  pair.a().set_hold(true);
  ASSERT_TRUE(pair.run([&] { return pair.a().at_rest(pair.now_ns()); }, 5'000));
  EXPECT_LT(pair.end(1).received[id].size(), 2'000'000U);
  pair.a().set_hold(false);
  ASSERT_TRUE(pair.run([&] { return pair.saw(1, id, StreamNews::kFinished); }));
  EXPECT_EQ(pair.end(1).received[id].size(), 2'000'000U);
}

// ---- many

TEST(Streams, TenThousandStreamsAtOnce) {
  StreamPair::Setup setup;
  setup.memory = {10'000, 12'000, 12'000};
  setup.a.limits.streams = setup.b.limits.streams = 10'000;
  setup.a.limits.acks = setup.b.limits.acks = 20'000;
  setup.link.loss = 0.01;
  StreamPair pair(setup);
  std::vector<std::uint16_t> ids;
  std::vector<PatternSource> sources;
  for (int i = 0; i < 10'000; ++i) {
    ids.push_back(open(pair.a()));
    sources.emplace_back(pair.a(), ids.back(), 1'000);
  }
  bool offered = false;
  pair.application = [&] {
    if (!offered) {
      for (auto& source : sources) source.offer();
    }
    offered = true;
    for (const auto& event : pair.end(0).events) {
      if (event.news != StreamNews::kWritable) continue;
      sources[static_cast<std::size_t>(event.stream / 2 - 1)].offer();
    }
    pair.end(0).events.clear();
  };
  EXPECT_EQ(pair.a().count(), 10'000U);
  ASSERT_TRUE(pair.run([&] { return pair.b().counters().received_bytes == 10'000'000; }, 600'000))
      << pair.b().counters().received_bytes;
  pair.application = nullptr;
  for (const auto id : ids) EXPECT_TRUE(is_pattern(id, pair.end(1).received[id]));
}

TEST(Streams, SessionsWithoutStreamsHoldNothing_W35) {
  session::StreamMemory memory({16, 16, 16});
  session::TimerWheel wheel(0);
  std::vector<std::unique_ptr<Streams>> sessions;
  for (int i = 0; i < 1'000; ++i) {
    sessions.push_back(std::make_unique<Streams>(Streams::Config{}, memory, wheel, 0));
  }
  StreamPacket packet;
  for (auto& each : sessions) EXPECT_FALSE(each->next_packet(packet, 1));
  EXPECT_EQ(wheel.armed(), 0U);
  EXPECT_EQ(wheel.next_deadline_ns(), UINT64_MAX);
  EXPECT_EQ(memory.usage().streams + memory.usage().segments + memory.usage().blocks, 0U);
}

}  // namespace
