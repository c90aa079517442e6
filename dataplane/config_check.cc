#include "dataplane/config_check.h"

#include <algorithm>
#include <map>

#include <fmt/core.h>
#include <rte_mbuf_core.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "dataplane/stats.h"

namespace dataplane {
namespace {

// Keys one session may have at a time without a jump: current, next and previous, both directions.
constexpr std::uint64_t kKeysPerSession = 6;
// Ethernet header in front, tag and empty extensions behind.
constexpr unsigned kFrameSpare = 14 + session::kTagBytes + session::kLengthBytes;
// What one buffer of the pool costs beside its data: mbuf, metadata, object header.
constexpr std::uint64_t kBufferSpare = 256;

class Checker {
 public:
  Checker(const GatewayConfig& config, ConfigIssues& issues)
      : config_(config), issues_(issues), ports_known_(!issues.any_under("port[")) {}
  void run();

 private:
  void ports();
  void port_addresses(std::size_t i);
  void port_next_hops(std::size_t i);
  void address_conflicts(std::size_t i, std::size_t a);
  void sessions();
  void session_endpoints(std::size_t i);
  void ways(std::size_t i);
  void way(const session::PathEnds& ends, const std::string& field);
  void routes();
  void route_target(std::size_t i);
  void limits();
  void memory();

  [[nodiscard]] const PortConfig* port_of(const IpAddress& address) const;
  [[nodiscard]] static bool on_link(const PortConfig& port, const IpAddress& address);
  [[nodiscard]] static bool usable_host(const IpPrefix& prefix);

  const GatewayConfig& config_;
  ConfigIssues& issues_;
  std::set<std::string, std::less<>> names_;  // of sessions
  bool ports_known_;  // the ports as such were read, so what refers to them can be judged
};

// Reports every element whose key an earlier one has already.
template <typename List, typename Key>
void unique(const List& list, ConfigIssues& issues, const char* what, const char* field, Key key) {
  std::map<decltype(key(list[0])), std::size_t> known;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto [at, added] = known.try_emplace(key(list[i]), i);
    if (added) continue;
    const std::string first = fmt::format("{}[{}].{}", what, at->second, field);
    issues.add(
        fmt::format("{}[{}].{}", what, i, field),
        fmt::format("a {} of its own, found that of {} (line {})", field, first, issues.line_of(first)),
        "choose another one");
  }
}

const PortConfig* Checker::port_of(const IpAddress& address) const {
  for (const PortConfig& port : config_.ports) {
    for (const IpPrefix& own : port.addresses) {
      if (own.address == address) return &port;
    }
  }
  return nullptr;
}

bool Checker::on_link(const PortConfig& port, const IpAddress& address) {
  const auto has = [&](const IpPrefix& own) { return contains(own, address); };
  return std::any_of(port.addresses.begin(), port.addresses.end(), has);
}

// An address a host may have: not unspecified, loopback, multicast, nor the network or broadcast address.
bool Checker::usable_host(const IpPrefix& prefix) {
  const auto& bytes = prefix.address.bytes;
  if (prefix.address.family == 4) {
    if (bytes[0] == 0 || bytes[0] == 127 || bytes[0] >= 224) return false;
    if (prefix.length >= 31) return true;  // RFC 3021
    const std::uint32_t address = session::load_be32(bytes.data());
    const std::uint32_t host = 0xffffffffU >> prefix.length;
    return prefix.length == 0 || ((address & host) != 0 && (address & host) != host);
  }
  const auto zero = [](std::uint8_t b) { return b == 0; };
  const bool leading_zeros = std::all_of(bytes.begin(), bytes.end() - 1, zero);
  return bytes[0] != 0xff && !(leading_zeros && bytes[15] <= 1);
}

void Checker::ports() {
  if (config_.ports.empty()) issues_.add("port", "at least one [[port]]", "add the ports of this gateway");
  if (config_.ports.size() > kMaxPorts) {
    issues_.add(fmt::format("port[{}]", kMaxPorts), fmt::format("at most {} ports", kMaxPorts),
                "remove some");
  }
  unique(config_.ports, issues_, "port", "name", [](const PortConfig& p) { return p.name; });
  unique(config_.ports, issues_, "port", "device",
         [](const PortConfig& p) { return p.device.substr(0, p.device.find(',')); });
  for (std::size_t i = 0; i < config_.ports.size(); ++i) port_addresses(i);
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    if (ports_known_) port_next_hops(i);
    const PortConfig& port = config_.ports[i];
    const unsigned needed = RTE_PKTMBUF_HEADROOM + port.mtu + kFrameSpare;
    if (needed > config_.pools.data_room_bytes) {
      issues_.add(fmt::format("port[{}].mtu", i),
                  fmt::format("an MTU that fits a buffer, {} needs {} bytes of pools.data_room_bytes = {}",
                              port.mtu, needed, config_.pools.data_room_bytes),
                  fmt::format("set pools.data_room_bytes to at least {}", needed));
    }
  }
}

