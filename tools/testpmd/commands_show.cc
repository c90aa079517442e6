// show ...
#include <limits>

#include <fmt/core.h>

#include "tools/testpmd/commands.h"
#include "tools/testpmd/console.h"
#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

constexpr std::size_t kSessionsShown = 32;

Outcome port_stats(Console& console, const Args& args) {
  console.report({{ports_table(console.harness().totals(), args[0])}, {}});
  return {};
}

Outcome port_xstats(Console& console, const Args& args) {
  Table table{
      "xstats",
      "Extended counters",
      {{"port", "port", Show::kPlain}, {"name", "name", Show::kPlain}, {"value", "value", Show::kCount}},
      {}};
  for (const PortCounters& port : console.harness().totals().ports) {
    if (args[0] != "all" && args[0] != port.name) continue;
    for (const auto& [name, value] : console.harness().port_xstats(port.name)) {
      table.rows.push_back({port.name, name, value});
    }
  }
  console.report({{table}, {}});
  return {};
}

Outcome port_info(Console& console, const Args& args) {
  Report report{{ports_table(console.harness().totals(), args[0])}, console.harness().describe()};
  if (!report.text.empty() && report.text.back() != '\n') report.text += '\n';
  console.report(report);
  return {};
}

Outcome forward_stats(Console& console, const Args&) {
  console.report(totals_report(console.harness()));
  return {};
}

Outcome bursts(Console& console, const Args&) {
  const Totals totals = console.harness().totals();
  console.report({{lanes_table(totals), bursts_table(totals)}, {}});
  return {};
}

Outcome sessions(Console& console, const Args& args) {
  std::size_t most = kSessionsShown;
  if (args.has(0)) {
    most = args[0] == "all" ? std::numeric_limits<std::size_t>::max() : parse_count(args[0]).value_or(most);
  }
  console.report({{sessions_table(console.harness(), most)}, {}});
  return {};
}

Outcome latency(Console& console, const Args&) {
  console.report({{latency_table(console.harness().totals(), console.harness().tsc_per_ns())}, {}});
  return {};
}

Outcome config(Console& console, const Args&) {
  Report report{{offer_table(console.harness(), rate_text(console.rate))}, console.harness().describe()};
  if (!report.text.empty() && report.text.back() != '\n') report.text += '\n';
  console.report(report);
  return {};
}

Outcome attack(Console& console, const Args&) {
  Table left{"attack", "", {{"left", "packets still to be sent", Show::kCount}}, {}};
  left.single = true;
  left.rows = {{console.harness().attack_left()}};
  console.report({{attacks_table(console.harness().totals()), left}, {}});
  return {};
}

Outcome relay(Console& console, const Args&) {
  Report report{{}, console.harness().relay_text()};
  if (!report.text.empty() && report.text.back() != '\n') report.text += '\n';
  console.report(report);
  return {};
}

}  // namespace

std::vector<Command> show_commands() {
  return {
      {"show port stats <port>", "packets and bytes of devices", port_stats},
      {"show port xstats <port>", "a device's own counters", port_xstats},
      {"show port info <port>", "devices, and what the harness made of them", port_info},
      {"show fwd stats all", "sent, received, loss, latency, rates since the last clear", forward_stats},
      {"show fwd bursts", "how full bursts are, cycles a packet", bursts},
      {"show sessions [ <sessions> ]", "loss and latency of the first so many sessions (32), or all",
       sessions},
      {"show latency", "percentiles", latency},
      {"show config", "ports, sessions and what traffic is set to be", config},
      {"show attack", "packets that attacks sent, and have left", attack},
      {"show relay", "impairment of both directions, and what it did", relay},
  };
}

}  // namespace testpmd
