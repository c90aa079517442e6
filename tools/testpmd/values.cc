#include "tools/testpmd/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/core.h>

namespace testpmd {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

// The number at the beginning of a word, and what follows it.
std::optional<std::pair<double, std::string_view>> leading_number(std::string_view word) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(word.data(), word.data() + word.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(value)) return {};
  return std::pair{value, word.substr(static_cast<std::size_t>(end - word.data()))};
}

template <std::size_t N>
std::optional<double> with_suffix(std::string_view word, const std::array<Suffix, N>& suffixes) {
  const auto number = leading_number(word);
  if (!number) return {};
  for (const Suffix& suffix : suffixes) {
    if (number->second == suffix.text) return number->first * suffix.factor;
  }
  return {};
}

constexpr std::array kPpsSuffixes = {Suffix{"", 1},       Suffix{"k", 1e3},    Suffix{"m", 1e6},
                                     Suffix{"pps", 1},    Suffix{"kpps", 1e3}, Suffix{"mpps", 1e6},
                                     Suffix{"gpps", 1e9}, Suffix{"g", 1e9}};
constexpr std::array kBitSuffixes = {Suffix{"bit", 1}, Suffix{"kbit", 1e3}, Suffix{"mbit", 1e6},
                                     Suffix{"gbit", 1e9}};
