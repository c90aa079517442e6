// A path's flow against a link whose truth is known (the protocol specification, sections 12 and 16.2: W-19,
// W-20, W-23).
#include <cstdint>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "session/pacer.h"
#include "session/path_flow.h"
#include "session/windowed_filter.h"
#include "tests/support/flow_link.h"

namespace {

using flow_test::FlowLink;
using flow_test::FlowSender;
using flow_test::kMs;
using flow_test::kNever;
using flow_test::kSecond;
using flow_test::LinkShape;
using session::BandwidthSnapshot;
using session::FlowMark;
using session::FlowState;
using session::Pacer;
using session::PathFlow;

void expect_near_share(std::uint64_t value, std::uint64_t truth, double share, const std::string& what) {
  EXPECT_NEAR(static_cast<double>(value), static_cast<double>(truth), static_cast<double>(truth) * share)
      << what;
}

// Bandwidth and minimum RTT within 5 % of what the link does now.
void expect_truth(FlowSender& sender, const std::string& when) {
  const BandwidthSnapshot seen = sender.flow().snapshot();
  const LinkShape& truth = sender.link().shape();
  expect_near_share(seen.bottleneck_bw_bps, truth.rate_bps, 0.05, when + ": bandwidth");
  expect_near_share(seen.min_rtt_ns, 2 * truth.delay_ns, 0.05, when + ": minimum RTT");
}

// Share of the link's rate that was acknowledged from now on until then.
double goodput(FlowSender& sender, std::uint64_t until_ns) {
  const std::uint64_t from_ns = sender.now_ns();
  const std::uint64_t before = sender.acked_bytes();
  sender.run_until(until_ns);
  const double seconds = static_cast<double>(until_ns - from_ns) / 1e9;
  return static_cast<double>(sender.acked_bytes() - before) / seconds /
         static_cast<double>(sender.link().shape().rate_bps);
}

// What can be copied byte by byte owns nothing: no allocation, no virtual call.
static_assert(std::is_trivially_copyable_v<PathFlow>);
static_assert(sizeof(PathFlow) <= 640);

// ---- throughput: 50 ms, 100 Mbit/s

struct Carriage {
  const char* name;
  double loss;
  std::uint64_t queue_bytes;
  FlowSender::Options options;
  double least;  // share of the path over 10 s from a cold start
};

class FlowThroughput : public testing::TestWithParam<Carriage> {};

TEST_P(FlowThroughput, UsesThePath) {
  const Carriage& row = GetParam();
  for (const std::uint64_t seed : {1ULL, 2ULL, 3ULL}) {
    LinkShape shape;
    shape.loss = row.loss;
    shape.queue_bytes = row.queue_bytes;
    FlowSender sender(shape, seed, row.options);
    EXPECT_GE(goodput(sender, 10 * kSecond), row.least) << row.name << ", seed " << seed;
    EXPECT_EQ(sender.flow().snapshot().inflight_bytes, sender.open_bytes());
    EXPECT_GE(goodput(sender, 30 * kSecond), row.least) << row.name << ", later, seed " << seed;
  }
}

constexpr FlowSender::Options kExact{};
constexpr FlowSender::Options kTicked{.tick_ns = 1'048'576, .ack_every_ns = 2 * kMs};
INSTANTIATE_TEST_SUITE_P(Path, FlowThroughput,
                         testing::Values(Carriage{"clean", 0, 1'250'000, kExact, 0.95},
                                         Carriage{"clean, timer ticks, acks in bunches", 0, 1'250'000,
                                                  kTicked, 0.95},
                                         Carriage{"1 %", 0.01, 1'250'000, kExact, 0.93},
                                         Carriage{"1 %, ticks, bunches", 0.01, 1'250'000, kTicked, 0.93},
                                         Carriage{"short queue", 0, 60'000, kTicked, 0.90},
                                         Carriage{"short queue, 1 %", 0.01, 60'000, kTicked, 0.85},
                                         Carriage{"5 %", 0.05, 1'250'000, kExact, 0.70}));

// What the same sender gets from the reference's window: four packets in a round trip (12.5).
TEST(PathFlow, ReferenceWindowIsTheBaseline) {
  const double reference = 5'600.0 / 0.05 / 12'500'000;
  FlowSender sender(LinkShape{}, 1);
  EXPECT_GT(goodput(sender, 10 * kSecond), 100 * reference);
}

// A rate that a loss of 1 % would halve once would never be within 5 %.
TEST(PathFlow, RandomLossDoesNotCollapseTheWindow) {
  LinkShape shape;
  shape.loss = 0.01;
  FlowSender sender(shape, 5);
  sender.run_until(3 * kSecond);
  for (unsigned i = 0; i < 100; ++i) {
    sender.run_until(sender.now_ns() + 100 * kMs);
    EXPECT_GT(sender.flow().snapshot().cwnd_bytes, shape.rate_bps / 20);  // of one flight: 625,000 bytes
  }
  EXPECT_GT(sender.lost_packets(), 500U);
}

// ---- four shapes of path

TEST(FlowShapes, Steady) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(kSecond);
  for (unsigned i = 0; i < 60; ++i) {
    sender.run_until(sender.now_ns() + kSecond);
    expect_truth(sender, "second " + std::to_string(i));
  }
  EXPECT_EQ(sender.lost_packets(), 0U);
}

TEST(FlowShapes, StepUp) {
  for (const double loss : {0.0, 0.01}) {
    LinkShape shape;
    shape.loss = loss;
    FlowSender sender(shape, 1);
    sender.run_until(5 * kSecond);
    sender.link().set_rate(4 * shape.rate_bps);
    sender.run_until(8 * kSecond);
    expect_truth(sender, "3 s after the step");
    EXPECT_GE(goodput(sender, 20 * kSecond), 0.90);
  }
}

TEST(FlowShapes, StepDown) {
  for (const double loss : {0.0, 0.01}) {
    LinkShape shape;
    shape.loss = loss;
    FlowSender sender(shape, 1);
    sender.run_until(5 * kSecond);
    sender.link().set_rate(shape.rate_bps / 4);
    sender.run_until(15 * kSecond);
    expect_truth(sender, "10 s after the step");
    EXPECT_GE(goodput(sender, 25 * kSecond), 0.90);
    EXPECT_LT(sender.link().queued_bytes(), shape.rate_bps / 4 / 40);  // half a flight
  }
}

TEST(FlowShapes, DelayJump) {
  for (const std::uint64_t delay_ns : {30 * kMs, 50 * kMs, 100 * kMs, 10 * kMs}) {
    FlowSender sender(LinkShape{}, 1);
    sender.run_until(5 * kSecond);
    sender.link().set_delay(delay_ns);
    sender.run_until(18 * kSecond);  // the minimum of 10 s and the probe that follows
    expect_truth(sender, "delay " + std::to_string(delay_ns / kMs));
    EXPECT_GE(goodput(sender, 28 * kSecond), 0.90) << delay_ns;
  }
}

// A path that becomes four times as long must not be starved until the old minimum is 10 s old.
TEST(FlowShapes, LongerPathIsNoticedEarly) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(5 * kSecond);
  sender.link().set_delay(100 * kMs);
  sender.run_until(11 * kSecond);
  expect_truth(sender, "6 s after");
}

TEST(FlowShapes, OutageAndReturn) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(5 * kSecond);
  sender.link().set_rate(1);  // nothing gets through
  sender.run_until(8 * kSecond);
  EXPECT_LE(sender.flow().snapshot().inflight_bytes, sender.flow().snapshot().cwnd_bytes + 1'400);
  EXPECT_EQ(sender.flow().snapshot().inflight_bytes, sender.open_bytes());
}

// ---- states

TEST(FlowStates, StartupDrainsIntoProbeBandwidth) {
  FlowSender sender(LinkShape{}, 1);
  std::vector<FlowState> seen{sender.flow().state()};
  while (sender.now_ns() < 2 * kSecond) {
    sender.run_until(sender.now_ns() + kMs);
    if (seen.back() != sender.flow().state()) seen.push_back(sender.flow().state());
  }
  EXPECT_EQ(seen, (std::vector{FlowState::kStartup, FlowState::kDrain, FlowState::kProbeBW}));
}

// Rounds are round trips: 50 ms each, whatever the number of acknowledgements.
TEST(FlowStates, RoundsAreRoundTrips) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(3 * kSecond);
  const std::uint64_t before = sender.flow().round();
  sender.run_until(8 * kSecond);
  EXPECT_NEAR(static_cast<double>(sender.flow().round() - before), 95, 6);
}

