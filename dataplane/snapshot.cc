#include "dataplane/snapshot.h"

#include <numeric>

#include <rte_ethdev.h>
#include <rte_ring.h>

#include "dataplane/address_text.h"

namespace dataplane {
namespace {

PortView view_port(const Topology& topology, const Port& port) {
  PortView view;
  view.name = port.config.name;
  view.device = port.config.device;
  view.mac = to_text(port.mac);
  view.mtu = port.config.mtu;
  const auto add = [&](const CoreStats* stats) {
    const PortStats& one = stats->port[port.index];
    view.sum.rx_pkts += one.rx_pkts;
    view.sum.rx_bytes += one.rx_bytes;
    view.sum.tx_pkts += one.tx_pkts;
    view.sum.tx_bytes += one.tx_bytes;
  };
  for (const WorkerParts& worker : topology.workers) add(worker.stats);
  add(topology.control_stats);
  rte_eth_stats device{};
  if (rte_eth_stats_get(port.ethdev, &device) == 0) {
    view.rx_missed = device.imissed;
    view.rx_errors = device.ierrors;
    view.rx_nombuf = device.rx_nombuf;
    view.tx_errors = device.oerrors;
  }
  return view;
}

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

WorkerView view_worker(const WorkerParts& worker) {
  WorkerView view;
  view.index = worker.index;
  view.lcore = worker.lcore;
  view.stats = *worker.stats;
  for (const PortStats& port : view.stats.port) {
    view.rx_pkts += port.rx_pkts;
    view.tx_pkts += port.tx_pkts;
  }
  const auto& fill = view.stats.burst_fill;
  const std::uint64_t bursts = std::accumulate(fill.begin() + 1, fill.end(), std::uint64_t{0});
  view.cycles_per_pkt = ratio(view.stats.busy_tsc, view.rx_pkts + view.stats.taken_over);
  view.burst_pkts = ratio(view.rx_pkts, bursts);
  view.busy_share = ratio(view.stats.busy_loops, view.stats.loops);
  return view;
}

// Packets between cores.
std::uint64_t in_rings(const WorkerParts& worker) {
  std::uint64_t n = rte_ring_count(worker.punt);
  for (const rte_ring* ring : worker.handoff_in) {
    if (ring != nullptr) n += rte_ring_count(ring);
  }
  return n;
}

void add_core(Snapshot& snapshot, const CoreStats& stats) {
  for (std::size_t i = 0; i < snapshot.drops.size(); ++i) snapshot.drops[i] += stats.drops[i];
  for (std::size_t i = 0; i < snapshot.consumed.size(); ++i) snapshot.consumed[i] += stats.consumed[i];
  snapshot.books.originated += stats.originated;
  snapshot.books.held += stats.held;
}

void close_books(Snapshot& snapshot) {
  Books& books = snapshot.books;
  for (const PortView& port : snapshot.ports) {
    books.rx += port.sum.rx_pkts;
    books.tx += port.sum.tx_pkts;
  }
  books.drops = std::accumulate(snapshot.drops.begin(), snapshot.drops.end(), std::uint64_t{0});
  books.consumed = std::accumulate(snapshot.consumed.begin(), snapshot.consumed.end(), std::uint64_t{0});
}

}  // namespace

Snapshot take_counters(const Topology& topology, double seconds) {
  Snapshot snapshot;
  snapshot.name = topology.config.name;
  snapshot.seconds = seconds;
  for (const Port& port : topology.ports) snapshot.ports.push_back(view_port(topology, port));
  for (const WorkerParts& worker : topology.workers) {
    snapshot.workers.push_back(view_worker(worker));
    add_core(snapshot, snapshot.workers.back().stats);
    snapshot.books.held += in_rings(worker);
  }
  snapshot.control = *topology.control_stats;
  add_core(snapshot, snapshot.control);
  close_books(snapshot);
  snapshot.services = view_services(topology);
  snapshot.without_service = without_service(topology);
  return snapshot;
}

Snapshot take_snapshot(const Topology& topology, Control& control, double seconds) {
  Snapshot snapshot = take_counters(topology, seconds);
  const std::lock_guard guard(control.lock());
  snapshot.memory = control.memory();
  snapshot.sessions = control.sessions(0, kSnapshotSessions);
  snapshot.neighbours = control.neighbours();
  snapshot.steering = control.steering();
  snapshot.path_counters = control.path_counters();
  snapshot.reports = control.report_totals();
  return snapshot;
}

std::array<std::pair<const char*, std::uint64_t>, 9> memory_fields(const SessionMemory& m) {
  return {{{"sessions", m.sessions},
           {"session_bytes", m.each_bytes()},
           {"session_heap_bytes", m.heap_each_bytes},
           {"session_keys_bytes", m.keys_each_bytes},
           {"session_tables_bytes", m.tables_each_bytes},
           {"heap_bytes", m.heap_bytes},
           {"keys_used_bytes", m.keys_used_bytes},
           {"keys_taken_bytes", m.keys_taken_bytes},
           {"tables_bytes", m.tables_bytes}}};
}

const char* state_name(session::LifeState state) {
  switch (state) {
    case session::LifeState::kFree:
      return "free";
    case session::LifeState::kConnected:
      return "connected";
    case session::LifeState::kMigrating:
      return "migrating";
    case session::LifeState::kClosing:
      return "closing";
    case session::LifeState::kClosed:
      return "closed";
    case session::LifeState::kDead:
      return "dead";
  }
  return "unknown";
}

const char* path_state_name(session::PathState state) {
  switch (state) {
    case session::PathState::kUnknown:
      return "unknown";
    case session::PathState::kUnvalidated:
      return "unvalidated";
    case session::PathState::kValidating:
      return "validating";
    case session::PathState::kValidated:
      return "validated";
    case session::PathState::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace dataplane
