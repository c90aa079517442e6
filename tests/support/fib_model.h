// What a Fib should answer, the slow way, and routes that give it a hard time: few different bytes, so that
// most of them nest, share tables or are neighbours.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "dataplane/address.h"
#include "dataplane/fib.h"

namespace support {

// Bit `i` counts from the first of the address.
inline bool bit(const dataplane::IpAddress& address, unsigned i) {
  return ((address.bytes[i / 8] >> (7 - i % 8)) & 1) != 0;
}

inline dataplane::IpPrefix without_host_bits(dataplane::IpPrefix prefix) {
  for (unsigned i = prefix.length; i < 128; ++i) {
    prefix.address.bytes[i / 8] &= static_cast<std::uint8_t>(~(1U << (7 - i % 8)));
  }
  return prefix;
}

inline bool inside(const dataplane::IpAddress& address, const dataplane::IpPrefix& prefix) {
  if (address.family != prefix.address.family) return false;
  const unsigned whole = prefix.length / 8;
  for (unsigned i = 0; i < whole; ++i) {
    if (address.bytes[i] != prefix.address.bytes[i]) return false;
  }
  for (unsigned i = whole * 8; i < prefix.length; ++i) {
    if (bit(address, i) != bit(prefix.address, i)) return false;
  }
  return true;
}

// Longest-prefix match by looking at every route.
class FibModel {
 public:
  struct Route {
    dataplane::IpPrefix prefix;  // no host bits
    dataplane::Hop hop;
  };

  void add(const dataplane::IpPrefix& prefix, dataplane::Hop hop) {
    for (Route& route : routes_) {
      if (route.prefix != prefix) continue;
      route.hop = hop;
      return;
    }
    routes_.push_back({prefix, hop});
  }
  void remove(const dataplane::IpPrefix& prefix) {
    std::erase_if(routes_, [&](const Route& route) { return route.prefix == prefix; });
  }
  [[nodiscard]] bool has(const dataplane::IpPrefix& prefix) const {
    for (const Route& route : routes_) {
      if (route.prefix == prefix) return true;
    }
    return false;
  }
  [[nodiscard]] dataplane::Hop lookup(const dataplane::IpAddress& address) const {
    const Route* best = nullptr;
    for (const Route& route : routes_) {
      if (best != nullptr && route.prefix.length < best->prefix.length) continue;
      if (inside(address, route.prefix)) best = &route;
    }
    return best == nullptr ? dataplane::Hop{} : best->hop;
  }
  [[nodiscard]] unsigned count(std::uint8_t family) const {
    unsigned n = 0;
    for (const Route& route : routes_) n += route.prefix.address.family == family ? 1 : 0;
    return n;
  }
  [[nodiscard]] const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

class FibRoutes {
 public:
  explicit FibRoutes(std::uint64_t seed) : random_(seed) {}

  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  std::uint8_t family() { return below(2) == 0 ? 4 : 6; }

  dataplane::IpAddress address(std::uint8_t family) {
    static constexpr std::array<std::uint8_t, 6> kBytes{0, 1, 127, 128, 254, 255};
    dataplane::IpAddress a;
    a.family = family;
    const unsigned bytes = family == 4 ? 4 : 16;
    // Mostly few first bytes; a tail of 0 or 255 puts it at the end of some prefix.
    for (unsigned i = 0; i < bytes; ++i) a.bytes[i] = kBytes[below(i < 3 ? 2 : 6)];
    if (below(16) == 0) a.bytes[0] = a.bytes[1] = a.bytes[2] = 255;
    if (below(3) == 0) {
      const auto tail = static_cast<std::uint8_t>(below(2) == 0 ? 0 : 255);
      for (unsigned i = 2 + below(bytes - 2); i < bytes; ++i) a.bytes[i] = tail;
    }
    return a;
  }
  // Shorter than /12 one time in `seldom`: those write up to 2^24 entries.
  dataplane::IpPrefix prefix(std::uint8_t family, unsigned seldom) {
    const unsigned longest = family == 4 ? 32 : 128;
    unsigned length = below(4) == 0 ? 12 + below(13) : 24 + below(longest - 23);
    if (below(3) == 0) length = length / 8 * 8;
    if (length < 12) length = 12;
    if (below(seldom) == 0) length = below(12);
    return without_host_bits({address(family), static_cast<std::uint8_t>(length)});
  }
  // Few different ones, so that a route often has what its neighbours or the one around it have.
  dataplane::Hop hop() {
    return dataplane::Hop::make(static_cast<dataplane::HopKind>(1 + below(2)), below(2) * 63,
                                below(2) * 0x3fffff);
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace support
