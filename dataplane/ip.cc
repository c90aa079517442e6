#include "dataplane/ip.h"

#include <algorithm>
#include <cstring>

namespace dataplane {
namespace {

using session::load_be16;
using session::store_be16;

constexpr std::uint8_t kTcpSyn = 0x02;
constexpr unsigned kTcpBytes = 20;

// Transport header of a packet that is not a later fragment, when `need` bytes of it are there.
const std::uint8_t* transport(const std::uint8_t* p, std::uint8_t family, std::uint32_t bytes,
                              unsigned need) {
  const unsigned offset = family == 4 ? header_bytes4(p) : kIp6Bytes;
  return offset + need <= bytes ? p + offset : nullptr;
}

std::uint32_t crc(std::uint64_t seed, const std::uint8_t* p, unsigned words) {
  for (unsigned i = 0; i < words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, p + i * 8, 8);
    seed = _mm_crc32_u64(seed, word);
  }
  return static_cast<std::uint32_t>(seed);
}

// The MSS option's value inside the options of a SYN, or null.
std::uint8_t* find_mss(std::uint8_t* tcp, unsigned header) {
  for (unsigned at = kTcpBytes; at < header;) {
    const std::uint8_t kind = tcp[at];
    if (kind == 0) return nullptr;
    if (kind == 1) {
      ++at;
      continue;
    }
    if (at + 1 >= header || tcp[at + 1] < 2 || at + tcp[at + 1] > header) return nullptr;
    if (kind == 2 && tcp[at + 1] == 4) return tcp + at + 2;
    at += tcp[at + 1];
  }
  return nullptr;
}

// Replaces the byte pair at p[offset], of which the checksum field knows the even-aligned word(s).
void replace_mss(std::uint8_t* tcp, std::uint8_t* field, std::uint16_t value) {
  const std::uint16_t old = load_be16(field);
  const bool odd = ((field - tcp) & 1) != 0;  // an odd position swaps the bytes' weights
  store_be16(field, value);
  const auto swap = [odd](std::uint16_t v) { return odd ? __builtin_bswap16(v) : v; };
  checksum_replace(tcp + 16, swap(old), swap(value));
}

}  // namespace

bool is_martian6(const std::uint8_t* a) {
  if (a[0] == 0xff) return true;
  std::uint64_t high;
  std::uint64_t low;
  std::memcpy(&high, a, 8);
  std::memcpy(&low, a + 8, 8);
  low = __builtin_bswap64(low);
  return high == 0 && low <= 1;  // :: and ::1
}

bool join_ecn(std::uint8_t* p, std::uint8_t family, std::uint8_t outer_class) {
  constexpr std::uint8_t kEct1 = 1;
  constexpr std::uint8_t kEct0 = 2;
  constexpr std::uint8_t kCe = 3;
  const std::uint8_t outer = outer_class & 3;
  const std::uint8_t inner = traffic_class_of(p, family) & 3;
  if (inner == 0) return outer != kCe;
  std::uint8_t joined = inner;
  if (outer == kCe) joined = kCe;
  if (outer == kEct1 && inner == kEct0) joined = kEct1;
  if (joined == inner) return true;
  if (family == 6) {
    p[1] = static_cast<std::uint8_t>((p[1] & 0xcf) | (joined << 4));
    return true;
  }
  const std::uint16_t before = load_be16(p);
  p[1] = static_cast<std::uint8_t>((p[1] & 0xfc) | joined);
  checksum_replace(p + 10, before, load_be16(p));
  return true;
}

void clamp_mss(std::uint8_t* p, std::uint8_t family, std::uint32_t bytes, std::uint16_t mtu) {
  const std::uint8_t protocol = p[family == 4 ? 9 : 6];
  if (protocol != kProtoTcp || (family == 4 && (load_be16(p + 6) & 0x1fff) != 0)) return;
  const std::uint8_t* found = transport(p, family, bytes, kTcpBytes);
  if (found == nullptr || (found[13] & kTcpSyn) == 0) return;
  std::uint8_t* tcp = p + (found - p);
  const unsigned header = (tcp[12] >> 4) * 4U;
  if (header < kTcpBytes || tcp + header > p + bytes) return;
  std::uint8_t* mss = find_mss(tcp, header);
  const unsigned overhead = (family == 4 ? kIp4Bytes : kIp6Bytes) + kTcpBytes;
  if (mss == nullptr || mtu <= overhead) return;
  const auto largest = static_cast<std::uint16_t>(mtu - overhead);
  if (load_be16(mss) > largest) replace_mss(tcp, mss, largest);
}

std::uint32_t flow_hash6(const std::uint8_t* p, std::uint32_t bytes) {
  const std::uint8_t protocol = p[6];
  std::uint32_t ports = 0;
  if (protocol == kProtoTcp || protocol == kProtoUdp) {
    if (const std::uint8_t* l4 = transport(p, 6, bytes, 4)) std::memcpy(&ports, l4, 4);
  }
  const std::uint64_t seed = (std::uint64_t{protocol} << 32) | ports;
  return crc(_mm_crc32_u64(0, seed), p + 8, 4);
}

}  // namespace dataplane
