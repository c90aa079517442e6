#include "dataplane/control_routes.h"

#include <stdexcept>

#include <fmt/format.h>

#include "dataplane/prefix.h"

namespace dataplane {
namespace {

void add(Topology& topology, const IpPrefix& prefix, Hop hop) {
  if (topology.fib->add(prefix, hop)) return;
  throw std::runtime_error(
      fmt::format("route {}/{}: no room in the route tables", to_text(prefix.address), prefix.length));
}

Hop gateway_hop(const Port& port, const IpAddress& gateway, Neighbours& neighbours, std::uint64_t now_ns) {
  const std::uint32_t adjacency = neighbours.pin(port.index, gateway, now_ns);
  if (adjacency == session::kNone) {
    throw std::runtime_error(fmt::format("more than {} next hops", kMaxNeighbours));
  }
  return Hop::make(HopKind::kGateway, 0, adjacency);
}

const Port& lan_port_of(const Topology& topology, const IpAddress& gateway) {
  for (const Port& port : topology.ports) {
    if (port.config.lan && link_source(port.config, gateway) != nullptr) return port;
  }
  throw std::runtime_error(fmt::format(
      "route over {}: it is in no connected prefix of a LAN port; give a LAN port an address in its subnet",
      to_text(gateway)));
}

void add_port(Topology& topology, const Port& port) {
  for (const IpPrefix& ours : port.config.addresses) {
    add(topology, ours, Hop::make(HopKind::kConnected, 0, port.index));
  }
}

void add_default(Topology& topology, const Port& port, const std::optional<IpAddress>& gateway,
                 Neighbours& neighbours, std::uint64_t now_ns) {
  if (!gateway || !port.config.lan || port.config.wan) return;
  IpPrefix all;
  all.address.family = gateway->family;
  add(topology, all, gateway_hop(port, *gateway, neighbours, now_ns));
}

}  // namespace

void fill_routes(Topology& topology, const SessionManager& sessions, Neighbours& neighbours,
                 std::uint64_t now_ns) {
  for (const Port& port : topology.ports) {
    add_default(topology, port, port.config.gateway4, neighbours, now_ns);
    add_default(topology, port, port.config.gateway6, neighbours, now_ns);
    add_port(topology, port);
  }
  for (const RouteConfig& route : topology.config.routes) {
    if (route.lan_gateway) {
      const Port& port = lan_port_of(topology, *route.lan_gateway);
      add(topology, route.prefix, gateway_hop(port, *route.lan_gateway, neighbours, now_ns));
      continue;
    }
    const auto hop = sessions.hop_of(route.session);
    if (!hop) throw std::runtime_error("a route names session \"" + route.session + "\", which there is not");
    add(topology, route.prefix, *hop);
  }
  // Last, for they are ours whatever routes say.
  for (const Port& port : topology.ports) {
    for (const IpPrefix& ours : port.config.addresses) {
      const auto whole = static_cast<std::uint8_t>(ours.address.family == 4 ? 32 : 128);
      add(topology, IpPrefix{ours.address, whole}, Hop::make(HopKind::kLocal, 0, port.index));
    }
  }
}

}  // namespace dataplane
