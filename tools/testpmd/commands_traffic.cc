// start, stop, set, clear.
#include <fmt/core.h>

#include "tools/testpmd/commands.h"
#include "tools/testpmd/console.h"
#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

Outcome after_start(Console& console, std::string error) {
  if (!error.empty()) return refused(std::move(error));
  console.ran = true;
  console.forget_trial();
  return {};
}

Outcome start(Console& console, const Args&) {
  return after_start(console, console.harness().start());
}

// As testpmd, without a number one burst.
Outcome start_first(Console& console, const Args& args) {
  const std::uint64_t count =
      args.has(0) ? parse_count(args[0]).value_or(0) : std::uint64_t{console.harness().offer().burst};
  return after_start(console, console.harness().start_first(count));
}

Outcome stop(Console& console, const Args&) {
  if (!console.harness().running()) return refused("no traffic runs; `start` begins it");
  console.harness().stop();
  console.report(totals_report(console.harness()));
  return {};
}

Outcome set_mode(Console& console, const Args& args) {
  return unless(console.harness().set_mode(parse_mode(args[0]).value_or(Mode::kGen)));
}

// An offer with one thing changed: taken whole or not at all.
template <typename Change>
Outcome change_offer(Console& console, const Change& change) {
  Offer offer = console.harness().offer();
  change(offer);
  return unless(console.harness().set_offer(offer));
}

Outcome set_rate(Console& console, const Args& args) {
  const Rate rate = parse_rate(args[0]).value_or(Rate{});
  Outcome outcome = change_offer(console, [&](Offer& offer) { offer.pps = rate_pps(rate, offer.sizes); });
  if (outcome.ok()) console.rate = rate;
  return outcome;
}

// A rate in bits stays one in bits: its packets are counted anew.
Outcome set_sizes(Console& console, const Args& args) {
  return change_offer(console, [&](Offer& offer) {
    offer.sizes = parse_sizes(args[0]).value_or(imix());
    offer.pps = rate_pps(console.rate, offer.sizes);
  });
}

Outcome set_ways(Console& console, const Args& args) {
  return change_offer(console, [&](Offer& offer) {
    offer.ways = args[0] == "up" ? Ways::kUp : args[0] == "down" ? Ways::kDown : Ways::kBoth;
  });
}

std::uint32_t number(const std::string& word) {
  return static_cast<std::uint32_t>(parse_count(word).value_or(0));
}

Outcome set_burst(Console& console, const Args& args) {
  return change_offer(console, [&](Offer& offer) { offer.burst = number(args[0]); });
}

Outcome set_streams(Console& console, const Args& args) {
  return change_offer(console, [&](Offer& offer) { offer.streams = number(args[0]); });
}

Outcome set_sessions(Console& console, const Args& args) {
  const std::uint64_t count = args[0] == "all" ? 0 : parse_count(args[0]).value_or(0);
  const std::size_t there = console.harness().session_count();
  if (count > there) {
    return refused(fmt::format("{} sessions are configured, so {} cannot be used", there, count));
  }
  return change_offer(console, [&](Offer& offer) { offer.sessions = static_cast<std::uint32_t>(count); });
}

Outcome set_format(Console& console, const Args& args) {
  console.format = args[0] == "json" ? Format::kJson : args[0] == "csv" ? Format::kCsv : Format::kTable;
  return {};
}

Outcome clear(Console& console, const Args&) {
  console.harness().clear();
  console.forget_trial();
  return {};
}

}  // namespace

std::vector<Command> traffic_commands() {
  return {
      {"start", "begin sending at the rate that is set, and verifying", start},
      {"start tx_first [ <count> ]", "send so many packets (one burst) at once first", start_first},
      {"stop", "stop sending, wait for what is on its way, print totals", stop},
      {"set fwd <mode>", "forward mode, while no traffic runs", set_mode},
      {"set txrate <rate>", "rate each way; bits are those of the wire", set_rate},
      {"set txpkts <sizes>", "frame sizes with FCS, equally often or SIZExWEIGHT, or imix", set_sizes},
      {"set burst <burst>", "packets that are sent at once", set_burst},
      {"set ways up|down|both", "up: towards the gateway's LAN side; down: its WAN side", set_ways},
      {"set sessions <sessions>", "use only the first so many sessions", set_sessions},
      {"set streams <streams>", "inner flows of a session, spread over its streams", set_streams},
      {"set format table|json|csv", "how show and trial print", set_format},
      {"clear port stats all", "counters to 0", clear},
      {"clear fwd stats all", "counters to 0", clear},
  };
}

}  // namespace testpmd