void Checker::port_addresses(std::size_t i) {
  const PortConfig& port = config_.ports[i];
  if (port.addresses.empty()) {
    issues_.add(fmt::format("port[{}].addresses", i), "at least one address",
                "add one, for example \"10.0.1.1/24\"");
  }
  for (std::size_t a = 0; a < port.addresses.size(); ++a) {
    if (!usable_host(port.addresses[a])) {
      issues_.add(fmt::format("port[{}].addresses[{}]", i, a),
                  fmt::format("an address that a host can have, found {}", to_text(port.addresses[a])),
                  "use neither the network's first or last address nor loopback or multicast");
    }
    address_conflicts(i, a);
  }
}

// An address may stand once, and connected prefixes of different ports may not meet: routing could not tell
// the ports apart.
void Checker::address_conflicts(std::size_t i, std::size_t a) {
  const IpPrefix& mine = config_.ports[i].addresses[a];
  for (std::size_t j = 0; j <= i; ++j) {
    const std::size_t end = j == i ? a : config_.ports[j].addresses.size();
    for (std::size_t b = 0; b < end; ++b) {
      const IpPrefix& other = config_.ports[j].addresses[b];
      const bool same = mine.address == other.address;
      if (!same && (j == i || !overlap(mine, other))) continue;
      const std::string field = fmt::format("port[{}].addresses[{}]", j, b);
      issues_.add(fmt::format("port[{}].addresses[{}]", i, a),
                  fmt::format("{}, {} {} {} of {} (line {})",
                              same ? "an address of its own" : "a network of its own", to_text(mine),
                              same ? "equals" : "overlaps", to_text(other), field, issues_.line_of(field)),
                  "give each port its own network");
      return;
    }
  }
}

void Checker::port_next_hops(std::size_t i) {
  const PortConfig& port = config_.ports[i];
  const auto check = [&](const std::string& field, const IpAddress& address, std::uint8_t family) {
    const bool wrong_family = family != 0 && address.family != family;
    if (!wrong_family && on_link(port, address) && port_of(address) == nullptr) return;
    issues_.add(fmt::format("port[{}].{}", i, field),
                fmt::format("{} neighbour on a network of this port, found {}",
                            family == 4   ? "an IPv4"
                            : family == 6 ? "an IPv6"
                                          : "a",
                            to_text(address)),
                port_of(address) != nullptr ? "this is our own address; name the other router's"
                                            : "it must lie in the prefix of one of the port's addresses");
  };
  if (port.gateway4) check("gateway4", *port.gateway4, 4);
  if (port.gateway6) check("gateway6", *port.gateway6, 6);
  for (std::size_t n = 0; n < port.neighbours.size(); ++n) {
    check(fmt::format("neighbours[{}].address", n), port.neighbours[n].address, 0);
    if ((port.neighbours[n].mac[0] & 1U) != 0) {
      issues_.add(
          fmt::format("port[{}].neighbours[{}].mac", i, n),
          fmt::format("the MAC address of one host, {} is a group's", to_text(port.neighbours[n].mac)),
          "correct the value");
    }
  }
}

