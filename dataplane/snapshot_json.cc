// A snapshot and its parts as JSON.
#include "dataplane/snapshot_json.h"

#include <nlohmann/json.hpp>

#include "dataplane/address_text.h"
#include "session/drop_reason.h"

namespace dataplane {
namespace {

template <std::size_t N>
Json json_counts(const std::array<std::uint64_t, N>& counts, const std::array<std::string_view, N>& names) {
  Json out = Json::object();
  for (std::size_t i = 0; i < N; ++i) {
    if (counts[i] != 0) out[std::string(names[i])] = counts[i];
  }
  return out;
}

Json json_port(const PortView& p) {
  return {{"name", p.name},
          {"device", p.device},
          {"mac", p.mac},
          {"mtu", p.mtu},
          {"rx_pkts", p.sum.rx_pkts},
          {"rx_bytes", p.sum.rx_bytes},
          {"tx_pkts", p.sum.tx_pkts},
          {"tx_bytes", p.sum.tx_bytes},
          {"rx_missed", p.rx_missed},
          {"rx_nombuf", p.rx_nombuf},
          {"rx_errors", p.rx_errors},
          {"tx_errors", p.tx_errors}};
}

Json json_memory(const SessionMemory& m) {
  Json out;
  for (const auto& [name, value] : memory_fields(m)) out[name] = value;
  return out;
}

// What control's messages cost the worker.
Json json_stalls(const StallStats& stalls) {
  Json kinds = Json::object();
  for (std::size_t i = 0; i < kCommandKinds; ++i) {
    if (stalls.messages[i] == 0) continue;
    kinds[command_name(i)] = {{"messages", stalls.messages[i]}, {"worst_ns", stalls.worst_ns[i]}};
  }
  return {{"bounds_us", kStallBoundsUs},
          {"loops", stalls.loops},
          {"worst_loop_ns", stalls.worst_loop_ns},
          {"messages", kinds}};
}

Json json_worker(const WorkerView& w) {
  const CoreStats& s = w.stats;
  return {{"index", w.index},
          {"lcore", w.lcore},
          {"rx_pkts", w.rx_pkts},
          {"tx_pkts", w.tx_pkts},
          {"sealed_pkts", s.sealed_pkts},
          {"opened_pkts", s.opened_pkts},
          {"handed_off", s.handed_off},
          {"taken_over", s.taken_over},
          {"punted", s.punted},
          {"hints_dropped", s.hints_dropped},
          {"held", s.held},
          {"loops", s.loops},
          {"busy_loops", s.busy_loops},
          {"busy_tsc", s.busy_tsc},
          {"sleeps", s.sleeps},
          {"cycles_per_pkt", w.cycles_per_pkt},
          {"burst_pkts", w.burst_pkts},
          {"burst_fill", s.burst_fill},
          {"stalls", json_stalls(s.stalls)}};
}

Json json_books(const Books& b) {
  return {{"rx", b.rx},
          {"originated", b.originated},
          {"tx", b.tx},
          {"drops", b.drops},
          {"consumed", b.consumed},
          {"held", b.held},
          {"balanced", b.balanced()}};
}

template <typename List, typename Make>
Json json_list(const List& list, Make make) {
  Json out = Json::array();
  for (const auto& one : list) out.push_back(make(one));
  return out;
}

Json json_ends(const session::PathEnds& ends) {
  return {{"local", to_text(ends.local)}, {"peer", to_text(ends.remote)}};
}

Json json_steering(const SteeringCounters& c) {
  return {{"active", c.active},        {"installed", c.installed},     {"removed", c.removed},
          {"refused", c.refused},      {"unsupported", c.unsupported}, {"failed_removals", c.failed_removals},
          {"slowest_us", c.slowest_us}};
}

Json json_reports(const ReportTotals& t) {
  return {{"sent", t.sent}, {"heard", t.heard}, {"news", t.news}, {"waits", t.waits}};
}

Json json_bandwidth(const BandwidthView& b) {
  const session::BandwidthSnapshot& s = b.snapshot;
  Json out = {{"bottleneck_bw_bytes_per_s", s.bottleneck_bw_bps},
              {"min_rtt_ms", static_cast<double>(s.min_rtt_ns) / 1e6},
              {"pacing_rate_bytes_per_s", s.pacing_rate_bps},
              {"cwnd_bytes", s.cwnd_bytes},
              {"inflight_bytes", s.inflight_bytes},
              {"full", b.full},
              {"loss", b.loss},
              {"reports_sent", b.reports_sent},
              {"reports_read", b.reports_read},
              {"reports_refused", b.reports_refused}};
  if (*b.state != '\0') out["state"] = b.state;
  return out;
}

Json json_path_commands(const SessionPathCounters& c) {
  return {{"plans", c.plans},
          {"probes", c.probes},
          {"no_way", c.no_way},
          {"tables_full", c.tables_full},
          {"no_path_sets", c.no_path_sets}};
}

Json json_named(const NamedCounters& counters) {
  Json out = Json::object();
  for (const auto& [name, value] : counters) out[name] = value;
  return out;
}

}  // namespace

Json service_json(const ServiceView& v) {
  return {{"name", v.name},
          {"sessions", v.sessions},
          {"target", v.target},
          {"open", v.open},
          {"opened", v.opened},
          {"connected", v.connected},
          {"refused", v.refused},
          {"to_backend_bytes", v.to_backend_bytes},
          {"from_backend_bytes", v.from_backend_bytes},
          {"datagrams_in", v.datagrams_in},
          {"datagrams_out", v.datagrams_out},
          {"datagrams_dropped", v.datagrams_dropped},
          {"ended", json_named(v.ended)}};
}

Json session_json(const SessionView& v) {
  Json out = {{"name", v.name},
              {"id", v.id_hex},
              {"worker", v.worker},
              {"state", state_name(v.state)},
              {"epoch", v.epoch},
              {"taken", v.taken},
              {"peer_epoch", v.peer_epoch},
              {"heard", v.heard},
              {"rx_pkts", v.rx_pkts},
              {"rx_bytes", v.rx_bytes},
              {"tx_pkts", v.tx_pkts},
              {"tx_bytes", v.tx_bytes},
              {"rekeys", v.rekeys},
              {"followed", v.followed},
              {"catch_ups", v.catch_ups},
              {"grace_accepts", v.grace_accepts},
              {"auth_failed", v.auth_failed},
              {"replayed", v.replayed},
              {"path_refused", v.path_refused},
              {"epochs_left_seconds", v.epochs_left_seconds},
              {"budget_left_seconds", v.budget_left_seconds},
              {"budget_limit", v.budget_limit},
              {"replaced_by", v.replaced_by},
              {"idle_seconds", v.idle_seconds},
              {"peer", v.peer},
              {"handed_over", v.handed_over},
              {"steered", v.steered}};
  if (v.bandwidth) out["bandwidth"] = json_bandwidth(*v.bandwidth);
  out["paths"] = paths_json(v);
  if (!v.streams.empty()) out["streams"] = json_named(v.streams);
  return out;
}

Json paths_json(const SessionView& v) {
  Json out = Json::array();
  for (std::size_t i = 0; i < v.paths.size(); ++i) {
    const session::PathSlotView& p = v.paths[i];
    Json one = {{"path", p.slot},
                {"local", to_text(p.ends.local)},
                {"peer", to_text(p.ends.remote)},
                {"state", path_state_name(p.state)},
                {"up", p.up},
                {"in_use", p.in_use},
                {"srtt_ms", p.srtt_ms},
                {"rttvar_ms", p.rttvar_ms},
                {"loss", p.loss},
                {"probes_sent", p.probes_sent},
                {"probes_answered", p.probes_answered},
                {"migrations", p.migrations}};
    if (p.candidate) one["candidate"] = json_ends(*p.candidate);
    if (p.fallback) one["fallback"] = json_ends(*p.fallback);
    if (i < v.path_counters.size()) {
      const PathCounters& counters = v.path_counters[i];
      one["rx_pkts"] = counters.rx_pkts;
      one["rx_bytes"] = counters.rx_bytes;
      one["tx_pkts"] = counters.tx_pkts;
      one["tx_bytes"] = counters.tx_bytes;
    }
    if (i < v.path_bandwidth.size() && v.path_bandwidth[i]) {
      one["bandwidth"] = json_bandwidth(*v.path_bandwidth[i]);
    }
    out.push_back(std::move(one));
  }
  return out;
}

Json event_json(const Event& event) {
  return {{"number", event.number},
          {"unix_ms", event.unix_ms},
          {"session", event.session},
          {"kind", event.kind},
          {"text", event.text}};
}

Json snapshot_json(const Snapshot& s) {
  Json out;
  out["gateway"] = s.name;
  out["seconds"] = s.seconds;
  out["ports"] = json_list(s.ports, json_port);
  out["workers"] = json_list(s.workers, json_worker);
  out["sessions"] = json_list(s.sessions, session_json);
  out["memory"] = json_memory(s.memory);
  out["neighbours"] = json_list(s.neighbours, [](const NeighbourView& n) {
    return Json{{"port", n.port}, {"address", n.address}, {"mac", n.mac}, {"state", n.state}};
  });
  out["services"] = json_list(s.services, service_json);
  out["without_service"] = s.without_service;
  out["steering"] = json_steering(s.steering);
  out["receiver_reports"] = json_reports(s.reports);
  out["path_commands"] = json_path_commands(s.path_counters);
  out["drops"] = json_counts(s.drops, session::kDropReasonNames);
  out["consumed"] = json_counts(s.consumed, session::kConsumedKindNames);
  out["books"] = json_books(s.books);
  if (s.pools_full) out["pools_full"] = *s.pools_full;
  return out;
}

std::string json_text(const Snapshot& snapshot) {
  return snapshot_json(snapshot).dump(2) + "\n";
}

}  // namespace dataplane