TEST(FlowStates, HeavyLossConservesAndComesBack) {
  LinkShape shape;
  shape.queue_bytes = 20'000;
  FlowSender sender(shape, 1);
  sender.run_until(3 * kSecond);
  sender.link().set_rate(shape.rate_bps / 2);  // half of everything is dropped until the flow yields
  bool recovered = false;
  while (sender.now_ns() < 4 * kSecond) {
    sender.run_until(sender.now_ns() + kMs);
    recovered = recovered || sender.flow().state() == FlowState::kFastRecovery;
  }
  EXPECT_TRUE(recovered);
  EXPECT_GE(goodput(sender, 10 * kSecond), 0.85);
  EXPECT_EQ(sender.flow().snapshot().inflight_bytes, sender.open_bytes());
}

// Somebody else's queue in front of ours: the minimum is looked for again after 10 s, with an empty pipe.
// Two processes of one machine: a packet takes 50 us when its peer happens to run, and mostly it runs once a
// millisecond and answers all there is.
TEST(FlowStates, APathOfMicrosecondsIsNotProbedForEver) {
  PathFlow flow(kSecond);
  std::vector<FlowMark> flight(1);
  flow.on_sent(flight[0], 1'400, kSecond);
  flow.on_acked(flight[0], 0, true, kSecond + 50'000);
  std::uint64_t delivered = 0;
  unsigned probing = 0;
  for (std::uint64_t now = 2 * kSecond; now < 4 * kSecond; now += kMs) {
    for (FlowMark& mark : flight) {
      delivered += mark.bytes;
      flow.on_acked(mark, 0, true, now);
    }
    flight.clear();
    for (std::uint64_t at = now; at < now + kMs; at += 10'000) {
      while (flow.may_send(1'400, at)) flow.on_sent(flight.emplace_back(), 1'400, at);
    }
    probing += flow.state() == FlowState::kProbeRTT ? 1 : 0;
  }
  EXPECT_EQ(probing, 0U);
  EXPECT_GT(delivered / 2, 500'000'000U) << "bytes a second";
}

TEST(FlowStates, ProbesForTheMinimum) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(3 * kSecond);
  sender.link().set_delay(35 * kMs);
  std::uint64_t probing_ns = 0;
  std::uint64_t least = UINT64_MAX;
  while (sender.now_ns() < 20 * kSecond) {
    sender.run_until(sender.now_ns() + kMs);
    if (sender.flow().state() != FlowState::kProbeRTT) continue;
    probing_ns += kMs;
    least = std::min(least, sender.flow().snapshot().inflight_bytes);
  }
  EXPECT_GE(probing_ns, 200 * kMs);
  EXPECT_LE(probing_ns, 500 * kMs);
  EXPECT_LE(least, session::kMinWindowBytes);
  expect_truth(sender, "after the probe");
}

// ---- an application that has less than the path carries

TEST(FlowAppLimited, TellsNoBandwidthOfTheSenders) {
  LinkShape shape;
  FlowSender sender(shape, 1);
  sender.run_until(5 * kSecond);
  const std::uint64_t known = sender.flow().snapshot().bottleneck_bw_bps;
  // The same flow goes on with a tenth: what it knows of the path stays.
  sender.set_offered(shape.rate_bps / 10);
  sender.run_until(25 * kSecond);
  expect_near_share(sender.flow().snapshot().bottleneck_bw_bps, known, 0.01, "bandwidth after 20 s");
}

TEST(FlowAppLimited, AThinFlowIsNotHeldUp) {
  LinkShape shape;
  FlowSender sender(shape, 1, {.offered_bps = 1'000'000});
  sender.run_until(10 * kSecond);
  EXPECT_GE(static_cast<double>(sender.acked_bytes()), 0.98 * 9.9 * 1'000'000);
  EXPECT_GE(sender.flow().snapshot().bottleneck_bw_bps, 950'000U);
  EXPECT_LE(sender.flow().snapshot().bottleneck_bw_bps, shape.rate_bps);
}

// A flight begins with its first packet, not with the silence before it.
TEST(FlowAppLimited, SilenceIsNotPartOfARate) {
  PathFlow flow(0);
  std::vector<FlowMark> marks(10);
  for (const std::uint64_t at : {10 * kSecond, 30 * kSecond}) {
    for (FlowMark& mark : marks) flow.on_sent(mark, 1'400, at);
    for (FlowMark& mark : marks) flow.on_acked(mark, 0, true, at + 50 * kMs);
    EXPECT_EQ(flow.snapshot().bottleneck_bw_bps, 14'000U * 20) << "ten packets in 50 ms";
  }
}

// ---- pacer

TEST(Pacer, RateIsExactAndBurstsStayInTheBucket) {
  for (const std::uint64_t rate : {1'024ULL, 125'000ULL, 12'500'000ULL, 1'250'000'000ULL}) {
    constexpr std::uint32_t kPacket = 1'400;
    constexpr std::uint32_t kBucket = 20'000;
    Pacer pacer(rate, kBucket, 0);
    std::uint64_t now = 0;
    std::uint64_t sent = 0;
    const std::uint64_t end = 2'000 * std::uint64_t{kPacket} * kSecond / rate;
    while (now < end) {
      if (!pacer.has(kPacket, now)) {
        const std::uint64_t at = pacer.ready_at_ns(kPacket);
        ASSERT_GT(at, now);
        ASSERT_FALSE(pacer.has(kPacket, at - 1)) << rate;
        now = at;
        continue;
      }
      pacer.consume(kPacket, now);
      sent += kPacket;
      // At no moment more than the bucket above the rate.
      ASSERT_LE(static_cast<double>(sent),
                static_cast<double>(now) / 1e9 * static_cast<double>(rate) + kBucket + 1);
    }
    expect_near_share(sent - kBucket, 2'000 * kPacket, 0.02, "rate " + std::to_string(rate));
  }
}

// The reference loses the fraction of a byte at every look.
TEST(Pacer, LookingOftenCostsNothing) {
  Pacer pacer(1'000'000, 1'400, 0);
  pacer.consume(1'400, 0);
  for (std::uint64_t now = 0; now < 1'399'999; now += 7) ASSERT_FALSE(pacer.has(1'400, now));
  EXPECT_TRUE(pacer.has(1'400, 1'400'000));
}

TEST(Pacer, LimitsOfTheReference) {
  Pacer pacer(0, 1'000'000, 0);
  EXPECT_EQ(pacer.rate_bps(), session::MIN_PACING_RATE);
  EXPECT_EQ(pacer.burst_bytes(), session::MAX_BURST_BYTES);
  EXPECT_TRUE(pacer.has(100'000, 0)) << "larger than the bucket: when it is full";
  pacer.consume(100'000, 0);
  EXPECT_FALSE(pacer.has(1, 0));
  // In debt by a bucket less what was there: paid back before anything goes.
  EXPECT_EQ(pacer.ready_at_ns(1), (100'000 - 65'536 + 1) * kSecond / 1'024 + 1);
  EXPECT_TRUE(pacer.has(65'536, UINT64_MAX / 2)) << "a long silence fills it, without overflow";
}

TEST(PathFlow, NothingLeavesFasterThanTheBucketAllows) {
  LinkShape shape;
  PathFlow flow(0);
  FlowSender sender(shape, 1);
  sender.run_until(5 * kSecond);
  const std::uint64_t before = sender.sent_packets();
  sender.run_until(6 * kSecond);
  const std::uint64_t sent = (sender.sent_packets() - before) * 1'400;
  expect_near_share(sent, shape.rate_bps, 0.02, "a second of a full path");
  EXPECT_EQ(sender.lost_packets(), 0U);
}

TEST(PathFlow, SaysWhenToAskAgain) {
  PathFlow flow(0);
  std::vector<FlowMark> marks(100);
  std::size_t sent = 0;
  while (flow.may_send(1'400, 0)) flow.on_sent(marks[sent++], 1'400, 0);
  EXPECT_EQ(sent, session::kInitialWindowBytes / 1'400);
  EXPECT_EQ(flow.wait_until_ns(1'400, 0), kNever) << "an acknowledgement must come";
  flow.on_acked(marks[0], 0, true, kMs);
  const std::uint64_t at = flow.wait_until_ns(1'400, kMs);
  EXPECT_NE(at, kNever);
  EXPECT_TRUE(flow.may_send(1'400, std::max(at, kMs)));
}

// ---- accounting

TEST(PathFlow, NothingOfAnyFateStaysInFlight) {
  PathFlow flow(0);
  std::vector<FlowMark> marks(9);
  for (FlowMark& mark : marks) flow.on_sent(mark, 1'000, 0);
  EXPECT_EQ(flow.snapshot().inflight_bytes, 9'000U);
  flow.on_sent(marks[0], 500, 1);  // again, without a verdict on the first
  EXPECT_EQ(flow.snapshot().inflight_bytes, 8'500U);
  for (std::size_t i = 0; i < 3; ++i) flow.on_acked(marks[i], 0, true, kMs);
  for (std::size_t i = 3; i < 6; ++i) flow.on_lost(marks[i], kMs);
  for (std::size_t i = 6; i < 9; ++i) flow.forget(marks[i]);
  EXPECT_EQ(flow.snapshot().inflight_bytes, 0U);
  for (FlowMark& mark : marks) {  // a second verdict is none
    flow.on_acked(mark, 0, true, 2 * kMs);
    flow.on_lost(mark, 2 * kMs);
    flow.forget(mark);
  }
  EXPECT_EQ(flow.snapshot().inflight_bytes, 0U);
}

TEST(PathFlow, ForgottenFlightsLeaveNoTrace) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(3 * kSecond);
  sender.give_up_all();
  EXPECT_EQ(sender.flow().snapshot().inflight_bytes, 0U);
  EXPECT_GE(goodput(sender, 6 * kSecond), 0.90);
}

TEST(PathFlow, RetransmissionTimeoutOfTheSpecification) {
  PathFlow flow(0);
  EXPECT_EQ(flow.rto_ns(), 1'000 * kMs);
  EXPECT_EQ(flow.smoothed_rtt_ns(), 0U);
  FlowMark mark;
  flow.on_sent(mark, 1'000, 0);
  flow.on_acked(mark, 20 * kMs, true, 100 * kMs);
  EXPECT_EQ(flow.smoothed_rtt_ns(), 100 * kMs) << "with the peer's delay";
  EXPECT_EQ(flow.rtt_variation_ns(), 50 * kMs);
  EXPECT_EQ(flow.rto_ns(), 300 * kMs);
  EXPECT_EQ(flow.snapshot().min_rtt_ns, 80 * kMs) << "without it";
  flow.on_sent(mark, 1'000, 200 * kMs);
  flow.on_acked(mark, 0, true, 380 * kMs);
  EXPECT_EQ(flow.smoothed_rtt_ns(), 110 * kMs);
  EXPECT_EQ(flow.rtt_variation_ns(), (3 * 50 * kMs + 80 * kMs) / 4);
  flow.on_sent(mark, 1'000, 400 * kMs);
  flow.on_acked(mark, 0, false, 401 * kMs);  // of which copy?
  EXPECT_EQ(flow.smoothed_rtt_ns(), 110 * kMs);
  EXPECT_EQ(flow.snapshot().min_rtt_ns, 80 * kMs);
}

TEST(PathFlow, DelayOfThePeerIsNeverMoreThanTheRoundTrip) {
  PathFlow flow(0);
  FlowMark mark;
  flow.on_sent(mark, 1'000, 0);
  flow.on_acked(mark, 65 * kMs, true, 10 * kMs);
  EXPECT_EQ(flow.snapshot().min_rtt_ns, 0U) << "no sample, not a negative one";
  EXPECT_EQ(flow.smoothed_rtt_ns(), 10 * kMs);
}

// ---- reports of tunnel traffic, which nobody acknowledges

// `offered` bytes a second for so long over a link of 12.5 MB/s and 50 ms that queues up to 50 ms.
void report_tunnel(PathFlow& flow, std::uint64_t offered, std::uint64_t& now, unsigned reports) {
  constexpr std::uint64_t kRate = 12'500'000;
  const std::uint64_t arrived = std::min(offered, kRate);
  const bool full = offered > kRate;
  for (unsigned i = 0; i < reports; ++i, now += 100 * kMs) {
    const auto packets = static_cast<std::uint32_t>(offered / 10 / 1'400);
    const auto lost = static_cast<std::uint32_t>((offered - arrived) / 10 / 1'400);
    flow.on_report(arrived / 10, 100 * kMs, full ? 100 * kMs : 50 * kMs, packets, lost, !full, now);
  }
}

TEST(FlowReports, TunnelTrafficShowsThePath) {
  PathFlow flow(0);
  std::uint64_t now = 100 * kMs;
  report_tunnel(flow, 10'000'000, now, 20);
  expect_near_share(flow.snapshot().bottleneck_bw_bps, 10'000'000, 0.05, "a lower bound");
  expect_near_share(flow.snapshot().min_rtt_ns, 50 * kMs, 0.05, "minimum RTT");
  EXPECT_EQ(flow.state(), FlowState::kStartup) << "the sender was the limit";
  report_tunnel(flow, 15'000'000, now, 20);
  expect_near_share(flow.snapshot().bottleneck_bw_bps, 12'500'000, 0.05, "full");
  EXPECT_NE(flow.state(), FlowState::kStartup);
  EXPECT_EQ(flow.snapshot().inflight_bytes, 0U) << "nothing of a tunnel is in flight (W-19)";
}

TEST(FlowReports, ASlowerPathIsForgottenOnlyWhenItIsFull) {
  PathFlow flow(0);
  std::uint64_t now = 100 * kMs;
  report_tunnel(flow, 15'000'000, now, 10);
  report_tunnel(flow, 1'000'000, now, 100);
  expect_near_share(flow.snapshot().bottleneck_bw_bps, 12'500'000, 0.05, "an idle tunnel");
  for (unsigned i = 0; i < 15; ++i, now += 100 * kMs) {
    flow.on_report(500'000, 100 * kMs, 90 * kMs, 400, 40, false, now);
  }
  expect_near_share(flow.snapshot().bottleneck_bw_bps, 5'000'000, 0.05, "a slower path");
}

TEST(FlowReports, EmptyAndOddReportsChangeNothing) {
  PathFlow flow(0);
  flow.on_report(0, 0, 0, 0, 0, false, kMs);
  flow.on_report(1'000, 0, 0, 1, 0, false, kMs);
  flow.on_report(0, kMs, 0, 1, 1, false, kMs);
  flow.on_report(0, kMs, 0, 3, UINT32_MAX, false, kMs);
  EXPECT_EQ(flow.snapshot().bottleneck_bw_bps, 0U);
  EXPECT_EQ(flow.snapshot().min_rtt_ns, 0U);
  EXPECT_GE(flow.snapshot().pacing_rate_bps, session::MIN_PACING_RATE);
}

// Both at once: reliable streams on the path of a tunnel.
TEST(FlowReports, DoNotDisturbAFlowThatIsAcknowledged) {
  FlowSender sender(LinkShape{}, 1);
  sender.run_until(3 * kSecond);
  for (unsigned i = 0; i < 50; ++i) {
    sender.run_until(sender.now_ns() + 100 * kMs);
    sender.flow().on_report(1'200'000, 100 * kMs, 51 * kMs, 857, 0, false, sender.now_ns());
    expect_truth(sender, "with reports");
  }
  const std::uint64_t before = sender.flow().round();
  for (unsigned i = 0; i < 100; ++i) {
    sender.run_until(sender.now_ns() + 10 * kMs);
    sender.flow().on_report(120'000, 10 * kMs, 51 * kMs, 85, 0, false, sender.now_ns());
  }
  EXPECT_NEAR(static_cast<double>(sender.flow().round() - before), 19, 2) << "a report is no round trip";
  EXPECT_EQ(sender.flow().snapshot().inflight_bytes, sender.open_bytes());
}

// ---- filters

TEST(WindowedFilter, ForgetsByTicks) {
  session::WindowedMax<3> filter;
  EXPECT_EQ(filter.best(), 0U);
  filter.update(5, 100);
  filter.update(6, 50);
  filter.update(7, 70);
  EXPECT_EQ(filter.best(), 100U);
  filter.update(8, 10);
  EXPECT_EQ(filter.best(), 70U);
  filter.update(9, 10);
  EXPECT_EQ(filter.best(), 70U);
  filter.update(1'000'000, 3);
  EXPECT_EQ(filter.best(), 3U);
  filter.update(4, 9);  // ticks do not go back
  EXPECT_EQ(filter.best(), 9U);
  session::WindowedMin<3> minimum;
  minimum.update(0, 5);
  minimum.update(1, 4);
  minimum.update(2, 6);
  EXPECT_EQ(minimum.best(), 4U);
  minimum.update(4, 7);
  EXPECT_EQ(minimum.best(), 6U);
  minimum.reset(4, 20);
  EXPECT_EQ(minimum.best(), 20U);
}

}  // namespace
