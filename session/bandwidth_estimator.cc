#include "session/bandwidth_estimator.h"

#include <algorithm>
#include <array>

#include "session/pacer.h"

namespace session {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kSecondNs = 1'000'000'000;

// Gains in percent; protocol.md 2.3 where nothing is said.
//
// 4 ln 2 where the reference has 2.0: a rate is the mean over a flight that was sent while the rate was still
// growing, and this is the gain that doubles it every round in spite of that; 2.0 gives 1.6 a round.
constexpr unsigned kStartupPacing = 277;
// The inverse, where the reference has 0.75: what Startup queued is gone after one round instead of four.
constexpr unsigned kDrainPacing = 36;
// A round each. One more to yield than the reference's, which ends as soon as the pipe holds 15/16 of what it
// can carry: a queue that stood since before the minimum was measured would confirm it for ever if the pipe
// were emptied to that minimum and no further. On a path without such a queue it costs 2 %.
constexpr std::array<unsigned, 5> kCyclePacing = {125, 75, 75, 100, 100};
constexpr unsigned kProbePhase = 0;
constexpr unsigned kYieldPhase = 1;
constexpr unsigned kCruisePhase = 3;  // on entry
// 1.0 where the reference has 0.5: packets are conserved by the window, which follows what is delivered; to
// halve the rate as well would make every loss cost half a round trip of the path.
constexpr unsigned kSteadyPacing = 100;
constexpr unsigned kWindowGain = 200;

constexpr unsigned kGrowthPercent = 25;  // protocol.md 2.3: leaving Startup
constexpr unsigned kPlateauRounds = 3;

constexpr std::uint64_t kProbeRttIntervalNs = 10 * kSecondNs;  // protocol.md 2.3
constexpr std::uint64_t kProbeRttNs = 200'000'000;
// The floor counts as confirmed by what comes within 1/32 of it. The reference empties the pipe every 10 s
// whether or not its minimum is in doubt, which costs 2 % of a path of 50 ms.
constexpr unsigned kFloorTolerance = 32;
// Our own window is two flights and a burst, so our own queue makes no more than twice the minimum of an RTT
// and the time of a burst. What is longer for so many rounds in a row, more than the rate's filter remembers,
// is a path that became longer: to wait 10 s for the filter would meanwhile starve it. (Without the burst's
// time a path of microseconds, where a round trip is what two processes take to be scheduled, would be probed
// for ever.)
constexpr unsigned kStretchPercent = 225;
constexpr unsigned kStretchRounds = 12;

// FastRecovery where the reference enters it on every loss. Up to 2 % of a round, or three packets, is what a
// path loses without being full; a controller that yields to that cannot use a path that loses 1 %.
//
// Shares in 1/1024. What a path loses anyway is averaged over eight rounds and comes on top, to a limit: a
// radio link that loses 5 % is used, a path that drops every tenth packet is taken for a full one.
constexpr std::uint64_t kShareOne = 1024;
constexpr std::uint64_t kLossShare = kShareOne * 2 / 100;
constexpr std::uint64_t kFullShare = kShareOne / 10;
constexpr std::uint64_t kUsualRounds = 8;
constexpr std::uint32_t kLossPackets = 3;

// The bucket is what leaves in this time: more than the tick of a timer wheel and its lateness, so that a
// sender that is woken by ticks keeps its rate, and no more, because a short queue must take it. The window
// has room for as much even where the bucket is at its limit: acknowledgements come as late and as many at a
// time as the peer is scheduled, and a path of microseconds would carry one such turn and wait.
constexpr std::uint64_t kBurstNs = 4'000'000;

std::uint64_t mul_div(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return static_cast<std::uint64_t>(Wide{a} * b / c);
}

// Of samples, which are limited so that nothing overflows.
constexpr std::uint64_t kMaxRateBps = 1ULL << 40;
constexpr std::uint64_t kMaxRttNs = 60 * kSecondNs;
std::uint64_t percent(std::uint64_t value, unsigned gain) {
  return value * gain / 100;
}

}  // namespace

BandwidthEstimator::BandwidthEstimator(std::uint64_t now_ns)
    : delivered_ns_(now_ns), first_sent_ns_(now_ns), floor_seen_ns_(now_ns) {
  compute();
}

// ---- the flight

void BandwidthEstimator::on_send(FlowMark& mark, std::uint32_t bytes, std::uint64_t now_ns) {
  forget(mark);
  if (inflight_bytes_ == 0) {  // after silence a flight begins now; the silence is nobody's rate
    if (now_ns - std::min(delivered_ns_, now_ns) > kProbeRttIntervalNs) floor_rtt_ns_ = 0;
    first_sent_ns_ = delivered_ns_ = now_ns;
  }
  mark = {.sent_ns = now_ns,
          .delivered_bytes = delivered_bytes_,
          .delivered_ns = delivered_ns_,
          .first_sent_ns = first_sent_ns_,
          .bytes = bytes,
          .app_limited = app_limited_until_bytes_ != 0};
  inflight_bytes_ += bytes;
}

