// One receiving Streams, fed by hand: order told and untold, gaps, breaches, what is answered (W-25, W-31).
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "session/wire.h"

namespace {

using session::kPriorAllAcked;
using session::kPriorFirst;
using session::kPriorUntold;
using session::StreamError;
using session::StreamEvent;
using session::StreamNews;
using session::StreamPacket;
using session::Streams;

constexpr std::uint16_t kData = session::kFlagReliable | session::kFlagEncrypted;
constexpr std::uint16_t kFin = kData | session::kFlagFin;
constexpr std::uint16_t kReset = kFin | session::kFlagControl;
constexpr std::uint64_t kSecond = 1'000'000'000;

Streams::Config responder(bool unmodified = false) {
  Streams::Config config;
  config.initiator = false;
  config.unmodified_peer = unmodified;
  return config;
}

struct Receiver {
  explicit Receiver(const Streams::Config& config = responder(), std::uint32_t blocks = 4096)
      : memory({64, 64, blocks}), wheel(kSecond), streams(config, memory, wheel, kSecond) {}

  bool feed(std::uint32_t sequence, std::uint16_t prior, const std::string& text, std::uint16_t flags = kData,
            std::uint16_t stream = 2) {
    if (!streams.has_room(stream, sequence, flags, prior, static_cast<std::uint32_t>(text.size())))
      return false;
    streams.on_data(stream, sequence, flags, prior, 0,
                    std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), now);
    return true;
  }
  std::string read(std::uint16_t stream = 2) {
    std::string out;
    for (auto part = streams.readable(stream); !part.empty(); part = streams.readable(stream)) {
      out.append(reinterpret_cast<const char*>(part.data()), part.size());
      streams.consume(stream, part.size(), now);
    }
    return out;
  }
  void pass(std::uint64_t ns) {
    const std::uint64_t until = now + ns;
    while (now < until) {
      now = std::min(until, now + 100'000'000);
      while (session::Timer* timer = wheel.next_expired(now)) streams.on_timer(*timer, now);
    }
  }
  // Events since, as letters: o r w f x c; the reason of the last reset in `reason`.
  std::string events() {
    std::string out;
    StreamEvent event;
    while (streams.next_event(event)) {
      out += "orwfxc"[static_cast<unsigned>(event.news)];
      if (event.news == StreamNews::kReset) reason = event.reason;
    }
    return out;
  }
  // Flags of what it wants to send.
  std::vector<std::uint16_t> packets() {
    std::vector<std::uint16_t> out;
    StreamPacket packet;
    while (streams.next_packet(packet, now)) {
      out.push_back(packet.flags);
      if (packet.kind != StreamPacket::Kind::kAgain) streams.numbered(packet, number++);
      streams.sealed(packet, 0, packet.sequence, 69 + static_cast<std::uint32_t>(packet.text.size()), now);
    }
    return out;
  }
  session::StreamMemory memory;
  session::TimerWheel wheel;
  Streams streams;
  std::uint64_t now = kSecond;
  std::uint32_t number = 0;
  std::string reason;
};

TEST(StreamsOrder, TheLinkToThePriorPacketGivesExactOrderAmongControlPackets) {
  Receiver r;
  // 0 a, 1 (ack) 2 b, 3 (ack) 4 (ack) 5 c, then all acknowledged, 900 d
  EXPECT_TRUE(r.feed(5, 3, "c"));
  EXPECT_EQ(r.read(), "");
  EXPECT_TRUE(r.feed(0, kPriorFirst, "a"));
  EXPECT_EQ(r.read(), "a");
  EXPECT_TRUE(r.feed(2, 2, "b"));
  EXPECT_EQ(r.read(), "bc");
  EXPECT_TRUE(r.feed(900, kPriorAllAcked, "d"));
  EXPECT_EQ(r.read(), "d");
  EXPECT_EQ(r.events(), "o");  // what was readable was read before the events were
}

TEST(StreamsOrder, AllAcknowledgedWaitsForWhatIsHeldBefore) {
  Receiver r;
  r.feed(0, kPriorFirst, "a");
  r.feed(2, 1, "c");  // b, number 1, is missing
  r.feed(9, kPriorAllAcked, "d");
  EXPECT_EQ(r.read(), "a");
  r.feed(1, 1, "b");
  EXPECT_EQ(r.read(), "bcd");
}

TEST(StreamsOrder, OrderGoesOnOverTheEndOfTheNumbers_W14) {
  Receiver r;
  r.feed(0xfffffffe, kPriorFirst, "a");
  r.feed(1, 1, "d");
  r.feed(0, 1, "c");
  r.feed(0xffffffff, 1, "b");
  EXPECT_EQ(r.read(), "abcd");
}

