// Receiver reports from counters: what one end's looks, seals and messages make of a path.
#include <cstdint>
#include <deque>

#include <gtest/gtest.h>

#include "session/path_reports.h"

namespace {

using session::kLookNs;
using session::kQuietNs;
using session::PathCounts;
using session::PathReports;
using session::ReceiverReport;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kBytes = 1'000;

// Two ends of one path whose packets arrive delay_ns later, unless every `drop_every`th is lost; counters as
// workers have them. A look is what control does.
struct End {
  explicit End(std::uint64_t now_ns) : reports(1, now_ns) {}
  PathCounts counts;
  std::uint64_t arrived_ns = 0;
  PathReports reports;
  std::uint64_t sent_reports = 0;
};

class Pair {
 public:
  void send(bool from_a, unsigned packets) {
    End& end = from_a ? a : b;
    for (unsigned i = 0; i < packets; ++i) {
      ++end.counts.sent_pkts;
      end.counts.sent_bytes += kBytes;
      ++offered_;
      if (drop_every != 0 && offered_ % drop_every == 0) continue;
      way(from_a).push_back({now_ns + delay_ns, {}});
    }
  }
  void step() {
    now_ns += kMs;
    arrive(true);
    arrive(false);
    if (now_ns % kLookNs == 0) {
      look(a, true);
      look(b, false);
    }
  }
  std::uint64_t delay_ns = 20 * kMs;
  unsigned drop_every = 0;
  std::uint64_t now_ns = 1'000 * kMs;
  End a{now_ns};
  End b{now_ns};

