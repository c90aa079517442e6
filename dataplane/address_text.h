// Addresses, prefixes, endpoints, MACs and durations as people write them, both ways.
//
// Pure; any thread. A parser returns nothing for anything but exactly one well-formed value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/address.h"
#include "session/epoch_store.h"

namespace dataplane {

// "10.0.1.1" or "fd00::1".
std::optional<IpAddress> parse_address(std::string_view text);
// "10.0.1.1/24" or "fd00::1/64"; host bits are kept.
std::optional<IpPrefix> parse_prefix(std::string_view text);
// "192.0.2.1:4500" or "[2001:db8::1]:4500"; port 1..65535.
std::optional<session::Endpoint> parse_endpoint(std::string_view text);
// "02:00:00:00:00:01".
std::optional<MacAddress> parse_mac(std::string_view text);
// "1500us", "200ms", "3s", "5m", "1h": whole numbers; nanoseconds, at most a day.
std::optional<std::uint64_t> parse_duration_ns(std::string_view text);
// Exactly 2 * bytes hex digits.
bool parse_hex(std::string_view text, std::uint8_t* out, std::size_t bytes);

std::string to_text(const IpAddress& address);
std::string to_text(const IpPrefix& prefix);
std::string to_text(const session::Endpoint& endpoint);  // "" without family
std::string to_text(const MacAddress& mac);

// Address bits an address of this family has.
constexpr unsigned address_bits(std::uint8_t family) {
  return family == 4 ? 32 : 128;
}
// The prefix with its host bits cleared.
IpPrefix network_of(const IpPrefix& prefix);
bool contains(const IpPrefix& prefix, const IpAddress& address);
bool overlap(const IpPrefix& a, const IpPrefix& b);

}  // namespace dataplane
