#include "tools/testpmd/argument_kind.h"

#include <algorithm>
#include <utility>

#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

constexpr std::size_t kMostOffered = 256;  // names that completion looks through

void add(ArgumentKinds& kinds, const std::string& name, std::string expected,
         std::function<bool(std::string_view)> fits, std::vector<std::string> offered = {}) {
  auto choices = [offered = std::move(offered)] { return offered; };
  kinds[name] = ArgumentKind{name, std::move(expected), std::move(fits), std::move(choices)};
}

bool not_empty(std::string_view word) {
  return !word.empty();
}

bool counts_something(std::string_view word) {
  const auto count = parse_count(word);
  return count && *count > 0;
}

std::function<bool(std::string_view)> whole_between(std::uint64_t least, std::uint64_t most) {
  return [=](std::string_view word) {
    const auto count = parse_count(word);
    return count && *count >= least && *count <= most;
  };
}

std::vector<std::string> session_choices(const Harness& harness) {
  std::vector<std::string> names = {"all"};
  const std::size_t count = std::min(harness.session_count(), kMostOffered);
  names.reserve(count + 1);
  for (std::size_t i = 0; i < count; ++i) names.push_back(harness.session_name(i));
  return names;
}

bool is_session(const Harness& harness, std::string_view word) {
  if (word == "all") return true;
  for (std::size_t i = 0; i < harness.session_count(); ++i) {
    if (harness.session_name(i) == word) return true;
  }
  return false;
}

std::vector<std::string> port_choices(const Harness& harness) {
  std::vector<std::string> names = {"all"};
  for (const PortCounters& port : harness.totals().ports) names.push_back(port.name);
  return names;
}

bool one_of(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

ArgumentKinds plain_kinds() {
  ArgumentKinds kinds;
  add(kinds, "text", "some text", not_empty);
  add(kinds, "file", "a file's name", not_empty);
  add(kinds, "expr", "an expression as 'loss == 0 && mpps >= 1'", not_empty);
  add(kinds, "settings", "settings as delay=5ms rate=100mbit loss=1%", not_empty);
  add(kinds, "count", "a number of packets above 0: 1000, 10k, 1.5m", counts_something);
  add(kinds, "number", "a whole number from 0 on", whole_between(0, 1ULL << 62));
  add(kinds, "sessions", "a number of sessions, or all",
      [](std::string_view word) { return word == "all" || whole_between(1, 1U << 31)(word); }, {"all"});
  add(kinds, "burst", "packets in a burst, 1 to 64", whole_between(1, 64));
  add(kinds, "streams", "streams of a session, 1 to 64", whole_between(1, 64));
  add(kinds, "steps", "epochs to go on, 1 to 16", whole_between(1, 16));
  add(kinds, "rate", "a rate above 0: 1.5mpps, 200kpps, 1000, 10gbit, 500mbit, or max",
      [](std::string_view word) { return parse_rate(word).has_value(); }, {"max"});
  add(kinds, "pps", "packets a second, above 0: 1000, 10k, 1.5mpps", [](std::string_view word) {
    const auto rate = parse_rate(word);
    return rate && rate->unit == Rate::Unit::kPps;
  });
  add(kinds, "seconds", "a time above 0: 10, 1.5, 500ms, 2m",
      [](std::string_view word) { return parse_seconds(word).has_value(); });
  add(kinds, "sizes", "frame sizes of 64 to 9018 bytes: 64 or 64,512,1400, with weights 64x7,570x4, or imix",
      [](std::string_view word) { return parse_sizes(word).has_value(); }, {"imix"});
  add(
      kinds, "mode", "a forward mode: " + listed(mode_names()),
      [](std::string_view word) { return parse_mode(word).has_value(); }, mode_names());
  return kinds;
}

ArgumentKinds harness_kinds(const Harness& harness, const std::vector<std::string>& attacks) {
  ArgumentKinds kinds = plain_kinds();
  kinds["session"] = {"session", "a session's name, or all",
                      [&harness](std::string_view word) { return is_session(harness, word); },
                      [&harness] { return session_choices(harness); }};
  kinds["port"] = {"port", "a port's name, or all",
                   [&harness](std::string_view word) { return one_of(port_choices(harness), word); },
                   [&harness] { return port_choices(harness); }};
  kinds["attack"] = {"attack", "an attack's name (`attack list` describes them)",
                     [attacks](std::string_view word) { return one_of(attacks, word); },
                     [attacks] { return attacks; }};
  return kinds;
}

}  // namespace testpmd
