// The words of the relay's commands. What settings look like is in tools/testpmd/impairment_text.h. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/support/impairment.h"
#include "tools/testpmd/impairment_text.h"

namespace support {

using testpmd::apply_setting;
using testpmd::parse_bit_rate;
using testpmd::parse_bytes;
using testpmd::parse_duration_ns;
using testpmd::parse_share;

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

}  // namespace support
