// Two sessions with reliable streams on simulated links: every byte arrives exactly once and in order, every
// transfer ends, whatever delay, loss, reordering, repeats and rates do; and the same beside a model of the
// unmodified peer.
//
//   PHANTOM_SIM_SCHEDULES  random schedules of the search (2000; fewer under sanitizers)
//   PHANTOM_SIM_SEED       of the first one (1)
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/sim_ends.h"

namespace {

using namespace support;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kS = 1000 * kMs;
#if defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kSchedules = 100;
#else
constexpr std::uint64_t kSchedules = 2000;
#endif

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Two ends, the link and the loop.
struct Pair {
  explicit Pair(const SessionEnd::Options& of_a = {}, const SessionEnd::Options& of_b = {.initiator = false},
                std::uint64_t seed = 1)
      : a(of_a, 1'000'000'000), b(of_b, 1'000'000'000), sim(a, b, seed) {
    sim.work = [this] {
      a.work(sim.now_ns);
      b.work(sim.now_ns);
    };
  }
  std::uint16_t open(SessionEnd& end, bool ordered = true) {
    session::StreamError error{};
    session::StreamOptions options;
    options.ordered = ordered;
    const auto id = end.streams().open(options, error);
    EXPECT_TRUE(id.has_value());
    return id.value_or(0);
  }
  SessionEnd a, b;
  Simulator sim;
};

ImpairmentSettings link(std::uint64_t delay_ms, double loss = 0, std::uint64_t mbit = 0) {
  ImpairmentSettings settings;
  settings.delay_ns = delay_ms * kMs;
  settings.loss = loss;
  settings.rate_bits_per_s = mbit * 1'000'000;
  settings.queue_bytes = mbit == 0 ? 131'072 : std::max<std::uint64_t>(65'536, mbit * 125 * delay_ms * 2);
  return settings;
}

TEST(SimStreams, AMegabyteEachWayWithoutTrouble) {
  Pair pair;
  pair.sim.set(link(5));
  const std::uint16_t id = pair.open(pair.a);
  pair.a.offer(id, 1'000'000);
  pair.b.offer(id, 1'000'000);
  ASSERT_TRUE(
      pair.sim.run(60 * kS, [&] { return pair.a.received[id].closed && pair.b.received[id].closed; }));
  for (SessionEnd* end : {&pair.a, &pair.b}) {
    EXPECT_EQ(end->received[id].bytes, 1'000'000U);
    EXPECT_EQ(end->received[id].wrong, 0U);
    EXPECT_TRUE(end->received[id].finished);
    EXPECT_EQ(end->trouble(), "");
  }
  EXPECT_EQ(pair.a.streams().count(), 0U);
}

// What one random schedule is like.
std::string state_of(SessionEnd& end) {
  const session::StreamCounters& c = end.streams().counters();
  const session::BandwidthSnapshot b = end.session().bandwidth();
  std::string out =
      "\n  segments " + std::to_string(c.segments) + ", again " + std::to_string(c.segments_again) +
      ", resealed " + std::to_string(c.segments_resealed) + ", acks " + std::to_string(c.acks) + ", again " +
      std::to_string(c.acks_again) + ", credits " + std::to_string(c.credits) + ", fins " +
      std::to_string(c.fins) + ", timeouts " + std::to_string(c.timeouts) + ", no room " +
      std::to_string(c.no_room) + ", overrun " + std::to_string(c.overrun) + ", far " +
      std::to_string(c.far_sequences) + ", resets " + std::to_string(c.resets_sent) + "; epoch " +
      std::to_string(end.session().epoch()) + ", open " + std::to_string(end.streams().count()) +
      ", in flight " + std::to_string(b.inflight_bytes) + " of " + std::to_string(b.cwnd_bytes) +
      ", deadline " + std::to_string(end.session().next_deadline_ns()) + ", at rest " +
      std::to_string(end.streams().at_rest(0)) + ", replays " +
      std::to_string(end.session().replay_rejected_total()) + ", refused " +
      std::to_string(end.session().aead_failed_total());
  for (const auto& [id, r] : end.received) {
    out += "\n    stream " + std::to_string(id) + ": " + std::to_string(r.bytes) + " bytes" + ", readable " +
           std::to_string(end.streams().readable(id).size()) + (r.finished ? ", finished" : "") +
           (r.reset ? ", reset" : "") + (r.closed ? ", closed" : "");
  }
  return out + end.trouble();
}