TEST(StreamsOrder, ArrivalOrderWhereNoOrderIsAsked) {
  Receiver r;
  r.streams.set_accept_options({false, session::StreamPriority::kNormal});
  r.feed(2, 1, "c");
  r.feed(0, kPriorFirst, "a");
  r.feed(3, 1, "", kFin);
  EXPECT_EQ(r.read(), "ca");
  EXPECT_EQ(r.events().find('f'), std::string::npos);
  r.feed(1, 1, "b");
  EXPECT_EQ(r.read(), "b");
  EXPECT_EQ(r.events(), "f");
}

TEST(StreamsOrder, AFinishBeforeItsDataWaits) {
  Receiver r;
  EXPECT_TRUE(r.feed(2, 1, "", kFin));
  EXPECT_TRUE(r.feed(1, 1, "b"));
  EXPECT_EQ(r.events(), "o");
  EXPECT_TRUE(r.feed(0, kPriorFirst, "a"));
  EXPECT_EQ(r.read(), "ab");
  EXPECT_EQ(r.events(), "f");
  r.streams.finish(2);
  EXPECT_EQ(r.packets().size(), 4U);  // three acknowledgements, a FIN
  r.streams.on_ack(2, r.number - 1, 0, false, r.now);
  EXPECT_EQ(r.events(), "c");
  EXPECT_EQ(r.streams.count(), 0U);
  EXPECT_EQ(r.memory.usage().blocks, 0U);
}

struct Breach {
  const char* name;
  std::vector<std::tuple<std::uint32_t, std::uint16_t, const char*, std::uint16_t>> packets;
  const char* reason;
};

TEST(StreamsOrder, BreachesResetTheStreamAndTheSessionLives) {
  const std::vector<Breach> breaches = {
      {"data behind a FIN",
       {{0, kPriorFirst, "a", kData}, {1, 1, "", kFin}, {2, 1, "b", kData}},
       "data behind a FIN"},
      {"FIN before held data",
       {{0, kPriorFirst, "a", kData}, {5, 1, "x", kData}, {3, 1, "", kFin}},
       "data behind a FIN"},
      {"passed", {{7, kPriorFirst, "a", kData}, {3, 1, "b", kData}}, "data of a position already passed"},
      {"two beginnings", {{0, kPriorFirst, "a", kData}, {1, kPriorFirst, "b", kData}}, "a second beginning"},
      {"over it",
       {{0, kPriorFirst, "a", kData}, {4, 4, "b", kData}, {5, 3, "c", kData}},
       "a gap inside what was in order"},
      {"no order", {{0, kPriorUntold, "a", kData}}, "the peer tells no order"},
      {"no beginning", {{0, kPriorAllAcked, "a", kData}}, "no beginning"},
  };
  for (const Breach& breach : breaches) {
    Receiver r;
    r.feed(0, kPriorFirst, "other", kData, 4);
    for (const auto& [sequence, prior, text, flags] : breach.packets)
      EXPECT_TRUE(r.feed(sequence, prior, text, flags));
    const std::string events = r.events();
    EXPECT_NE(events.find('x'), std::string::npos) << breach.name;
    EXPECT_EQ(r.reason, breach.reason) << breach.name;
    EXPECT_TRUE(r.streams.readable(2).empty());
    EXPECT_EQ(r.streams.counters().order_broken + r.streams.counters().after_fin, 1U) << breach.name;
    const auto sent = r.packets();
    EXPECT_EQ(std::count(sent.begin(), sent.end(), kReset), 1) << breach.name;
    EXPECT_FALSE(r.feed(99, 1, "late"));  // what is thrown away is not acknowledged
    EXPECT_TRUE(r.packets().empty());
    EXPECT_EQ(r.read(4), "other");
    EXPECT_TRUE(r.feed(1, 1, " goes on", kData, 4));
    EXPECT_EQ(r.read(4), " goes on");
    r.pass(600 * kSecond);
    for (int i = 0; i < 100; ++i, r.pass(60 * kSecond)) r.packets();
    EXPECT_NE(r.events().find('c'), std::string::npos)
        << breach.name;  // also when the peer never acknowledges
    EXPECT_EQ(r.streams.count(), 1U);
  }
}

TEST(StreamsOrder, AStreamOfOursThatIsUnknownIsAnsweredWithAReset) {
  Receiver r;
  EXPECT_TRUE(r.feed(50, 1, "x", kData, 3));
  EXPECT_EQ(r.packets(), (std::vector<std::uint16_t>{
                             session::kFlagAck | session::kFlagEncrypted,
                             session::kFlagFin | session::kFlagControl | session::kFlagEncrypted}));
  EXPECT_EQ(r.streams.counters().no_stream, 1U);
  EXPECT_TRUE(r.feed(51, 1, "", kReset, 3));  // one of theirs: acknowledged, never answered by another
  EXPECT_EQ(r.packets().size(), 1U);
  EXPECT_EQ(r.streams.count(), 0U);
}

