// ICMP and ICMPv6 as bytes: echo replies and the errors that a router owes (RFC 792, RFC 1812, RFC 4443).
// Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/address.h"

namespace dataplane {

enum class IcmpError : std::uint8_t { kTooBig, kTimeExceeded, kNoRoute };

// Largest error packets: RFC 1812 4.3.2.3 and RFC 4443 2.4(c).
inline constexpr unsigned kIcmpErrorBytes4 = 576;
inline constexpr unsigned kIcmpErrorBytes6 = 1280;

// Turns an echo request at `packet` (the IP header, exactly its length) into the reply, in place. False: it
// is not a well-formed echo request; nothing was changed.
bool make_echo_reply(std::span<std::uint8_t> packet);

struct IcmpPacket {
  std::array<std::uint8_t, kIcmpErrorBytes6> bytes;
  unsigned size = 0;
  [[nodiscard]] std::span<const std::uint8_t> span() const { return {bytes.data(), size}; }
};

// True when an error about `packet` (from the IP header on) may be sent at all: not about ICMP errors, later
// fragments, nor towards or about groups and unspecified addresses.
bool may_report(std::span<const std::uint8_t> packet);

// An error about `packet`, from our address `source` to its source. `mtu` is for kTooBig.
void make_icmp_error(std::span<const std::uint8_t> packet, IcmpError kind, std::uint16_t mtu,
                     const IpAddress& source, IcmpPacket& out);

}  // namespace dataplane
