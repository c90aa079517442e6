// What the harness counts. Plain values: each lane (traffic core) writes its own, readers add them up.
//
// Thread: a lane alone writes its counters, with plain stores; the prompt reads them without stopping it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/stats.h"
#include "tools/testpmd/histogram.h"

namespace testpmd {

// Up: plain IP into the gateway's LAN side, Phantom out of its WAN side. Down: the other way.
enum class Way : std::uint8_t { kUp = 0, kDown = 1 };
inline constexpr unsigned kWays = 2;

// One way. Of the packets that were sent: sent = received + lost, where `received` counts each number of a
// session once. What came twice, damaged, or from another run is beside it.
struct WayCounters {
  std::uint64_t intended = 0;    // packets that the schedule asked for so far
  std::uint64_t sent_pkts = 0;   // handed to the device (or the Phantom end)
  std::uint64_t sent_bytes = 0;  // of Ethernet frames, with FCS (RFC 2544 sizes)
  std::uint64_t refused = 0;     // times the device had no room; the packets were sent later
  std::uint64_t received = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t duplicates = 0;    // numbers seen before
  std::uint64_t out_of_order = 0;  // arrived behind a later one of its flow; part of `received`
  std::uint64_t too_old = 0;       // further behind than the window knows: received or duplicate, not known
  std::uint64_t corrupt = 0;       // of ours, but the payload is not what was sent
  std::uint64_t foreign = 0;       // not of this run
  std::uint64_t no_buffer = 0;     // not sent: the pool was empty
  std::uint64_t longest_gap_tsc = 0;  // between two packets that arrived, since the last clear
};

struct SessionCounters {
  std::uint64_t sent = 0, received = 0, duplicates = 0, out_of_order = 0;
  std::uint64_t latency_sum_tsc = 0, latency_max_tsc = 0;
};

struct PortCounters {  // of one device as the harness uses it
  std::string name;
  std::uint64_t rx_pkts = 0, rx_bytes = 0, tx_pkts = 0, tx_bytes = 0, tx_refused = 0;
};

struct LaneCounters {
  std::uint64_t loops = 0, busy_loops = 0, busy_tsc = 0;
  std::array<std::uint64_t, dataplane::kBurstBuckets> rx_burst{};
  std::array<std::uint64_t, dataplane::kBurstBuckets> tx_burst{};
};

// Everything, added up over lanes at one moment.
struct Totals {
  double seconds = 0;  // since start or clear; stands still after stop
  std::array<WayCounters, kWays> way{};
  std::array<Histogram, kWays> latency{};  // TSC cycles
  std::vector<PortCounters> ports;
  LaneCounters lanes;
  // Drop reasons of the Phantom end inside the harness, by name; only those that are not 0.
  std::vector<std::pair<std::string, std::uint64_t>> end_drops;
  std::vector<std::pair<std::string, std::uint64_t>> attacks;  // packets sent, by attack
};

}  // namespace testpmd
