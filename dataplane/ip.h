// IP headers in place: checks, TTL, ECN and MSS as a tunnel endpoint and router must treat them.
//
// Pure functions on the bytes of one packet; `p` points to a header that check_ip accepted.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include <nmmintrin.h>

#include "dataplane/checksum.h"
#include "session/wire.h"

namespace dataplane {

inline constexpr unsigned kIp4Bytes = 20;
inline constexpr unsigned kIp6Bytes = 40;
inline constexpr unsigned kUdpBytes = 8;
inline constexpr std::uint8_t kProtoIcmp = 1;
inline constexpr std::uint8_t kProtoTcp = 6;
inline constexpr std::uint8_t kProtoUdp = 17;
inline constexpr std::uint8_t kProtoFragment6 = 44;
inline constexpr std::uint8_t kProtoIcmp6 = 58;

enum class IpCheck : std::uint8_t { kOk, kMalformed, kChecksum };

// What is in front of `p`: family and length of the whole IP packet (padding behind it not counted).
struct IpInfo {
  std::uint8_t family;
  std::uint16_t bytes;
};

inline unsigned header_bytes4(const std::uint8_t* p) {
  return (p[0] & 0x0fU) * 4;
}

inline IpCheck check_ip4(const std::uint8_t* p, std::uint32_t available, bool checksum_known, IpInfo& out) {
  if (available < kIp4Bytes) return IpCheck::kMalformed;
  const unsigned header = header_bytes4(p);
  const std::uint16_t total = session::load_be16(p + 2);
  if (header < kIp4Bytes || total < header || total > available) return IpCheck::kMalformed;
  if (!checksum_known) {
    // Nearly every header is without options: a length the compiler knows.
    const bool ok = header == kIp4Bytes ? ipv4_checksum_ok(p, kIp4Bytes) : ipv4_checksum_ok(p, header);
    if (!ok) return IpCheck::kChecksum;
  }
  out = IpInfo{4, total};
  return IpCheck::kOk;
}

inline IpCheck check_ip6(const std::uint8_t* p, std::uint32_t available, IpInfo& out) {
  if (available < kIp6Bytes) return IpCheck::kMalformed;
  const std::uint32_t total = kIp6Bytes + session::load_be16(p + 4);
  if (total > available || total > 0xffff) return IpCheck::kMalformed;
  out = IpInfo{6, static_cast<std::uint16_t>(total)};
  return IpCheck::kOk;
}

// Checks version, header length, length fields against `available` bytes and the IPv4 header checksum unless
// the device already did.
inline IpCheck check_ip(const std::uint8_t* p, std::uint32_t available, bool checksum_known, IpInfo& out) {
  if (available == 0) return IpCheck::kMalformed;
  const unsigned version = p[0] >> 4;
  if (version == 4) return check_ip4(p, available, checksum_known, out);
  if (version == 6) return check_ip6(p, available, out);
  return IpCheck::kMalformed;
}

inline bool is_fragment4(const std::uint8_t* p) {
  return (session::load_be16(p + 6) & 0x3fff) != 0;  // more fragments, or an offset
}
inline bool dont_fragment4(const std::uint8_t* p) {
  return (p[6] & 0x40) != 0;
}

// Where the addresses of a header start.
inline const std::uint8_t* source_of(const std::uint8_t* p, std::uint8_t family) {
  return p + (family == 4 ? 12 : 8);
}
inline const std::uint8_t* destination_of(const std::uint8_t* p, std::uint8_t family) {
  return p + (family == 4 ? 16 : 24);
}

// Multicast, broadcast, loopback, unspecified and (IPv4) reserved addresses, which a router never forwards
// (RFC 1812 5.3.7, RFC 4291 2.5). Link-local IPv6 is asked for apart: it may be meant for us.
bool is_martian6(const std::uint8_t* address);
// By the first byte of an IPv4 address; a table, for it is asked twice of every packet.
inline constexpr std::array<bool, 256> kMartianNet4 = [] {
  std::array<bool, 256> martian{};
  for (unsigned first = 0; first < 256; ++first) martian[first] = first == 0 || first == 127 || first >= 224;
  return martian;
}();
inline bool is_martian(const std::uint8_t* address, std::uint8_t family) {
  if (family == 4) [[likely]]
    return kMartianNet4[address[0]];
  return is_martian6(address);
}
inline bool is_link_local6(const std::uint8_t* address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

inline std::uint8_t ttl_of(const std::uint8_t* p, std::uint8_t family) {
  return p[family == 4 ? 8 : 7];
}
// One hop less; the IPv4 checksum follows: RFC 1624 eqn. 3 for a word that lost 0x0100.
inline void decrement_ttl(std::uint8_t* p, std::uint8_t family) {
  if (family == 6) {
    --p[7];
    return;
  }
  --p[8];
  // As the bytes lie: a sum does not depend on their order in the words (RFC 1071 2).
  std::uint16_t field;
  std::memcpy(&field, p + 10, 2);
  const std::uint32_t sum = std::uint32_t{field} + 0x0001U;
  field = static_cast<std::uint16_t>(sum + (sum >= 0xffffU ? 1U : 0U));
  std::memcpy(p + 10, &field, 2);
}

// DSCP and ECN as one byte.
inline std::uint8_t traffic_class_of(const std::uint8_t* p, std::uint8_t family) {
  return family == 4 ? p[1] : static_cast<std::uint8_t>((p[0] << 4) | (p[1] >> 4));
}
// RFC 6040 4.2: joins the outer ECN field into the inner header. False: the packet must be dropped (CE on a
// packet that is not ECN capable).
bool join_ecn(std::uint8_t* p, std::uint8_t family, std::uint8_t outer_class);
inline bool decapsulate_ecn(std::uint8_t* p, std::uint8_t family, std::uint8_t outer_class) {
  return (outer_class & 3) == 0 || join_ecn(p, family, outer_class);  // "not ECT" changes nothing
}

// Lowers the MSS option of a TCP SYN so that its segments fit into IP packets of `mtu` bytes. Anything else
// is left alone.
void clamp_mss(std::uint8_t* p, std::uint8_t family, std::uint32_t bytes, std::uint16_t mtu);

// Same value for all packets of a flow: addresses, protocol and ports; fragments without the ports.
std::uint32_t flow_hash6(const std::uint8_t* p, std::uint32_t bytes);
inline std::uint32_t flow_hash4(const std::uint8_t* p, std::uint32_t bytes) {
  const std::uint8_t protocol = p[9];
  std::uint32_t ports = 0;
  const unsigned header = header_bytes4(p);
  if ((protocol == kProtoTcp || protocol == kProtoUdp) && !is_fragment4(p) && header + 4 <= bytes)
      [[likely]] {
    std::memcpy(&ports, p + header, 4);
  }
  std::uint64_t addresses;
  std::memcpy(&addresses, p + 12, 8);
  const std::uint64_t seed = _mm_crc32_u64(0, (std::uint64_t{protocol} << 32) | ports);
  return static_cast<std::uint32_t>(_mm_crc32_u64(seed, addresses));
}
inline std::uint32_t flow_hash(const std::uint8_t* p, std::uint8_t family, std::uint32_t bytes) {
  return family == 4 ? flow_hash4(p, bytes) : flow_hash6(p, bytes);
}

}  // namespace dataplane
