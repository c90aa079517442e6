#include "tools/testpmd/figures.h"

#include <algorithm>
#include <array>

#include <fmt/core.h>

#include "tools/testpmd/facts.h"
#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

// Middles of the buckets of dataplane/stats.h.
constexpr std::array<double, dataplane::kBurstBuckets> kBucketMiddles = {0,    1,    2.5,  5.5,
                                                                         11.5, 23.5, 47.5, 64};
constexpr std::array<const char*, dataplane::kBurstBuckets> kBucketNames = {"0",    "1",     "2-3",   "4-7",
                                                                            "8-15", "16-31", "32-63", "64"};
using Buckets = std::array<std::uint64_t, dataplane::kBurstBuckets>;

double real(std::uint64_t value) {
  return static_cast<double>(value);
}

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

// Of nothing there is no share.
Cell share(double part, double whole) {
  return whole > 0 ? Cell{part / whole} : Cell{};
}

// What lanes moved: over devices, or from end to end inside the harness.
std::uint64_t packets_of(const Totals& totals) {
  std::uint64_t over_ports = 0, between_ends = 0;
  for (const PortCounters& port : totals.ports) over_ports += port.rx_pkts + port.tx_pkts;
  for (const WayCounters& way : totals.way) between_ends += way.sent_pkts + way.received;
  return std::max(over_ports, between_ends);
}

double mean_fill(const Buckets& before, const Buckets& now) {
  double packets = 0, bursts = 0;
  for (std::size_t i = 1; i < now.size(); ++i) {
    packets += kBucketMiddles[i] * real(now[i] - before[i]);
    bursts += real(now[i] - before[i]);
  }
  return ratio(packets, bursts);
}

WayCounters both_ways(const Totals& totals) {
  WayCounters both;
  for (const WayCounters& way : totals.way) {
    both.intended += way.intended;
    both.sent_pkts += way.sent_pkts;
    both.sent_bytes += way.sent_bytes;
    both.refused += way.refused;
    both.received += way.received;
    both.received_bytes += way.received_bytes;
    both.duplicates += way.duplicates;
    both.out_of_order += way.out_of_order;
    both.too_old += way.too_old;
    both.corrupt += way.corrupt;
    both.foreign += way.foreign;
    both.no_buffer += way.no_buffer;
  }
  return both;
}

std::vector<Cell> way_row(const char* name, const WayCounters& way, std::int64_t lost, double seconds) {
  const auto per_second = [seconds](double amount) { return ratio(amount, seconds); };
  const double wire_bits = 8 * (real(way.received_bytes) + real(way.received) * kWireOverheadBytes);
  return {std::string(name),
          way.intended,
          way.sent_pkts,
          share(real(way.sent_pkts), real(way.intended)),
          way.received,
          lost,
          share(static_cast<double>(lost), real(way.sent_pkts)),
          way.duplicates,
          way.out_of_order,
          way.too_old,
          way.corrupt,
          way.foreign,
          way.refused,
          way.no_buffer,
          per_second(real(way.intended)),
          per_second(real(way.sent_pkts)),
          per_second(real(way.received)),
          per_second(8 * real(way.received_bytes)),
          per_second(wire_bits)};
}

std::vector<Column> way_columns() {
  return {{"way", "", Show::kPlain},
          {"intended", "intended packets", Show::kCount},
          {"sent", "sent packets", Show::kCount},
          {"sent_ratio", "sent of intended", Show::kPercent},
          {"received", "received packets", Show::kCount},
          {"loss", "lost packets", Show::kCount},
          {"loss_ratio", "lost of sent", Show::kPercent},
          {"duplicates", "duplicates", Show::kCount},
          {"out_of_order", "out of order", Show::kCount},
          {"too_old", "too far behind to tell", Show::kCount},
          {"corrupt", "damaged", Show::kCount},
          {"foreign", "not of this run", Show::kCount},
          {"refused", "waits for the device", Show::kCount},
          {"no_buffer", "not sent for want of a buffer", Show::kCount},
          {"intended_pps", "intended packets/s", Show::kScaled},
          {"sent_pps", "sent packets/s", Show::kScaled},
          {"received_pps", "received packets/s", Show::kScaled},
          {"received_bps", "received bits/s (frames)", Show::kScaled},
          {"received_wire_bps", "received bits/s (wire)", Show::kScaled}};
}