void BandwidthEstimator::forget(FlowMark& mark) {
  inflight_bytes_ -= std::min<std::uint64_t>(inflight_bytes_, mark.bytes);
  mark.bytes = 0;
}

void BandwidthEstimator::on_app_limited() {
  app_limited_until_bytes_ = std::max<std::uint64_t>(delivered_bytes_ + inflight_bytes_, 1);
}

void BandwidthEstimator::on_ack(FlowMark& mark, std::uint64_t rtt_ns, std::uint64_t now_ns) {
  const std::uint32_t bytes = mark.bytes;
  forget(mark);
  delivered_bytes_ += bytes;
  delivered_ns_ = now_ns;
  if (delivered_bytes_ > app_limited_until_bytes_) app_limited_until_bytes_ = 0;
  const bool round_began = begin_round(mark.delivered_bytes);
  round_delivered_bytes_ += bytes;
  first_sent_ns_ = std::max(first_sent_ns_, mark.sent_ns);
  if (rtt_ns != 0) {
    sample_rtt(rtt_ns, now_ns);
    sample_rate(mark, now_ns);
  }
  step(round_began, now_ns);
  grow_back(bytes);
}

void BandwidthEstimator::on_loss(FlowMark& mark) {
  const std::uint32_t bytes = mark.bytes;
  forget(mark);
  count_loss(bytes, 1);
}

// A report is a round of its own, unless packets that are acknowledged count them.
void BandwidthEstimator::on_report(std::uint64_t delivered_bytes, std::uint64_t interval_ns,
                                   std::uint64_t rtt_ns, std::uint32_t packets, std::uint32_t lost,
                                   bool app_limited, std::uint64_t now_ns) {
  const bool round_began = inflight_bytes_ == 0 && begin_round(round_end_bytes_);
  if (rtt_ns != 0) sample_rtt(rtt_ns, now_ns);
  if (interval_ns != 0 && delivered_bytes != 0) {
    offer_rate(mul_div(delivered_bytes, kSecondNs, interval_ns), app_limited);
  }
  if (inflight_bytes_ == 0) round_delivered_bytes_ += delivered_bytes;
  step(round_began, now_ns);
  if (lost == 0 || packets == 0) return;
  const std::uint64_t mean = delivered_bytes / std::max<std::uint32_t>(packets - std::min(lost, packets), 1);
  count_loss(static_cast<std::uint32_t>(std::min<std::uint64_t>(mean * lost, UINT32_MAX)), lost);
}

// A packet that was sent after everything of the round before was known to have arrived: a round trip.
bool BandwidthEstimator::begin_round(std::uint64_t seen_delivered_bytes) {
  if (seen_delivered_bytes < round_end_bytes_) return false;
  round_end_bytes_ = delivered_bytes_;
  ++round_;
  learn_usual_loss();
  const std::uint64_t minimum = min_rtt_.best();
  const bool stretched = minimum != 0 && round_min_rtt_ns_ > percent(minimum, kStretchPercent) + kBurstNs;
  stretched_rounds_ = stretched ? stretched_rounds_ + 1 : 0;
  if (round_counts_) ++bandwidth_tick_;
  last_round_counted_ = round_counts_;
  round_counts_ = false;
  round_delivered_bytes_ = round_lost_bytes_ = round_min_rtt_ns_ = 0;
  round_lost_packets_ = 0;
  return true;
}

void BandwidthEstimator::sample_rate(const FlowMark& mark, std::uint64_t now_ns) {
  const std::uint64_t send_ns = mark.sent_ns - mark.first_sent_ns;
  const std::uint64_t ack_ns = now_ns - mark.delivered_ns;
  const std::uint64_t interval_ns = std::max(send_ns, ack_ns);
  // Less than a round trip: acknowledgements that came late and together, not a rate.
  if (interval_ns == 0 || interval_ns < min_rtt_.best()) return;
  offer_rate(mul_div(delivered_bytes_ - mark.delivered_bytes, kSecondNs, interval_ns), mark.app_limited);
}

// What the application limited still is a lower bound, but lets no time pass.
void BandwidthEstimator::offer_rate(std::uint64_t rate_bps, bool app_limited) {
  if (rate_bps == 0) return;
  bandwidth_.update(bandwidth_tick_, std::min(rate_bps, kMaxRateBps));
  round_counts_ = round_counts_ || !app_limited;
}