constexpr std::array kCountSuffixes = {Suffix{"", 1}, Suffix{"k", 1e3}, Suffix{"m", 1e6}, Suffix{"g", 1e9}};
constexpr std::array kTimeSuffixes = {Suffix{"", 1},   Suffix{"s", 1},     Suffix{"ms", 1e-3},
                                      Suffix{"m", 60}, Suffix{"h", 3'600}, Suffix{"us", 1e-6}};
constexpr double kYearSeconds = 365.0 * 86'400;

constexpr std::array kModes = {Mode::kGen,  Mode::kSeal,  Mode::kVerify,  Mode::kLoop,
                               Mode::kSelf, Mode::kRelay, Mode::kReflect, Mode::kCapture};

std::optional<std::uint32_t> whole(std::string_view text, std::uint32_t least, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most) return {};
  return value;
}

std::optional<SizeShare> parse_share(std::string_view part) {
  const std::size_t cross = part.find('x');
  const auto bytes = whole(part.substr(0, cross), kLeastFrame, kLargestFrame);
  if (!bytes) return {};
  if (cross == std::string_view::npos) return SizeShare{*bytes, 1};
  const auto weight = whole(part.substr(cross + 1), 1, 1'000'000);
  if (!weight) return {};
  return SizeShare{*bytes, *weight};
}

// Insertions, deletions, exchanges and swapped neighbours cost one each.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + change});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

std::optional<Rate> parse_rate(std::string_view word) {
  if (word == "max") return Rate{};
  Rate rate;
  if (const auto pps = with_suffix(word, kPpsSuffixes)) {
    rate = {Rate::Unit::kPps, *pps};
  } else if (const auto bits = with_suffix(word, kBitSuffixes)) {
    rate = {Rate::Unit::kBits, *bits};
  } else {
    return {};
  }
  if (!(rate.value > 0) || rate.value > 1e15) return {};
  return rate;
}

std::string rate_text(const Rate& rate) {
  if (rate.unit == Rate::Unit::kMax) return "max";
  constexpr std::array kSteps = {Suffix{"g", 1e9}, Suffix{"m", 1e6}, Suffix{"k", 1e3}};
  const char* unit = rate.unit == Rate::Unit::kPps ? "pps" : "bit";
  for (const Suffix& step : kSteps) {
    if (rate.value >= step.factor) return fmt::format("{:g}{}{}", rate.value / step.factor, step.text, unit);
  }
  return fmt::format("{:g}{}", rate.value, unit);
}

double rate_pps(const Rate& rate, const std::vector<SizeShare>& sizes) {
  if (rate.unit == Rate::Unit::kMax) return 0;
  if (rate.unit == Rate::Unit::kPps) return rate.value;
  return rate.value / (8.0 * (mean_frame_bytes(sizes) + kWireOverheadBytes));
}

std::optional<std::vector<SizeShare>> parse_sizes(std::string_view word) {
  if (word == "imix") {
    return imix();
  }
  std::vector<SizeShare> sizes;
  while (true) {
    const std::size_t comma = word.find(',');
    const auto share = parse_share(word.substr(0, comma));
    if (!share || sizes.size() == 64) return {};
    sizes.push_back(*share);
    if (comma == std::string_view::npos) return sizes;
    word.remove_prefix(comma + 1);
  }
}

std::string sizes_text(const std::vector<SizeShare>& sizes) {
  const bool weighted =
      std::any_of(sizes.begin(), sizes.end(), [](const SizeShare& share) { return share.weight != 1; });
  std::string text;
  for (const SizeShare& share : sizes) {
    if (!text.empty()) text += ",";
    text += weighted ? fmt::format("{}x{}", share.bytes, share.weight) : fmt::format("{}", share.bytes);
  }
  return text;
}

double mean_frame_bytes(const std::vector<SizeShare>& sizes) {
  double bytes = 0, weight = 0;
  for (const SizeShare& share : sizes) {
    bytes += static_cast<double>(share.bytes) * share.weight;
    weight += share.weight;
  }
  return weight > 0 ? bytes / weight : kLeastFrame;
}

std::optional<Mode> parse_mode(std::string_view word) {
  for (const Mode mode : kModes) {
    if (word == mode_name(mode)) return mode;
  }
  return {};
}

std::vector<std::string> mode_names() {
  std::vector<std::string> names;
  names.reserve(std::size(kModes));
  for (const Mode mode : kModes) names.emplace_back(mode_name(mode));
  return names;
}

std::optional<std::uint64_t> parse_count(std::string_view word) {
  const auto value = with_suffix(word, kCountSuffixes);
  if (!value || *value < 0 || *value >= 9.2e18 || std::floor(*value) != *value) return {};
  return static_cast<std::uint64_t>(*value);
}

std::optional<double> parse_seconds(std::string_view word) {
  const auto value = with_suffix(word, kTimeSuffixes);
  if (!value || !(*value > 0) || *value > kYearSeconds) return {};
  return value;
}

std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates,
                                 std::size_t most) {
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& candidate : candidates) {
    const std::size_t allowed = std::max<std::size_t>(1, (std::max(word.size(), candidate.size()) + 1) / 3);
    const bool begins = word.size() >= 2 && candidate.starts_with(word);
    const std::size_t distance = begins ? 1 : edit_distance(word, candidate);
    if (distance <= allowed && distance < candidate.size()) near.emplace_back(distance, candidate);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> words;
  for (auto& [distance, candidate] : near) {
    if (words.size() < most && std::find(words.begin(), words.end(), candidate) == words.end()) {
      words.push_back(std::move(candidate));
    }
  }
  return words;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::vector<std::string> near = nearest(word, candidates);
  if (near.empty()) return {};
  std::string text = "; did you mean ";
  for (std::size_t i = 0; i < near.size(); ++i) {
    if (i > 0) text += i + 1 == near.size() ? " or " : ", ";
    text += fmt::format("\"{}\"", near[i]);
  }
  return text + "?";
}

std::string listed(const std::vector<std::string>& words, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < words.size() && i < most; ++i) text.append(i > 0 ? ", " : "").append(words[i]);
  if (words.size() > most) text += fmt::format(" and {} more", words.size() - most);
  return text;
}

std::string grouped(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string grouped(std::int64_t value) {
  const auto positive = static_cast<std::uint64_t>(value < 0 ? -value : value);
  return fmt::format("{}{}", value < 0 ? "-" : "", grouped(positive));
}

std::string scaled(double value) {
  constexpr std::array kSteps = {Suffix{"T", 1e12}, Suffix{"G", 1e9}, Suffix{"M", 1e6}, Suffix{"k", 1e3}};
  for (const Suffix& step : kSteps) {
    if (std::abs(value) >= step.factor) return fmt::format("{:.3f} {}", value / step.factor, step.text);
  }
  return fmt::format("{:.1f}", value);
}

}  // namespace testpmd
