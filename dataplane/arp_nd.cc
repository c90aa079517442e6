#include "dataplane/arp_nd.h"

#include <algorithm>
#include <cstring>

#include "dataplane/checksum.h"
#include "dataplane/ip.h"
#include "dataplane/prefix.h"

namespace dataplane {
namespace {

using session::load_be16;
using session::store_be16;

constexpr unsigned kEther = 14;
constexpr unsigned kArpBytes = 28;
constexpr unsigned kNdBytes = 24;  // ICMPv6 header, reserved or flags, target
constexpr unsigned kMacOption = 8;
constexpr unsigned kMinFrame = 60;
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;
constexpr std::uint8_t kSourceMac = 1;
constexpr std::uint8_t kTargetMac = 2;

// A unicast address that a host can have.
bool usable(const MacAddress& mac) {
  return (mac[0] & 1) == 0 && mac != MacAddress{};
}

MacAddress mac_at(const std::uint8_t* p) {
  MacAddress mac;
  std::memcpy(mac.data(), p, mac.size());
  return mac;
}

void put_ether(DiscoveryFrame& f, const MacAddress& to, const MacAddress& from, std::uint16_t type) {
  std::copy(to.begin(), to.end(), f.bytes.begin());
  std::copy(from.begin(), from.end(), f.bytes.begin() + 6);
  store_be16(&f.bytes[12], type);
}

std::uint64_t pseudo6(const std::uint8_t* ip, std::uint32_t bytes) {
  return partial_sum(ip + 8, 32) + kProtoIcmp6 + bytes;
}

// Options behind the fixed part; a length of zero is malformed (RFC 4861 4.6).
bool parse_options(const std::uint8_t* p, std::size_t bytes, std::uint8_t wanted, NdMessage& out) {
  for (std::size_t at = 0; at < bytes;) {
    if (at + 2 > bytes || p[at + 1] == 0) return false;
    const std::size_t length = std::size_t{p[at + 1]} * 8;
    if (at + length > bytes) return false;
    if (p[at] == wanted && length == kMacOption) {
      out.mac = mac_at(p + at + 2);
      if (!usable(out.mac)) return false;
      out.has_mac = true;
    }
    at += length;
  }
  return true;
}

IpAddress solicited_group(const IpAddress& target) {
  IpAddress group;
  group.family = 6;
  group.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::copy(target.bytes.begin() + 13, target.bytes.end(), group.bytes.begin() + 13);
  return group;
}

MacAddress group_mac(const IpAddress& group) {
  return {0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]};
}

// IPv6 and ICMPv6 around type, flags, target and the link-layer option of `from`.
DiscoveryFrame nd_frame(const MacAddress& to_mac, const IpAddress& to, const MacAddress& from,
                        const IpAddress& sender, std::uint8_t type, std::uint8_t flags,
                        const IpAddress& target) {
  DiscoveryFrame f;
  put_ether(f, to_mac, from, 0x86dd);
  std::uint8_t* ip = &f.bytes[kEther];
  constexpr unsigned kPayload = kNdBytes + kMacOption;
  ip[0] = 0x60;
  store_be16(ip + 4, kPayload);
  ip[6] = kProtoIcmp6;
  ip[7] = 255;
  std::copy(sender.bytes.begin(), sender.bytes.end(), ip + 8);
  std::copy(to.bytes.begin(), to.bytes.end(), ip + 24);
  std::uint8_t* icmp = ip + kIp6Bytes;
  icmp[0] = type;
  icmp[4] = flags;
  std::copy(target.bytes.begin(), target.bytes.end(), icmp + 8);
  icmp[kNdBytes] = type == kSolicitation ? kSourceMac : kTargetMac;
  icmp[kNdBytes + 1] = 1;
  std::copy(from.begin(), from.end(), icmp + kNdBytes + 2);
  store_be16(icmp + 2, checksum_of(pseudo6(ip, kPayload) + partial_sum(icmp, kPayload)));
  f.size = kEther + kIp6Bytes + kPayload;
  return f;
}

}  // namespace

