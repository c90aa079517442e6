// Internet checksums (RFC 1071) in host order, and their incremental updates (RFC 1624).
//
// Pure; any thread. A partial sum is the plain sum of big-endian 16-bit words, not folded, not complemented:
// partial sums of consecutive even-sized pieces may be added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "session/wire.h"

namespace dataplane {

// 0 only for a sum of 0: 0xffff is the other zero of ones' complement.
inline std::uint16_t fold_sum(std::uint64_t sum) {
  const auto rest = static_cast<std::uint16_t>(sum % 0xffffU);  // 2^16 is 1 modulo 0xffff
  return rest == 0 && sum != 0 ? std::uint16_t{0xffff} : rest;
}

// Partial sum of p[0, bytes); an odd last byte counts as the high half of a word.
inline std::uint64_t partial_sum(const std::uint8_t* p, std::size_t bytes) {
  std::uint64_t sum = 0;  // of 32-bit big-endian words: congruent modulo 0xffff
  std::size_t i = 0;
  for (; i + 4 <= bytes; i += 4) sum += session::load_be32(p + i);
  if (i + 2 <= bytes) {
    sum += session::load_be16(p + i);
    i += 2;
  }
  if (i < bytes) sum += std::uint64_t{p[i]} << 8;
  return sum;
}

// The value of a checksum field over what was summed.
inline std::uint16_t checksum_of(std::uint64_t sum) {
  return static_cast<std::uint16_t>(~fold_sum(sum));
}

// The same of a sum below 2^32, in fewer steps.
inline std::uint16_t checksum_of_few(std::uint32_t sum) {
  sum = (sum & 0xffffU) + (sum >> 16);
  sum = (sum & 0xffffU) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// True when the IPv4 header at p with a header length of `bytes`, a multiple of four, carries the right
// checksum. Whether a sum is a multiple of 0xffff does not depend on the order of bytes in its words.
inline bool ipv4_checksum_ok(const std::uint8_t* p, std::size_t bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes; i += 4) {
    std::uint32_t word;
    std::memcpy(&word, p + i, 4);
    sum += word;
  }
  return sum % 0xffffU == 0 && sum != 0;
}

// Computes and stores the checksum of the IPv4 header at p.
inline void ipv4_checksum_store(std::uint8_t* p, std::size_t bytes) {
  session::store_be16(p + 10, 0);
  session::store_be16(p + 10, checksum_of(partial_sum(p, bytes)));
}

// RFC 1624 eqn. 3: the field at `sum_field` after one summed word changed from `before` to `after`.
inline void checksum_replace(std::uint8_t* sum_field, std::uint16_t before, std::uint16_t after) {
  const std::uint64_t sum = std::uint64_t{static_cast<std::uint16_t>(~session::load_be16(sum_field))} +
                            static_cast<std::uint16_t>(~before) + after;
  session::store_be16(sum_field, checksum_of(sum));
}

// Checksum of a UDP datagram at p of `bytes` (field zeroed or already right) given the sum of its pseudo
// header without the length. RFC 768: a computed zero is sent as all ones.
inline std::uint16_t udp_checksum(std::uint64_t pseudo_sum, const std::uint8_t* p, std::size_t bytes) {
  const std::uint16_t sum = checksum_of(pseudo_sum + bytes + partial_sum(p, bytes));
  return sum == 0 ? std::uint16_t{0xffff} : sum;
}

}  // namespace dataplane
