// The Phantom end and what happens to its packets: rekey, migrate, attack, relay, capture.
#include <algorithm>

#include <fmt/core.h>

#include "tools/testpmd/commands.h"
#include "tools/testpmd/console.h"
#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string_view left = skip_blanks(text);
  while (!left.empty()) {
    const std::size_t end = std::min(left.find_first_of(" \t"), left.size());
    words.emplace_back(left.substr(0, end));
    left = skip_blanks(left.substr(end));
  }
  return words;
}

Outcome rekey(Console& console, const Args& args) {
  const auto steps = args.has(1) ? static_cast<unsigned>(parse_count(args[1]).value_or(1)) : 1U;
  return unless(console.harness().rekey(args[0], steps));
}

Outcome migrate(Console& console, const Args& args) {
  return unless(console.harness().migrate(args[0]));
}

Outcome attack(Console& console, const Args& args) {
  const Rate rate = parse_rate(args[1]).value_or(Rate{});
  return unless(console.harness().attack(args[0], rate.value, parse_count(args[2]).value_or(0)));
}

Outcome attack_stop(Console& console, const Args&) {
  console.harness().attack_stop();
  return {};
}

Outcome attack_list(Console& console, const Args&) {
  Table table{"attacks",
              "Attacks",
              {{"name", "name", Show::kPlain},
               {"reason", "the gateway drops it as", Show::kPlain},
               {"help", "what is sent", Show::kPlain}},
              {}};
  for (const AttackInfo& attack : console.settings().attacks) {
    table.rows.push_back({attack.name, attack.reason, attack.help});
  }
  console.report({{table}, {}});
  return {};
}

Outcome set_relay(Console& console, const Args& args) {
  return unless(console.harness().set_relay(args[0], words_of(args[1])));
}

Outcome capture(Console& console, const Args& args) {
  const std::uint64_t count = args.has(1) ? parse_count(args[1]).value_or(0) : 0;
  return unless(console.harness().capture(args[0], count));
}

Outcome capture_stop(Console& console, const Args&) {
  return unless(console.harness().capture_stop());
}

}  // namespace

std::vector<Command> end_commands() {
  return {
      {"rekey <session> [ <steps> ]", "new keys for sending, so many epochs on (1)", rekey},
      {"migrate <session>", "to the next of the end's addresses or ports", migrate},
      {"attack <attack> rate <pps> count <count>", "send forged or replayed packets to the WAN port", attack},
      {"attack stop", "send no more of them", attack_stop},
      {"attack list", "attacks, and what the gateway must count them as", attack_list},
      {"set relay ab|ba|both <settings...>", "impairment: delay=5ms jitter=1ms rate=100mbit loss=1% ...",
       set_relay},
      {"capture <file> [ count <count> ]", "write frames of both ports as pcapng", capture},
      {"capture stop", "close the file", capture_stop},
  };
}

}  // namespace testpmd
