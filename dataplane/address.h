// Addresses as plain bytes in network order, seen by stages and configuration alike.
#pragma once

#include <array>
#include <cstdint>

namespace dataplane {

struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};  // network order; IPv4 in the first four
  std::uint8_t family = 0;               // 4, 6, or 0: none
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};
struct IpPrefix {
  IpAddress address;
  std::uint8_t length = 0;
  friend bool operator==(const IpPrefix&, const IpPrefix&) = default;
};
using MacAddress = std::array<std::uint8_t, 6>;

}  // namespace dataplane
