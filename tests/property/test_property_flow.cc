// What a path's flow counts, and what a receiver report says (the protocol specification, W-19, W-20, W-23).
#include <cstdint>
#include <ostream>
#include <span>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "session/path_flow.h"
#include "session/receiver_report.h"

namespace {

using session::FlowMark;
using session::PathFlow;
using session::ReceiverReport;

constexpr std::uint64_t kMs = 1'000'000;

struct Step {
  std::uint8_t kind;
  std::uint8_t which;
  std::uint16_t size;
};
void showValue(const Step& step, std::ostream& os) {
  os << "{" << unsigned{step.kind} << "," << unsigned{step.which} << "," << step.size << "}";
}
rc::Gen<Step> step_of() {
  return rc::gen::construct<Step>(rc::gen::inRange<std::uint8_t>(0, 9), rc::gen::arbitrary<std::uint8_t>(),
                                  rc::gen::inRange<std::uint16_t>(1, 2'000));
}

// The flow beside a list of what has no verdict yet.
class World {
 public:
  void take(const Step& step) {
    now_ns_ += step.size * kMs / 100;
    FlowMark& mark = marks_[step.which % marks_.size()];
    switch (step.kind) {
      case 0:
      case 1:
      case 2:  // also of a packet that is under way: a retransmission without verdict
        flow_.on_sent(mark, step.size, now_ns_);
        break;
      case 3:
      case 4:
        flow_.on_acked(mark, std::uint64_t{step.which} * kMs / 16, step.size % 2 == 0, now_ns_);
        break;
      case 5:
        flow_.on_lost(mark, now_ns_);
        break;
      case 6:
        flow_.forget(mark);
        break;
      case 7:
        flow_.on_app_limited();
        break;
      default:
        flow_.on_report(step.size * 1'000U, 100 * kMs, step.which * kMs, 1'000, step.which,
                        step.size % 2 == 0, now_ns_);
    }
    check();
  }
  void end_all(std::uint8_t how) {
    for (FlowMark& mark : marks_) {
      now_ns_ += kMs;
      if (how == 0) flow_.on_acked(mark, 0, true, now_ns_);
      if (how == 1) flow_.on_lost(mark, now_ns_);
      if (how == 2) flow_.forget(mark);
    }
    RC_ASSERT(flow_.snapshot().inflight_bytes == 0U);
    // Whatever happened, a packet may go at some moment that is told.
    const std::uint64_t at_ns = flow_.wait_until_ns(1'400, now_ns_);
    RC_ASSERT(at_ns < now_ns_ + 60'000 * kMs);
    RC_ASSERT(flow_.may_send(1'400, at_ns));
  }

 private:
  void check() {
    std::uint64_t open = 0;
    for (const FlowMark& mark : marks_) open += mark.bytes;
    const session::BandwidthSnapshot seen = flow_.snapshot();
    RC_ASSERT(seen.inflight_bytes == open);
    RC_ASSERT(seen.cwnd_bytes >= session::kMinWindowBytes);
    RC_ASSERT(seen.pacing_rate_bps >= session::MIN_PACING_RATE);
    RC_ASSERT(flow_.rto_ns() >= 200 * kMs);
    RC_ASSERT(flow_.rto_ns() <= 60'000 * kMs);
  }

  PathFlow flow_{0};
  std::vector<FlowMark> marks_{16};
  std::uint64_t now_ns_ = kMs;
};

TEST(FlowProperty, InFlightIsWhatHasNoVerdict) {
  EXPECT_TRUE(rc::check("in flight == marks in flight; 0 when every mark met its fate", [] {
    World world;
    for (const Step& step : *rc::gen::container<std::vector<Step>>(step_of())) world.take(step);
    world.end_all(*rc::gen::inRange<std::uint8_t>(0, 3));
  }));
}

TEST(ReportProperty, RoundTrip) {
  EXPECT_TRUE(rc::check("decode(encode(report)) == report", [] {
    ReceiverReport report;
    report.path = *rc::gen::arbitrary<std::uint8_t>();
    report.number = *rc::gen::nonZero<std::uint32_t>();
    report.echo_number = *rc::gen::arbitrary<std::uint32_t>();
    report.echo_delay_us = *rc::gen::arbitrary<std::uint32_t>();
    report.received_packets = *rc::gen::arbitrary<std::uint64_t>();
    report.interval_us = *rc::gen::arbitrary<std::uint32_t>();
    if (report.interval_us != 0) {
      report.interval_bytes = *rc::gen::arbitrary<std::uint64_t>();
      report.interval_packets = *rc::gen::arbitrary<std::uint32_t>();
    }
    std::vector<std::uint8_t> text(session::kReportBytes);
    session::encode_report(report, std::span<std::uint8_t, session::kReportBytes>(text));
    const auto again = session::decode_report(text);
    RC_ASSERT(again.has_value());
    RC_ASSERT(*again == report);
  }));
}

TEST(ReportProperty, AnythingElseIsRefusedOrTheSameAgain) {
  EXPECT_TRUE(rc::check("encode(decode(bytes)) == bytes, or nothing", [] {
    auto text = *rc::gen::container<std::vector<std::uint8_t>>(
        *rc::gen::element<std::size_t>(0, 4, 39, 40, 41, 64), rc::gen::arbitrary<std::uint8_t>());
    if (text.size() > 3 && *rc::gen::arbitrary<bool>()) {
      text[0] = session::kReportKind;
      text[1] = session::kReportVersion;
      text[3] = 0;
    }
    const auto report = session::decode_report(text);
    if (!report) return;
    std::vector<std::uint8_t> again(session::kReportBytes);
    session::encode_report(*report, std::span<std::uint8_t, session::kReportBytes>(again));
    RC_ASSERT(again == text);
  }));
}

}  // namespace