 private:
  struct Flying {
    std::uint64_t at_ns;
    std::optional<ReceiverReport> report;
  };
  std::deque<Flying>& way(bool from_a) { return from_a ? to_b_ : to_a_; }
  void arrive(bool from_a) {
    End& end = from_a ? b : a;
    auto& flying = way(from_a);
    for (; !flying.empty() && flying.front().at_ns <= now_ns; flying.pop_front()) {
      if (flying.front().report) {
        end.reports.on_report(*flying.front().report, end.counts, now_ns);
        continue;
      }
      ++end.counts.received_pkts;
      end.counts.received_bytes += kBytes;
      end.arrived_ns = now_ns;
    }
  }
  void look(End& end, bool is_a) {
    end.reports.on_counts(0, end.counts, end.arrived_ns, now_ns);
    const auto report = end.reports.next_report(0, now_ns);
    if (!report) return;
    ++end.sent_reports;
    end.reports.on_sealed(0, report->number, end.counts, now_ns);
    way(is_a).push_back({now_ns + delay_ns, report});
  }
  std::uint64_t offered_ = 0;
  std::deque<Flying> to_a_;
  std::deque<Flying> to_b_;
};

TEST(PathReports, RateRoundTripAndLossOfOneDirection) {
  Pair p;
  for (unsigned i = 0; i < 3000; ++i) {
    p.send(true, 2);
    p.step();
  }
  const auto at_a = p.a.reports.bandwidth(0);
  ASSERT_TRUE(at_a.has_value());
  EXPECT_NEAR(static_cast<double>(at_a->snapshot.bottleneck_bw_bps), 2e6, 1e5);
  EXPECT_EQ(at_a->snapshot.min_rtt_ns, 40 * kMs);
  EXPECT_EQ(at_a->loss_ppm, 0U);
  EXPECT_FALSE(at_a->full);
  EXPECT_FALSE(p.b.reports.bandwidth(0).has_value()) << "nothing was sent there";
  p.drop_every = 10;
  for (unsigned i = 0; i < 4000; ++i) {
    p.send(true, 2);
    p.step();
  }
  EXPECT_NEAR(p.a.reports.bandwidth(0)->loss_ppm, 100'000, 3'000);
  EXPECT_TRUE(p.a.reports.bandwidth(0)->full);
}

TEST(PathReports, QuietAfterASilenceInWhichEverythingWasTold) {
  Pair p;
  p.send(true, 1);
  for (unsigned i = 0; i < 200; ++i) p.step();
  EXPECT_FALSE(p.a.reports.quiet(p.now_ns));
  EXPECT_EQ(p.a.sent_reports, 1U);
  EXPECT_EQ(p.b.sent_reports, 1U);
  for (std::uint64_t i = 0; i < kQuietNs / kMs; ++i) p.step();
  EXPECT_TRUE(p.a.reports.quiet(p.now_ns));
  EXPECT_TRUE(p.b.reports.quiet(p.now_ns));
  EXPECT_EQ(p.a.sent_reports + p.b.sent_reports, 2U) << "no report for a report";
}

TEST(PathReports, OtherCountersAreNoTraffic) {
  PathReports reports(2, kMs);
  PathCounts counts{.sent_pkts = 10, .received_pkts = 20, .sent_bytes = 100, .received_bytes = 200};
  reports.on_counts(0, counts, kMs, kMs);
  EXPECT_TRUE(reports.next_report(0, 200 * kMs).has_value());
  counts = {.sent_pkts = 1'000'000, .received_pkts = 7, .sent_bytes = 1, .received_bytes = 2, .origin = 3};
  reports.on_counts(0, counts, 300 * kMs, 300 * kMs);
  EXPECT_FALSE(reports.next_report(0, 900 * kMs).has_value()) << "they begin to count from here on";
  ++counts.sent_pkts;
  reports.on_counts(0, counts, 0, 900 * kMs);
  EXPECT_TRUE(reports.next_report(0, 1000 * kMs).has_value());
  EXPECT_FALSE(reports.next_report(1, 1000 * kMs).has_value());
  EXPECT_FALSE(reports.next_report(2, 1000 * kMs).has_value()) << "no such path";
}

TEST(PathReports, CountersMayWrapAndLookSmallerWhileTheyAreWritten) {
  PathReports reports(1, kMs);
  PathCounts counts{.sent_pkts = 0x7fffffff};
  reports.on_counts(0, counts, 0, kMs);
  counts.sent_pkts = 0xfffffff0;
  reports.on_counts(0, counts, 0, kMs);
  ASSERT_TRUE(reports.next_report(0, 200 * kMs).has_value());
  counts.sent_pkts = 0xffffffef;
  reports.on_counts(0, counts, 0, 300 * kMs);
  EXPECT_FALSE(reports.next_report(0, 500 * kMs).has_value()) << "one less is no traffic";
  counts.sent_pkts = 5;
  reports.on_counts(0, counts, 0, 600 * kMs);
  EXPECT_TRUE(reports.next_report(0, 800 * kMs).has_value());
}

// Looks may come between a report's arrival and the message about it, and between an order and its seal.
TEST(PathReports, WhatIsExactComesWithTheMessages) {
  PathReports reports(1, kMs);
  PathCounts at_arrival{.received_pkts = 100, .received_bytes = 100'000};
  PathCounts later = at_arrival;
  later.received_pkts = 130;
  later.received_bytes = 130'000;
  reports.on_counts(0, later, 2 * kMs, 2 * kMs);
  ReceiverReport theirs;
  theirs.number = 1;
  EXPECT_TRUE(reports.on_report(theirs, at_arrival, 2 * kMs));
  const auto mine = reports.next_report(0, 200 * kMs);
  ASSERT_TRUE(mine.has_value());
  EXPECT_EQ(mine->received_packets, 100U);

  later.sent_pkts = 70;
  reports.on_counts(0, later, 0, 201 * kMs);
  PathCounts at_seal = later;
  at_seal.sent_pkts = 50;
  reports.on_sealed(0, mine->number, at_seal, 201 * kMs);
  ReceiverReport echo;
  echo.number = 2;
  echo.echo_number = mine->number;
  echo.received_packets = 45;
  EXPECT_TRUE(reports.on_report(echo, later, 241 * kMs));
  later.sent_pkts = 170;
  later.sent_bytes = 170'000;
  later.received_pkts = 230;
  reports.on_counts(0, later, 300 * kMs, 300 * kMs);
  const auto next = reports.next_report(0, 400 * kMs);
  ASSERT_TRUE(next.has_value());
  reports.on_sealed(0, next->number, later, 400 * kMs);
  echo.number = 3;
  echo.echo_number = next->number;
  echo.received_packets = 45 + 120;
  echo.interval_bytes = 1000;
  echo.interval_packets = 1;
  echo.interval_us = 1000;
  EXPECT_TRUE(reports.on_report(echo, later, 440 * kMs));
  ASSERT_TRUE(reports.bandwidth(0).has_value());
  EXPECT_EQ(reports.bandwidth(0)->loss_ppm, 0U) << "50 until the seal, 120 since: all arrived";
}

TEST(PathReports, AMoveForgetsThePathAndNotTheNumbers) {
  Pair p;
  for (unsigned i = 0; i < 1000; ++i) {
    p.send(true, 2);
    p.step();
  }
  ASSERT_TRUE(p.a.reports.bandwidth(0).has_value());
  p.a.reports.moved(0, p.now_ns);
  EXPECT_FALSE(p.a.reports.bandwidth(0).has_value());
  EXPECT_FALSE(p.a.reports.bandwidth().has_value());
  p.delay_ns = 40 * kMs;
  for (unsigned i = 0; i < 1000; ++i) {
    p.send(true, 1);
    p.step();
  }
  ASSERT_TRUE(p.a.reports.bandwidth(0).has_value());
  EXPECT_NEAR(static_cast<double>(p.a.reports.bandwidth(0)->snapshot.bottleneck_bw_bps), 1e6, 2e5);
  EXPECT_EQ(p.a.reports.bandwidth(0)->reports.stale, 0U);
}

}  // namespace