// A segment that is lost time after time, while acknowledgements take numbers of the same counter.
TEST(SimStreams, WhatIsUnderWayStaysInsideAnyWindow_W15) {
  for (const std::uint32_t bits : {1024U, 2048U, 4096U, 8192U}) {
    SessionEnd::Options a, b;
    a.window_bits = b.window_bits = bits;
    b.initiator = false;
    Pair pair(a, b);
    pair.sim.set(link(10));
    const std::uint16_t id = pair.open(pair.a);
    pair.a.offer(id, 3'000'000);
    pair.b.offer(id, 20'000'000);
    unsigned lost = 0;
    std::uint32_t victim = 0;
    pair.sim.tap = [&](bool from_a, const Bytes& packet) {
      const std::uint32_t number = session::load_be32(&packet[session::kOffSequence]);
      const bool data = (session::load_be16(&packet[session::kOffFlags]) & session::kFlagReliable) != 0;
      if (!from_a || !data || number < 200) return true;
      if (victim == 0) victim = number;
      return number != victim || ++lost > 12;
    };
    EXPECT_TRUE(
        pair.sim.run(60 * kS, [&] { return pair.a.received[id].closed && pair.b.received[id].closed; }))
        << bits << " bits: number " << victim << ", lost " << lost << state_of(pair.a) << state_of(pair.b);
    EXPECT_EQ(lost, 13U) << bits;
    EXPECT_EQ(pair.b.received[id].wrong + pair.a.received[id].wrong, 0U) << bits;
  }
}

struct Schedule {
  ImpairmentSettings to_b, to_a;
  SessionEnd::Options a, b;
  unsigned streams = 1;
  std::uint64_t bytes_a = 0, bytes_b = 0;
  bool rekeys = false;
};

ImpairmentSettings random_link(std::mt19937_64& random) {
  const auto below = [&](std::uint64_t n) { return random() % n; };
  ImpairmentSettings s;
  s.delay_ns = below(4) == 0 ? 0 : below(80) * kMs;
  s.jitter_ns = below(2) * below(10) * kMs;
  s.rate_bits_per_s = below(2) == 0 ? 0 : 1'000'000 * (1 + below(50));
  s.queue_bytes = 8'000 + below(200'000);
  s.loss = static_cast<double>(below(3) == 0 ? 0 : below(12)) / 100.0;
  s.duplicate = static_cast<double>(below(3) == 0 ? below(8) : 0) / 100.0;
  s.reorder = static_cast<double>(below(2) == 0 ? below(20) : 0) / 100.0;
  s.reorder_ns = (1 + below(30)) * kMs;
  return s;
}

