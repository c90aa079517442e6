#include "dataplane/address_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <fmt/core.h>

namespace dataplane {
namespace {

template <typename T>
std::optional<T> parse_number(std::string_view text, T most) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty() || value > most) return {};
  return value;
}

struct Unit {
  std::string_view name;
  std::uint64_t ns;
};
constexpr std::array<Unit, 5> kUnits{{{"us", 1'000},
                                      {"ms", 1'000'000},
                                      {"s", 1'000'000'000},
                                      {"m", 60'000'000'000},
                                      {"h", 3'600'000'000'000}}};
constexpr std::uint64_t kDayNs = 86'400'000'000'000;

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<IpAddress> parse_address(std::string_view text) {
  const std::string copy(text);
  IpAddress address;
  if (inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) {
    address.family = 4;
  } else if (inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) {
    address.family = 6;
  } else {
    return {};
  }
  return address;
}

std::optional<IpPrefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return {};
  const auto address = parse_address(text.substr(0, slash));
  if (!address) return {};
  const auto length = parse_number<unsigned>(text.substr(slash + 1), address_bits(address->family));
  if (!length) return {};
  return IpPrefix{*address, static_cast<std::uint8_t>(*length)};
}

std::optional<session::Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = parse_address(host);
  const auto port = parse_number<unsigned>(text.substr(colon + 1), 65535);
  if (!address || !port || *port == 0 || bracketed != (address->family == 6)) return {};
  session::Endpoint endpoint;
  endpoint.address = address->bytes;
  endpoint.family = address->family;
  endpoint.port = static_cast<std::uint16_t>(*port);
  return endpoint;
}

std::optional<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac{};
  if (text.size() != 17) return {};
  for (std::size_t i = 0; i < mac.size(); ++i) {
    if (i != 0 && text[3 * i - 1] != ':') return {};
    if (!parse_hex(text.substr(3 * i, 2), &mac[i], 1)) return {};
  }
  return mac;
}

std::optional<std::uint64_t> parse_duration_ns(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = parse_number<std::uint64_t>(text.substr(0, digits), kDayNs);
  if (!value) return {};
  for (const Unit& unit : kUnits) {
    if (text.substr(digits) == unit.name && *value <= kDayNs / unit.ns) return *value * unit.ns;
  }
  return {};
}

bool parse_hex(std::string_view text, std::uint8_t* out, std::size_t bytes) {
  if (text.size() != 2 * bytes) return false;
  for (std::size_t i = 0; i < bytes; ++i) {
    const int high = nibble(text[2 * i]);
    const int low = nibble(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

std::string to_text(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.family == 0) return "";
  inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.bytes.data(), text.data(), text.size());
  return text.data();
}

std::string to_text(const IpPrefix& prefix) {
  return fmt::format("{}/{}", to_text(prefix.address), prefix.length);
}

std::string to_text(const session::Endpoint& endpoint) {
  if (endpoint.family == 0) return "";
  const IpAddress address{endpoint.address, endpoint.family};
  if (endpoint.family == 4) return fmt::format("{}:{}", to_text(address), endpoint.port);
  return fmt::format("[{}]:{}", to_text(address), endpoint.port);
}

std::string to_text(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4],
                     mac[5]);
}

IpPrefix network_of(const IpPrefix& prefix) {
  IpPrefix network = prefix;
  for (unsigned i = 0; i < network.address.bytes.size(); ++i) {
    const unsigned kept = prefix.length <= 8 * i ? 0 : std::min(8U, prefix.length - 8 * i);
    network.address.bytes[i] &= static_cast<std::uint8_t>(0xff00U >> kept);
  }
  return network;
}

bool contains(const IpPrefix& prefix, const IpAddress& address) {
  return address.family == prefix.address.family &&
         network_of(IpPrefix{address, prefix.length}) == network_of(prefix);
}

bool overlap(const IpPrefix& a, const IpPrefix& b) {
  const IpPrefix& wide = a.length <= b.length ? a : b;
  return contains(wide, a.address) && contains(wide, b.address);
}

}  // namespace dataplane
