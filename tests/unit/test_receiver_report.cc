// Receiver reports: their bytes, when they are sent, and what a tunnel's flow learns from them (the protocol
// specification, sections 12 and 16.6).
#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include <gtest/gtest.h>

#include "session/receiver_report.h"
#include "tests/support/flow_link.h"

namespace {

using flow_test::FlowLink;
using flow_test::kMs;
using flow_test::kNever;
using flow_test::kSecond;
using flow_test::LinkShape;
using session::decode_report;
using session::kReportBytes;
using session::PathFlow;
using session::ReceiverReport;
using session::ReportReader;
using session::ReportSender;
using session::SentTotals;

std::vector<std::uint8_t> encoded(const ReceiverReport& report) {
  std::vector<std::uint8_t> text(kReportBytes);
  session::encode_report(report, std::span<std::uint8_t, kReportBytes>(text));
  return text;
}

const ReceiverReport kSample{.path = 7,
                             .number = 0x01020304,
                             .echo_number = 0x05060708,
                             .echo_delay_us = 0x090a0b0c,
                             .received_packets = 0x1112131415161718,
                             .interval_bytes = 0x2122232425262728,
                             .interval_packets = 0x31323334,
                             .interval_us = 0x41424344};

TEST(ReportFormat, BytesAreThoseOfTheDocument) {
  const std::vector<std::uint8_t> expected = {0x52, 0x01, 0x07, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
                                              0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x11, 0x12, 0x13, 0x14,
                                              0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26,
                                              0x27, 0x28, 0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44};
  EXPECT_EQ(encoded(kSample), expected);
  ASSERT_TRUE(decode_report(expected).has_value());
  EXPECT_EQ(*decode_report(expected), kSample);
}

TEST(ReportFormat, MalformedOnesAreRefused) {
  const std::vector<std::uint8_t> good = encoded(kSample);
  for (std::size_t size = 0; size <= 64; ++size) {
    std::vector<std::uint8_t> text = good;
    text.resize(size);
    EXPECT_EQ(decode_report(text).has_value(), size == kReportBytes) << size;
  }
  for (const std::size_t at : {0, 1, 3}) {  // kind, version, reserved
    std::vector<std::uint8_t> text = good;
    text[at] ^= 2;
    EXPECT_FALSE(decode_report(text).has_value()) << at;
  }
  ReceiverReport report = kSample;
  report.number = 0;
  EXPECT_FALSE(decode_report(encoded(report)).has_value());
  report = kSample;
  report.interval_us = 0;
  EXPECT_FALSE(decode_report(encoded(report)).has_value()) << "bytes in no time";
}

// ---- when

TEST(ReportSender, SilentWhenNothingMoves) {
  ReportSender sender(0);
  EXPECT_EQ(sender.due_at_ns(0), kNever);
  sender.on_received(1, 100, 5 * kMs);
  EXPECT_EQ(sender.due_at_ns(0), 105 * kMs);
  EXPECT_EQ(sender.due_at_ns(300 * kMs), 305 * kMs) << "once a round trip at most";
  sender.on_received(1, 100, 50 * kMs);
  EXPECT_EQ(sender.due_at_ns(0), 105 * kMs);
  EXPECT_EQ(sender.make(105 * kMs).number, 1U);
  EXPECT_EQ(sender.due_at_ns(0), kNever);
  sender.on_report({.number = 1}, 110 * kMs);
  EXPECT_EQ(sender.due_at_ns(0), kNever)
      << "reports are no traffic: two ends would answer each other for ever";
  sender.on_sent(1, 100, 200 * kMs);
  EXPECT_EQ(sender.due_at_ns(0), 300 * kMs) << "who only sends reports too: its report is what is echoed";
}

TEST(ReportSender, IntervalsBeginWithAnArrival) {
  ReportSender sender(0);
  sender.on_received(1, 1'000, 10 * kMs);  // opens the interval
  sender.on_received(2, 2'000, 30 * kMs);
  sender.on_received(1, 1'000, 60 * kMs);
  const ReceiverReport first = sender.make(110 * kMs);
  EXPECT_EQ(first.interval_bytes, 3'000U);
  EXPECT_EQ(first.interval_packets, 3U);
  EXPECT_EQ(first.interval_us, 50'000U);
  sender.on_received(1, 1'000, 140 * kMs);  // goes on where the last one ended
  const ReceiverReport second = sender.make(240 * kMs);
  EXPECT_EQ(second.interval_bytes, 1'000U);
  EXPECT_EQ(second.interval_us, 80'000U);
  sender.on_received(1, 1'000, 9'000 * kMs);  // after silence
  const ReceiverReport third = sender.make(9'100 * kMs);
  EXPECT_EQ(third.interval_us, 0U);
  EXPECT_EQ(third.interval_bytes, 0U);
}

TEST(ReportSender, EchoesTheNewestReport) {
  ReportSender sender(0);
  sender.on_received(5, 500, kMs);
  EXPECT_EQ(sender.make(2 * kMs).echo_number, 0U);
  sender.on_report({.number = 9}, 3 * kMs);
  sender.on_received(4, 400, 4 * kMs);
  sender.on_report({.number = 8}, 5 * kMs);  // late
  const ReceiverReport report = sender.make(13 * kMs);
  EXPECT_EQ(report.echo_number, 9U);
  EXPECT_EQ(report.echo_delay_us, 10'000U);
  EXPECT_EQ(report.received_packets, 5U) << "what came before it";
  sender.on_report({.number = 5'000'000}, 14 * kMs);
  sender.on_report({.number = 1}, 15 * kMs);  // the peer began anew
  EXPECT_EQ(sender.make(16 * kMs).echo_number, 1U);
}

// ---- what is read

struct Reading {
  ReportReader reader;
  PathFlow flow{0};
  SentTotals sent;
  std::uint32_t number = 0;
  std::uint64_t now_ns = kMs;
  std::uint64_t heard = 0;

  // So many packets are sent, then a report; its echo says that so many arrived in total.
  void exchange(std::uint64_t packets, std::uint64_t heard_now) {
    sent.packets += packets;
    sent.bytes += packets * 1'000;
    reader.remember(++number, sent, now_ns);
    now_ns += 100 * kMs;
    reader.read({.number = number,
                 .echo_number = number,
                 .echo_delay_us = 60'000,
                 .received_packets = heard_now,
                 .interval_bytes = packets * 1'000,
                 .interval_packets = 1,
                 .interval_us = 100'000},
                sent, now_ns, flow);
    heard = heard_now;
  }
};

TEST(ReportReader, RoundTripIsWithoutTheTimeItWasHeld) {
  Reading at;
  at.exchange(100, 100);
  EXPECT_EQ(at.flow.snapshot().min_rtt_ns, 40 * kMs);
  EXPECT_EQ(at.flow.smoothed_rtt_ns(), 40 * kMs);
  EXPECT_EQ(at.flow.snapshot().bottleneck_bw_bps, 1'000'000U);
}

TEST(ReportReader, LossIsCountedUpToTheSamePacket) {
  Reading at;
  at.exchange(100, 100);
  for (unsigned i = 0; i < 100; ++i) at.exchange(1'000, at.heard + 990);
  EXPECT_NEAR(at.reader.loss_ppm(), 10'000, 100);
  for (unsigned i = 0; i < 100; ++i) at.exchange(1'000, at.heard + 1'000);
  EXPECT_LT(at.reader.loss_ppm(), 100U);
}

// Neighbours of a report that change places with it are not lost.
TEST(ReportReader, DisorderAroundAReportIsNoLoss) {
  Reading at;
  at.exchange(100, 100);
  at.exchange(1'000, 1'107);  // seven of the next overtook the report
  at.exchange(1'000, 2'100);
  EXPECT_EQ(at.reader.loss_ppm(), 0U);
}

TEST(ReportReader, PeerThatBeganAnewIsNoLoss) {
  Reading at;
  at.exchange(100, 100);
  at.exchange(1'000, 1'100);
  at.exchange(1'000, 30);
  EXPECT_EQ(at.reader.loss_ppm(), 0U);
  at.exchange(1'000, 930);
  EXPECT_EQ(at.reader.loss_ppm(), 100'000U / 8) << "and what is lost from then on is seen at once";
}

TEST(ReportReader, StaleUnknownAndImplausibleAreCounted) {
  Reading at;
  at.exchange(100, 100);
  const ReceiverReport again{.number = at.number};
  EXPECT_FALSE(at.reader.read(again, at.sent, at.now_ns, at.flow));
  EXPECT_EQ(at.reader.counters().stale, 1U);
  EXPECT_TRUE(at.reader.read({.number = at.number + 1, .echo_number = 77}, at.sent, at.now_ns, at.flow));
  EXPECT_EQ(at.reader.counters().unknown, 1U);
  const ReceiverReport boast{
      .number = at.number + 2, .interval_bytes = UINT64_MAX, .interval_packets = 1, .interval_us = 100'000};
  EXPECT_TRUE(at.reader.read(boast, at.sent, at.now_ns, at.flow));
  EXPECT_EQ(at.reader.counters().implausible, 1U);
  EXPECT_LE(at.flow.snapshot().bottleneck_bw_bps, at.sent.bytes * 10) << "never more than was sent";
  EXPECT_EQ(at.reader.counters().read, 3U);
}

// ---- both ends of a tunnel over a link

struct End {
  ReportSender sender{0};
  ReportReader reader;
  PathFlow flow{0};
  std::uint64_t reports = 0;
};

// A sends a steady stream of packets over a link, B nothing; reports travel in the stream and back, and the
// link loses them like anything else.
class Tunnel {
 public:
  Tunnel(const LinkShape& shape, std::uint64_t seed) : link_(shape, seed), back_(back_of(shape), seed + 1) {}

  void run(std::uint64_t offered_bps, std::uint64_t for_ns) {
    const std::uint64_t end_ns = now_ns_ + for_ns;
    std::uint64_t next_packet_ns = offered_bps == 0 ? kNever : now_ns_;
    while (now_ns_ < end_ns) {
      if (next_packet_ns <= now_ns_) {
        send_packet();
        next_packet_ns += kBytes * kSecond / offered_bps;
      }
      arrivals(link_, b_);
      arrivals(back_, a_);
      report(a_, link_);
      report(b_, back_);
      now_ns_ = std::max(now_ns_ + 1, std::min({next_packet_ns, link_.next_event_ns(), back_.next_event_ns(),
                                                due(a_), due(b_), end_ns}));
    }
  }
  End& a() { return a_; }
  End& b() { return b_; }
  FlowLink& link() { return link_; }

 private:
  static constexpr std::uint32_t kBytes = 1'400;
  static LinkShape back_of(LinkShape shape) {
    shape.queue_bytes = 1'000'000;
    return shape;
  }
  static std::uint64_t due(const End& end) { return end.sender.due_at_ns(end.flow.smoothed_rtt_ns()); }
  // Ids are places in said_, 0: a packet of the tunnel.
  void send_packet() {
    a_.sender.on_sent(1, kBytes, now_ns_);
    link_.enter(0, kBytes, now_ns_);
  }
  void report(End& end, FlowLink& link) {
    if (due(end) > now_ns_) return;
    const ReceiverReport report = end.sender.make(now_ns_);
    end.reader.remember(report.number, end.sender.sent(), now_ns_);
    ++end.reports;
    said_.push_back(*decode_report(encoded(report)));
    link.enter(said_.size(), 109, now_ns_);
  }
  void arrivals(FlowLink& link, End& end) {
    for (std::uint64_t id = 0; link.arrived(now_ns_, id);) {
      if (id == 0) {
        end.sender.on_received(1, kBytes, now_ns_);
        continue;
      }
      end.sender.on_report(said_[id - 1], now_ns_);
      end.reader.read(said_[id - 1], end.sender.sent(), now_ns_, end.flow);
    }
  }

  FlowLink link_;
  FlowLink back_;
  End a_;
  End b_;
  std::deque<ReceiverReport> said_;
  std::uint64_t now_ns_ = kMs;
};

double near(std::uint64_t value, std::uint64_t truth) {
  return static_cast<double>(value) / static_cast<double>(truth);
}

TEST(ReportTunnel, LearnsTheFullPath) {
  Tunnel tunnel(LinkShape{}, 1);
  tunnel.run(8'000'000, 3 * kSecond);  // 64 of 100 Mbit/s
  const auto thin = tunnel.a().flow.snapshot();
  EXPECT_NEAR(near(thin.bottleneck_bw_bps, 8'000'000), 1, 0.05) << "a lower bound";
  EXPECT_NEAR(near(thin.min_rtt_ns, 50 * kMs), 1, 0.05);
  tunnel.run(15'000'000, 5 * kSecond);  // more than it carries: a tenth of a second of queue, and loss
  EXPECT_NEAR(near(tunnel.a().flow.snapshot().bottleneck_bw_bps, 12'500'000), 1, 0.05);
  EXPECT_NEAR(tunnel.a().reader.loss_ppm(), 166'667, 30'000);
  tunnel.run(1'000'000, 5 * kSecond);
  EXPECT_NEAR(near(tunnel.a().flow.snapshot().bottleneck_bw_bps, 12'500'000), 1, 0.05) << "remembered";
  EXPECT_EQ(tunnel.a().reader.counters().implausible, 0U);
  EXPECT_EQ(tunnel.b().reader.counters().implausible, 0U);
}

TEST(ReportTunnel, FollowsStepsWhenFull) {
  Tunnel tunnel(LinkShape{}, 1);
  tunnel.run(15'000'000, 5 * kSecond);
  tunnel.link().set_rate(5'000'000);
  tunnel.run(15'000'000, 5 * kSecond);
  EXPECT_NEAR(near(tunnel.a().flow.snapshot().bottleneck_bw_bps, 5'000'000), 1, 0.05);
  tunnel.link().set_rate(10'000'000);
  tunnel.run(15'000'000, 2 * kSecond);
  EXPECT_NEAR(near(tunnel.a().flow.snapshot().bottleneck_bw_bps, 10'000'000), 1, 0.05);
}

TEST(ReportTunnel, RandomLossIsMeasuredAndIsNoFullPath) {
  LinkShape shape;
  shape.loss = 0.01;
  Tunnel tunnel(shape, 3);
  tunnel.run(11'000'000, 10 * kSecond);
  tunnel.run(1'000'000, 20 * kSecond);
  EXPECT_NEAR(tunnel.a().reader.loss_ppm(), 10'000, 8'000);
  EXPECT_NEAR(near(tunnel.a().flow.snapshot().bottleneck_bw_bps, 11'000'000), 1, 0.05);
}

TEST(ReportTunnel, TenASecondWhileItFlowsAndNoneWhenIdle) {
  Tunnel tunnel(LinkShape{}, 1);
  tunnel.run(1'000'000, 10 * kSecond);
  EXPECT_NEAR(static_cast<double>(tunnel.a().reports), 100, 3);
  EXPECT_NEAR(static_cast<double>(tunnel.b().reports), 100, 3);
  tunnel.run(0, kSecond);
  const std::uint64_t a = tunnel.a().reports;
  const std::uint64_t b = tunnel.b().reports;
  tunnel.run(0, 100 * kSecond);
  EXPECT_EQ(tunnel.a().reports, a);
  EXPECT_EQ(tunnel.b().reports, b);
}

}  // namespace
