// What befalls the gateways of a chaos round.
#include <algorithm>

#include <fmt/format.h>

#include "tests/support/chaos.h"

namespace support {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kDrain = 50 * kMs;
// Epochs end at 255: below it there is room for what is under way, and for a restart's step.
constexpr std::uint8_t kLastRekeyedEpoch = 180;
constexpr std::uint64_t kMaxRestarts = 8;
constexpr std::size_t kMappings = 3;

}  // namespace

session::Endpoint Chaos::translated_host(unsigned at, std::uint64_t host, std::uint16_t port) {
  return endpoint(fmt::format("203.0.{}.{}", 113 + at, 1 + host), port);
}

void Chaos::rebind() {
  static constexpr unsigned kHosts = 5;
  const unsigned at = chance(700) ? 0 : 1;
  const session::Endpoint to =
      translated_host(at, below(kHosts), static_cast<std::uint16_t>(1000 + below(4)));
  ++counts_.rebinds;
  translators_[at].all_lead = false;
  std::vector<session::Endpoint>& mappings = translators_[at].mappings;
  if (chance(300)) mappings.clear();  // the old one is cut at once
  translators_[at].outside = to;
  if (std::find(mappings.begin(), mappings.end(), to) == mappings.end()) mappings.push_back(to);
  if (mappings.size() > kMappings) mappings.erase(mappings.begin());
}

// Somebody on the way re-sends what he saw, as it is, from where he likes.
void Chaos::spoof() {
  if (captured_.empty()) return;
  const Copy& copy = captured_[below(captured_.size())];
  ++counts_.spoofed;
  const auto port = static_cast<std::uint16_t>(600 + below(100));
  const session::Endpoint from = copy.to.family == 4
                                     ? endpoint(fmt::format("198.18.0.{}", 1 + below(200)), port)
                                     : endpoint("2001:db8:bad::1", port);
  net_.inject(copy.to_a, copy.payload, from, copy.to);
}

// Random bytes, or a packet with a few of its bits changed.
void Chaos::garbage() {
  if (captured_.empty()) return;
  Copy copy = captured_[below(captured_.size())];
  ++counts_.garbage;
  if (chance(300)) {
    copy.payload.resize(1 + below(300));
    for (std::uint8_t& byte : copy.payload) byte = static_cast<std::uint8_t>(random_());
  } else {
    for (std::uint64_t flips = 1 + below(4); flips > 0; --flips) {
      copy.payload[below(copy.payload.size())] ^= static_cast<std::uint8_t>(1U << below(8));
    }
    if (chance(200)) copy.payload.resize(1 + below(copy.payload.size()));
  }
  net_.inject(copy.to_a, copy.payload, copy.from, copy.to);
}

void Chaos::rekey() {
  const auto index = static_cast<unsigned>(below(kSessions));
  const auto at = static_cast<unsigned>(below(2));
  const auto steps = static_cast<unsigned>(1 + below(chance(200) ? 16 : 2));
  const auto v = view(at, index);
  if (!v || v->epoch + steps > kLastRekeyedEpoch) return;
  ++(end(at).control->request_rekey(name(at, index), steps).empty() ? counts_.rekeys
                                                                    : counts_.rekeys_refused);
}

void Chaos::migrate() {
  const auto index = static_cast<unsigned>(below(kSessions));
  const auto at = static_cast<unsigned>(below(2));
  if (chance(500)) {
    ++counts_.probes;
    (void)end(at).control->path_probe(name(at, index), 0);
    return;
  }
  const auto family = static_cast<std::uint8_t>(chance(500) ? 4 : 6);
  if (end(at).control->path_migrate(name(at, index), 0, end(at).wan(family), end(1 - at).wan(family)).empty())
    ++counts_.migrations;
}

// An operator gives a session a successor, at one end and a little later at the other. A successor gets one
// of its own only once it took over at both: the gateway refuses it before, and an end that crashed would
// come back with the last of the three while the other still waits for the second.
void Chaos::replace() {
  Line& line = lines_[below(kSessions)];
  if (line.at[0] != line.wanted || line.at[1] != line.wanted) return;
  if (!net_.a.find(line.wanted) || !net_.b.find(line.wanted)) return;
  if (line.old != 0 && (net_.a.find(line.old) || net_.b.find(line.old))) return;
  line.old = line.wanted;
  line.wanted = next_number_++;
  for (std::uint64_t& due_ns : line.due_ns) due_ns = net_.now_ns + below(200) * kMs;
  ++counts_.replacements;
}

void Chaos::come_and_go() {
  Line& line = lines_[kSessions + below(kOthers)];
  if (line.present[0] != line.wants_presence || line.present[1] != line.wants_presence) return;
  line.wants_presence = !line.wants_presence;
  if (line.wants_presence) line.wanted = next_number_++;
  for (std::uint64_t& due_ns : line.due_ns) due_ns = net_.now_ns + below(200) * kMs;
  ++(line.wants_presence ? counts_.added : counts_.removed);
}

