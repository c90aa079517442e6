#include "dataplane/control_routes.h"

#include <stdexcept>

#include <fmt/format.h>

#include "dataplane/prefix.h"

namespace dataplane {
namespace {

std::string text_of(const IpPrefix& prefix) {
  return fmt::format("{}/{}", to_text(prefix.address), prefix.length);
}

std::string no_room(const IpPrefix& prefix) {
  return fmt::format("route {}: no room in the route tables", text_of(prefix));
}

}  // namespace

RouteTable::Key RouteTable::key_of(const IpPrefix& prefix) {
  return Key{prefix.address.family, network_of(prefix).address.bytes, prefix.length};
}

IpPrefix RouteTable::prefix_of(const Key& key) {
  return IpPrefix{IpAddress{std::get<1>(key), std::get<0>(key)}, std::get<2>(key)};
}

bool RouteTable::apply(const Key& key, const Entry& entry) {
  const IpPrefix prefix = prefix_of(key);
  if (entry.own) return topology_.fib->add(prefix, Hop::make(HopKind::kLocal, 0, entry.base->port));
  if (entry.route && entry.route->installed) return topology_.fib->add(prefix, entry.route->hop);
  if (entry.base) return topology_.fib->add(prefix, entry.base->hop);
  topology_.fib->remove(prefix);  // false: it was not there
  return true;
}

RouteTable::Target RouteTable::gateway_target(const Port& port, const IpAddress& gateway,
                                              std::uint64_t now_ns) {
  const std::uint32_t adjacency = neighbours_.pin(port.index, gateway, now_ns);
  if (adjacency == session::kNone) {
    throw std::runtime_error(fmt::format("more than {} next hops", kMaxNeighbours));
  }
  return Target{Hop::make(HopKind::kGateway, 0, adjacency), {}, gateway, port.index, true};
}

const Port* RouteTable::lan_port_of(const IpAddress& gateway) const {
  for (const Port& port : topology_.ports) {
    if (port.config.lan && link_source(port.config, gateway) != nullptr) return &port;
  }
  return nullptr;
}

void RouteTable::must(const IpPrefix& prefix, Target target) {
  const Key key = key_of(prefix);
  Entry& entry = routes_[key];
  entry.base = std::move(target);
  if (!apply(key, entry)) throw std::runtime_error(no_room(prefix));
}

void RouteTable::add_ports(std::uint64_t now_ns) {
  for (const Port& port : topology_.ports) {
    for (const auto& gateway : {port.config.gateway4, port.config.gateway6}) {
      if (!gateway || !port.config.lan || port.config.wan) continue;
      IpPrefix all;
      all.address.family = gateway->family;
      must(all, gateway_target(port, *gateway, now_ns));
    }
    for (const IpPrefix& ours : port.config.addresses) {
      must(ours, Target{Hop::make(HopKind::kConnected, 0, port.index), {}, {}, port.index, true});
    }
  }
}

void RouteTable::add_own_addresses() {
  for (const Port& port : topology_.ports) {
    for (const IpPrefix& ours : port.config.addresses) {
      const auto whole = static_cast<std::uint8_t>(ours.address.family == 4 ? 32 : 128);
      const Key key = key_of(IpPrefix{ours.address, whole});
      Entry& entry = routes_[key];
      if (!entry.base) {
        entry.base = Target{Hop::make(HopKind::kConnected, 0, port.index), {}, {}, port.index, true};
      }
      entry.own = true;
      if (!apply(key, entry)) throw std::runtime_error(no_room(prefix_of(key)));
    }
  }
}

OperatorResult RouteTable::check(const RouteConfig& route) const {
  const std::string prefix = text_of(route.prefix);
  const auto known = routes_.find(key_of(route.prefix));
  if (known != routes_.end() && known->second.own) {
    return fail(OperatorStatus::kExists, fmt::format("route {}: that is our own address", prefix));
  }
  if (known != routes_.end() && known->second.route) {
    const Target& other = *known->second.route;
    return fail(OperatorStatus::kExists,
                fmt::format("route {}: there is one already, {}; remove it first", prefix,
                            other.session.empty() ? "to " + to_text(*other.gateway)
                                                  : "into session \"" + other.session + "\""));
  }
  if (!route.lan_gateway) return {};
  if (route.lan_gateway->family != route.prefix.address.family) {
    return fail(OperatorStatus::kInvalid,
                fmt::format("route {} over {}: the gateway is of another address family", prefix,
                            to_text(*route.lan_gateway)));
  }
  if (lan_port_of(*route.lan_gateway) != nullptr) return {};
  return fail(
      OperatorStatus::kInvalid,
      fmt::format("route over {}: it is in no connected prefix of a LAN port; give a LAN port an address "
                  "in its subnet",
                  to_text(*route.lan_gateway)));
}

OperatorResult RouteTable::add(const RouteConfig& route, std::optional<Hop> hop, std::uint64_t now_ns) {
  if (auto checked = check(route); !checked.ok()) return checked;
  Target target;
  if (route.lan_gateway) {
    const Port& port = *lan_port_of(*route.lan_gateway);
    const std::uint32_t adjacency = neighbours_.pin(port.index, *route.lan_gateway, now_ns);
    if (adjacency == session::kNone) {
      return fail(OperatorStatus::kNoRoom, fmt::format("more than {} next hops", kMaxNeighbours));
    }
    target = Target{Hop::make(HopKind::kGateway, 0, adjacency), {}, route.lan_gateway, port.index, true};
  } else {
    target = Target{hop.value_or(Hop{}), route.session, {}, 0, hop.has_value()};
  }
  const Key key = key_of(route.prefix);
  const auto at = routes_.try_emplace(key).first;
  at->second.route = std::move(target);
  if (!route.session.empty()) by_session_.emplace(route.session, key);
  if (apply(key, at->second)) return {};
  take_out(at);
  return fail(OperatorStatus::kNoRoom, no_room(route.prefix));
}

// The route goes, the port's own stays.
void RouteTable::take_out(std::map<Key, Entry>::iterator at) {
  const Target gone = std::move(*at->second.route);
  at->second.route.reset();
  apply(at->first, at->second);
  if (gone.gateway) neighbours_.unpin(gone.port, *gone.gateway);
  auto [first, last] = by_session_.equal_range(gone.session);
  for (; first != last; ++first) {
    if (first->second != at->first) continue;
    by_session_.erase(first);
    break;
  }
  if (at->second.empty()) routes_.erase(at);
}

OperatorResult RouteTable::remove(const IpPrefix& prefix) {
  const auto at = routes_.find(key_of(prefix));
  if (at != routes_.end() && at->second.route) {
    take_out(at);
    return {};
  }
  if (at == routes_.end()) {
    return fail(OperatorStatus::kNotFound, fmt::format("no route has the prefix {}", text_of(prefix)));
  }
  return fail(OperatorStatus::kRefused, fmt::format("{} belongs to port {} and goes with it", text_of(prefix),
                                                    topology_.ports[at->second.base->port].config.name));
}

unsigned RouteTable::install(const std::string& session, Hop hop) {
  unsigned done = 0;
  const auto [first, last] = by_session_.equal_range(session);
  for (auto at = first; at != last; ++at, ++done) {
    Entry& entry = routes_[at->second];
    entry.route->hop = hop;
    entry.route->installed = true;
    apply(at->second, entry);
  }
  return done;
}

unsigned RouteTable::move(const std::string& from, const std::string& to, Hop hop) {
  std::vector<Key> keys;
  const auto [first, last] = by_session_.equal_range(from);
  for (auto at = first; at != last; ++at) keys.push_back(at->second);
  by_session_.erase(first, last);
  for (const Key& key : keys) {
    routes_[key].route->session = to;
    by_session_.emplace(to, key);
  }
  install(to, hop);
  return static_cast<unsigned>(keys.size());
}

unsigned RouteTable::remove_all(const std::string& session) {
  const std::vector<IpPrefix> prefixes = of(session);
  for (const IpPrefix& prefix : prefixes) remove(prefix);
  return static_cast<unsigned>(prefixes.size());
}

std::vector<IpPrefix> RouteTable::of(const std::string& session) const {
  std::vector<IpPrefix> found;
  const auto [first, last] = by_session_.equal_range(session);
  for (auto at = first; at != last; ++at) found.push_back(prefix_of(at->second));
  return found;
}

std::vector<RouteView> RouteTable::list() const {
  std::vector<RouteView> all;
  for (const auto& [key, entry] : routes_) {
    if (entry.own) continue;
    const Target& target = entry.route ? *entry.route : *entry.base;
    RouteView view;
    view.prefix = prefix_of(key);
    view.session = target.session;
    view.lan_gateway = target.gateway;
    if (target.session.empty() && !target.gateway) view.port = topology_.ports[target.port].config.name;
    all.push_back(std::move(view));
  }
  return all;
}

}  // namespace dataplane
