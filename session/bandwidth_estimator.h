// What a path carries: bottleneck bandwidth, minimum RTT, and from them a pacing rate and a window
// (protocol.md 12, W-19, W-20, W-23).
//
// The reference's states under its names, with three differences that make them work. A rate is the data
// delivered over a flight, over the larger of the time it took to send and the time it took to be
// acknowledged, instead of one segment over one round trip. Rounds are round trips, instead of
// acknowledgements. Loss is no verdict on the rate: a few lost packets change nothing, many make the next
// round send one packet for each that is delivered (FastRecovery), and then the window grows back.
//
//   Startup -> Drain -> ProbeBW
//   from each of them FastRecovery and back; from Startup on to Drain if the path was full
//   from Drain and ProbeBW ProbeRTT and back
//
// Owner: one thread, that of the path's flow. Pure: time in nanoseconds of any monotonic clock; bytes are
// those of UDP payloads. Nothing is allocated, no call does more than a fixed number of steps.
#pragma once

#include <cstdint>

#include "session/windowed_filter.h"

namespace session {

// protocol.md 12.1, the reference's names. Bytes a second where it says bps.
struct BandwidthSnapshot {
  std::uint64_t bottleneck_bw_bps = 0;  // bytes a second; 0: no sample yet
  std::uint64_t min_rtt_ns = 0;         // 0: no sample yet
  std::uint64_t pacing_rate_bps = 0;    // bytes a second
  std::uint64_t cwnd_bytes = 0;
  std::uint64_t inflight_bytes = 0;
};

enum class FlowState : std::uint8_t { kStartup, kDrain, kProbeBW, kProbeRTT, kFastRecovery };

// What is remembered of a packet in flight; goes with the segment.
struct FlowMark {
  std::uint64_t sent_ns = 0;
  std::uint64_t delivered_bytes = 0;  // by the path when it was sent
  std::uint64_t delivered_ns = 0;     // when that many were delivered
  std::uint64_t first_sent_ns = 0;    // beginning of the flight it belongs to
  std::uint32_t bytes = 0;            // 0: not in flight
  bool app_limited = false;
};

// Floor of the window, and the window of ProbeRTT: four packets of 1,400 (protocol.md 2.3).
inline constexpr std::uint64_t kMinWindowBytes = 5'600;
// Window before a sample. Ten packets as RFC 6928, where the reference begins with its floor of four: that
// saves a round trip at the beginning of every session, and one burst of it is what TCP sends too.
inline constexpr std::uint64_t kInitialWindowBytes = 14'000;
inline constexpr std::uint64_t kInitialMinRttNs = 100'000'000;  // protocol.md 2.3; until there is a sample

class BandwidthEstimator {
 public:
  explicit BandwidthEstimator(std::uint64_t now_ns);

  // The mark joins the flight; one that is in flight already leaves it first.
  void on_send(FlowMark& mark, std::uint32_t bytes, std::uint64_t now_ns);
  // `rtt_ns`: without the peer's delay; 0: no sample, because it is not known which copy was acknowledged.
  void on_ack(FlowMark& mark, std::uint64_t rtt_ns, std::uint64_t now_ns);
  void on_loss(FlowMark& mark);
  void forget(FlowMark& mark);
  void on_app_limited();
  // Delivery that the receiver tells in sums: see PathFlow::on_report.
  void on_report(std::uint64_t delivered_bytes, std::uint64_t interval_ns, std::uint64_t rtt_ns,
                 std::uint32_t packets, std::uint32_t lost, bool app_limited, std::uint64_t now_ns);

  [[nodiscard]] std::uint64_t pacing_rate_bps() const { return out_.pacing_rate_bps; }
  [[nodiscard]] std::uint64_t window_bytes() const;
  // What may leave at once; the pacer's bucket. Part of the window, so that a full bucket empties no pipe.
  [[nodiscard]] std::uint32_t burst_bytes() const { return out_.burst_bytes; }
  [[nodiscard]] std::uint64_t inflight_bytes() const { return inflight_bytes_; }
  [[nodiscard]] std::uint64_t bandwidth_bps() const { return bandwidth_.best(); }
  [[nodiscard]] std::uint64_t min_rtt_ns() const { return min_rtt_.best(); }
  [[nodiscard]] FlowState state() const { return state_; }
  [[nodiscard]] std::uint64_t round() const { return round_; }