void Checker::sessions() {
  unique(config_.sessions, issues_, "session", "name", [](const SessionEntry& s) { return s.identity.name; });
  unique(config_.sessions, issues_, "session", "id", [](const SessionEntry& s) { return s.identity.id; });
  for (std::size_t i = 0; i < config_.sessions.size() && ports_known_; ++i) session_endpoints(i);
}

void Checker::session_endpoints(std::size_t i) {
  const SessionEntry& session = config_.sessions[i];
  way({session.local, session.peer}, fmt::format("session[{}].", i));
  ways(i);
}

void Checker::way(const session::PathEnds& ends, const std::string& field) {
  if (issues_.any_under(field + "local")) return;
  const PortConfig* port = port_of(IpAddress{ends.local.address, ends.local.family});
  if (port == nullptr || !port->wan) {
    issues_.add(
        field + "local",
        fmt::format("an address of a port with role \"wan\" or \"both\", {} is {}", to_text(ends.local),
                    port == nullptr ? "on no port" : "on the LAN port \"" + port->name + "\""),
        "add the address to a WAN port, or use one of its addresses");
  }
  if (ends.remote.family != 0 && ends.remote.family != ends.local.family) {
    issues_.add(
        field + "peer",
        fmt::format("an endpoint of the same address family as local, found {}", to_text(ends.remote)),
        "use IPv4 for both or IPv6 for both");
  }
  if (ends.remote.family != 0 && ends.remote == ends.local) {
    issues_.add(field + "peer", "the other gateway's endpoint, found our own", "name the peer's address");
  }
}

// Ways of one session: no more than slots, all different, and one alone towards an unmodified peer.
void Checker::ways(std::size_t i) {
  const SessionEntry& session = config_.sessions[i];
  const std::string base = fmt::format("session[{}].", i);
  for (std::size_t p = 0; p < session.more_paths.size(); ++p) {
    const std::string field = fmt::format("{}path[{}]", base, p);
    const session::PathEnds& ends = session.more_paths[p];
    way(ends, field + ".");
    const auto same = [&](const session::PathEnds& other) { return other == ends; };
    const auto before = session.more_paths.begin() + static_cast<std::ptrdiff_t>(p);
    if (same({session.local, session.peer}) || std::any_of(session.more_paths.begin(), before, same)) {
      issues_.add(field, "a way of its own, found local and peer of another way of this session",
                  "change one of its ends or remove it");
    }
  }
  if (session.more_paths.size() >= session::kTxPaths) {
    issues_.add(fmt::format("{}path[{}]", base, session::kTxPaths - 1),
                fmt::format("at most {} further ways", session::kTxPaths - 1), "remove some");
  }
  if (session.policy.unmodified_peer && !session.more_paths.empty()) {
    issues_.add(base + "path[0]", "no further way: an unmodified peer takes data on path 0 alone",
                "remove the [[session.path]] tables, or unmodified_peer");
  }
}

void Checker::routes() {
  for (const SessionEntry& session : config_.sessions) names_.insert(session.identity.name);
  unique(config_.routes, issues_, "route", "prefix", [](const RouteConfig& r) { return to_text(r.prefix); });
  for (std::size_t i = 0; i < config_.routes.size(); ++i) {
    const IpPrefix& prefix = config_.routes[i].prefix;
    const std::string field = fmt::format("route[{}].prefix", i);
    if (network_of(prefix) != prefix) {
      issues_.add(field, fmt::format("a network without host bits, found {}", to_text(prefix)),
                  fmt::format("write {}", to_text(network_of(prefix))));
    }
    for (const PortConfig& port : config_.ports) {
      for (const IpPrefix& own : port.addresses) {
        if (network_of(own) != prefix) continue;
        issues_.add(field,
                    fmt::format("a network behind a router or peer, {} is connected to port \"{}\"",
                                to_text(prefix), port.name),
                    "remove the route or correct the port's address");
      }
    }
    route_target(i);
  }
}

