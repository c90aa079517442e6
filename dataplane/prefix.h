// Small questions about addresses and prefixes. Pure; any thread.
#pragma once

#include <cstring>

#include "dataplane/address_text.h"
#include "dataplane/config.h"
#include "dataplane/ip.h"

namespace dataplane {

inline unsigned address_bytes(std::uint8_t family) {
  return family == 4 ? 4 : 16;
}

inline IpAddress address_at(const std::uint8_t* bytes, std::uint8_t family) {
  IpAddress address;
  address.family = family;
  std::memcpy(address.bytes.data(), bytes, address_bytes(family));
  return address;
}

// Network and broadcast address of an IPv4 subnet: no host has them (RFC 1122 3.2.1.3; /31 and /32 have none,
// RFC 3021).
inline bool is_subnet_end(const IpPrefix& prefix, const IpAddress& address) {
  if (address.family != 4 || prefix.length >= 31 || !contains(prefix, address)) return false;
  const std::uint32_t host = 0xffffffffU >> prefix.length;
  const std::uint32_t part = session::load_be32(address.bytes.data()) & host;
  return part == 0 || part == host;
}

inline bool owns(const PortConfig& port, const IpAddress& address) {
  for (const IpPrefix& prefix : port.addresses) {
    if (prefix.address == address) return true;
  }
  return false;
}

// Our address on a port from which `target` is reached on the link: that of its prefix; for IPv6 link-local
// targets any of the family. Null: not on this link.
inline const IpAddress* link_source(const PortConfig& port, const IpAddress& target) {
  for (const IpPrefix& prefix : port.addresses) {
    if (contains(prefix, target) && !is_subnet_end(prefix, target)) return &prefix.address;
  }
  if (target.family != 6 || !is_link_local6(target.bytes.data())) return nullptr;
  for (const IpPrefix& prefix : port.addresses) {
    if (prefix.address.family == 6) return &prefix.address;
  }
  return nullptr;
}

}  // namespace dataplane
