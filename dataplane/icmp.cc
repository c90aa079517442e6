#include "dataplane/icmp.h"

#include <algorithm>
#include <cstring>

#include "dataplane/ip.h"

namespace dataplane {
namespace {

using session::load_be16;
using session::store_be16;

constexpr unsigned kIcmpBytes = 8;
constexpr std::uint8_t kEchoRequest4 = 8;
constexpr std::uint8_t kEchoRequest6 = 128;
constexpr std::uint8_t kEchoReply6 = 129;
constexpr std::uint8_t kTtl = 64;
constexpr std::uint8_t kInternetControl = 0xc0;  // precedence 6, RFC 1812 4.3.2.5

struct TypeCode {
  std::uint8_t type;
  std::uint8_t code;
};

TypeCode code_of(IcmpError kind, bool six) {
  switch (kind) {
    case IcmpError::kTooBig:
      return six ? TypeCode{2, 0} : TypeCode{3, 4};
    case IcmpError::kTimeExceeded:
      return six ? TypeCode{3, 0} : TypeCode{11, 0};
    case IcmpError::kNoRoute:
      break;
  }
  return six ? TypeCode{1, 0} : TypeCode{3, 0};
}

std::uint64_t pseudo6(const std::uint8_t* ip, std::size_t bytes) {
  return partial_sum(ip + 8, 32) + kProtoIcmp6 + bytes;
}

bool echo4(std::uint8_t* p, std::size_t bytes) {
  if (header_bytes4(p) != kIp4Bytes || p[9] != kProtoIcmp || is_fragment4(p)) return false;
  if (bytes < kIp4Bytes + kIcmpBytes) return false;
  std::uint8_t* icmp = p + kIp4Bytes;
  if (icmp[0] != kEchoRequest4 || icmp[1] != 0) return false;
  if (fold_sum(partial_sum(icmp, bytes - kIp4Bytes)) != 0xffff) return false;
  if (is_martian(p + 12, 4)) return false;
  std::swap_ranges(p + 12, p + 16, p + 16);
  p[8] = kTtl;
  ipv4_checksum_store(p, kIp4Bytes);
  icmp[0] = 0;
  checksum_replace(icmp + 2, kEchoRequest4 << 8, 0);
  return true;
}

bool echo6(std::uint8_t* p, std::size_t bytes) {
  if (p[6] != kProtoIcmp6 || bytes < kIp6Bytes + kIcmpBytes) return false;
  std::uint8_t* icmp = p + kIp6Bytes;
  const std::size_t length = bytes - kIp6Bytes;
  if (icmp[0] != kEchoRequest6 || icmp[1] != 0) return false;
  if (fold_sum(pseudo6(p, length) + partial_sum(icmp, length)) != 0xffff) return false;
  if (is_martian(p + 8, 6)) return false;
  std::swap_ranges(p + 8, p + 24, p + 24);
  p[7] = kTtl;
  icmp[0] = kEchoReply6;
  checksum_replace(icmp + 2, kEchoRequest6 << 8, kEchoReply6 << 8);
  return true;
}

// ICMPv4 types that are questions or answers, not errors (RFC 1122 3.2.2).
bool is_query4(std::uint8_t type) {
  return type == 0 || type == 8 || type == 9 || type == 10 || (type >= 13 && type <= 18);
}

bool may_report4(const std::uint8_t* p, std::size_t bytes) {
  if ((load_be16(p + 6) & 0x1fff) != 0) return false;
  if (is_martian(p + 12, 4) || is_martian(p + 16, 4)) return false;
  if (p[9] != kProtoIcmp) return true;
  const unsigned header = header_bytes4(p);
  return header < bytes && is_query4(p[header]);
}

bool may_report6(const std::uint8_t* p, std::size_t bytes) {
  if (is_martian(p + 8, 6) || is_martian(p + 24, 6)) return false;
  std::uint8_t next = p[6];
  std::size_t at = kIp6Bytes;
  if (next == kProtoFragment6) {
    if (bytes < at + 8 || (load_be16(p + at + 2) & 0xfff8) != 0) return false;
    next = p[at];
    at += 8;
  }
  if (next != kProtoIcmp6) return true;
  return at < bytes && p[at] >= 128 && p[at] != 137;  // 137: redirect, RFC 4443 2.4(e.2)
}

void finish4(std::span<const std::uint8_t> about, const IpAddress& source, IcmpPacket& out) {
  std::uint8_t* p = out.bytes.data();
  p[0] = 0x45;
  p[1] = kInternetControl;
  store_be16(p + 2, static_cast<std::uint16_t>(out.size));
  p[8] = kTtl;
  p[9] = kProtoIcmp;
  std::copy_n(source.bytes.begin(), 4, p + 12);
  std::copy_n(about.data() + 12, 4, p + 16);
  ipv4_checksum_store(p, kIp4Bytes);
  store_be16(p + kIp4Bytes + 2, checksum_of(partial_sum(p + kIp4Bytes, out.size - kIp4Bytes)));
}

void finish6(std::span<const std::uint8_t> about, const IpAddress& source, IcmpPacket& out) {
  std::uint8_t* p = out.bytes.data();
  const unsigned length = out.size - kIp6Bytes;
  p[0] = 0x60;
  store_be16(p + 4, static_cast<std::uint16_t>(length));
  p[6] = kProtoIcmp6;
  p[7] = kTtl;
  std::copy_n(source.bytes.begin(), 16, p + 8);
  std::copy_n(about.data() + 8, 16, p + 24);
  store_be16(p + kIp6Bytes + 2, checksum_of(pseudo6(p, length) + partial_sum(p + kIp6Bytes, length)));
}

}  // namespace

bool make_echo_reply(std::span<std::uint8_t> packet) {
  if (packet.size() < kIp4Bytes) return false;
  if ((packet[0] >> 4) == 4) return echo4(packet.data(), packet.size());
  return (packet[0] >> 4) == 6 && echo6(packet.data(), packet.size());
}

bool may_report(std::span<const std::uint8_t> packet) {
  if (packet.size() < kIp4Bytes) return false;
  if ((packet[0] >> 4) == 4) return may_report4(packet.data(), packet.size());
  return packet.size() >= kIp6Bytes && (packet[0] >> 4) == 6 && may_report6(packet.data(), packet.size());
}

void make_icmp_error(std::span<const std::uint8_t> packet, IcmpError kind, std::uint16_t mtu,
                     const IpAddress& source, IcmpPacket& out) {
  const bool six = (packet[0] >> 4) == 6;
  const unsigned header = six ? kIp6Bytes : kIp4Bytes;
  const unsigned limit = six ? kIcmpErrorBytes6 : kIcmpErrorBytes4;
  const auto quoted =
      static_cast<unsigned>(std::min<std::size_t>(packet.size(), limit - header - kIcmpBytes));
  std::memset(out.bytes.data(), 0, header + kIcmpBytes);
  std::uint8_t* icmp = &out.bytes[header];
  const TypeCode what = code_of(kind, six);
  icmp[0] = what.type;
  icmp[1] = what.code;
  if (kind == IcmpError::kTooBig) store_be16(icmp + 6, mtu);  // low half of 32 bits in ICMPv6
  std::memcpy(icmp + kIcmpBytes, packet.data(), quoted);
  out.size = header + kIcmpBytes + quoted;
  six ? finish6(packet, source, out) : finish4(packet, source, out);
}

}  // namespace dataplane