void BandwidthEstimator::sample_rtt(std::uint64_t sample_ns, std::uint64_t now_ns) {
  const std::uint64_t rtt_ns = std::min(sample_ns, kMaxRttNs);
  min_rtt_.update(now_ns / kSecondNs, rtt_ns);
  if (round_min_rtt_ns_ == 0 || rtt_ns < round_min_rtt_ns_) round_min_rtt_ns_ = rtt_ns;
  if (floor_rtt_ns_ == 0 || rtt_ns <= floor_rtt_ns_ + floor_rtt_ns_ / kFloorTolerance) {
    floor_rtt_ns_ = floor_rtt_ns_ == 0 ? rtt_ns : std::min(floor_rtt_ns_, rtt_ns);
    floor_seen_ns_ = now_ns;
  }
  if (state_ == FlowState::kProbeRTT && probe_rtt_until_ns_ != 0 &&
      (probed_rtt_ns_ == 0 || rtt_ns < probed_rtt_ns_)) {
    probed_rtt_ns_ = rtt_ns;
  }
}

// ---- loss

void BandwidthEstimator::count_loss(std::uint32_t bytes, std::uint32_t packets) {
  round_lost_bytes_ += bytes;
  round_lost_packets_ += packets;
  if (recovery_window_bytes_ != 0) {
    recovery_window_bytes_ -= std::min<std::uint64_t>(recovery_window_bytes_, bytes);
    recovery_window_bytes_ = std::max(recovery_window_bytes_, kMinWindowBytes);
  }
  if (state_ == FlowState::kFastRecovery || state_ == FlowState::kProbeRTT || !too_much_lost()) return;
  enter_recovery();
}

// Early in a round little of it is delivered: then what is under way stands for it.
bool BandwidthEstimator::too_much_lost() const {
  if (round_lost_packets_ <= kLossPackets || round_lost_bytes_ == 0) return false;
  const std::uint64_t whole = round_lost_bytes_ + std::max(round_delivered_bytes_, inflight_bytes_);
  return mul_div(round_lost_bytes_, kShareOne, whole) > kLossShare + usual_loss_;
}

void BandwidthEstimator::learn_usual_loss() {
  const std::uint64_t whole = round_lost_bytes_ + round_delivered_bytes_;
  last_round_loss_ = whole == 0 ? 0 : mul_div(round_lost_bytes_, kShareOne, whole);
  // Sixteenths of a share are kept, so that small ones count.
  usual_loss_x16_ = (usual_loss_x16_ * (kUsualRounds - 1) + 16 * last_round_loss_) / kUsualRounds;
  usual_loss_ = std::min(usual_loss_x16_ / 16, kFullShare);
}

void BandwidthEstimator::enter_recovery() {
  remembered_ = state_;
  if (cycle_ == kProbePhase) cycle_ = kYieldPhase;  // it lost what probing for more added
  state_ = FlowState::kFastRecovery;
  round_end_bytes_ = delivered_bytes_;  // until everything that is under way now has met its fate
  recovery_window_bytes_ = std::max(inflight_bytes_, kMinWindowBytes);
  refresh();
}

// In recovery one packet for each that is delivered; afterwards two, until the window is its own again.
void BandwidthEstimator::grow_back(std::uint32_t acked_bytes) {
  if (recovery_window_bytes_ == 0) return;
  if (state_ == FlowState::kFastRecovery) {
    recovery_window_bytes_ = std::max(recovery_window_bytes_, inflight_bytes_ + acked_bytes);
    return;
  }
  recovery_window_bytes_ += acked_bytes;
  if (recovery_window_bytes_ >= out_.window_bytes) recovery_window_bytes_ = 0;
}

// ---- states

void BandwidthEstimator::step(bool round_began, std::uint64_t now_ns) {
  refresh();
  switch (state_) {
    case FlowState::kStartup:
      if (round_began) step_startup();
      break;
    case FlowState::kDrain:
      if (inflight_bytes_ > out_.bdp_bytes) break;
      state_ = FlowState::kProbeBW;
      cycle_ = kCruisePhase;
      break;
    case FlowState::kProbeBW:
      step_cycle(round_began);
      break;
    case FlowState::kProbeRTT:
      step_probe_rtt(now_ns);
      break;
    case FlowState::kFastRecovery:
      step_recovery(round_began);
      break;
  }
  if (probe_rtt_due(now_ns)) enter_probe_rtt();
  refresh();
}

// Rounds that the application limited say nothing about the path.
void BandwidthEstimator::step_startup() {
  const std::uint64_t rate_bps = bandwidth_.best();
  if (rate_bps >= percent(plateau_bps_, 100 + kGrowthPercent)) {
    plateau_bps_ = rate_bps;
    plateau_rounds_ = 0;
  } else if (last_round_counted_ && ++plateau_rounds_ >= kPlateauRounds) {
    state_ = FlowState::kDrain;
  }
}

