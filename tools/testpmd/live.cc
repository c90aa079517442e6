#include "tools/testpmd/live.h"

#include <array>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <unistd.h>

#include "tools/testpmd/facts.h"
#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/terminal.h"

namespace testpmd {
namespace {

constexpr double kPeriodSeconds = 1;
// vt100: another screen without a cursor, and back; to the upper left; clear behind a line, below it.
constexpr const char* kEnter = "\033[?1049h\033[?25l\033[2J";
constexpr const char* kLeave = "\033[?25h\033[?1049l";
constexpr const char* kHome = "\033[H";
constexpr const char* kClearRight = "\033[K";
constexpr const char* kClearBelow = "\033[J";

std::string latency_text(const Histogram& histogram, double tsc_per_us) {
  if (histogram.count() == 0) return "-";
  const auto us = [&](double percent) {
    return static_cast<double>(histogram.percentile(percent)) / tsc_per_us;
  };
  return fmt::format("p50 {:.1f}  p90 {:.1f}  p99 {:.1f}  p99.9 {:.1f}  p99.99 {:.1f}  max {:.1f}", us(50),
                     us(90), us(99), us(99.9), us(99.99), static_cast<double>(histogram.max()) / tsc_per_us);
}

std::string way_lines(const Totals& totals, const Rates& rates) {
  constexpr std::array kNames = {"up", "down"};
  std::string text = fmt::format("  {:<5}{:>14}{:>14}{:>14}{:>14}{:>14}{:>10}{:>12}\n", "", "intended/s",
                                 "sent/s", "received/s", "bits/s", "missing", "of sent", "duplicates");
  for (unsigned way = 0; way < kWays; ++way) {
    const WayCounters& counters = totals.way[way];
    const std::int64_t lost = lost_packets(counters);
    const double ratio = counters.sent_pkts == 0
                             ? 0
                             : static_cast<double>(lost) / static_cast<double>(counters.sent_pkts) * 100;
    text += fmt::format("  {:<5}{:>14}{:>14}{:>14}{:>14}{:>14}{:>8.3f} %{:>12}\n", kNames[way],
                        scaled(rates.offered_pps[way]), scaled(rates.sent_pps[way]),
                        scaled(rates.received_pps[way]), scaled(rates.received_bits[way]), grouped(lost),
                        ratio, grouped(counters.duplicates));
  }
  return text;
}

std::string pairs_text(const std::vector<std::pair<std::string, std::uint64_t>>& pairs) {
  std::string text;
  for (const auto& [name, value] : pairs) text += fmt::format("  {} {}", name, grouped(value));
  return text.substr(0, 78);
}

std::string relay_lines(const Harness& harness) {
  if (harness.mode() != Mode::kRelay) return {};
  std::string text = harness.relay_text();
  return text.empty() || text.back() == '\n' ? text : text + "\n";
}

// Every line is cleared behind its end, so that the screen needs no clearing between refreshes.
std::string in_place(const std::string& screen) {
  std::string text = kHome;
  for (const char c : screen) text += c == '\n' ? std::string(kClearRight) + "\n" : std::string(1, c);
  return text + kClearBelow;
}

void draw(Console& console, const Totals& before, const Totals& now) {
  const Harness& harness = console.harness();
  if (!console.settings().terminal) {
    console.print(live_line(harness, before, now));
    return;
  }
  console.print(in_place(live_screen(harness, before, now)));
}

}  // namespace

std::string live_screen(const Harness& harness, const Totals& before, const Totals& now) {
  const Rates rates = rates_between(before, now);
  const double tsc_per_us = harness.tsc_per_ns() * 1e3;
  std::string text =
      fmt::format("phantom-testpmd  mode {}  {}  {:.0f} s  {} sessions  (q ends this view)\n\n",
                  mode_name(harness.mode()), harness.running() ? "running" : "stopped", now.seconds,
                  harness.session_count());
  text += way_lines(now, rates);
  text += "\n  latency, us, since the last clear\n";
  text += fmt::format("  {:<6}{}\n", "up", latency_text(now.latency[0], tsc_per_us));
  text += fmt::format("  {:<6}{}\n", "down", latency_text(now.latency[1], tsc_per_us));
  text += fmt::format("\n  cycles a packet {:.1f}   packets a burst {:.1f}\n", rates.cycles_per_packet,
                      rates.burst_fill);
  for (const PortCounters& port : now.ports) {
    text += fmt::format("  port {:<12} in {:>18}   out {:>18}   refused {}\n", port.name,
                        grouped(port.rx_pkts), grouped(port.tx_pkts), grouped(port.tx_refused));
  }
  if (!now.end_drops.empty()) text += "  dropped by the end:" + pairs_text(now.end_drops) + "\n";
  if (!now.attacks.empty()) {
    text += fmt::format("  attacks:{}  left {}\n", pairs_text(now.attacks), grouped(harness.attack_left()));
  }
  return text + relay_lines(harness);
}

std::string live_line(const Harness& harness, const Totals& before, const Totals& now) {
  const Rates rates = rates_between(before, now);
  const Histogram latency = latency_of(now);
  const auto us = [&](double percent) {
    return static_cast<double>(latency.percentile(percent)) / (harness.tsc_per_ns() * 1e3);
  };
  double sent = 0, received = 0, bits = 0;
  for (unsigned way = 0; way < kWays; ++way) {
    sent += rates.sent_pps[way];
    received += rates.received_pps[way];
    bits += rates.received_bits[way];
  }
  return fmt::format(
      "{:7.1f} s  sent/s {:>10}  received/s {:>10}  bits/s {:>10}  missing {}  p50 {:.1f} us p99 {:.1f} us\n",
      now.seconds, scaled(sent), scaled(received), scaled(bits), grouped(lost_packets(now)), us(50), us(99));
}

void run_live(Console& console, double seconds) {
  const bool terminal = console.settings().terminal;
  std::optional<KeyMode> keys;
  if (terminal) {
    keys.emplace(STDIN_FILENO, true);
    console.print(kEnter);
  }
  bool left = false;
  const auto ended = [&] {
    if (terminal && !left) {
      const int key = read_key(STDIN_FILENO, 0);
      left = key == 'q' || key == 'Q' || key == -2;
    }
    return left;
  };
  Totals before = console.harness().totals();
  if (terminal) draw(console, before, before);
  double waited = 0;
  while (!left && (seconds <= 0 || waited < seconds)) {
    const double period = seconds <= 0 ? kPeriodSeconds : std::min(kPeriodSeconds, seconds - waited);
    if (!console.wait(period, ended) || left) break;
    waited += period;
    Totals now = console.harness().totals();
    if (now.seconds < before.seconds) before = {};  // cleared meanwhile
    draw(console, before, now);
    before = std::move(now);
  }
  if (terminal) console.print(kLeave);
}

}  // namespace testpmd