std::vector<Cell> latency_row(const char* name, const Histogram& histogram, double unit_per_us) {
  if (histogram.count() == 0) {
    std::vector<Cell> empty(10);
    empty[0] = std::string(name);
    empty[1] = std::uint64_t{0};
    return empty;
  }
  const auto us = [&](double percent) { return real(histogram.percentile(percent)) / unit_per_us; };
  return {std::string(name),
          histogram.count(),
          real(histogram.min()) / unit_per_us,
          histogram.mean() / unit_per_us,
          us(50),
          us(90),
          us(99),
          us(99.9),
          us(99.99),
          real(histogram.max()) / unit_per_us};
}

std::vector<Cell> session_row(const Harness& harness, std::size_t index) {
  const SessionCounters session = harness.session(index);
  const double tsc_per_us = harness.tsc_per_ns() * 1e3;
  const auto lost = session.sent == 0 ? std::int64_t{0}
                                      : static_cast<std::int64_t>(session.sent) -
                                            static_cast<std::int64_t>(session.received);
  return {harness.session_name(index),
          session.sent,
          session.received,
          lost,
          share(static_cast<double>(lost), real(session.sent)),
          session.duplicates,
          session.out_of_order,
          ratio(real(session.latency_sum_tsc), real(session.received)) / tsc_per_us,
          real(session.latency_max_tsc) / tsc_per_us};
}

Table pairs_table(const char* name, const char* title, const char* key,
                  const std::vector<std::pair<std::string, std::uint64_t>>& pairs) {
  Table table{name, title, {{key, key, Show::kPlain}, {"packets", "packets", Show::kCount}}, {}};
  for (const auto& [word, packets] : pairs) table.rows.push_back({word, packets});
  return table;
}

}  // namespace

Rates rates_between(const Totals& before, const Totals& now) {
  Rates rates;
  rates.seconds = now.seconds - before.seconds;
  for (unsigned way = 0; way < kWays; ++way) {
    const WayCounters& a = before.way[way];
    const WayCounters& b = now.way[way];
    rates.offered_pps[way] = ratio(real(b.intended - a.intended), rates.seconds);
    rates.sent_pps[way] = ratio(real(b.sent_pkts - a.sent_pkts), rates.seconds);
    rates.received_pps[way] = ratio(real(b.received - a.received), rates.seconds);
    rates.received_bits[way] = ratio(8 * real(b.received_bytes - a.received_bytes), rates.seconds);
  }
  rates.cycles_per_packet =
      ratio(real(now.lanes.busy_tsc - before.lanes.busy_tsc), real(packets_of(now) - packets_of(before)));
  rates.burst_fill = mean_fill(before.lanes.rx_burst, now.lanes.rx_burst);
  return rates;
}

Table ways_table(const Totals& totals) {
  Table table{"ways", "Traffic", way_columns(), {}, false, true};
  constexpr std::array kNames = {"up", "down"};
  for (unsigned way = 0; way < kWays; ++way) {
    table.rows.push_back(
        way_row(kNames[way], totals.way[way], lost_packets(totals.way[way]), totals.seconds));
  }
  table.rows.push_back(way_row("both", both_ways(totals), lost_packets(totals), totals.seconds));
  return table;
}

