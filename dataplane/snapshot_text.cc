// A snapshot as table and line of rates.
#include <algorithm>
#include <iterator>
#include <span>

#include <fmt/core.h>
#include <fmt/format.h>

#include "dataplane/address_text.h"
#include "dataplane/snapshot.h"

namespace dataplane {
namespace {

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

// Only where control had something to say.
void print_stalls(Out out, const Snapshot& s) {
  for (const WorkerView& w : s.workers) {
    const StallStats& stalls = w.stats.stalls;
    if (stalls.worst_loop_ns == 0) continue;
    const auto longest = std::max_element(stalls.worst_ns.begin(), stalls.worst_ns.end());
    fmt::format_to(
        out,
        "worker {}: control's messages took a loop {:.1f} us at most, above 10 us {} times; longest of "
        "all: {}, {:.1f} us\n",
        w.index, static_cast<double>(stalls.worst_loop_ns) / 1e3, stalls.above(10),
        command_name(static_cast<std::size_t>(longest - stalls.worst_ns.begin())),
        static_cast<double>(*longest) / 1e3);
  }
}

void print_memory(Out out, const SessionMemory& m) {
  if (m.sessions == 0) return;
  constexpr double kKiB = 1024;
  constexpr double kMiB = 1024 * kKiB;
  fmt::format_to(
      out,
      "\nmemory: {} sessions of {:.1f} KiB each (heap {:.1f}, keys {:.1f}, tables {:.1f}); workers took "
      "{:.0f} MiB for keys and {:.0f} MiB for tables\n",
      m.sessions, static_cast<double>(m.each_bytes()) / kKiB, static_cast<double>(m.heap_each_bytes) / kKiB,
      static_cast<double>(m.keys_each_bytes) / kKiB, static_cast<double>(m.tables_each_bytes) / kKiB,
      static_cast<double>(m.keys_taken_bytes) / kMiB, static_cast<double>(m.tables_bytes) / kMiB);
}

std::span<const SessionView> in_table(const Snapshot& s) {
  return std::span(s.sessions).first(std::min(s.sessions.size(), kTableSessions));
}

void print_sessions(Out out, const Snapshot& s) {
  fmt::format_to(out, "\n{:<16} {:>6} {:<10} {:>5} {:>5} {:>12} {:>12} {:>7} {:>8} {:>9} {:>8} {:>9} {}\n",
                 "session", "worker", "state", "epoch", "peer", "rx packets", "tx packets", "rekeys",
                 "followed", "catch-ups", "replayed", "bad tags", "endpoint");
  for (const SessionView& v : in_table(s)) {
    fmt::format_to(out, "{:<16} {:>6} {:<10} {:>5} {:>5} {:>12} {:>12} {:>7} {:>8} {:>9} {:>8} {:>9} {}\n",
                   v.name, v.worker, state_name(v.state), v.epoch, v.peer_epoch, v.rx_pkts, v.tx_pkts,
                   v.rekeys, v.followed, v.catch_ups, v.replayed, v.auth_failed,
                   v.peer.empty() ? "-" : v.peer);
  }
  const std::size_t listed = in_table(s).size();
  if (s.memory.sessions > listed) {
    fmt::format_to(out, "... and {} more: phantomctl session show\n", s.memory.sessions - listed);
  }
}

std::string end_text(const session::Endpoint& end) {
  return end.family == 0 ? "-" : to_text(end);
}

// At least so much, when the path was not full at the last report.
std::string rate_text(const std::optional<BandwidthView>& b) {
  if (!b) return "-";
  return fmt::format("{}{:.1f}",
                     b->full ? "" : ">=", static_cast<double>(b->snapshot.bottleneck_bw_bps) * 8e-6);
}

void print_path(Out out, const SessionView& v, std::size_t i) {
  const session::PathSlotView& p = v.paths[i];
  const PathCounters counters = i < v.path_counters.size() ? v.path_counters[i] : PathCounters{};
  fmt::format_to(out, "{:<16} {:>4} {:<11} {:>4} {:>4} {:>8} {:>6.1f}% {:>10} {:>12} {:>12} {:>6} {} -> {}\n",
                 v.name, p.slot, path_state_name(p.state), p.up ? "yes" : "no", p.in_use ? "yes" : "no",
                 p.srtt_ms < 0 ? "-" : fmt::format("{:.2f}", p.srtt_ms), 100 * p.loss,
                 i < v.path_bandwidth.size() ? rate_text(v.path_bandwidth[i]) : "-", counters.rx_pkts,
                 counters.tx_pkts, p.migrations, end_text(p.ends.local), end_text(p.ends.remote));
}

void print_paths(Out out, const Snapshot& s) {
  fmt::format_to(out, "\n{:<16} {:>4} {:<11} {:>4} {:>4} {:>8} {:>7} {:>10} {:>12} {:>12} {:>6} {}\n",
                 "session", "path", "state", "up", "used", "rtt ms", "loss", "Mbit/s", "rx packets",
                 "tx packets", "moves", "ends");
  for (const SessionView& v : in_table(s)) {
    for (std::size_t i = 0; i < v.paths.size(); ++i) print_path(out, v, i);
  }
}

// With one worker every packet is at home.
void print_steering(Out out, const Snapshot& s) {
  if (s.workers.size() < 2) return;
  std::uint64_t handed_over = 0;
  std::size_t steered = 0;
  for (const SessionView& v : s.sessions) {
    handed_over += v.handed_over;
    steered += v.steered ? 1 : 0;
  }
  const SteeringCounters& c = s.steering;
  fmt::format_to(
      out,
      "\nsteering: {} of {} sessions by rules of ports, {} packets handed over; rules installed {}, "
      "removed {}, refused {}, unsupported {}\n",
      steered, s.memory.sessions, handed_over, c.installed, c.removed, c.refused, c.unsupported);
}

void print_services(Out out, const Snapshot& s) {
  if (s.services.empty()) return;
  fmt::format_to(out, "\n{:<16} {:<24} {:>6} {:>9} {:>9} {:>8} {:>14} {:>14}\n", "service", "target", "open",
                 "opened", "connected", "refused", "to backend", "from backend");
  for (const ServiceView& v : s.services) {
    fmt::format_to(out, "{:<16} {:<24} {:>6} {:>9} {:>9} {:>8} {:>14} {:>14}\n", v.name, v.target, v.open,
                   v.opened, v.connected, v.refused, v.to_backend_bytes, v.from_backend_bytes);
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
  print_stalls(out, s);
  if (!s.sessions.empty()) print_sessions(out, s);
  if (!s.sessions.empty()) print_paths(out, s);
  print_memory(out, s.memory);
  print_services(out, s);
  print_steering(out, s);
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

}  // namespace dataplane
