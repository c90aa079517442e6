// The outer headers of a session, ready to copy (session::OuterTemplate), and the way to its peer. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/topology.h"
#include "session/hot.h"

namespace dataplane {

// IPv4 with DF and TTL 64, or IPv6; UDP without length and checksum. `port_mtu` is of the IP packet on the
// link. Both endpoints are of one family.
session::OuterTemplate make_outer(const session::Endpoint& local, const session::Endpoint& peer,
                                  std::uint16_t adjacency, std::uint16_t port_mtu);

struct WanHop {
  std::uint8_t port = 0;  // index
  IpAddress next;         // the peer itself, or the port's gateway
};
// The peer itself where it is on a WAN port's link, else the gateway of a WAN port; a port that has the local
// address goes first. Nothing: the peer can't be reached.
std::optional<WanHop> wan_hop(const std::vector<Port>& ports, const session::Endpoint& local,
                              const session::Endpoint& peer);

}  // namespace dataplane
