// Small questions about addresses and prefixes. Pure; any thread.
#pragma once

#include <cstring>
#include <optional>
#include <string>

#include <arpa/inet.h>

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

// True when `address` lies in `prefix`, whose bits behind its length do not count.
inline bool in_prefix(const IpPrefix& prefix, const IpAddress& address) {
  if (prefix.address.family != address.family) return false;
  const unsigned whole = prefix.length / 8U;
  if (std::memcmp(prefix.address.bytes.data(), address.bytes.data(), whole) != 0) return false;
  const unsigned rest = prefix.length % 8U;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff00U >> rest);
  return ((prefix.address.bytes[whole] ^ address.bytes[whole]) & mask) == 0;
}

// Network and broadcast address of an IPv4 subnet: no host has them (RFC 1122 3.2.1.3; /31 and /32 have none,
// RFC 3021).
inline bool is_subnet_end(const IpPrefix& prefix, const IpAddress& address) {
  if (address.family != 4 || prefix.length >= 31 || !in_prefix(prefix, address)) return false;
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
    if (in_prefix(prefix, target) && !is_subnet_end(prefix, target)) return &prefix.address;
  }
  if (target.family != 6 || !is_link_local6(target.bytes.data())) return nullptr;
  for (const IpPrefix& prefix : port.addresses) {
    if (prefix.address.family == 6) return &prefix.address;
  }
  return nullptr;
}

inline std::string text_of(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN] = "none";
  if (address.family != 0) {
    inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.bytes.data(), text, sizeof(text));
  }
  return text;
}

inline std::string text_of(const session::Endpoint& endpoint) {
  IpAddress address;
  address.bytes = endpoint.address;
  address.family = endpoint.family;
  if (endpoint.family == 0) return "unknown";
  const std::string host = text_of(address);
  return (endpoint.family == 4 ? host : "[" + host + "]") + ":" + std::to_string(endpoint.port);
}

}  // namespace dataplane
