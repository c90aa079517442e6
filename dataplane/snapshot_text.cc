// A snapshot as table, line of rates and JSON.
#include <iterator>

#include <fmt/core.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "dataplane/snapshot.h"

namespace dataplane {
namespace {

using Json = nlohmann::ordered_json;
using Out = std::back_insert_iterator<std::string>;

void print_ports(Out out, const Snapshot& s) {
  fmt::format_to(out, "{:<12} {:>14} {:>16} {:>14} {:>16} {:>10} {:>10}\n", "port", "rx packets", "rx bytes",
                 "tx packets", "tx bytes", "rx missed", "errors");
  for (const PortView& p : s.ports) {
    fmt::format_to(out, "{:<12} {:>14} {:>16} {:>14} {:>16} {:>10} {:>10}\n", p.name, p.sum.rx_pkts,
                   p.sum.rx_bytes, p.sum.tx_pkts, p.sum.tx_bytes, p.rx_missed + p.rx_nombuf,
                   p.rx_errors + p.tx_errors);
  }
}

void print_workers(Out out, const Snapshot& s) {
  fmt::format_to(out, "\n{:<12} {:>14} {:>14} {:>14} {:>14} {:>10} {:>10} {:>12} {:>8} {:>7}\n", "worker",
                 "rx packets", "tx packets", "sealed", "opened", "handed off", "to control", "cycles/pkt",
                 "burst", "busy");
  for (const WorkerView& w : s.workers) {
    fmt::format_to(out, "{:<12} {:>14} {:>14} {:>14} {:>14} {:>10} {:>10} {:>12.0f} {:>8.1f} {:>6.1f}%\n",
                   fmt::format("{} (lcore {})", w.index, w.lcore), w.rx_pkts, w.tx_pkts, w.stats.sealed_pkts,
                   w.stats.opened_pkts, w.stats.handed_off, w.stats.punted, w.cycles_per_pkt, w.burst_pkts,
                   100 * w.busy_share);
  }
}

void print_sessions(Out out, const Snapshot& s) {
  fmt::format_to(out, "\n{:<16} {:>6} {:<10} {:>5} {:>5} {:>12} {:>12} {:>7} {:>8} {:>9} {:>8} {:>9} {}\n",
                 "session", "worker", "state", "epoch", "peer", "rx packets", "tx packets", "rekeys",
                 "followed", "catch-ups", "replayed", "bad tags", "endpoint");
  for (const SessionView& v : s.sessions) {
    fmt::format_to(out, "{:<16} {:>6} {:<10} {:>5} {:>5} {:>12} {:>12} {:>7} {:>8} {:>9} {:>8} {:>9} {}\n",
                   v.name, v.worker, state_name(v.state), v.epoch, v.peer_epoch, v.rx_pkts, v.tx_pkts,
                   v.rekeys, v.followed, v.catch_ups, v.replayed, v.auth_failed,
                   v.peer.empty() ? "-" : v.peer);
  }
}

template <std::size_t N>
void print_counts(Out out, const char* title, const std::array<std::uint64_t, N>& counts,
                  const std::array<std::string_view, N>& names,
                  const std::array<std::string_view, N>* texts) {
  bool first = true;
  for (std::size_t i = 0; i < N; ++i) {
    if (counts[i] == 0) continue;
    if (first) fmt::format_to(out, "\n{}\n", title);
    first = false;
    fmt::format_to(out, "  {:<22} {:>14}  {}\n", names[i], counts[i], texts == nullptr ? "" : (*texts)[i]);
  }
}

void print_books(Out out, const Snapshot& s) {
  const Books& b = s.books;
  fmt::format_to(
      out, "\nbooks: rx {} + originated {} = tx {} + drops {} + consumed {} + held {}: {}\n", b.rx,
      b.originated, b.tx, b.drops, b.consumed, b.held,
      b.balanced()
          ? std::string("balanced")
          : fmt::format("off by {}", static_cast<std::int64_t>(b.rx + b.originated) -
                                         static_cast<std::int64_t>(b.tx + b.drops + b.consumed + b.held)));
  if (s.pools_full)
    fmt::format_to(out, "pools: {}\n", *s.pools_full ? "full" : "packets are missing (a leak)");
}

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
          {"burst_fill", s.burst_fill}};
}

Json json_session(const SessionView& v) {
  return {{"name", v.name},
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
          {"epochs_left_seconds", v.epochs_left_seconds},
          {"peer", v.peer}};
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

double megabits(std::uint64_t bytes, double seconds) {
  return static_cast<double>(bytes) * 8 / 1e6 / seconds;
}
double kilopackets(std::uint64_t packets, double seconds) {
  return static_cast<double>(packets) / 1e3 / seconds;
}

}  // namespace

std::string table_text(const Snapshot& s) {
  std::string text;
  const Out out = std::back_inserter(text);
  fmt::format_to(out, "\n--- gateway {} after {:.1f} s\n", s.name, s.seconds);
  print_ports(out, s);
  print_workers(out, s);
  if (!s.sessions.empty()) print_sessions(out, s);
  print_counts(out, "dropped", s.drops, session::kDropReasonNames, &session::kDropReasonTexts);
  print_counts<session::kConsumedKinds>(out, "consumed", s.consumed, session::kConsumedKindNames, nullptr);
  print_books(out, s);
  return text;
}

std::string rates_text(const Snapshot& before, const Snapshot& now) {
  const double seconds = now.seconds - before.seconds;
  std::string text = fmt::format("[{:8.1f} s]", now.seconds);
  for (std::size_t i = 0; i < now.ports.size() && i < before.ports.size() && seconds > 0; ++i) {
    const PortStats& a = before.ports[i].sum;
    const PortStats& b = now.ports[i].sum;
    text +=
        fmt::format(" | {} rx {:.1f} kpps {:.1f} Mbit/s tx {:.1f} kpps {:.1f} Mbit/s", now.ports[i].name,
                    kilopackets(b.rx_pkts - a.rx_pkts, seconds), megabits(b.rx_bytes - a.rx_bytes, seconds),
                    kilopackets(b.tx_pkts - a.tx_pkts, seconds), megabits(b.tx_bytes - a.tx_bytes, seconds));
  }
  return text + fmt::format(" | dropped {}\n", now.books.drops - before.books.drops);
}

std::string json_text(const Snapshot& s) {
  Json out;
  out["gateway"] = s.name;
  out["seconds"] = s.seconds;
  out["ports"] = json_list(s.ports, json_port);
  out["workers"] = json_list(s.workers, json_worker);
  out["sessions"] = json_list(s.sessions, json_session);
  out["neighbours"] = json_list(s.neighbours, [](const NeighbourView& n) {
    return Json{{"port", n.port}, {"address", n.address}, {"mac", n.mac}, {"state", n.state}};
  });
  out["drops"] = json_counts(s.drops, session::kDropReasonNames);
  out["consumed"] = json_counts(s.consumed, session::kConsumedKindNames);
  out["books"] = json_books(s.books);
  if (s.pools_full) out["pools_full"] = *s.pools_full;
  return out.dump(2) + "\n";
}

}  // namespace dataplane
