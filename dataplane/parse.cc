#include "dataplane/parse.h"

#include <cstring>

#include "dataplane/ip.h"
#include "dataplane/origin.h"

namespace dataplane {
namespace {

using session::DropReason;
using session::load_be16;

constexpr std::uint16_t kTypeIp4 = 0x0800;
constexpr std::uint16_t kTypeIp6 = 0x86dd;
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint16_t kTypeVlan = 0x8100;
constexpr std::uint16_t kTypeQinq = 0x88a8;

DropReason check_ethernet(const CorePort& port, rte_mbuf* m) {
  if (m->nb_segs > 1) [[unlikely]] {
    if (rte_pktmbuf_linearize(m) != 0) return DropReason::kMultiSegment;
  }
  if (m->data_len < kEtherBytes) return DropReason::kEthTruncated;
  const std::uint8_t* eth = data_of(m);
  const std::uint16_t type = load_be16(eth + 12);
  if ((m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0) return DropReason::kVlanTagged;
  if (type == kTypeVlan || type == kTypeQinq) return DropReason::kVlanTagged;
  const bool group = (eth[0] & 1) != 0;
  if (!group && !port.promiscuous && std::memcmp(eth, port.mac.data(), port.mac.size()) != 0) {
    return DropReason::kNotForUs;
  }
  if (type != kTypeIp4 && type != kTypeIp6 && type != kTypeArp) return DropReason::kEtherType;
  return DropReason::kNone;
}

// Checks the IP header, moves the data pointer to it and cuts padding off.
DropReason enter_ip(rte_mbuf* m, PktMeta& md) {
  const std::uint16_t type = load_be16(data_of(m) + 12);
  rte_pktmbuf_adj(m, kEtherBytes);
  const std::uint64_t device = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  if (device == RTE_MBUF_F_RX_IP_CKSUM_BAD && type == kTypeIp4) return DropReason::kIpChecksum;
  IpInfo ip;
  const IpCheck check = check_ip(data_of(m), m->data_len, device == RTE_MBUF_F_RX_IP_CKSUM_GOOD, ip);
  if (check == IpCheck::kChecksum) return DropReason::kIpChecksum;
  if (check != IpCheck::kOk || (type == kTypeIp4) != (ip.family == 4)) return DropReason::kIpHeader;
  rte_pktmbuf_trim(m, static_cast<std::uint16_t>(m->data_len - ip.bytes));
  md.family = ip.family;
  md.l3_bytes = ip.bytes;
  return DropReason::kNone;
}

// RFC 4861: discovery messages travel with hop limit 255 and are never forwarded.
bool is_nd(const std::uint8_t* p, const PktMeta& md) {
  if (md.family != 6 || p[6] != kProtoIcmp6 || p[7] != 255) return false;
  return md.l3_bytes > kIp6Bytes && p[kIp6Bytes] >= 133 && p[kIp6Bytes] <= 137;
}

bool udp_checksum_bad(const rte_mbuf* m, const std::uint8_t* p, std::uint8_t family, std::uint16_t bytes) {
  const std::uint64_t device = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  if (device == RTE_MBUF_F_RX_L4_CKSUM_GOOD || family == 4) return device == RTE_MBUF_F_RX_L4_CKSUM_BAD;
  const std::uint8_t* udp = p + kIp6Bytes;
  if (load_be16(udp + 6) == 0) return false;
  if (device == RTE_MBUF_F_RX_L4_CKSUM_BAD) return true;
  const std::uint64_t pseudo = partial_sum(p + 8, 32) + kProtoUdp + bytes;
  return fold_sum(pseudo + partial_sum(udp, bytes)) != 0xffff;
}

// What nearly every frame is: one segment to our MAC, IPv4 without options. Checked as by check_ethernet()
// and enter_ip(), which see all others. False says nothing, and the frame is as it was.
bool enter_plain_ip4(const CorePort& port, rte_mbuf* m, PktMeta& md) {
  constexpr std::uint32_t kTypeAndVersion = 0x00450008;  // type 0x0800, then the first byte of IPv4
  if (m->nb_segs != 1 || m->data_len < kEtherBytes + kIp4Bytes) return false;
  const std::uint8_t* eth = data_of(m);
  std::uint64_t to;  // and two bytes of the source
  std::uint32_t type;
  std::memcpy(&to, eth, 8);
  std::memcpy(&type, eth + 12, 4);
  if (((to ^ port.mac_word) << 16) != 0 || (type & 0x00ffffff) != kTypeAndVersion) return false;
  const std::uint8_t* p = eth + kEtherBytes;
  const unsigned total = load_be16(p + 2);
  if (total < kIp4Bytes || total > m->data_len - kEtherBytes) return false;
  const std::uint64_t device =
      m->ol_flags & (RTE_MBUF_F_RX_IP_CKSUM_MASK | std::uint64_t{RTE_MBUF_F_RX_VLAN_STRIPPED});
  if (device != RTE_MBUF_F_RX_IP_CKSUM_GOOD && (device != 0 || !ipv4_checksum_ok(p, kIp4Bytes))) return false;
  m->data_off = static_cast<std::uint16_t>(m->data_off + kEtherBytes);
  m->data_len = static_cast<std::uint16_t>(total);
  m->pkt_len = total;
  md.family = 4;
  md.l3_bytes = static_cast<std::uint16_t>(total);
  return true;
}

enum class Wan : std::uint8_t { kPhantom, kOther, kDropped };

// Our UDP datagrams: header checks, then the data pointer moves to the Phantom header.
Wan enter_phantom(Core& core, rte_mbuf* m, PktMeta& md) {
  const std::uint8_t* p = data_of(m);
  const std::uint8_t* destination = destination_of(p, md.family);
  const std::uint8_t protocol = p[md.family == 4 ? 9 : 6];
  const bool fragment =
      md.family == 4 ? protocol == kProtoUdp && is_fragment4(p) : protocol == kProtoFragment6;
  if (fragment) [[unlikely]] {
    if (!core.endpoints.has_address(md.family, destination)) return Wan::kOther;
    core.drop(m, DropReason::kOuterFragment);
    return Wan::kDropped;
  }
  const unsigned header = md.family == 4 ? header_bytes4(p) : kIp6Bytes;
  if (protocol != kProtoUdp || header + kUdpBytes > md.l3_bytes) return Wan::kOther;
  const std::uint16_t local = core.endpoints.find(md.family, destination, load_be16(p + header + 2));
  if (local == kNoEndpointIndex) return Wan::kOther;
  const std::uint16_t udp_bytes = load_be16(p + header + 4);
  if (udp_bytes < kUdpBytes || udp_bytes > md.l3_bytes - header) {
    core.drop(m, DropReason::kIpHeader);
    return Wan::kDropped;
  }
  if (udp_checksum_bad(m, p, md.family, udp_bytes)) [[unlikely]] {
    core.drop(m, DropReason::kUdpChecksum);
    return Wan::kDropped;
  }
  md.outer_ecn = traffic_class_of(p, md.family);
  note_origin(m, md, p, header, local);
  rte_pktmbuf_trim(m, static_cast<std::uint16_t>(md.l3_bytes - header - udp_bytes));
  rte_pktmbuf_adj(m, static_cast<std::uint16_t>(header + kUdpBytes));
  return Wan::kPhantom;
}

// The same as enter_phantom() for what enter_plain_ip4() let in. False: it may be one all the same.
bool enter_plain_phantom(const Core& core, rte_mbuf* m, PktMeta& md) {
  constexpr unsigned kHeaders = kIp4Bytes + kUdpBytes;
  const std::uint8_t* p = data_of(m);
  if (p[9] != kProtoUdp || is_fragment4(p) || md.l3_bytes < kHeaders) return false;
  if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD) return false;
  const std::uint16_t udp_bytes = load_be16(p + kIp4Bytes + 4);
  if (udp_bytes < kUdpBytes || udp_bytes > md.l3_bytes - kIp4Bytes) return false;
  const std::uint16_t local = core.endpoints.find(4, destination_of(p, 4), load_be16(p + kIp4Bytes + 2));
  if (local == kNoEndpointIndex) return false;
  md.outer_ecn = p[1];
  note_origin(m, md, p, kIp4Bytes, local);
  m->data_off = static_cast<std::uint16_t>(m->data_off + kHeaders);
  m->data_len = static_cast<std::uint16_t>(udp_bytes - kUdpBytes);
  m->pkt_len = m->data_len;
  return true;
}

// IP on a port that only carries Phantom packets: ICMP to our addresses is answered, the rest ends here.
void end_on_wan(Core& core, rte_mbuf* m, const PktMeta& md) {
  const std::uint8_t* p = data_of(m);
  IpAddress to;
  to.family = md.family;
  std::memcpy(to.bytes.data(), destination_of(p, md.family), md.family == 4 ? 4 : 16);
  if (core.fib.lookup(to).kind() != HopKind::kLocal) {
    core.drop(m, DropReason::kNotForUs);
    return;
  }
  const std::uint8_t protocol = p[md.family == 4 ? 9 : 6];
  if (protocol != (md.family == 4 ? kProtoIcmp : kProtoIcmp6)) {
    core.drop(m, DropReason::kNotPhantom);
    return;
  }
  restore_ethernet(m);
  core.punt_local(m, PuntReason::kLocal);
}

// A frame to a group address that is no discovery: a router forwards none of them (RFC 1812 5.3.4).
void end_group(Core& core, rte_mbuf* m, const PktMeta& md) {
  const bool martian = is_martian(destination_of(data_of(m), md.family), md.family);
  core.drop(m, martian ? DropReason::kMartian : DropReason::kNotForUs);
}

// A frame that enter_plain_ip4() did not take. False: it ended here.
bool enter_unusual(Core& core, const CorePort& port, rte_mbuf* m, PktMeta& md) {
  DropReason bad = check_ethernet(port, m);
  if (bad != DropReason::kNone) {
    core.drop(m, bad);
    return false;
  }
  const std::uint8_t* eth = data_of(m);
  const bool group = (eth[0] & 1) != 0;
  if (load_be16(eth + 12) == kTypeArp) {
    core.punt_local(m, PuntReason::kArp);
    return false;
  }
  bad = enter_ip(m, md);
  if (bad != DropReason::kNone) {
    core.drop(m, bad);
    return false;
  }
  if (is_nd(data_of(m), md)) {
    restore_ethernet(m);
    core.punt_local(m, PuntReason::kNd);
    return false;
  }
  if (group) end_group(core, m, md);
  return !group;
}

void parse_one(Core& core, const CorePort& port, rte_mbuf* m, Parsed& out) {
  PktMeta& md = meta(m);
  md.slot = session::kNone;
  md.port = port.index;
  const bool plain = enter_plain_ip4(port, m, md);
  if (!plain && !enter_unusual(core, port, m, md)) [[unlikely]]
    return;
  if (!port.wan) return out.ip.push(m);
  if (plain && enter_plain_phantom(core, m, md)) [[likely]]
    return out.phantom.push(m);
  const Wan kind = enter_phantom(core, m, md);
  if (kind == Wan::kDropped) return;
  if (kind == Wan::kPhantom) return out.phantom.push(m);
  if (!port.lan) return end_on_wan(core, m, md);
  out.ip.push(m);
}

}  // namespace

void restore_ethernet(rte_mbuf* m) {
  rte_pktmbuf_prepend(m, kEtherBytes);
}

void parse_burst(Core& core, const CorePort& port, Packets& in, Parsed& out) {
  for (unsigned i = 0; i < in.count && i < kPrefetchPackets; ++i) rte_prefetch0(data_of(in.at[i]));
  for (unsigned i = 0; i < in.count; ++i) {
    if (i + kPrefetchPackets < in.count) {
      rte_mbuf* ahead = in.at[i + kPrefetchPackets];
      rte_prefetch0(data_of(ahead));
      rte_prefetch0(&meta(ahead));
    }
    parse_one(core, port, in.at[i], out);
  }
  in.count = 0;
}

}  // namespace dataplane
