// The words of the relay's commands: endpoints, durations, rates, sizes, shares. Pure; every error says what
// was expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/support/impairment.h"

namespace support {

// An address and port as the kernel takes them. A family of AF_UNSPEC: none.
class SocketAddress {
 public:
  SocketAddress() = default;
  // "192.0.2.1:4500" or "[2001:db8::1]:4500"; port 0 lets the kernel choose where it is bound.
  static std::optional<SocketAddress> parse(std::string_view text);
  static SocketAddress from(const sockaddr_storage& storage);

  [[nodiscard]] std::string text() const;
  [[nodiscard]] int family() const { return storage_.ss_family; }
  [[nodiscard]] bool known() const { return storage_.ss_family != AF_UNSPEC; }
  [[nodiscard]] socklen_t length() const;
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage_); }
  [[nodiscard]] const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  friend bool operator==(const SocketAddress& left, const SocketAddress& right);

 private:
  sockaddr_storage storage_{};
};

std::vector<std::string_view> split_words(std::string_view line);

std::optional<std::uint64_t> parse_duration_ns(std::string_view text);  // 20ms, 1.5s, 300us, 40ns, 0
std::optional<std::uint64_t> parse_rate(std::string_view text);         // 20mbit, 1gbit, 500kbit, 9600bit, 0
std::optional<std::uint64_t> parse_bytes(std::string_view text);        // 3000, 64k, 2m (powers of 1024)
std::optional<double> parse_share(std::string_view text);               // 0.01 or 1%

// Applies `key=value`; empty when it worked, else what is wrong.
std::string apply_setting(ImpairmentSettings& settings, std::string_view word);

}  // namespace support