bool parse_arp(std::span<const std::uint8_t> frame, ArpMessage& out) {
  if (frame.size() < kEther + kArpBytes || load_be16(&frame[12]) != 0x0806) return false;
  const std::uint8_t* p = &frame[kEther];
  if (load_be16(p) != 1 || load_be16(p + 2) != 0x0800 || p[4] != 6 || p[5] != 4) return false;
  const std::uint16_t operation = load_be16(p + 6);
  if (operation != 1 && operation != 2) return false;
  out.request = operation == 1;
  out.sender_mac = mac_at(p + 8);
  out.sender = address_at(p + 14, 4);
  out.target = address_at(p + 24, 4);
  return usable(out.sender_mac);
}

bool parse_nd(std::span<const std::uint8_t> frame, NdMessage& out) {
  if (frame.size() < kEther + kIp6Bytes + kNdBytes || load_be16(&frame[12]) != 0x86dd) return false;
  const std::uint8_t* ip = &frame[kEther];
  const std::uint32_t payload = load_be16(ip + 4);
  if ((ip[0] >> 4) != 6 || ip[6] != kProtoIcmp6 || ip[7] != 255) return false;  // 255: not forwarded
  if (payload < kNdBytes || kEther + kIp6Bytes + payload > frame.size()) return false;
  const std::uint8_t* icmp = ip + kIp6Bytes;
  if ((icmp[0] != kSolicitation && icmp[0] != kAdvertisement) || icmp[1] != 0) return false;
  if (fold_sum(pseudo6(ip, payload) + partial_sum(icmp, payload)) != 0xffff) return false;
  out = NdMessage{};
  out.solicitation = icmp[0] == kSolicitation;
  out.source = address_at(ip + 8, 6);
  out.target = address_at(icmp + 8, 6);
  if (out.target.bytes[0] == 0xff || out.source.bytes[0] == 0xff) return false;
  out.solicited = !out.solicitation && (icmp[4] & 0x40) != 0;
  out.override = !out.solicitation && (icmp[4] & 0x20) != 0;
  if (out.solicited && ip[24] == 0xff) return false;  // RFC 4861 7.1.2
  const std::uint8_t wanted = out.solicitation ? kSourceMac : kTargetMac;
  if (!parse_options(icmp + kNdBytes, payload - kNdBytes, wanted, out)) return false;
  const bool unspecified = out.source.bytes == IpAddress{}.bytes;
  return !(unspecified && out.solicitation && out.has_mac);  // RFC 4861 7.1.1
}

DiscoveryFrame arp_frame(bool request, const MacAddress& to, const MacAddress& from, const IpAddress& sender,
                         const MacAddress& target_mac, const IpAddress& target) {
  DiscoveryFrame f;
  put_ether(f, to, from, 0x0806);
  std::uint8_t* p = &f.bytes[kEther];
  store_be16(p, 1);
  store_be16(p + 2, 0x0800);
  p[4] = 6;
  p[5] = 4;
  store_be16(p + 6, request ? 1 : 2);
  std::copy(from.begin(), from.end(), p + 8);
  std::copy_n(sender.bytes.begin(), 4, p + 14);
  std::copy(target_mac.begin(), target_mac.end(), p + 18);
  std::copy_n(target.bytes.begin(), 4, p + 24);
  f.size = kMinFrame;
  return f;
}

DiscoveryFrame solicitation_frame(const MacAddress& from, const IpAddress& sender, const IpAddress& target,
                                  const MacAddress* probed) {
  if (probed != nullptr) return nd_frame(*probed, target, from, sender, kSolicitation, 0, target);
  const IpAddress group = solicited_group(target);
  return nd_frame(group_mac(group), group, from, sender, kSolicitation, 0, target);
}

DiscoveryFrame advertisement_frame(const MacAddress& to_mac, const IpAddress& to, const MacAddress& from,
                                   const IpAddress& target) {
  constexpr std::uint8_t kRouter = 0x80;
  constexpr std::uint8_t kSolicited = 0x40;
  constexpr std::uint8_t kOverride = 0x20;
  if (to.bytes != IpAddress{}.bytes) {
    return nd_frame(to_mac, to, from, target, kAdvertisement, kRouter | kSolicited | kOverride, target);
  }
  IpAddress all_nodes;
  all_nodes.family = 6;
  all_nodes.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return nd_frame(group_mac(all_nodes), all_nodes, from, target, kAdvertisement, kRouter | kOverride, target);
}

}  // namespace dataplane