void Chaos::toggle_route() {
  toggle_route_at(static_cast<unsigned>(below(2)));
}

// More hosts behind the first session.
void Chaos::toggle_route_at(unsigned at) {
  dataplane::GatewayOperator& door = end(at).control->operator_door();
  const dataplane::RouteConfig route = end(at).route_to(first_ + kSessions + kOthers, lines_[0].at[at]);
  const bool ok = (route_there_[at] ? door.route_remove(route.prefix) : door.route_add(route)).ok();
  if (route_there_[at] && !ok) wrong("a route that was added cannot be removed");
  if (!ok) return;
  route_there_[at] = !route_there_[at];
  ++counts_.routes;
}

// What was begun and then failed, as with a store that did, is begun again.
void Chaos::operate_replacement(unsigned at, Line& line) {
  if (line.at[at] == line.wanted && line.before[at] != 0 && !end(at).find(line.wanted)) {
    end(at).reconfigure(line.wanted, line.before[at]);
    line.at[at] = line.before[at];
  }
  if (line.at[at] == line.wanted) return;
  if (!end(at).replace_running(line.at[at], line.wanted, kDrain).ok()) return;
  line.before[at] = line.at[at];
  line.at[at] = line.wanted;
}

void Chaos::operate_presence(unsigned at, unsigned index) {
  Line& line = lines_[index];
  if (line.present[at] && !end(at).find(line.at[at])) {  // the store did not take it
    end(at).reconfigure(line.at[at], std::nullopt);
    line.present[at] = false;
  }
  if (line.present[at] == line.wants_presence) return;
  if (line.wants_presence) {
    if (!end(at).add_running(line.wanted, first_ + index, end(1 - at).wan(4)).ok()) return;
    line.at[at] = line.wanted;
  } else if (!end(at).remove_running(line.at[at], kDrain).ok()) {
    return;
  }
  line.present[at] = line.wants_presence;
}

void Chaos::operate() {
  for (unsigned index = 0; index < lines_.size(); ++index) {
    for (const unsigned at : {0U, 1U}) {
      if (lines_[index].due_ns[at] > net_.now_ns || store_heals_ns_[at] != 0) continue;
      if (index < kSessions) {
        operate_replacement(at, lines_[index]);
      } else {
        operate_presence(at, index);
      }
    }
  }
}

void Chaos::fail_store() {
  const auto at = static_cast<unsigned>(below(2));
  if (store_heals_ns_[at] != 0) return;
  ++counts_.store_failures;
  end(at).store.fail(true);
  store_heals_ns_[at] = net_.now_ns + (1 + below(500)) * kMs;
}

// A crash costs an epoch. Own rekeys leave room for a few within the peer's catch-up; a gateway that crashes
// more often while its peer hears nothing of it is out of that peer's reach for good.
bool Chaos::peer_could_follow(unsigned at) {
  for (unsigned i = 0; i < kSessions; ++i) {
    const auto own = view(at, i);
    const auto peers = end(1 - at).find(lines_[i].at[at]);  // none: it begins with us
    const unsigned epoch = peers ? peers->epoch : 0;
    if (own && own->taken + 1U > epoch + session::MAX_REKEY_CATCHUP) return false;
  }
  return true;
}

// A crash: what was under way on the wire is still there afterwards, everything in memory is gone.
void Chaos::restart() {
  if (counts_.restarts >= kMaxRestarts) return;
  const auto at = static_cast<unsigned>(below(2));
  if (store_heals_ns_[at] != 0) return;
  if (!peer_could_follow(at)) {
    ++counts_.restarts_left_out;
    return;
  }
  ++counts_.restarts;
  net_.settle();
  collect(at);
  check_books("before a restart");
  end(at).restart([this] { return net_.now_ns; });
  route_there_[at] = false;  // it was not in the configuration
  for (Line& line : lines_) line.before[at] = 0;
}

void Chaos::heal_stores(bool all) {
  for (const unsigned at : {0U, 1U}) {
    if (store_heals_ns_[at] == 0 || (!all && store_heals_ns_[at] > net_.now_ns)) continue;
    end(at).store.fail(false);
    store_heals_ns_[at] = 0;
  }
}

void Chaos::act() {
  heal_stores(false);
  if (chance(4)) rebind();
  if (chance(30)) spoof();
  if (chance(30)) garbage();
  if (chance(8)) rekey();
  if (chance(3)) migrate();
  if (chance(2)) replace();
  if (chance(4)) come_and_go();
  if (chance(4)) toggle_route();
  if (chance(1)) fail_store();
  if (chance(1)) restart();
  operate();
}

}  // namespace support
