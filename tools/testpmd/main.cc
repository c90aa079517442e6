// phantom-testpmd: generates, verifies and measures Phantom traffic.
#include <algorithm>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "crypto/secret.h"
#include "tools/testpmd/engine.h"
#include "tools/testpmd/interrupt.h"

namespace testpmd {
namespace {

struct Choices {
  HarnessOptions harness;
  std::string mode = "loop";
  Offer offer;
  std::uint32_t size = kLeastFrame;
  std::uint32_t ways = 1;
  double seconds = 1;
};

bool find_mode(const std::string& name, Mode& mode) {
  for (int i = 0; i <= static_cast<int>(Mode::kCapture); ++i) {
    mode = static_cast<Mode>(i);
    if (name == mode_name(mode)) return true;
  }
  return false;
}

void print(const Totals& totals, double tsc_per_ns) {
  for (unsigned way = 0; way < kWays; ++way) {
    const WayCounters& c = totals.way[way];
    fmt::print(
        "{:4} intended {} sent {} received {} duplicates {} late {} corrupt {} foreign {}, p50 {:.1f} us, "
        "p99 {:.1f} us\n",
        way == 0 ? "up" : "down", c.intended, c.sent_pkts, c.received, c.duplicates, c.out_of_order,
        c.corrupt, c.foreign, static_cast<double>(totals.latency[way].percentile(50)) / tsc_per_ns / 1e3,
        static_cast<double>(totals.latency[way].percentile(99)) / tsc_per_ns / 1e3);
  }
  for (const PortCounters& port : totals.ports) {
    fmt::print("port {}: rx {} tx {} refused {}\n", port.name, port.rx_pkts, port.tx_pkts, port.tx_refused);
  }
  for (const auto& [name, count] : totals.end_drops)
    fmt::print("dropped by the harness: {} {}\n", name, count);
  const double busy = static_cast<double>(totals.lanes.busy_tsc);
  const std::uint64_t moved = totals.way[0].received + totals.way[1].received;
  fmt::print("lanes: {} loops, {} busy, {:.0f} cycles a packet\n", totals.lanes.loops,
             totals.lanes.busy_loops, moved == 0 ? 0 : busy / static_cast<double>(moved));
}

int traffic(Harness& harness, const Choices& choices) {
  Mode mode{};
  std::string refused =
      find_mode(choices.mode, mode) ? harness.set_mode(mode) : "no such mode: " + choices.mode;
  if (!refused.empty()) {
    fmt::print(stderr, "phantom-testpmd: {}\n", refused);
    return 2;
  }
  fmt::print("{}", harness.describe());
  TrialSpec spec;
  spec.offer = choices.offer;
  spec.offer.sizes = {{choices.size, 1}};
  spec.offer.ways = static_cast<Ways>(choices.ways);
  spec.seconds = choices.seconds;
  const TrialResult result = harness.trial(spec);
  print(harness.totals(), harness.tsc_per_ns());
  fmt::print("offered {} ({:.0f} pps) received {} lost {} longest pause {:.0f} us\n", result.offered,
             result.offered_pps, result.received, result.lost, result.blocked_us);
  if (result.valid()) return result.lost == 0 ? 0 : 1;
  fmt::print(stderr, "phantom-testpmd: {}\n", result.interrupted ? "interrupted" : result.error);
  return 1;
}

void declare(CLI::App& app, Choices& choices) {
  app.add_option("config", choices.harness.config, "Configuration file (TOML)")->required();
  app.add_flag("--init-state", choices.harness.init_state, "Make the state store first");
  app.add_option("--mode", choices.mode, "gen, seal, verify, loop, self, relay, reflect or capture");
  app.add_option("--rate", choices.offer.pps, "Packets a second, each way; 0: as fast as it goes");
  app.add_option("--size", choices.size, "Bytes of a frame, with FCS");
  app.add_option("--seconds", choices.seconds, "How long to send");
  app.add_option("--sessions", choices.offer.sessions, "Sessions to use; 0: all");
  app.add_option("--streams", choices.offer.streams, "Inner flows of a session");
  app.add_option("--ways", choices.ways, "1 up, 2 down, 3 both")->check(CLI::Range(1, 3));
}

int run(int argc, char** argv) {
  Choices choices;
  char** const end = argv + argc;
  char** const eal = std::find(argv, end, std::string_view("--eal"));
  if (eal != end) choices.harness.eal.assign(eal + 1, end);
  CLI::App app("phantom-testpmd: generates, verifies and measures Phantom traffic", "phantom-testpmd");
  declare(app, choices);
  try {
    app.parse(static_cast<int>(eal - argv), argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  catch_interrupts(&interrupted);
  const std::unique_ptr<Harness> harness = make_harness(choices.harness);
  return traffic(*harness, choices);
}

}  // namespace
}  // namespace testpmd

int main(int argc, char** argv) {
  crypto::harden_process();
  try {
    return testpmd::run(argc, argv);
  } catch (const testpmd::HarnessError& error) {
    fmt::print(stderr, "phantom-testpmd: {}\n", error.what());
    return error.exit_code;
  } catch (const std::exception& error) {
    fmt::print(stderr, "phantom-testpmd: {}\n", error.what());
    return 1;
  }
}