Table latency_table(const Totals& totals, double tsc_per_ns) {
  Table table{"latency",
              "Latency, microseconds",
              {{"way", "", Show::kPlain},
               {"count", "packets", Show::kCount},
               {"min_us", "min", Show::kMicros},
               {"mean_us", "mean", Show::kMicros},
               {"p50_us", "p50", Show::kMicros},
               {"p90_us", "p90", Show::kMicros},
               {"p99_us", "p99", Show::kMicros},
               {"p999_us", "p99.9", Show::kMicros},
               {"p9999_us", "p99.99", Show::kMicros},
               {"max_us", "max", Show::kMicros}},
              {}};
  const double tsc_per_us = tsc_per_ns * 1e3;
  table.rows.push_back(latency_row("up", totals.latency[0], tsc_per_us));
  table.rows.push_back(latency_row("down", totals.latency[1], tsc_per_us));
  table.rows.push_back(latency_row("both", latency_of(totals), tsc_per_us));
  return table;
}

Table lanes_table(const Totals& totals) {
  const LaneCounters& lanes = totals.lanes;
  const Rates rates = rates_between(Totals{}, totals);
  Table table{"lanes",
              "Traffic cores",
              {{"loops", "turns", Show::kCount},
               {"busy_loops", "turns with packets", Show::kCount},
               {"busy_ratio", "busy turns", Show::kPercent},
               {"cycles_per_packet", "cycles a packet", Show::kFixed},
               {"rx_burst_fill", "packets a burst in", Show::kFixed},
               {"tx_burst_fill", "out", Show::kFixed}},
              {}};
  table.single = true;
  table.rows.push_back({lanes.loops, lanes.busy_loops, ratio(real(lanes.busy_loops), real(lanes.loops)),
                        rates.cycles_per_packet, rates.burst_fill, mean_fill({}, lanes.tx_burst)});
  return table;
}

Table bursts_table(const Totals& totals) {
  Table table{"bursts", "Packets in a burst", {{"way", "", Show::kPlain}}, {}};
  for (const char* name : kBucketNames) table.columns.push_back({name, name, Show::kCount});
  const auto row = [](const char* name, const Buckets& buckets) {
    std::vector<Cell> cells = {std::string(name)};
    for (const std::uint64_t bursts : buckets) cells.emplace_back(bursts);
    return cells;
  };
  table.rows = {row("in", totals.lanes.rx_burst), row("out", totals.lanes.tx_burst)};
  return table;
}

Table ports_table(const Totals& totals, const std::string& port) {
  Table table{"ports",
              "Ports",
              {{"name", "port", Show::kPlain},
               {"rx_pkts", "received", Show::kCount},
               {"rx_bytes", "bytes", Show::kCount},
               {"tx_pkts", "sent", Show::kCount},
               {"tx_bytes", "bytes", Show::kCount},
               {"tx_refused", "refused", Show::kCount},
               {"rx_pps", "in/s", Show::kScaled},
               {"tx_pps", "out/s", Show::kScaled}},
              {}};
  for (const PortCounters& one : totals.ports) {
    if (port != "all" && port != one.name) continue;
    table.rows.push_back({one.name, one.rx_pkts, one.rx_bytes, one.tx_pkts, one.tx_bytes, one.tx_refused,
                          ratio(real(one.rx_pkts), totals.seconds),
                          ratio(real(one.tx_pkts), totals.seconds)});
  }
  return table;
}

Table drops_table(const Totals& totals) {
  return pairs_table("end_drops", "Dropped by the Phantom end in the harness", "reason", totals.end_drops);
}

Table attacks_table(const Totals& totals) {
  return pairs_table("attacks", "Packets of attacks", "attack", totals.attacks);
}

Table sessions_table(const Harness& harness, std::size_t most) {
  const std::size_t count = harness.session_count();
  const std::size_t shown = std::min(most, count);
  Table table{"sessions",
              shown < count ? fmt::format("Sessions, {} of {}", shown, count) : "Sessions",
              {{"name", "session", Show::kPlain},
               {"sent", "sent", Show::kCount},
               {"received", "received", Show::kCount},
               {"loss", "lost", Show::kCount},
               {"loss_ratio", "lost of sent", Show::kPercent},
               {"duplicates", "twice", Show::kCount},
               {"out_of_order", "out of order", Show::kCount},
               {"mean_us", "mean us", Show::kMicros},
               {"max_us", "max us", Show::kMicros}},
              {}};
  for (std::size_t i = 0; i < shown; ++i) table.rows.push_back(session_row(harness, i));
  return table;
}