void BandwidthEstimator::step_cycle(bool round_began) {
  if (round_began) {
    cycle_ = (cycle_ + 1) % kCyclePacing.size();
  }
  if (cycle_ >= kYieldPhase && cycle_ < kCruisePhase && inflight_bytes_ <= out_.bdp_bytes / 16 * 15) {
    cycle_ = kCruisePhase;
  }
}

void BandwidthEstimator::step_recovery(bool round_began) {
  if (!round_began) return;
  state_ = remembered_;
  if (state_ == FlowState::kStartup && last_round_loss_ > kFullShare) state_ = FlowState::kDrain;
}

// Only what is sent by this window can be made to drain.
bool BandwidthEstimator::probe_rtt_due(std::uint64_t now_ns) const {
  if (inflight_bytes_ == 0 || (state_ != FlowState::kDrain && state_ != FlowState::kProbeBW)) return false;
  return stretched_rounds_ >= kStretchRounds ||
         (floor_rtt_ns_ != 0 && now_ns > floor_seen_ns_ + kProbeRttIntervalNs);
}

void BandwidthEstimator::enter_probe_rtt() {
  remembered_ = state_;
  state_ = FlowState::kProbeRTT;
  probe_rtt_until_ns_ = 0;
  probed_rtt_ns_ = 0;
}

// Rates of a pipe that is kept empty are the sender's, so that they age nothing.
void BandwidthEstimator::step_probe_rtt(std::uint64_t now_ns) {
  on_app_limited();
  if (probe_rtt_until_ns_ == 0) {
    if (inflight_bytes_ <= kMinWindowBytes) probe_rtt_until_ns_ = now_ns + kProbeRttNs;
  } else if (now_ns >= probe_rtt_until_ns_ && probed_rtt_ns_ != 0) {
    leave_probe_rtt(now_ns);
  }
}

void BandwidthEstimator::leave_probe_rtt(std::uint64_t now_ns) {
  min_rtt_.reset(now_ns / kSecondNs, probed_rtt_ns_);
  floor_rtt_ns_ = probed_rtt_ns_;
  floor_seen_ns_ = now_ns;
  stretched_rounds_ = 0;
  state_ = remembered_;
  cycle_ = kCruisePhase;
}

// ---- outputs

// They follow from four things that rarely change, so that most acknowledgements divide once.
void BandwidthEstimator::refresh() {
  if (out_.of_bandwidth_bps != bandwidth_.best() || out_.of_min_rtt_ns != min_rtt_.best() ||
      out_.of_state != state_ || out_.of_cycle != cycle_) {
    compute();
  }
}

// In Startup never below what the initial window asks for: the first sample is one packet in a round trip.
void BandwidthEstimator::compute() {
  const std::uint64_t bandwidth_bps = bandwidth_.best();
  const std::uint64_t min_rtt_ns = min_rtt_.best();
  const bool starting = state_ == FlowState::kStartup || bandwidth_bps == 0;
  const std::uint64_t floor_bytes = starting ? kInitialWindowBytes : kMinWindowBytes;
  out_ = {.of_bandwidth_bps = bandwidth_bps,
          .of_min_rtt_ns = min_rtt_ns,
          .of_state = state_,
          .of_cycle = cycle_,
          .bdp_bytes = mul_div(bandwidth_bps, min_rtt_ns, kSecondNs)};
  const std::uint64_t burst = mul_div(bandwidth_bps, kBurstNs, kSecondNs);
  out_.burst_bytes =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(burst, floor_bytes, MAX_BURST_BYTES));
  out_.window_bytes =
      state_ == FlowState::kProbeRTT
          ? kMinWindowBytes
          : std::max(percent(out_.bdp_bytes, kWindowGain) + std::max<std::uint64_t>(burst, out_.burst_bytes),
                     floor_bytes);
  std::uint64_t rate_bps = bandwidth_bps;
  if (starting) {
    const std::uint64_t rtt_ns = min_rtt_ns == 0 ? kInitialMinRttNs : min_rtt_ns;
    rate_bps = std::clamp(mul_div(kInitialWindowBytes, kSecondNs, rtt_ns), rate_bps, kMaxRateBps);
  }
  out_.pacing_rate_bps = std::max(percent(rate_bps, pacing_percent()), MIN_PACING_RATE);
}

unsigned BandwidthEstimator::pacing_percent() const {
  switch (state_) {
    case FlowState::kStartup:
      return kStartupPacing;
    case FlowState::kDrain:
      return kDrainPacing;
    case FlowState::kProbeBW:
      return kCyclePacing[cycle_];
    case FlowState::kProbeRTT:
    case FlowState::kFastRecovery:
      break;
  }
  return kSteadyPacing;
}

std::uint64_t BandwidthEstimator::window_bytes() const {
  if (recovery_window_bytes_ == 0) return out_.window_bytes;
  return std::min(out_.window_bytes, recovery_window_bytes_);
}

}  // namespace session
