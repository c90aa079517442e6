#include "tests/support/relay_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <span>

#include <arpa/inet.h>

namespace support {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array<Unit, 4> kDurations{{{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}};
constexpr std::array<Unit, 4> kRates{{{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}}};
constexpr std::array<Unit, 3> kSizes{{{"", 1}, {"k", 1024}, {"m", 1024 * 1024}}};
constexpr double kMostOfAnything = 1e15;  // exact in a double, and far above what any test sets

std::optional<double> parse_number(std::string_view& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

// A number and a unit; 0 needs none.
std::optional<std::uint64_t> parse_with_unit(std::string_view text, std::span<const Unit> units) {
  const std::optional<double> value = parse_number(text);
  if (!value) return std::nullopt;
  if (text.empty() && *value == 0) return 0;
  for (const Unit& unit : units) {
    const double scaled = *value * unit.factor;
    if (unit.name == text && scaled <= kMostOfAnything)
      return static_cast<std::uint64_t>(std::llround(scaled));
  }
  return std::nullopt;
}

std::string refused(std::string_view word, const char* expected) {
  std::string text("'");
  text.append(word).append("': expected ").append(expected);
  return text;
}

template <class T>
std::string put(T& target, const std::optional<T>& value, std::string_view word, const char* expected) {
  if (!value) return refused(word, expected);
  target = *value;
  return "";
}

std::string set_time(std::uint64_t& target, std::string_view value, std::string_view word) {
  return put(target, parse_duration_ns(value), word, "a duration such as 20ms");
}

std::string set_share(double& target, std::string_view value, std::string_view word) {
  return put(target, parse_share(value), word, "a share such as 0.01 or 1%");
}

std::string set_bytes(std::uint64_t& target, std::string_view value, std::string_view word) {
  return put(target, parse_bytes(value), word, "bytes such as 3000 or 64k");
}

}  // namespace

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

std::optional<std::uint64_t> parse_duration_ns(std::string_view text) {
  return parse_with_unit(text, kDurations);
}

std::optional<std::uint64_t> parse_rate(std::string_view text) {
  return parse_with_unit(text, kRates);
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  constexpr std::uint64_t kMost = 1ULL << 30;  // of a queue or a bucket; its time at 1 bit/s fits 64 bits
  const std::optional<std::uint64_t> value = parse_with_unit(text, kSizes);
  return value && *value <= kMost ? value : std::nullopt;
}

std::optional<double> parse_share(std::string_view text) {
  std::optional<double> value = parse_number(text);
  if (!value) return std::nullopt;
  if (text == "%") {
    *value /= 100;
  } else if (!text.empty()) {
    return std::nullopt;
  }
  return *value <= 1 ? value : std::nullopt;
}

std::string apply_setting(ImpairmentSettings& s, std::string_view word) {
  const std::size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  if (key == "delay") return set_time(s.delay_ns, value, word);
  if (key == "jitter") return set_time(s.jitter_ns, value, word);
  if (key == "reorder_delay") return set_time(s.reorder_ns, value, word);
  if (key == "rate") return put(s.rate_bits_per_s, parse_rate(value), word, "a rate such as 20mbit");
  if (key == "burst") return set_bytes(s.burst_bytes, value, word);
  if (key == "queue") return set_bytes(s.queue_bytes, value, word);
  if (key == "loss") return set_share(s.loss, value, word);
  if (key == "duplicate") return set_share(s.duplicate, value, word);
  if (key == "reorder") return set_share(s.reorder, value, word);
  return refused(word,
                 "delay=, jitter=, rate=, burst=, queue=, loss=, duplicate=, reorder= or reorder_delay=");
}

}  // namespace support
