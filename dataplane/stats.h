// Counters of one worker (and of control, which uses the same structure for packets it originates or ends).
//
// Writer: the owning core alone, with plain stores. Readers (telemetry, final table) read without stopping
// anyone; all counters only grow. Aligned so that no other core writes to its lines.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/stall.h"
#include "session/drop_reason.h"

namespace dataplane {

inline constexpr unsigned kMaxPorts = 8;
inline constexpr unsigned kBurstBuckets = 8;  // burst fill: 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64

struct PortStats {
  std::uint64_t rx_pkts = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_pkts = 0;
  std::uint64_t tx_bytes = 0;
};

// The books: sum(rx) + originated = sum(tx) + sum(drops) + sum(consumed) + held, over all workers and
// control.
struct alignas(64) CoreStats {
  std::array<PortStats, kMaxPorts> port{};
  std::array<std::uint64_t, session::kDropReasons> drops{};
  std::array<std::uint64_t, session::kConsumedKinds> consumed{};
  std::uint64_t originated = 0;  // packets made here: probes, ICMP, ARP, fragments
  std::uint64_t sealed_pkts = 0;
  std::uint64_t opened_pkts = 0;
  std::uint64_t handed_off = 0;     // given to the owning worker
  std::uint64_t taken_over = 0;     // taken from other workers
  std::uint64_t punted = 0;         // given to control
  std::uint64_t hints_dropped = 0;  // messages to control that found the ring full and may be re-derived
  std::uint64_t held = 0;           // gauge: packets in neighbour queues and transmit buffers of this core
  std::uint64_t loops = 0;
  std::uint64_t busy_loops = 0;
  std::uint64_t busy_tsc = 0;  // cycles in loops that moved a packet
  std::uint64_t sleeps = 0;
  std::array<std::uint64_t, kBurstBuckets> burst_fill{};
  StallStats stalls;  // lines of their own: nothing of them is touched while no message comes
};

}  // namespace dataplane