Table trial_table(const std::vector<TrialResult>& trials) {
  Table table{"trials",
              "Trial",
              {{"seconds", "seconds", Show::kFixed},
               {"intended", "intended packets", Show::kCount},
               {"offered", "sent packets", Show::kCount},
               {"received", "received packets", Show::kCount},
               {"loss", "lost packets", Show::kCount},
               {"unsent", "never sent, the link was full", Show::kCount},
               {"loss_ratio", "lost and never sent", Show::kPercent},
               {"duplicates", "duplicates", Show::kCount},
               {"out_of_order", "out of order", Show::kCount},
               {"corrupt", "damaged", Show::kCount},
               {"offered_pps", "sent packets/s", Show::kScaled},
               {"received_pps", "received packets/s", Show::kScaled},
               {"blocked_us", "longest gap, us", Show::kMicros},
               {"p50_us", "latency p50, us", Show::kMicros},
               {"p90_us", "p90", Show::kMicros},
               {"p99_us", "p99", Show::kMicros},
               {"p999_us", "p99.9", Show::kMicros},
               {"p9999_us", "p99.99", Show::kMicros},
               {"max_us", "max", Show::kMicros},
               {"void", "void because", Show::kPlain}},
              {},
              false,
              true};
  for (const TrialResult& trial : trials) {
    const auto us = [&](double percent) { return real(trial.latency_ns.percentile(percent)) / 1e3; };
    const std::string why = trial.interrupted ? "interrupted" : trial.error;
    table.rows.push_back({trial.seconds,
                          trial.intended,
                          trial.offered,
                          trial.received,
                          trial.lost,
                          trial.unsent,
                          trial.loss_ratio,
                          trial.duplicates,
                          trial.out_of_order,
                          trial.corrupt,
                          trial.offered_pps,
                          trial.received_pps,
                          trial.blocked_us,
                          us(50),
                          us(90),
                          us(99),
                          us(99.9),
                          us(99.99),
                          real(trial.latency_ns.max()) / 1e3,
                          why.empty() ? Cell{} : Cell{why}});
  }
  return table;
}

Table offer_table(const Harness& harness, const std::string& rate) {
  const Offer& offer = harness.offer();
  constexpr std::array kWayNames = {"up", "down", "both"};
  Table table{"offer",
              "Traffic as set",
              {{"mode", "forward mode", Show::kPlain},
               {"rate", "rate each way", Show::kPlain},
               {"pps", "packets/s each way (0: as fast as it goes)", Show::kPlain},
               {"sizes", "frame sizes (xWEIGHT)", Show::kPlain},
               {"ways", "ways", Show::kPlain},
               {"sessions", "sessions (of those configured)", Show::kPlain},
               {"streams", "streams of a session", Show::kPlain},
               {"burst", "packets in a burst", Show::kPlain},
               {"running", "running", Show::kPlain}},
              {},
              true,
              true};
  const std::uint64_t sessions = offer.sessions == 0 ? harness.session_count() : offer.sessions;
  table.rows.push_back({std::string(mode_name(harness.mode())), rate, offer.pps, sizes_text(offer.sizes),
                        std::string(kWayNames.at(static_cast<std::size_t>(offer.ways) - 1)), sessions,
                        std::uint64_t{offer.streams}, std::uint64_t{offer.burst},
                        std::string(harness.running() ? "yes" : "no")});
  return table;
}

Report totals_report(const Harness& harness) {
  const Totals totals = harness.totals();
  Report report;
  report.tables = {ways_table(totals), latency_table(totals, harness.tsc_per_ns()),
                   ports_table(totals, "all"), lanes_table(totals)};
  if (!totals.end_drops.empty()) report.tables.push_back(drops_table(totals));
  if (!totals.attacks.empty()) report.tables.push_back(attacks_table(totals));
  return report;
}

}  // namespace testpmd