Schedule random_schedule(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t n) { return random() % n; };
  Schedule s;
  s.to_b = random_link(random);
  s.to_a = random_link(random);
  s.b.initiator = false;
  s.streams = static_cast<unsigned>(1 + below(5));
  s.bytes_a = below(60'000);
  s.bytes_b = below(3) == 0 ? 0 : below(60'000);
  s.rekeys = below(3) == 0;
  return s;
}

TEST(SimStreams, RandomSchedulesDeliverEverythingOnceAndEnd) {
  const std::uint64_t schedules = from_environment("PHANTOM_SIM_SCHEDULES", kSchedules);
  const std::uint64_t first = from_environment("PHANTOM_SIM_SEED", 1);
  std::uint64_t datagrams = 0;
  for (std::uint64_t seed = first; seed < first + schedules; ++seed) {
    const Schedule s = random_schedule(seed);
    Pair pair(s.a, s.b, seed);
    pair.sim.set(true, s.to_b);
    pair.sim.set(false, s.to_a);
    std::vector<std::uint16_t> ids;
    for (unsigned i = 0; i < s.streams; ++i) {
      ids.push_back(pair.open(i % 2 == 0 ? pair.a : pair.b));
      pair.a.offer(ids.back(), s.bytes_a + 1 + i);
      pair.b.offer(ids.back(), s.bytes_b + 1 + i);
    }
    std::uint64_t next_rekey_ns = pair.sim.now_ns + 20 * kMs;
    const auto done = [&] {
      if (s.rekeys && pair.sim.now_ns >= next_rekey_ns && pair.a.session().epoch() < 100) {
        (void)(seed % 2 == 0 ? pair.a : pair.b).session().rekey(pair.sim.now_ns);
        next_rekey_ns = pair.sim.now_ns + 200 * kMs;
      }
      for (const std::uint16_t id : ids) {
        if (!pair.a.received[id].closed || !pair.b.received[id].closed) return false;
      }
      return true;
    };
    ASSERT_TRUE(pair.sim.run(600 * kS, done)) << "no end; repeat with PHANTOM_SIM_SEED=" << seed << "; now "
                                              << pair.sim.now_ns << state_of(pair.a) << state_of(pair.b);
    for (unsigned i = 0; i < s.streams; ++i) {
      ASSERT_EQ(pair.b.received[ids[i]].bytes, s.bytes_a + 1 + i) << "seed " << seed;
      ASSERT_EQ(pair.a.received[ids[i]].bytes, s.bytes_b + 1 + i) << "seed " << seed;
      ASSERT_EQ(pair.a.received[ids[i]].wrong + pair.b.received[ids[i]].wrong, 0U) << "seed " << seed;
    }
    ASSERT_EQ(pair.a.trouble() + pair.b.trouble(), "") << "seed " << seed;
    ASSERT_EQ(pair.a.streams().count() + pair.b.streams().count(), 0U) << "seed " << seed;
    datagrams += pair.a.datagrams + pair.b.datagrams;
  }
  std::printf("%" PRIu64 " schedules, %" PRIu64 " datagrams\n", schedules, datagrams);
}

// ---- speed

struct Speed {
  double goodput = 0;  // bytes a second
  session::BandwidthSnapshot estimate;
};

#if defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kTransfer = 8'000'000;  // and no share of the path: its beginning counts too much
constexpr double kLeast = 0;
#else
constexpr std::uint64_t kTransfer = 60'000'000;
constexpr double kLeast = 1;
#endif

Speed transfer(std::uint64_t bytes, std::uint64_t delay_ms, double loss, std::uint64_t mbit) {
  SessionEnd::Options of_a, of_b{.initiator = false};
  of_a.limits.send_bytes = of_b.limits.send_bytes = 8U << 20;
  of_a.limits.receive_bytes = of_b.limits.receive_bytes = 8U << 20;
  Pair pair(of_a, of_b, 3);
  pair.sim.set(link(delay_ms, loss, mbit));
  const std::uint16_t id = pair.open(pair.a);
  pair.a.offer(id, bytes);
  const std::uint64_t begin = pair.sim.now_ns;
  EXPECT_TRUE(pair.sim.run(600 * kS, [&] { return pair.b.received[id].finished; }));
  EXPECT_EQ(pair.b.received[id].bytes, bytes);
  EXPECT_EQ(pair.b.received[id].wrong, 0U);
  Speed speed;
  speed.goodput = static_cast<double>(bytes) * 1e9 / static_cast<double>(pair.sim.now_ns - begin);
  speed.estimate = pair.a.session().bandwidth();
  return speed;
}

// What a path of this rate carries of segments' text.
double path_bytes(std::uint64_t mbit) {
  constexpr double kText = session::TRANSPORT_MTU;
  return static_cast<double>(mbit) * 125'000.0 * kText /
         (kText + session::kPacketOverhead + Simulator::kOuterBytes);
}

TEST(SimStreams, W23_NineTenthsOfAFastPath) {
  const Speed speed = transfer(kTransfer, 25, 0, 100);
  std::printf("100 Mbit/s, 50 ms round trip, no loss: %.1f %% of the path\n",
              100 * speed.goodput / path_bytes(100));
  EXPECT_GT(speed.goodput, kLeast * 0.90 * path_bytes(100));
}

TEST(SimStreams, W22_OnePercentOfLossCostsLittle) {
  const Speed speed = transfer(kTransfer, 25, 0.01, 100);
  std::printf("100 Mbit/s, 50 ms round trip, 1 %% loss: %.1f %% of the path\n",
              100 * speed.goodput / path_bytes(100));
  EXPECT_GT(speed.goodput, kLeast * 0.85 * path_bytes(100));
}

// ---- what packets are made of, and what nobody waits for

TEST(SimStreams, W26_ReliableDataIsNeverABundle) {
  Pair pair;
  pair.sim.set(link(5, 0.05));
  std::uint64_t reliable = 0;
  std::uint64_t both = 0;
  pair.sim.tap = [&](bool, const Bytes& datagram) {
    const std::uint16_t flags = session::load_be16(&datagram[session::kOffFlags]);
    reliable += (flags & session::kFlagReliable) != 0 ? 1U : 0U;
    both += (flags & session::kFlagReliable) != 0 && (flags & session::kFlagCoalesced) != 0 ? 1U : 0U;
    EXPECT_NE(flags & session::kFlagEncrypted, 0);
    EXPECT_EQ(flags & session::kFlagRekey, 0) << "W-01";
    return true;
  };
  const std::uint16_t id = pair.open(pair.a);
  pair.a.offer(id, 200'000);
  pair.b.offer(id, 1);
  ASSERT_TRUE(pair.sim.run(60 * kS, [&] { return pair.b.received[id].closed; }));
  EXPECT_GT(reliable, 150U);
  EXPECT_EQ(both, 0U);
}

// An end that may not send for a while goes on receiving: nothing blocks, what it owes is bounded, and what
// it could not acknowledge it acknowledges when it is asked again.
TEST(SimStreams, W27_ReceivingNeverWaitsForSending) {
  Pair pair;
  pair.sim.set(link(1));
  const std::uint16_t id = pair.open(pair.a);
  bool mute = true;
  pair.sim.tap = [&](bool from_a, const Bytes&) { return from_a || !mute; };
  pair.a.offer(id, 3'000'000);
  pair.b.offer(id, 1);
  (void)pair.sim.run(3 * kS, [] { return false; });
  EXPECT_GT(pair.b.received[id].bytes, 1'300U);
  mute = false;
  ASSERT_TRUE(pair.sim.run(60 * kS, [&] { return pair.b.received[id].finished; }));
  EXPECT_EQ(pair.b.received[id].bytes, 3'000'000U);
  EXPECT_EQ(pair.b.received[id].wrong, 0U);
}

// Everything of a session ends with its owner.
TEST(SimStreams, W37_NothingOutlivesItsOwner) {
  session::StreamMemory memory({});
  session::TimerWheel wheel(0);
  {
    session::Streams streams({}, memory, wheel, 0);
    session::StreamError error{};
    for (unsigned i = 0; i < 20; ++i) {
      const auto id = streams.open({}, error);
      ASSERT_TRUE(id);
      EXPECT_EQ(streams.send(*id, Bytes(10'000), error), 10'000U);
    }
    EXPECT_GT(memory.usage().segments, 0U);
  }
  EXPECT_EQ(memory.usage().streams, 0U);
  EXPECT_EQ(memory.usage().segments, 0U);
  EXPECT_EQ(memory.usage().blocks, 0U);
  EXPECT_EQ(wheel.armed(), 0U);
}

// An authentic peer that breaks the rules: a FIN that is not RELIABLE, with more text than a segment may
// have.
TEST(SimStreams, AFinWithTextOfAnySizeHarmsNothing) {
  Pair pair;
  pair.sim.set(link(1));
  const std::uint16_t id = pair.open(pair.a);
  pair.a.offer(id, 20'000, false);
  (void)pair.sim.run(kS, [&] { return pair.b.received[id].bytes == 20'000; });
  const Bytes large(1'900, 0x5a);
  for (const unsigned more : {0U, unsigned{session::kFlagCoalesced}}) {
    const auto flags = static_cast<std::uint16_t>(session::kFlagFin | more);
    auto sent = pair.a.session().send(id, flags, large, 0, pair.sim.now_ns);
    ASSERT_EQ(sent.drop, session::DropReason::kNone);
    pair.b.receive(sent.datagram, pair.sim.now_ns);
  }
  pair.sim.pass(kS);
  EXPECT_EQ(pair.b.received[id].bytes, 20'000U) << "its text is no part of the stream";
}

// More streams, one after the other, than a session's windows and the default number of tombstones.
TEST(SimStreams, AThousandStreamsOneAfterTheOther) {
  Pair pair;
  pair.sim.set(link(1));
  for (unsigned i = 0; i < 1'000; ++i) {
    const std::uint16_t id = pair.open(pair.a);
    pair.a.offer(id, 100);
    pair.b.offer(id, 50);
    ASSERT_TRUE(pair.sim.run(5 * kS, [&] {
      return pair.a.received[id].closed && pair.b.received[id].closed;
    })) << i;
    ASSERT_EQ(pair.b.received[id].bytes, 100U);
    pair.a.forget(id);
    pair.b.forget(id);
  }
}

// ---- beside an unmodified peer

struct Mixed {
  explicit Mixed(bool ours_initiates, std::uint64_t seed = 1)
      : ours({.initiator = ours_initiates, .unmodified_peer = true}, 1'000'000'000),
        theirs({.initiator = !ours_initiates}, 1'000'000'000),
        sim(ours, theirs, seed) {
    sim.work = [this] {
      ours.work(sim.now_ns);
      theirs.work();
    };
  }
  // What the model received on a stream is the pattern, in some order of its pieces.
  [[nodiscard]] bool has_all(std::uint16_t stream, std::uint64_t bytes, bool from_initiator) const {
    Bytes expected(bytes);
    for (std::uint64_t i = 0; i < bytes; ++i) expected[i] = sim_byte(from_initiator, stream, i);
    Bytes got = theirs.peer.delivered(stream);
    std::sort(expected.begin(), expected.end());
    std::sort(got.begin(), got.end());
    return got == expected;
  }
  SessionEnd ours;
  ReferenceEnd theirs;
  Simulator sim;
};

TEST(SimUnmodified, AMegabyteEachWay) {
  for (const bool ours_initiates : {true, false}) {
    Mixed mixed(ours_initiates);
    mixed.sim.set(link(10));
    ASSERT_EQ(mixed.ours.streams().open_as(1, {}), session::StreamError::kOk);
    mixed.ours.offer(1, 1'000'000, false);
    mixed.theirs.offer(1, 1'000'000);
    ASSERT_TRUE(mixed.sim.run(120 * kS, [&] {
      return mixed.ours.received[1].bytes == 1'000'000 && mixed.theirs.peer.delivered(1).size() == 1'000'000;
    }));
    EXPECT_EQ(mixed.ours.received[1].wrong, 0U);
    EXPECT_TRUE(mixed.has_all(1, 1'000'000, ours_initiates));
    EXPECT_EQ(mixed.ours.trouble(), "");
    EXPECT_TRUE(mixed.sim.run(10 * kS, [&] { return mixed.theirs.all_acknowledged(); }));
  }
}

// A reference sender waits for its tick after every four segments, unless credit wakes it (W-38).
TEST(SimUnmodified, W38_CreditBehindAcknowledgementsWakesTheSender) {
  Mixed mixed(true);
  mixed.sim.set(link(0));
  ASSERT_EQ(mixed.ours.streams().open_as(1, {}), session::StreamError::kOk);
  mixed.theirs.offer(1, 4'000'000);
  const std::uint64_t begin = mixed.sim.now_ns;
  ASSERT_TRUE(mixed.sim.run(60 * kS, [&] { return mixed.ours.received[1].bytes == 4'000'000; }));
  const double rate = 4e6 * 1e9 / static_cast<double>(mixed.sim.now_ns - begin + 1);
  std::printf("from a reference sender without path delay: %.1f MB/s\n", rate / 1e6);
  EXPECT_GT(rate, 20e6);
}

// With its own weaknesses, among them that it never acknowledges twice; at 1 % from us to it as well.
TEST(SimUnmodified, W10_LossBothWaysWedgesNothingOfOurs) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Mixed mixed(seed % 2 == 0, seed);
    mixed.sim.set(link(10, 0.01));
    ASSERT_EQ(mixed.ours.streams().open_as(1, {}), session::StreamError::kOk);
    mixed.ours.offer(1, 200'000, false);
    mixed.theirs.offer(1, 200'000);
    ASSERT_TRUE(mixed.sim.run(600 * kS,
                              [&] {
                                return mixed.ours.received[1].bytes == 200'000 &&
                                       mixed.theirs.peer.delivered(1).size() == 200'000;
                              }))
        << "seed " << seed << ": received " << mixed.ours.received[1].bytes << " and "
        << mixed.theirs.peer.delivered(1).size() << "; reset " << mixed.ours.received[1].reset
        << ", presumed " << mixed.ours.streams().counters().presumed << ", used up "
        << mixed.ours.streams().counters().retries_used_up << ", probes "
        << mixed.ours.streams().counters().probes << "; now " << mixed.sim.now_ns << state_of(mixed.ours)
        << "\n  theirs: epoch " << int{mixed.theirs.peer.epoch()} << ", acks "
        << mixed.theirs.peer.counts().acks << ", replays " << mixed.theirs.peer.counts().replays
        << ", refused " << mixed.theirs.peer.counts().refused << ", rekeys "
        << mixed.theirs.peer.counts().rekeys << ", followed " << mixed.theirs.peer.counts().followed;
    EXPECT_TRUE(mixed.has_all(1, 200'000, seed % 2 == 0)) << seed;
    EXPECT_EQ(mixed.ours.trouble(), "") << seed;
    EXPECT_EQ(mixed.ours.session().epoch(), mixed.theirs.peer.epoch()) << seed;
    EXPECT_LT(mixed.ours.session().epoch(), 3) << "a storm of rekeys";
  }
}

// 1.4 rule 7: our own rekey waits until nothing is under way.
TEST(SimUnmodified, ARekeyLosesNothing) {
  Mixed mixed(true);
  mixed.sim.set(link(10));
  ASSERT_EQ(mixed.ours.streams().open_as(1, {}), session::StreamError::kOk);
  mixed.ours.offer(1, 2'000'000, false);
  mixed.theirs.offer(1, 300'000);
  mixed.ours.session().set_rekey_threshold(400);
  ASSERT_TRUE(mixed.sim.run(300 * kS, [&] {
    return mixed.ours.received[1].bytes == 300'000 && mixed.theirs.peer.delivered(1).size() == 2'000'000;
  }));
  EXPECT_GT(mixed.ours.session().epoch(), 0);
  EXPECT_EQ(mixed.theirs.peer.counts().refused, 0U) << "packets of an epoch that it had left";
  EXPECT_TRUE(mixed.has_all(1, 2'000'000, true));
}

}  // namespace
