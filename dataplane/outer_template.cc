#include "dataplane/outer_template.h"

#include <algorithm>

#include "dataplane/ip.h"
#include "dataplane/prefix.h"

namespace dataplane {
namespace {

using session::store_be16;

constexpr std::uint8_t kTtl = 64;

IpAddress address_of(const session::Endpoint& endpoint) {
  return address_at(endpoint.address.data(), endpoint.family);
}

void put_header4(session::OuterTemplate& outer, const session::Endpoint& local,
                 const session::Endpoint& peer) {
  std::uint8_t* p = outer.bytes.data();
  p[0] = 0x45;
  store_be16(p + 6, 0x4000);  // DF: a datagram is never fragmented (protocol.md 3.10)
  p[8] = kTtl;
  p[9] = kProtoUdp;
  std::copy_n(local.address.begin(), 4, p + 12);
  std::copy_n(peer.address.begin(), 4, p + 16);
  outer.ip_partial_sum = fold_sum(partial_sum(p, kIp4Bytes));
  outer.udp_pseudo_sum = fold_sum(partial_sum(p + 12, 8) + kProtoUdp);
}

void put_header6(session::OuterTemplate& outer, const session::Endpoint& local,
                 const session::Endpoint& peer) {
  std::uint8_t* p = outer.bytes.data();
  p[0] = 0x60;
  p[6] = kProtoUdp;
  p[7] = kTtl;
  std::copy(local.address.begin(), local.address.end(), p + 8);
  std::copy(peer.address.begin(), peer.address.end(), p + 24);
  outer.udp_pseudo_sum = fold_sum(partial_sum(p + 8, 32) + kProtoUdp);
}

std::optional<WanHop> hop_over(const Port& port, const IpAddress& peer) {
  if (link_source(port.config, peer) != nullptr) return WanHop{port.index, peer};
  const auto& gateway = peer.family == 4 ? port.config.gateway4 : port.config.gateway6;
  if (gateway) return WanHop{port.index, *gateway};
  return std::nullopt;
}

}  // namespace

session::OuterTemplate make_outer(const session::Endpoint& local, const session::Endpoint& peer,
                                  std::uint16_t adjacency, std::uint16_t port_mtu) {
  session::OuterTemplate outer;
  const unsigned header = peer.family == 4 ? kIp4Bytes : kIp6Bytes;
  peer.family == 4 ? put_header4(outer, local, peer) : put_header6(outer, local, peer);
  store_be16(&outer.bytes[header], local.port);
  store_be16(&outer.bytes[header + 2], peer.port);
  const unsigned overhead = header + kUdpBytes + static_cast<unsigned>(session::kPacketOverhead);
  outer.length = static_cast<std::uint8_t>(header + kUdpBytes);
  outer.adjacency = adjacency;
  outer.inner_mtu = static_cast<std::uint16_t>(port_mtu > overhead ? port_mtu - overhead : 0);
  return outer;
}

std::optional<WanHop> wan_hop(const std::vector<Port>& ports, const session::Endpoint& local,
                              const session::Endpoint& peer) {
  if (peer.family == 0 || peer.family != local.family) return std::nullopt;
  const IpAddress to = address_of(peer);
  const IpAddress from = address_of(local);
  std::optional<WanHop> any;
  for (const Port& port : ports) {
    if (!port.config.wan) continue;
    const auto hop = hop_over(port, to);
    if (hop && owns(port.config, from)) return hop;
    if (hop && !any) any = hop;
  }
  return any;
}

}  // namespace dataplane
