#include "tests/support/site.h"

#include "session/table.h"

namespace support {
namespace {

using dataplane::Hop;
using dataplane::HopKind;

GatewayOptions with_endpoints(const SiteOptions& o) {
  GatewayOptions g = o.gateway;
  g.endpoints = {endpoint(Site::wan4(o.side), kPhantomPort), endpoint(Site::wan6(o.side), kPhantomPort)};
  return g;
}

SessionSpec make_spec(const SiteOptions& o) {
  SessionSpec spec;
  spec.seed = o.seed;
  spec.initiator = o.side == 1;
  spec.suite = o.suite;
  spec.flags = o.flags;
  spec.inner_mtu = o.inner_mtu;
  spec.soft_limit = o.soft_limit;
  spec.adjacency = kPeerAdjacency;
  const auto wan = o.outer6 ? &Site::wan6 : &Site::wan4;
  spec.local = endpoint(wan(o.side), kPhantomPort);
  spec.peer = endpoint(wan(3 - o.side), kPhantomPort);
  return spec;
}

}  // namespace

SiteOptions two_workers() {
  SiteOptions o;
  o.gateway.workers = 2;
  while (session::shard_of(session_id(o.seed).data(), 2) != 1) ++o.seed;
  return o;
}

dataplane::Message command(dataplane::MessageKind kind, const Installed& s) {
  dataplane::Message m;
  m.kind = kind;
  m.slot = s.slot;
  m.generation = s.generation;
  return m;
}

Site::Site(const std::string& name, SiteOptions o)
    : gw(name, with_endpoints(o)), options(o), spec(make_spec(o)), session(gw.add_session(spec)) {
  const std::string me = std::to_string(o.side);
  const std::string peer = std::to_string(other());
  const Hop tunnel = Hop::make(HopKind::kSession, session.shard, session.slot);
  gw.route("10." + peer + ".0.0/16", tunnel);
  gw.route("2001:db8:" + peer + "::/48", tunnel);
  gw.route("10." + me + ".0.0/24", Hop::make(HopKind::kConnected, 0, kLan));
  gw.route("2001:db8:" + me + "::/64", Hop::make(HopKind::kConnected, 0, kLan));
  gw.route("192.0.2.0/24", Hop::make(HopKind::kConnected, 0, kWan));
  for (const std::string& local : {"10." + me + ".0.1", wan4(o.side)}) {
    gw.route(local + "/32", Hop::make(HopKind::kLocal, 0, 0));
  }
  for (const std::string& local : {"2001:db8:" + me + "::1", wan6(o.side)}) {
    gw.route(local + "/128", Hop::make(HopKind::kLocal, 0, 0));
  }
  gw.neighbour(kPeerAdjacency, kWan, o.outer6 ? wan6(other()) : wan4(other()), mac(0x22));
  gw.neighbour(1, kLan, host4(o.side), mac(9));
  gw.neighbour(2, kLan, host6(o.side), mac(9));
}

Bytes Site::from_host(const Bytes& packet) const {
  return ether(gw.port_mac(kLan), mac(9), packet);
}

Bytes Site::inward(std::size_t payload, std::uint8_t traffic_class) const {
  Ip h;
  h.source = host4(other());
  h.destination = host4(options.side);
  h.traffic_class = traffic_class;
  return ip_packet(h, udp(1000, 2000, pattern(payload)));
}

Bytes Site::outward(std::size_t payload, std::uint8_t traffic_class) const {
  Ip h;
  h.source = host4(options.side);
  h.destination = host4(other());
  h.traffic_class = traffic_class;
  return ip_packet(h, udp(1000, 2000, pattern(payload)));
}

Bytes Site::peer_packet(session::Header header, const Bytes& text) const {
  header.session_id = session.id;
  return seal_packet(aead_, test_secret(spec.seed), !spec.initiator, header, text, spec.suite);
}

Bytes Site::from_peer(const Bytes& phantom, std::uint8_t outer_class) const {
  Ip h;
  h.source = options.outer6 ? wan6(other()) : wan4(other());
  h.destination = options.outer6 ? wan6(options.side) : wan4(options.side);
  h.traffic_class = outer_class;
  const Bytes datagram = options.outer6 ? udp6(h, kPhantomPort, kPhantomPort, phantom)
                                        : udp(kPhantomPort, kPhantomPort, phantom);
  return ether(gw.port_mac(kWan), mac(0x22), ip_packet(h, datagram));
}

session::Header Site::next_header() {
  session::Header h;
  h.stream_id = 1;
  h.sequence = next_sequence_++;
  h.flags = session::kTunnelFlags;
  return h;
}

unsigned carry(Gateway& from, Gateway& to) {
  const std::vector<rte_mbuf*> packets = from.take_sent(kWan);
  for (rte_mbuf* m : packets) {
    const dataplane::MacAddress to_mac = to.port_mac(kWan);
    std::copy(to_mac.begin(), to_mac.end(), rte_pktmbuf_mtod(m, std::uint8_t*));
    to.receive(kWan, m);
  }
  return static_cast<unsigned>(packets.size());
}

}  // namespace support
