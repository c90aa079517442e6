#include "tests/support/relay_text.h"

#include <array>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace support {

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  std::string host(text.substr(0, colon));
  SocketAddress address;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &six.sin6_addr) != 1)
      return std::nullopt;
    std::memcpy(&address.storage_, &six, sizeof(six));
    return address;
  }
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &four.sin_addr) != 1) return std::nullopt;
  std::memcpy(&address.storage_, &four, sizeof(four));
  return address;
}

SocketAddress SocketAddress::from(const sockaddr_storage& storage) {
  SocketAddress address;
  address.storage_ = storage;
  return address;
}

std::string SocketAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (family() == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &storage_, sizeof(four));
    inet_ntop(AF_INET, &four.sin_addr, host.data(), host.size());
    return std::string(host.data()) + ":" + std::to_string(ntohs(four.sin_port));
  }
  if (family() == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, &storage_, sizeof(six));
    inet_ntop(AF_INET6, &six.sin6_addr, host.data(), host.size());
    std::string text("[");
    return text.append(host.data()).append("]:").append(std::to_string(ntohs(six.sin6_port)));
  }
  return "any";
}

socklen_t SocketAddress::length() const {
  return family() == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

bool operator==(const SocketAddress& left, const SocketAddress& right) {
  if (left.family() != right.family()) return false;
  if (left.family() == AF_INET) {
    const auto* l = reinterpret_cast<const sockaddr_in*>(&left.storage_);
    const auto* r = reinterpret_cast<const sockaddr_in*>(&right.storage_);
    return l->sin_port == r->sin_port && l->sin_addr.s_addr == r->sin_addr.s_addr;
  }
  const auto* l = reinterpret_cast<const sockaddr_in6*>(&left.storage_);
  const auto* r = reinterpret_cast<const sockaddr_in6*>(&right.storage_);
  return l->sin6_port == r->sin6_port && std::memcmp(&l->sin6_addr, &r->sin6_addr, sizeof(in6_addr)) == 0;
}

std::vector<std::string_view> split_words(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r\n";
  std::vector<std::string_view> words;
  for (std::size_t at = line.find_first_not_of(kBlank); at != std::string_view::npos;
       at = line.find_first_not_of(kBlank, at)) {
    const std::size_t end = std::min(line.find_first_of(kBlank, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

}  // namespace support
