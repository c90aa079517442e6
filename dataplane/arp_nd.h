// Bytes of ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861): checked parsing, and frames ready to send.
// Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/address.h"

namespace dataplane {

inline constexpr MacAddress kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct ArpMessage {
  bool request = false;  // else a reply
  MacAddress sender_mac{};
  IpAddress sender;  // 0.0.0.0: a probe for a duplicate
  IpAddress target;
};

struct NdMessage {
  bool solicitation = false;  // else an advertisement
  bool solicited = false;     // flag of an advertisement
  bool override = false;      // flag of an advertisement
  bool has_mac = false;       // source (solicitation) or target (advertisement) link-layer address option
  MacAddress mac{};
  IpAddress source;
  IpAddress target;
};

// Frames from the Ethernet header on. False: malformed, or something else than the two kinds each.
bool parse_arp(std::span<const std::uint8_t> frame, ArpMessage& out);
bool parse_nd(std::span<const std::uint8_t> frame, NdMessage& out);

// A frame of ours, at most 86 bytes; padded to Ethernet's minimum of 60 (IEEE 802.3, without FCS).
struct DiscoveryFrame {
  std::array<std::uint8_t, 96> bytes{};
  unsigned size = 0;
  [[nodiscard]] std::span<const std::uint8_t> span() const { return {bytes.data(), size}; }
};

DiscoveryFrame arp_frame(bool request, const MacAddress& to, const MacAddress& from, const IpAddress& sender,
                         const MacAddress& target_mac, const IpAddress& target);
// To the target's solicited-node group, or to `probed` itself.
DiscoveryFrame solicitation_frame(const MacAddress& from, const IpAddress& sender, const IpAddress& target,
                                  const MacAddress* probed);
// Answer to `to` (unspecified: to all nodes, unsolicited) that `target` is at `from`.
DiscoveryFrame advertisement_frame(const MacAddress& to_mac, const IpAddress& to, const MacAddress& from,
                                   const IpAddress& target);

}  // namespace dataplane
