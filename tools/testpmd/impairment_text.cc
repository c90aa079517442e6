#include "tools/testpmd/impairment_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <span>

namespace testpmd {
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

std::optional<std::uint64_t> parse_duration_ns(std::string_view text) {
  return parse_with_unit(text, kDurations);
}

std::optional<std::uint64_t> parse_bit_rate(std::string_view text) {
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
  if (key == "rate") return put(s.rate_bits_per_s, parse_bit_rate(value), word, "a rate such as 20mbit");
  if (key == "burst") return set_bytes(s.burst_bytes, value, word);
  if (key == "queue") return set_bytes(s.queue_bytes, value, word);
  if (key == "loss") return set_share(s.loss, value, word);
  if (key == "duplicate") return set_share(s.duplicate, value, word);
  if (key == "reorder") return set_share(s.reorder, value, word);
  if (key == "corrupt") return set_share(s.corrupt, value, word);
  return refused(
      word,
      "delay=, jitter=, rate=, burst=, queue=, loss=, duplicate=, corrupt=, reorder= or reorder_delay=");
}

}  // namespace testpmd
