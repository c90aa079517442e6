#include "dataplane/control_punts.h"

#include <algorithm>

#include "dataplane/ip.h"
#include "dataplane/pkt_meta.h"
#include "dataplane/prefix.h"

namespace dataplane {
namespace {

using session::ConsumedKind;
using session::DropReason;

constexpr unsigned kEther = 14;

std::span<std::uint8_t> bytes_of(rte_mbuf* m) {
  return {rte_pktmbuf_mtod(m, std::uint8_t*), m->data_len};
}

ConsumedKind kind_of(std::span<const std::uint8_t> packet) {
  const bool six = (packet[0] >> 4) == 6;
  const std::uint8_t protocol = packet[six ? 6 : 9];
  return protocol == (six ? kProtoIcmp6 : kProtoIcmp) ? ConsumedKind::kConsumedIcmp
                                                      : ConsumedKind::kConsumedOther;
}

}  // namespace

PuntHandler::PuntHandler(Topology& topology, ControlIo& io, Neighbours& neighbours, SessionManager& sessions)
    : topology_(topology), io_(io), neighbours_(neighbours), sessions_(sessions) {}

void PuntHandler::handle(unsigned worker, rte_mbuf* m, std::uint64_t now_ns) {
  const PktMeta& md = meta(m);
  switch (md.punt) {
    case PuntReason::kArp:
      neighbours_.on_arp(bytes_of(m), md.port, now_ns);
      return io_.consume(m, ConsumedKind::kConsumedArp);
    case PuntReason::kNd:
      neighbours_.on_nd(bytes_of(m), md.port, now_ns);
      return io_.consume(m, ConsumedKind::kConsumedNd);
    case PuntReason::kLocal:
      return md.slot == session::kNone ? local_frame(m, now_ns) : local(m, now_ns);
    case PuntReason::kTtlExceeded:
      return error(m, IcmpError::kTimeExceeded, DropReason::kInnerTtl, now_ns);
    case PuntReason::kTooBig:
      return error(m, IcmpError::kTooBig, DropReason::kInnerTooBig, now_ns);
    case PuntReason::kNoRoute:
      return error(m, IcmpError::kNoRoute, DropReason::kNoRoute, now_ns);
    case PuntReason::kEpochAhead:
      return sessions_.on_ahead(worker, m, now_ns);
  }
  io_.drop(m, DropReason::kNoConsumer);
}

// Out of a tunnel, data at the IP header. The reply is the same packet turned round, routed like any other.
void PuntHandler::local(rte_mbuf* m, std::uint64_t now_ns) {
  IpInfo ip{};
  if (check_ip(bytes_of(m).data(), m->data_len, false, ip) != IpCheck::kOk) {
    return io_.drop(m, DropReason::kInnerHeader);
  }
  rte_pktmbuf_trim(m, static_cast<std::uint16_t>(m->data_len - ip.bytes));
  if (echoes_.take(now_ns) && make_echo_reply(bytes_of(m))) return io_.inject(m);
  io_.consume(m, kind_of(bytes_of(m)));
}

// From a port, data at the Ethernet header: back the way it came, so that WAN ports and link-local addresses
// are answered, too.
void PuntHandler::local_frame(rte_mbuf* m, std::uint64_t now_ns) {
  const std::span<std::uint8_t> frame = bytes_of(m);
  IpInfo ip{};
  if (meta(m).port >= topology_.ports.size() || frame.size() < kEther ||
      check_ip(&frame[kEther], static_cast<std::uint32_t>(frame.size() - kEther), false, ip) !=
          IpCheck::kOk) {
    return io_.drop(m, DropReason::kIpHeader);
  }
  const std::span<std::uint8_t> packet = frame.subspan(kEther, ip.bytes);
  if (!echoes_.take(now_ns) || !make_echo_reply(packet)) return io_.consume(m, kind_of(packet));
  const MacAddress& ours = topology_.ports[meta(m).port].mac;
  std::copy_n(&frame[6], 6, &frame[0]);
  std::copy(ours.begin(), ours.end(), &frame[6]);
  io_.transmit(m, meta(m).port);
}

const IpAddress* PuntHandler::address_on(unsigned port, std::uint8_t family) const {
  if (port >= topology_.ports.size()) return nullptr;
  for (const IpPrefix& ours : topology_.ports[port].config.addresses) {
    if (ours.address.family == family && !is_link_local6(ours.address.bytes.data())) return &ours.address;
  }
  return nullptr;
}

// Our address on the port by which `to` is reached; towards tunnels and gateways, of any LAN port.
const IpAddress* PuntHandler::source_towards(const IpAddress& to) const {
  const Hop hop = topology_.fib->lookup(to);
  if (hop.kind() == HopKind::kNone || hop.kind() == HopKind::kLocal) return nullptr;
  if (hop.kind() == HopKind::kConnected) {
    if (const IpAddress* ours = address_on(hop.value(), to.family)) return ours;
  }
  for (const Port& port : topology_.ports) {
    if (!port.config.lan) continue;
    if (const IpAddress* ours = address_on(port.index, to.family)) return ours;
  }
  return nullptr;
}

void PuntHandler::error(rte_mbuf* m, IcmpError kind, DropReason otherwise, std::uint64_t now_ns) {
  const std::span<const std::uint8_t> packet = bytes_of(m);
  IpInfo ip{};
  const bool sound = check_ip(packet.data(), m->data_len, true, ip) == IpCheck::kOk;
  if (!sound || !may_report(packet.first(ip.bytes))) return io_.drop(m, otherwise);
  const IpAddress* ours = source_towards(address_at(source_of(packet.data(), ip.family), ip.family));
  if (ours == nullptr || !errors_.take(now_ns)) return io_.drop(m, otherwise);
  IcmpPacket answer;
  make_icmp_error(packet.first(ip.bytes), kind, meta(m).mtu, *ours, answer);
  rte_mbuf* reply = io_.make(answer.span());
  if (reply == nullptr) return io_.drop(m, otherwise);
  io_.inject(reply);
  io_.consume(m, ConsumedKind::kConsumedTransformed);
}

}  // namespace dataplane
