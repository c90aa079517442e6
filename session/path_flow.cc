#include "session/path_flow.h"

#include <algorithm>
#include <limits>

namespace session {
namespace {

// RFC 6298 with the reference's limits (protocol.md 9.3, 2.2).
constexpr std::uint64_t kInitialRtoNs = 1'000'000'000;
constexpr std::uint64_t kMinRtoNs = 200'000'000;
constexpr std::uint64_t kMaxRtoNs = 60'000'000'000;
constexpr std::uint64_t kRtoGranularityNs = 1'000'000;

}  // namespace

PathFlow::PathFlow(std::uint64_t now_ns)
    : estimator_(now_ns), pacer_(estimator_.pacing_rate_bps(), estimator_.burst_bytes(), now_ns) {}

// An empty pipe takes one packet whatever the window, so that none is too large for ever.
bool PathFlow::may_send(std::uint32_t bytes, std::uint64_t now_ns) {
  const std::uint64_t inflight = estimator_.inflight_bytes();
  if (inflight != 0 && inflight + bytes > estimator_.window_bytes()) return false;
  return pacer_.has(bytes, now_ns);
}

std::uint64_t PathFlow::wait_until_ns(std::uint32_t bytes, std::uint64_t now_ns) const {
  const std::uint64_t inflight = estimator_.inflight_bytes();
  if (inflight != 0 && inflight + bytes > estimator_.window_bytes()) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  return std::max(now_ns, pacer_.ready_at_ns(bytes));
}

void PathFlow::on_sent(FlowMark& mark, std::uint32_t bytes, std::uint64_t now_ns) {
  pacer_.consume(bytes, now_ns);
  estimator_.on_send(mark, bytes, now_ns);
}

void PathFlow::on_app_limited() {
  estimator_.on_app_limited();
}

void PathFlow::on_acked(FlowMark& mark, std::uint64_t ack_delay_ns, bool rtt_valid, std::uint64_t now_ns) {
  if (mark.bytes == 0) return;
  std::uint64_t rtt_ns = 0;
  if (rtt_valid && now_ns > mark.sent_ns) {
    const std::uint64_t elapsed_ns = now_ns - mark.sent_ns;
    rtt_ns = elapsed_ns - std::min(ack_delay_ns, elapsed_ns);
    sample_rtt(elapsed_ns);  // with the delay: what a retransmission has to wait for (protocol.md 9.3)
  }
  estimator_.on_ack(mark, rtt_ns, now_ns);
  follow(now_ns);
}

void PathFlow::on_lost(FlowMark& mark, std::uint64_t now_ns) {
  if (mark.bytes == 0) return;
  estimator_.on_loss(mark);
  follow(now_ns);
}

void PathFlow::forget(FlowMark& mark) {
  estimator_.forget(mark);
}

void PathFlow::on_report(std::uint64_t delivered_bytes, std::uint64_t interval_ns, std::uint64_t rtt_ns,
                         std::uint32_t packets, std::uint32_t lost, bool app_limited, std::uint64_t now_ns) {
  if (rtt_ns != 0) sample_rtt(rtt_ns);
  estimator_.on_report(delivered_bytes, interval_ns, rtt_ns, packets, lost, app_limited, now_ns);
  follow(now_ns);
}

BandwidthSnapshot PathFlow::snapshot() const {
  return {.bottleneck_bw_bps = estimator_.bandwidth_bps(),
          .min_rtt_ns = estimator_.min_rtt_ns(),
          .pacing_rate_bps = pacer_.rate_bps(),
          .cwnd_bytes = estimator_.window_bytes(),
          .inflight_bytes = estimator_.inflight_bytes()};
}

FlowState PathFlow::state() const {
  return estimator_.state();
}
std::uint64_t PathFlow::smoothed_rtt_ns() const {
  return srtt_ns_;
}
std::uint64_t PathFlow::rtt_variation_ns() const {
  return rttvar_ns_;
}
std::uint64_t PathFlow::round() const {
  return estimator_.round();
}

std::uint64_t PathFlow::rto_ns() const {
  if (srtt_ns_ == 0) return kInitialRtoNs;
  return std::clamp(srtt_ns_ + std::max(kRtoGranularityNs, 4 * rttvar_ns_), kMinRtoNs, kMaxRtoNs);
}

void PathFlow::sample_rtt(std::uint64_t rtt_ns) {
  const std::uint64_t rtt = std::min(rtt_ns, kMaxRtoNs);  // a broken clock must not outlive a minute
  if (srtt_ns_ == 0) {
    srtt_ns_ = rtt;
    rttvar_ns_ = rtt / 2;
    return;
  }
  const std::uint64_t off = srtt_ns_ > rtt ? srtt_ns_ - rtt : rtt - srtt_ns_;
  rttvar_ns_ = (3 * rttvar_ns_ + off) / 4;
  srtt_ns_ = std::max<std::uint64_t>((7 * srtt_ns_ + rtt) / 8, 1);
}

void PathFlow::follow(std::uint64_t now_ns) {
  pacer_.set_rate(estimator_.pacing_rate_bps(), estimator_.burst_bytes(), now_ns);
}

}  // namespace session
