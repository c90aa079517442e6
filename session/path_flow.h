// How fast a path may be used: one estimator and one pacer a path (protocol.md 12, 16.6, W-19, W-23).
//
// The reference takes one segment per round trip for the rate of a path, so its window never leaves four
// segments. Here a rate is the data delivered over a flight, over the larger of the time it took to send and
// the time it took to be acknowledged; rounds are counted as round trips, not acknowledgements.
//
// Owner: one thread, that of the streams or of the worker. Pure: time in nanoseconds of any monotonic clock,
// bytes are those of UDP payloads. Nothing is allocated after construction.
#pragma once

#include <cstdint>

#include "session/bandwidth_estimator.h"
#include "session/pacer.h"

namespace session {

class PathFlow {
 public:
  explicit PathFlow(std::uint64_t now_ns);

  // Window and pacer let one packet of so many bytes go. Acknowledgements and credit need not ask.
  [[nodiscard]] bool may_send(std::uint32_t bytes, std::uint64_t now_ns);
  // When may_send() said no because of the pacer: when to ask again. UINT64_MAX: an acknowledgement must
  // come.
  [[nodiscard]] std::uint64_t wait_until_ns(std::uint32_t bytes, std::uint64_t now_ns) const;
  // Also for retransmissions: the mark is given a new flight.
  void on_sent(FlowMark& mark, std::uint32_t bytes, std::uint64_t now_ns);
  // There was nothing more to send: rates measured until this flight is over tell the sender's, not the
  // path's.
  void on_app_limited();
  // `rtt_valid`: the packet was sent once. `ack_delay_ns`: as the peer says; never more than the round trip.
  void on_acked(FlowMark& mark, std::uint64_t ack_delay_ns, bool rtt_valid, std::uint64_t now_ns);
  void on_lost(FlowMark& mark, std::uint64_t now_ns);
  // Given up without verdict (stream reset, session closed): leaves no trace in flight (W-20).
  void forget(FlowMark& mark);
  // A receiver report of tunnel traffic that nobody acknowledges: `delivered` bytes in `interval_ns`, of what
  // was sent `rtt_ns` before; `lost` packets of `packets`.
  void on_report(std::uint64_t delivered_bytes, std::uint64_t interval_ns, std::uint64_t rtt_ns,
                 std::uint32_t packets, std::uint32_t lost, bool app_limited, std::uint64_t now_ns);

  [[nodiscard]] BandwidthSnapshot snapshot() const;
  [[nodiscard]] FlowState state() const;
  // RFC 6298 terms of this path; 0 before a sample.
  [[nodiscard]] std::uint64_t smoothed_rtt_ns() const;
  [[nodiscard]] std::uint64_t rtt_variation_ns() const;
  [[nodiscard]] std::uint64_t rto_ns() const;  // without back-off, clamped as protocol.md 9.3
  [[nodiscard]] std::uint64_t round() const;

 private:
  void sample_rtt(std::uint64_t rtt_ns);
  void follow(std::uint64_t now_ns);

  BandwidthEstimator estimator_;
  Pacer pacer_;
  std::uint64_t srtt_ns_ = 0;
  std::uint64_t rttvar_ns_ = 0;
};

}  // namespace session