 private:
  // In rounds; the reference's 10 s are two rounds of one path and ten thousand of another. It must outlast
  // two cycles of ProbeBW, or a cycle without a good sample would lower the rate for good.
  static constexpr unsigned kBandwidthRounds = 10;
  static constexpr unsigned kMinRttTicks = 10;  // of a second: protocol.md 2.3

  void sample_rate(const FlowMark& mark, std::uint64_t now_ns);
  void offer_rate(std::uint64_t rate_bps, bool app_limited);
  void sample_rtt(std::uint64_t sample_ns, std::uint64_t now_ns);
  bool begin_round(std::uint64_t seen_delivered_bytes);
  void count_loss(std::uint32_t bytes, std::uint32_t packets);
  [[nodiscard]] bool too_much_lost() const;
  void learn_usual_loss();
  void step(bool round_began, std::uint64_t now_ns);
  void step_startup();
  void step_cycle(bool round_began);
  void step_probe_rtt(std::uint64_t now_ns);
  void step_recovery(bool round_began);
  [[nodiscard]] bool probe_rtt_due(std::uint64_t now_ns) const;
  void enter_probe_rtt();
  void leave_probe_rtt(std::uint64_t now_ns);
  void enter_recovery();
  void grow_back(std::uint32_t acked_bytes);
  void refresh();
  void compute();
  [[nodiscard]] unsigned pacing_percent() const;

  // The flight (W-23).
  std::uint64_t inflight_bytes_ = 0;
  std::uint64_t delivered_bytes_ = 0;
  std::uint64_t delivered_ns_;
  std::uint64_t first_sent_ns_;
  std::uint64_t app_limited_until_bytes_ = 0;  // of delivered_bytes_; 0: not limited

  std::uint64_t round_ = 0;
  std::uint64_t round_end_bytes_ = 0;  // of delivered_bytes_
  bool round_counts_ = false;          // has a sample that tells the path's rate
  bool last_round_counted_ = false;
  std::uint64_t round_delivered_bytes_ = 0;
  std::uint64_t round_lost_bytes_ = 0;
  std::uint32_t round_lost_packets_ = 0;
  std::uint64_t round_min_rtt_ns_ = 0;
  std::uint64_t last_round_loss_ = 0;  // shares in 1/1024
  std::uint64_t usual_loss_ = 0;
  std::uint64_t usual_loss_x16_ = 0;

  WindowedMax<kBandwidthRounds> bandwidth_;
  std::uint64_t bandwidth_tick_ = 0;  // rounds that counted: what is limited by the sender ages nothing
  WindowedMin<kMinRttTicks> min_rtt_;
  std::uint64_t floor_rtt_ns_ = 0;  // lowest since ProbeRTT last told
  std::uint64_t floor_seen_ns_;     // when it was last confirmed
  unsigned stretched_rounds_ = 0;   // in a row, whose RTT our own queue does not explain

  FlowState state_ = FlowState::kStartup;
  FlowState remembered_ = FlowState::kProbeBW;
  std::uint64_t plateau_bps_ = 0;  // Startup
  unsigned plateau_rounds_ = 0;
  unsigned cycle_ = 0;                    // ProbeBW
  std::uint64_t probe_rtt_until_ns_ = 0;  // 0: the pipe is not empty yet
  std::uint64_t probed_rtt_ns_ = 0;
  std::uint64_t recovery_window_bytes_ = 0;  // 0: no limit

  struct Outputs {
    std::uint64_t of_bandwidth_bps = 0;  // what they were computed from
    std::uint64_t of_min_rtt_ns = 0;
    FlowState of_state = FlowState::kStartup;
    unsigned of_cycle = 0;
    std::uint64_t bdp_bytes = 0;
    std::uint64_t window_bytes = 0;  // but for recovery
    std::uint64_t pacing_rate_bps = 0;
    std::uint32_t burst_bytes = 0;
  };
  Outputs out_;
};

}  // namespace session
