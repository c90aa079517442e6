// All numbers of a running gateway at one moment, for the table, JSON and telemetry.
//
// Thread: any; counters are read without stopping their writers, so the books of a running gateway may be off
// by the packets on their way between two reads. After the workers returned they are exact.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/control.h"
#include "dataplane/flow_steering.h"
#include "dataplane/service_view.h"
#include "dataplane/session_paths.h"
#include "dataplane/stats.h"
#include "dataplane/topology.h"

namespace dataplane {

struct PortView {
  std::string name;
  std::string device;
  std::string mac;
  std::uint16_t mtu = 0;
  PortStats sum;                // of all workers
  std::uint64_t rx_missed = 0;  // by the device, before a worker could take them
  std::uint64_t rx_errors = 0;  // by the device
  std::uint64_t rx_nombuf = 0;  // by the device, for want of buffers
  std::uint64_t tx_errors = 0;  // by the device, after it took them
};

struct WorkerView {
  unsigned index = 0;
  unsigned lcore = 0;
  CoreStats stats;
  std::uint64_t rx_pkts = 0;
  std::uint64_t tx_pkts = 0;
  double cycles_per_pkt = 0;  // in loops that moved a packet, per packet received or taken over
  double burst_pkts = 0;      // mean of non-empty bursts
  double busy_share = 0;      // of loops
};

struct Books {
  std::uint64_t rx = 0, originated = 0, tx = 0, drops = 0, consumed = 0, held = 0;
  [[nodiscard]] bool balanced() const { return rx + originated == tx + drops + consumed + held; }
};

// Sessions that a snapshot lists, and its table: phantomctl shows them all, by the page.
inline constexpr std::size_t kSnapshotSessions = 65'536;
inline constexpr std::size_t kTableSessions = 256;

struct Snapshot {
  std::string name;
  double seconds = 0;  // since the workers were launched
  std::vector<PortView> ports;
  std::vector<WorkerView> workers;
  CoreStats control;
  std::array<std::uint64_t, session::kDropReasons> drops{};
  std::array<std::uint64_t, session::kConsumedKinds> consumed{};
  Books books;
  SessionMemory memory;
  std::vector<SessionView> sessions;  // the first kSnapshotSessions of them
  std::vector<NeighbourView> neighbours;
  SteeringCounters steering;
  SessionPathCounters path_counters;
  ReportTotals reports;
  std::vector<ServiceView> services;
  std::uint64_t without_service = 0;  // streams and messages on ids that no service has
  std::optional<bool> pools_full;     // known once everything was taken down
};

// As JSON and telemetry name them.
std::array<std::pair<const char*, std::uint64_t>, 9> memory_fields(const SessionMemory& m);
// Counters only: ports, workers, drops, books. Needs no lock.
Snapshot take_counters(const Topology& topology, double seconds);
// The same with sessions and neighbours; takes control's lock.
Snapshot take_snapshot(const Topology& topology, Control& control, double seconds);

// The table for people: several lines, each ended.
std::string table_text(const Snapshot& snapshot);
// One line: what moved between two snapshots.
std::string rates_text(const Snapshot& before, const Snapshot& now);
// The same as the table, as one JSON object.
std::string json_text(const Snapshot& snapshot);

const char* state_name(session::LifeState state);
const char* path_state_name(session::PathState state);

}  // namespace dataplane