TEST(StreamsOrder, ABeginningThatNeverComesIsResetInTime) {
  Receiver r;
  r.feed(5, 1, "b");
  r.pass(55 * kSecond);
  EXPECT_EQ(r.events(), "o");
  r.pass(10 * kSecond);
  EXPECT_EQ(r.events(), "x");
}

TEST(StreamsOrder, AGapThatIsNeverFilledWhileDataArrivesIsResetAndSilenceIsNot) {
  Receiver quiet;
  quiet.feed(0, kPriorFirst, "a");
  quiet.feed(2, 1, "c");
  quiet.pass(3'000 * kSecond);
  EXPECT_EQ(quiet.events(), "or");
  Receiver busy;
  busy.feed(0, kPriorFirst, "a");
  for (std::uint32_t i = 2; i < 200; ++i) {
    busy.feed(i, 1, "c");
    busy.pass(kSecond);
  }
  EXPECT_EQ(busy.reason, "");
  EXPECT_NE(busy.events().find('x'), std::string::npos);
}

TEST(StreamsOrder, NumbersFarOutsideAreRefusedAndCounted) {
  Receiver r;
  r.feed(0, kPriorFirst, "a");
  EXPECT_TRUE(r.feed(10, 1, "x"));
  EXPECT_FALSE(r.feed(10 + (1 << 17), 1, "far"));
  EXPECT_EQ(r.streams.counters().far_sequences, 1U);
  EXPECT_FALSE(r.feed(12, 1, std::string(2'000, 'x')));  // larger than any segment
}

TEST(StreamsOrder, SmallPacketsBehindAGapAreBounded_W31) {
  Receiver r(responder(), 100'000);
  r.feed(0, kPriorFirst, "a");
  unsigned held = 0;
  for (std::uint32_t i = 2; i < 60'000; ++i) held += r.feed(i, 1, "x") ? 1 : 0;
  const std::uint32_t most = session::StreamLimits{}.receive_bytes / session::kMaxSegmentBytes + 1024;
  EXPECT_LE(held, most);
  EXPECT_TRUE(r.feed(1, 1, "b"));  // what fills the gap has room
  EXPECT_EQ(r.read().size(), held + 2);
}

TEST(StreamsOrder, WhatFillsAGapHasRoomInMemoryThatOthersUsedUp) {
  Receiver r(responder(), 64);
  for (std::uint16_t id = 2; id < 40; id = static_cast<std::uint16_t>(id + 2)) {
    r.feed(0, kPriorFirst, "a", kData, id);
    for (std::uint32_t i = 2; i < 60; ++i) r.feed(i, 1, std::string(1'000, 'x'), kData, id);
    r.packets();
  }
  EXPECT_GT(r.streams.counters().no_room, 100U);
  EXPECT_TRUE(r.feed(1, 1, "b", kData, 2));
  EXPECT_GE(r.read(2).size(), 2'000U);
}

TEST(StreamsOrder, TheNextIncarnationWaitsUntilTheLastIsConsumed) {
  Receiver r;
  r.feed(0, kPriorFirst, "old");
  r.feed(1, 1, "", kFin);
  r.streams.finish(2);
  r.packets();                                   // our FIN; its acknowledgement is lost
  EXPECT_FALSE(r.feed(10, kPriorFirst, "new"));  // not read yet
  EXPECT_EQ(r.read(), "old");
  EXPECT_FALSE(r.feed(10, kPriorFirst, "new"));  // the application has not heard of the end
  EXPECT_EQ(r.events(), "ofc");
  EXPECT_TRUE(r.feed(10, kPriorFirst, "new"));
  EXPECT_EQ(r.read(), "new");
  EXPECT_EQ(r.reason, "");
}

// ---- an unmodified peer tells no order

TEST(StreamsOrder, ControlPacketsFillGapsOfAnUnmodifiedPeer_W25) {
  Receiver r(responder(true));
  r.feed(0, kPriorUntold, "a");
  r.feed(3, kPriorUntold, "d");
  r.feed(2, kPriorUntold, "c");
  EXPECT_EQ(r.read(), "a");
  r.streams.on_control(2, 1, r.now);
  EXPECT_EQ(r.read(), "cd");
  r.streams.on_control(2, 5, r.now);
  r.streams.on_control(2, 7, r.now);
  r.feed(8, kPriorUntold, "h");
  r.feed(4, kPriorUntold, "e");
  EXPECT_EQ(r.read(), "e");
  r.feed(6, kPriorUntold, "g");
  EXPECT_EQ(r.read(), "gh");
  EXPECT_EQ(r.streams.counters().gaps_given_up, 0U);
}

// Its sender may repeat a segment thousands of numbers later: what certainly came is acknowledged again, what
// may not have come is not.
TEST(StreamsOrder, WhatIsTooOldForTheWindowIsAcknowledgedIfItCame_W10) {
  Receiver r(responder(true));
  for (std::uint32_t i = 0; i < 5; ++i) r.feed(i, kPriorUntold, "x");
  const auto again = [&](std::uint32_t sequence) {
    const std::uint64_t before = r.streams.counters().acks_again;
    r.streams.on_old(2, sequence, 0, r.now);
    return r.streams.counters().acks_again > before;
  };
  EXPECT_TRUE(again(0));
  EXPECT_TRUE(again(4));
  EXPECT_FALSE(again(5));
  r.feed(7, kPriorUntold, "x");
  r.pass(2'100'000'000);  // 5 and 6 are given up
  EXPECT_FALSE(again(4));
  EXPECT_FALSE(again(6));
  EXPECT_TRUE(again(7));
  r.streams.on_old(9, 0, 0, r.now);
  EXPECT_EQ(r.streams.counters().acks_again, 3U) << "a stream that is not there";
}

// An unmodified peer numbers data when it is handed over and acknowledgements when they leave.
TEST(StreamsOrder, WhatMakesAcknowledgementsWaitsForWhatTheyOutrun_W15) {
  Receiver r(responder(true));
  r.feed(0, kPriorUntold, "a");
  const std::vector<std::uint8_t> bytes(10, 'z');
  const auto sends = [&] {  // bytes for the first time
    const std::uint64_t before = r.streams.counters().sent_bytes;
    r.packets();
    return r.streams.counters().sent_bytes > before;
  };
  const auto send = [&] {
    StreamError error{};
    EXPECT_EQ(r.streams.send(2, bytes, error), bytes.size());
    return sends();
  };
  std::uint32_t next = 2;
  while (next <= 4096) r.streams.on_control(2, next++, r.now);
  EXPECT_TRUE(send());
  r.streams.on_control(2, next++, r.now);
  EXPECT_FALSE(send()) << "number 1 is missing";
  r.feed(1, kPriorUntold, "b");
  EXPECT_TRUE(sends());
  EXPECT_EQ(r.streams.counters().outrun, 1U);

  ++next;  // a control packet is lost: that is waited for like for a gap, and then no more
  for (unsigned i = 0; i < 4097; ++i) r.streams.on_control(2, next++, r.now);
  EXPECT_FALSE(send());
  r.pass(1'900'000'000);
  EXPECT_FALSE(sends());
  r.pass(200'000'000);
  EXPECT_TRUE(sends());
  r.streams.on_control(2, next++, r.now);
  EXPECT_TRUE(send());
}

TEST(StreamsOrder, AGapOfALostControlPacketIsGivenUpInTime) {
  Receiver r(responder(true));
  r.feed(0, kPriorUntold, "a");
  r.feed(2, kPriorUntold, "c");
  r.streams.on_control(2, 4, r.now);
  r.feed(5, kPriorUntold, "f");
  EXPECT_EQ(r.read(), "a");
  r.pass(1'900'000'000);
  EXPECT_EQ(r.read(), "");
  r.pass(200'000'000);
  EXPECT_EQ(r.read(), "c");
  r.feed(3, kPriorUntold, "d");
  EXPECT_EQ(r.read(), "df");
  EXPECT_EQ(r.streams.counters().gaps_given_up, 1U);
  EXPECT_EQ(r.events().find('x'), std::string::npos);
  r.feed(1, kPriorUntold, "b");  // so it was data after all
  EXPECT_EQ(r.events(), "x");
  EXPECT_EQ(r.reason, "data of a gap that was given up");
}

TEST(StreamsOrder, ACreditHintStandsBehindEachBatchOfAcknowledgements_W38) {
  Receiver r(responder(true));
  for (std::uint32_t i = 0; i < 4; ++i) r.feed(i, kPriorUntold, "x");
  constexpr std::uint16_t kAck = session::kFlagAck | session::kFlagEncrypted;
  constexpr std::uint16_t kUpdate = session::kFlagWindowUpdate | session::kFlagEncrypted;
  EXPECT_EQ(r.packets(), (std::vector<std::uint16_t>{kAck, kAck, kAck, kAck, kUpdate}));
  EXPECT_EQ(r.streams.counters().credit_hints, 1U);
  EXPECT_TRUE(r.packets().empty());
  Receiver hardened;
  hardened.feed(0, kPriorFirst, "x");
  EXPECT_EQ(hardened.packets(), (std::vector<std::uint16_t>{kAck}));
}

}  // namespace