void Checker::route_target(std::size_t i) {
  const RouteConfig& route = config_.routes[i];
  if (route.lan_gateway) {
    if (!ports_known_) return;
    const auto reaches = [&](const PortConfig& port) {
      return port.lan && on_link(port, *route.lan_gateway);
    };
    const bool ours = port_of(*route.lan_gateway) != nullptr;
    if (ours || route.lan_gateway->family != route.prefix.address.family ||
        std::none_of(config_.ports.begin(), config_.ports.end(), reaches)) {
      issues_.add(fmt::format("route[{}].lan_gateway", i),
                  fmt::format("a router of the prefix's address family on a LAN port's network, found {}",
                              to_text(*route.lan_gateway)),
                  "it must lie in the prefix of an address of a port with role \"lan\" or \"both\"");
    }
    return;
  }
  if (route.session.empty()) return;  // neither was given, and that was reported
  if (names_.contains(route.session) || issues_.any_under("session[")) return;
  const std::string near = nearest_name(route.session, names_);
  issues_.add(fmt::format("route[{}].session", i),
              fmt::format("the name of a [[session]], found \"{}\"", route.session),
              near.empty() ? "add the session or correct the name" : "did you mean \"" + near + "\"?");
}

// One worker may come to own every session of the file, so its limits must hold them all.
void Checker::limits() {
  const session::ShardLimits& limits = config_.limits;
  std::uint64_t windows = 0;
  for (const SessionEntry& session : config_.sessions) {
    const std::uint64_t streams = session.policy.tx_streams + 1U;
    windows += streams;
    if (streams > limits.streams_per_session) {
      issues_.add("limits.streams_per_session",
                  fmt::format("at least {} for session \"{}\" (its streams and the control stream), found {}",
                              streams, session.identity.name, limits.streams_per_session),
                  "raise it or lower the session's streams");
    }
  }
  const std::uint64_t sessions = config_.sessions.size();
  const auto at_least = [&](const char* field, std::uint64_t value, std::uint64_t needed, const char* why) {
    if (value >= needed) return;
    issues_.add(fmt::format("limits.{}", field),
                fmt::format("at least {} for {} session(s){}, found {}", needed, sessions, why, value),
                "raise it");
  };
  at_least("sessions", limits.sessions, sessions, "");
  at_least("keys", limits.keys, sessions * kKeysPerSession, " (three epochs, two directions)");
  at_least("windows", limits.windows, windows, " (one a stream, and one for control)");
}

void Checker::memory() {
  const std::uint64_t shard = session::Shard::bytes_needed(config_.limits) +
                              std::uint64_t{config_.limits.keys} * sizeof(crypto::KeySlot);
  const std::uint64_t packets =
      std::uint64_t{config_.pools.packets} * (config_.pools.data_room_bytes + kBufferSpare);
  const std::uint64_t needed = shard * config_.cores.workers + packets;
  const auto machine =
      static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (needed <= machine) return;
  issues_.add("limits",
              fmt::format("limits that fit this machine's {} MiB, found {} MiB ({} worker(s) with {} MiB "
                          "each, packets {} MiB)",
                          machine >> 20, needed >> 20, config_.cores.workers, shard >> 20, packets >> 20),
              "lower limits.sessions, limits.keys, limits.windows, limits.window_bits or pools.packets");
}

void Checker::run() {
  ports();
  sessions();
  routes();
  limits();
  memory();
}

}  // namespace

void check_config(const GatewayConfig& config, ConfigIssues& issues) {
  Checker(config, issues).run();
}

}  // namespace dataplane
