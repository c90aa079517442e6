// The control core: sessions' cold side, mailboxes, neighbours, ICMP, store, timers. Never touches hot state.
//
// Thread: main lcore. Telemetry callbacks come on another thread and take `lock()`, which poll() holds while
// it works.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/event_log.h"
#include "dataplane/service_view.h"
#include "dataplane/topology.h"
#include "session/bandwidth_estimator.h"
#include "session/epoch_store.h"
#include "session/path_manager.h"

namespace dataplane {

struct PathCounters {  // of one slot, as its worker counts
  std::uint64_t tx_pkts = 0, tx_bytes = 0, rx_pkts = 0, rx_bytes = 0;
};

// What receiver reports tell of a path, or of all (session/path_reports.h).
struct BandwidthView {
  session::BandwidthSnapshot snapshot;
  const char* state = "";  // of the path's estimator; empty: of all paths
  double loss = 0;         // share of traffic that does not arrive, 0..1, smoothed
  bool full = false;       // the path carried all it can: else the bandwidth is what was sent, a lower bound
  std::uint64_t reports_sent = 0;
  std::uint64_t reports_read = 0;
  std::uint64_t reports_refused = 0;  // stale, of unknown echoes, or telling of more than was sent
};

struct ReportTotals {
  std::uint64_t sent = 0;   // reports handed to workers
  std::uint64_t heard = 0;  // authentic reports of peers
  std::uint64_t news = 0;   // of these, not overtaken and of a session that is looked at
  std::uint64_t waits = 0;  // sessions that had to wait for their turn
};

// What sessions take. Keys and tables of workers are taken at start, for as many sessions as the limits say.
struct SessionMemory {
  std::uint64_t sessions = 0;
  std::uint64_t most_sessions = 0;  // limits.sessions of all workers
  std::uint64_t tables_bytes = 0;
  std::uint64_t keys_taken_bytes = 0;
  std::uint64_t keys_used_bytes = 0;
  std::uint64_t heap_bytes = 0;  // of the whole process
  // Of one session, on average: what the heap has grown by since there was none (so its routes and addresses
  // as well), the keys it has, and its share of the tables.
  std::uint64_t heap_each_bytes = 0;
  std::uint64_t keys_each_bytes = 0;
  std::uint64_t tables_each_bytes = 0;
  [[nodiscard]] std::uint64_t each_bytes() const {
    return heap_each_bytes + keys_each_bytes + tables_each_bytes;
  }
};

struct SessionView {  // for show and metrics
  std::string name;
  std::string id_hex;
  unsigned worker = 0;
  std::uint32_t slot = 0;
  std::uint8_t epoch = 0;
  std::uint8_t taken = 0;
  std::uint8_t peer_epoch = 0;
  session::LifeState state{};
  bool heard = false;
  std::uint64_t rx_pkts = 0, rx_bytes = 0, tx_pkts = 0, tx_bytes = 0;
  std::uint64_t rekeys = 0, followed = 0, catch_ups = 0, grace_accepts = 0;
  std::uint64_t auth_failed = 0, replayed = 0;
  double epochs_left_seconds = -1;
  // Seconds until the budget is used up at the present rate, by the scarcest of epochs, sequences and seals;
  // negative: no rate yet. `budget_limit` names the scarcest.
  double budget_left_seconds = -1;
  std::string budget_limit;
  std::string replaced_by;   // a session that takes over, or took over, the routes
  double idle_seconds = -1;  // since the peer was heard last; negative: never
  std::string peer;
  std::vector<session::PathSlotView> paths;
  std::vector<PathCounters> path_counters;                   // beside `paths`
  std::optional<BandwidthView> bandwidth;                    // nothing: no reports of the peer yet
  std::vector<std::optional<BandwidthView>> path_bandwidth;  // beside `paths`
  std::uint64_t path_refused = 0;  // challenges and new sources that no budget or room was left for
  std::uint64_t handed_over = 0;   // packets that came to another worker first
  NamedCounters streams;           // of a session that carries streams; else empty
  bool steered = false;            // an rte_flow rule brings its packets to its worker
};

struct NeighbourView {
  std::string port, address, mac, state;
};

struct StoreHealth {
  bool failing = false;
  std::uint64_t commits = 0;
  std::uint64_t records = 0;
  std::uint64_t failures = 0;
  std::uint64_t troubles = 0;  // changes from working to failing
};

struct SteeringCounters;
struct SessionPathCounters;
class GatewayOperator;

class Control {
 public:
  using Clock = std::function<std::uint64_t()>;  // ns, never goes back
  // The store outlives control. Without a clock: the machine's. Throws std::runtime_error with advice (secret
  // file, store, addresses, table sizes).
  Control(Topology& topology, session::EpochStore& store, Clock clock = {});
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // Before launch: loads secrets, applies the restart rule to all sessions (one transaction), fills shards
  // and FIB.
  void start();
  // One iteration; returns the number of things done (0: idle, the caller may sleep briefly).
  unsigned poll();
  // After the workers returned: drains rings, frees what is in them, counts it.
  void finish();

  // Operator requests; return an error text or nothing.
  std::string request_rekey(const std::string& session_name, unsigned steps);
  // Validates the pair and moves the path there; an end left out stays as it is.
  std::string path_migrate(const std::string& session_name, unsigned slot,
                           const std::optional<session::Endpoint>& local,
                           const std::optional<session::Endpoint>& remote);
  std::string path_probe(const std::string& session_name, unsigned slot);
  // At most so many, behind the first `from`; each costs microseconds.
  [[nodiscard]] std::vector<SessionView> sessions(std::size_t from = 0, std::size_t most = SIZE_MAX) const;
  [[nodiscard]] std::optional<SessionView> session(const std::string& name) const;
  [[nodiscard]] std::size_t session_count() const;
  [[nodiscard]] SessionMemory memory() const;
  [[nodiscard]] const SteeringCounters& steering() const;          // flow_steering.h
  [[nodiscard]] const SessionPathCounters& path_counters() const;  // session_paths.h
  [[nodiscard]] const ReportTotals& report_totals() const;
  [[nodiscard]] std::vector<NeighbourView> neighbours() const;
  [[nodiscard]] StoreHealth store_health() const;
  [[nodiscard]] const EventLog& events() const;
  // What an operator can ask. Only for callers inside poll(): the hook, or whoever holds lock() between two
  // calls of poll().
  GatewayOperator& operator_door();
  // Called once a loop, inside poll() and its lock; returns the number of things done. None: empty.
  void set_hook(std::function<unsigned(std::uint64_t now_ns)> hook);
  // For callers of those above on another thread than poll()'s.
  std::mutex& lock();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dataplane
