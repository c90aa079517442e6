// A short name of an address pair, so that the fast path sees with one comparison that a packet came from
// somewhere else. Not a secret and not a proof: an authentic packet with a new tag is a hint to look closer.
//
// Pure; any thread. Never 0, which stands for "none".
#pragma once

#include <cstdint>
#include <cstring>

#include "session/epoch_store.h"

namespace session {

// Addresses in network order (4 or 16 bytes by family), ports in host order. Packets of one pair always have
// the same tag; two pairs that differ share one with a chance of 2^-32, and never when only a port differs.
inline std::uint32_t source_tag(std::uint8_t family, const std::uint8_t* remote, std::uint16_t remote_port,
                                const std::uint8_t* local, std::uint16_t local_port) {
  constexpr std::uint64_t kMix = 0x9e3779b97f4a7c15ULL;  // 2^64 / golden ratio, odd
  const unsigned words = family == 4 ? 1 : 4;
  std::uint64_t sum = family;
  for (unsigned i = 0; i < words; ++i) {
    std::uint32_t a;
    std::uint32_t b;
    std::memcpy(&a, remote + 4UL * i, 4);
    std::memcpy(&b, local + 4UL * i, 4);
    sum = (sum ^ a) * kMix;
    sum = ((sum ^ (sum >> 32)) + b) * kMix;
  }
  sum ^= sum >> 32;
  // Ports go in last and unmixed: a change of one alone always shows.
  const auto tag = static_cast<std::uint32_t>(sum) ^ ((std::uint32_t{remote_port} << 16) | local_port);
  return tag == 0 ? 1 : tag;
}

inline std::uint32_t source_tag(const Endpoint& remote, const Endpoint& local) {
  return source_tag(remote.family, remote.address.data(), remote.port, local.address.data(), local.port);
}

}  // namespace session
