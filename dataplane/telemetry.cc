#include "dataplane/telemetry.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>

#include <rte_telemetry.h>
#include <rte_version.h>
#include <spdlog/spdlog.h>

#include "dataplane/address_text.h"
#include "dataplane/snapshot.h"

namespace dataplane {
namespace {

// The telemetry socket's answers end at 16 KiB: names of more sessions than this are asked for by offset.
constexpr std::size_t kSessionsPerAnswer = 256;

struct Source {
  std::mutex mutex;
  const Topology* topology = nullptr;
  Control* control = nullptr;
  std::function<double()> seconds;
};

Source& source() {
  static Source one;
  return one;
}

void add(rte_tel_data* d, const char* name, std::uint64_t value) {
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
  rte_tel_data_add_dict_uint(d, name, value);
#else
  rte_tel_data_add_dict_u64(d, name, value);
#endif
}

void add(rte_tel_data* d, const char* name, const std::string& value) {
  rte_tel_data_add_dict_string(d, name, value.c_str());
}

// Telemetry has no numbers with a fraction.
void add_tenths(rte_tel_data* d, const char* name, double value) {
  add(d, name, static_cast<std::uint64_t>(std::max(0.0, value) * 10));
}

// Keyed by position: an array takes no dictionaries in DPDK 22.11, and a key neither dots nor colons.
template <typename List, typename Fill>
int answer_list(rte_tel_data* d, const List& list, Fill fill) {
  rte_tel_data_start_dict(d);
  unsigned position = 0;
  for (const auto& one : list) {
    rte_tel_data* entry = rte_tel_data_alloc();
    if (entry == nullptr) return -ENOMEM;
    rte_tel_data_start_dict(entry);
    fill(entry, one);
    const std::string key = std::to_string(position++);
    if (rte_tel_data_add_dict_container(d, key.c_str(), entry, 0) != 0) rte_tel_data_free(entry);
  }
  return 0;
}

void fill_port(rte_tel_data* d, const PortView& p) {
  add(d, "name", p.name);
  add(d, "device", p.device);
  add(d, "mac", p.mac);
  add(d, "mtu", p.mtu);
  add(d, "rx_pkts", p.sum.rx_pkts);
  add(d, "rx_bytes", p.sum.rx_bytes);
  add(d, "tx_pkts", p.sum.tx_pkts);
  add(d, "tx_bytes", p.sum.tx_bytes);
  add(d, "rx_missed", p.rx_missed);
  add(d, "rx_nombuf", p.rx_nombuf);
  add(d, "rx_errors", p.rx_errors);
  add(d, "tx_errors", p.tx_errors);
}

void fill_worker(rte_tel_data* d, const WorkerView& w) {
  add(d, "index", w.index);
  add(d, "lcore", w.lcore);
  add(d, "rx_pkts", w.rx_pkts);
  add(d, "tx_pkts", w.tx_pkts);
  add(d, "sealed_pkts", w.stats.sealed_pkts);
  add(d, "opened_pkts", w.stats.opened_pkts);
  add(d, "handed_off", w.stats.handed_off);
  add(d, "taken_over", w.stats.taken_over);
  add(d, "punted", w.stats.punted);
  add(d, "hints_dropped", w.stats.hints_dropped);
  add(d, "held", w.stats.held);
  add(d, "loops", w.stats.loops);
  add(d, "busy_loops", w.stats.busy_loops);
  add(d, "busy_tsc", w.stats.busy_tsc);
  add(d, "sleeps", w.stats.sleeps);
  add(d, "stall_worst_ns", w.stats.stalls.worst_loop_ns);
  add(d, "stalls_above_10us", w.stats.stalls.above(10));
  add_tenths(d, "cycles_per_pkt_tenths", w.cycles_per_pkt);
  add_tenths(d, "burst_pkts_tenths", w.burst_pkts);
}

void add_bandwidth(rte_tel_data* d, const BandwidthView& b) {
  add(d, "bottleneck_bw_bytes_per_s", b.snapshot.bottleneck_bw_bps);
  add(d, "min_rtt_us", b.snapshot.min_rtt_ns / 1000);
  add(d, "pacing_rate_bytes_per_s", b.snapshot.pacing_rate_bps);
  add(d, "cwnd_bytes", b.snapshot.cwnd_bytes);
  add(d, "inflight_bytes", b.snapshot.inflight_bytes);
  add(d, "full", b.full ? 1U : 0U);
  add(d, "traffic_loss_ppm", static_cast<std::uint64_t>(b.loss * 1e6));
  add(d, "reports_sent", b.reports_sent);
  add(d, "reports_read", b.reports_read);
  add(d, "reports_refused", b.reports_refused);
  if (*b.state != '\0') add(d, "bandwidth_state", std::string(b.state));
}

void fill_session(rte_tel_data* d, const SessionView& v) {
  add(d, "name", v.name);
  add(d, "id", v.id_hex);
  add(d, "state", std::string(state_name(v.state)));
  add(d, "peer", v.peer);
  add(d, "worker", v.worker);
  add(d, "slot", v.slot);
  add(d, "epoch", v.epoch);
  add(d, "taken", v.taken);
  add(d, "peer_epoch", v.peer_epoch);
  add(d, "heard", v.heard ? 1U : 0U);
  add(d, "rx_pkts", v.rx_pkts);
  add(d, "rx_bytes", v.rx_bytes);
  add(d, "tx_pkts", v.tx_pkts);
  add(d, "tx_bytes", v.tx_bytes);
  add(d, "rekeys", v.rekeys);
  add(d, "followed", v.followed);
  add(d, "catch_ups", v.catch_ups);
  add(d, "grace_accepts", v.grace_accepts);
  add(d, "auth_failed", v.auth_failed);
  add(d, "replayed", v.replayed);
  add(d, "path_refused", v.path_refused);
  add(d, "handed_over", v.handed_over);
  add(d, "steered", v.steered ? 1U : 0U);
  if (v.epochs_left_seconds >= 0) {
    add(d, "epochs_left_seconds", static_cast<std::uint64_t>(v.epochs_left_seconds));
  }
  if (v.bandwidth) add_bandwidth(d, *v.bandwidth);
}

int answer_ports(const Snapshot& s, rte_tel_data* d) {
  return answer_list(d, s.ports, fill_port);
}

int answer_workers(const Snapshot& s, rte_tel_data* d) {
  return answer_list(d, s.workers, fill_worker);
}

int answer_drops(const Snapshot& s, rte_tel_data* d) {
  rte_tel_data_start_dict(d);
  for (std::size_t i = 0; i < s.drops.size(); ++i) {
    if (s.drops[i] != 0) add(d, session::kDropReasonNames[i].data(), s.drops[i]);
  }
  return 0;
}

int answer_books(const Snapshot& s, rte_tel_data* d) {
  rte_tel_data_start_dict(d);
  add(d, "rx", s.books.rx);
  add(d, "originated", s.books.originated);
  add(d, "tx", s.books.tx);
  add(d, "drops", s.books.drops);
  add(d, "consumed", s.books.consumed);
  add(d, "held", s.books.held);
  add(d, "balanced", s.books.balanced() ? 1U : 0U);
  return 0;
}

int answer_summary(const Snapshot& s, rte_tel_data* d) {
  rte_tel_data_start_dict(d);
  add(d, "gateway", s.name);
  add(d, "seconds", static_cast<std::uint64_t>(s.seconds));
  add(d, "ports", s.ports.size());
  add(d, "workers", s.workers.size());
  add(d, "rx_pkts", s.books.rx);
  add(d, "tx_pkts", s.books.tx);
  add(d, "dropped", s.books.drops);
  return 0;
}

// Commands that read counters alone.
template <int (*answer)(const Snapshot&, rte_tel_data*)>
int on_counters(const char*, const char*, rte_tel_data* d) {
  Source& from = source();
  const std::lock_guard guard(from.mutex);
  if (from.topology == nullptr) return -ENODEV;
  return answer(take_counters(*from.topology, from.seconds()), d);
}

// The others: `answer` under control's lock.
template <typename Answer>
int with_control(const Answer& answer) {
  Source& from = source();
  const std::lock_guard guard(from.mutex);
  if (from.control == nullptr) return -ENODEV;
  const std::lock_guard control(from.control->lock());
  return answer(*from.control);
}

std::size_t parse_size(std::string_view text, std::size_t otherwise) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty() ? value : otherwise;
}

int on_sessions(const char*, const char* params, rte_tel_data* d) {
  return with_control([&](Control& control) {
    rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
    const std::size_t first = params == nullptr ? 0 : parse_size(params, 0);
    for (const SessionView& view : control.sessions(first, kSessionsPerAnswer)) {
      rte_tel_data_add_array_string(d, view.name.c_str());
    }
    return 0;
  });
}

// What `answer` says of the session that is named.
template <typename Answer>
int about_session(const char* name, const Answer& answer) {
  return with_control([&](Control& control) {
    if (name == nullptr) return -EINVAL;
    const std::optional<SessionView> view = control.session(name);
    return view ? answer(*view) : -ENOENT;
  });
}

int on_session(const char*, const char* params, rte_tel_data* d) {
  return about_session(params, [d](const SessionView& view) {
    rte_tel_data_start_dict(d);
    fill_session(d, view);
    return 0;
  });
}

void fill_path(rte_tel_data* d, const SessionView& v, std::size_t i) {
  const session::PathSlotView& p = v.paths[i];
  add(d, "local", p.ends.local.family == 0 ? std::string("-") : to_text(p.ends.local));
  add(d, "peer", p.ends.remote.family == 0 ? std::string("-") : to_text(p.ends.remote));
  add(d, "state", std::string(path_state_name(p.state)));
  add(d, "up", p.up ? 1U : 0U);
  add(d, "in_use", p.in_use ? 1U : 0U);
  if (p.srtt_ms >= 0) add(d, "srtt_us", static_cast<std::uint64_t>(p.srtt_ms * 1000));
  add_tenths(d, "loss_percent_tenths", 100 * p.loss);
  add(d, "probes_sent", p.probes_sent);
  add(d, "probes_answered", p.probes_answered);
  add(d, "migrations", p.migrations);
  if (i < v.path_bandwidth.size() && v.path_bandwidth[i]) add_bandwidth(d, *v.path_bandwidth[i]);
  if (i >= v.path_counters.size()) return;
  add(d, "rx_pkts", v.path_counters[i].rx_pkts);
  add(d, "rx_bytes", v.path_counters[i].rx_bytes);
  add(d, "tx_pkts", v.path_counters[i].tx_pkts);
  add(d, "tx_bytes", v.path_counters[i].tx_bytes);
}

int on_paths(const char*, const char* params, rte_tel_data* d) {
  return about_session(params, [d](const SessionView& view) {
    std::size_t i = 0;
    return answer_list(d, view.paths, [&](rte_tel_data* entry, const session::PathSlotView&) {
      fill_path(entry, view, i++);
    });
  });
}

int on_steering(const char*, const char*, rte_tel_data* d) {
  return with_control([d](Control& control) {
    const SteeringCounters& c = control.steering();
    rte_tel_data_start_dict(d);
    add(d, "active", c.active);
    add(d, "installed", c.installed);
    add(d, "removed", c.removed);
    add(d, "refused", c.refused);
    add(d, "unsupported", c.unsupported);
    add(d, "failed_removals", c.failed_removals);
    add(d, "slowest_us", c.slowest_us);
    return 0;
  });
}

int on_memory(const char*, const char*, rte_tel_data* d) {
  return with_control([d](Control& control) {
    rte_tel_data_start_dict(d);
    for (const auto& [name, value] : memory_fields(control.memory())) add(d, name, value);
    return 0;
  });
}

int on_neighbours(const char*, const char*, rte_tel_data* d) {
  return with_control([d](Control& control) {
    std::vector<NeighbourView> list = control.neighbours();
    list.resize(std::min<std::size_t>(list.size(), 64));
    return answer_list(d, list, [](rte_tel_data* entry, const NeighbourView& n) {
      add(entry, "port", n.port);
      add(entry, "address", n.address);
      add(entry, "mac", n.mac);
      add(entry, "state", n.state);
    });
  });
}

int on_services(const char*, const char*, rte_tel_data* d) {
  Source& from = source();
  const std::lock_guard guard(from.mutex);
  if (from.topology == nullptr) return -ENODEV;
  std::vector<ServiceView> list = view_services(*from.topology);
  list.resize(std::min<std::size_t>(list.size(), 32));
  return answer_list(d, list, [](rte_tel_data* entry, const ServiceView& v) {
    add(entry, "name", v.name);
    add(entry, "target", v.target);
    add(entry, "open", v.open);
    add(entry, "opened", v.opened);
    add(entry, "connected", v.connected);
    add(entry, "refused", v.refused);
    add(entry, "to_backend_bytes", v.to_backend_bytes);
    add(entry, "from_backend_bytes", v.from_backend_bytes);
    add(entry, "datagrams_in", v.datagrams_in);
    add(entry, "datagrams_out", v.datagrams_out);
    add(entry, "datagrams_dropped", v.datagrams_dropped);
    for (const auto& [why, n] : v.ended) add(entry, ("ended_" + std::string(why)).c_str(), n);
  });
}

int on_rekey(const char*, const char* params, rte_tel_data* d) {
  return with_control([&](Control& control) {
    if (params == nullptr) return -EINVAL;
    const std::string_view all(params);
    const std::string_view name = all.substr(0, all.find(','));
    const std::size_t steps = name.size() == all.size() ? 1 : parse_size(all.substr(name.size() + 1), 0);
    const std::string error = control.request_rekey(std::string(name), static_cast<unsigned>(steps));
    rte_tel_data_start_dict(d);
    add(d, "result", error.empty() ? std::string("ok") : error.substr(0, RTE_TEL_MAX_STRING_LEN - 1));
    return 0;
  });
}

int on_store(const char*, const char*, rte_tel_data* d) {
  return with_control([d](Control& control) {
    const StoreHealth health = control.store_health();
    rte_tel_data_start_dict(d);
    add(d, "failing", health.failing ? 1U : 0U);
    add(d, "commits", health.commits);
    add(d, "records", health.records);
    add(d, "failures", health.failures);
    add(d, "troubles", health.troubles);
    return 0;
  });
}

struct Command {
  const char* name;
  telemetry_cb callback;
  const char* help;
};
constexpr Command kCommands[] = {
    {"/phantom/summary", on_counters<answer_summary>, "Totals of the gateway"},
    {"/phantom/ports", on_counters<answer_ports>, "Counters of every port"},
    {"/phantom/workers", on_counters<answer_workers>, "Counters of every worker"},
    {"/phantom/drops", on_counters<answer_drops>, "Drop reasons that occurred, with counts"},
    {"/phantom/books", on_counters<answer_books>, "rx + originated = tx + drops + consumed + held"},
    {"/phantom/sessions", on_sessions,
     "Names of the sessions. Parameter: index of the first (256 an answer)"},
    {"/phantom/session", on_session, "One session. Parameter: its name"},
    {"/phantom/paths", on_paths, "Paths of a session. Parameter: its name"},
    {"/phantom/memory", on_memory, "What a session takes on average, and all of them"},
    {"/phantom/steering", on_steering, "Rules of ports that bring packets to their session's worker"},
    {"/phantom/neighbours", on_neighbours, "Next hops (at most 64)"},
    {"/phantom/services", on_services, "Services that streams are joined to (at most 32)"},
    {"/phantom/store", on_store, "Health of the state store"},
    {"/phantom/rekey", on_rekey, "Rekeys a session now. Parameters: its name[,epochs to step, 1..16]"},
};

void register_commands() {
  for (const Command& command : kCommands) {
    const int rc = rte_telemetry_register_cmd(command.name, command.callback, command.help);
    if (rc != 0 && rc != -EEXIST) {
      spdlog::warn("telemetry: {} is not available ({})", command.name, std::strerror(-rc));
    }
  }
}

}  // namespace

Telemetry::Telemetry(const Topology& topology, Control& control, std::function<double()> seconds) {
  Source& to = source();
  {
    const std::lock_guard guard(to.mutex);
    to.topology = &topology;
    to.control = &control;
    to.seconds = std::move(seconds);
  }
  static std::once_flag once;
  std::call_once(once, register_commands);
}

Telemetry::~Telemetry() {
  Source& from = source();
  const std::lock_guard guard(from.mutex);
  from.topology = nullptr;
  from.control = nullptr;
  from.seconds = nullptr;
}

}  // namespace dataplane
