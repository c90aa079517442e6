// Values as people type them (rates, frame sizes, counts, times) and as they are shown to them.
//
// Pure; any thread. Parsers take a whole word and give nothing when it is not one of theirs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/testpmd/harness.h"

namespace testpmd {

// An Ethernet frame (FCS included) takes this much more of the wire: preamble, start delimiter and gap
// (RFC 2544, appendix B).
inline constexpr std::uint32_t kWireOverheadBytes = 20;
inline constexpr std::uint32_t kLargestFrame = 9018;  // jumbo frame of 9000 bytes of IP

// An offered rate of one way. Bits are those of the wire, so that 10gbit is line rate of such a port.
struct Rate {
  enum class Unit : std::uint8_t { kMax, kPps, kBits };
  Unit unit = Unit::kMax;
  double value = 0;
};
// max, 1.5mpps, 200kpps, 1000pps, 1000, 10gbit, 500mbit. Above 0 and finite.
std::optional<Rate> parse_rate(std::string_view word);
std::string rate_text(const Rate& rate);
// Packets a second for frames of these sizes; 0: as fast as it goes.
double rate_pps(const Rate& rate, const std::vector<SizeShare>& sizes);

// imix, 64, 64,512,1400, or with weights 64x7,570x4,1518x1. Sizes kLeastFrame..kLargestFrame.
std::optional<std::vector<SizeShare>> parse_sizes(std::string_view word);
std::string sizes_text(const std::vector<SizeShare>& sizes);
double mean_frame_bytes(const std::vector<SizeShare>& sizes);

std::optional<Mode> parse_mode(std::string_view word);
std::vector<std::string> mode_names();

// 1000, 10k, 1.5m, 2g. Whole packets, below 2^63.
std::optional<std::uint64_t> parse_count(std::string_view word);
// 10, 1.5, 500ms, 10s, 2m, 1h: above 0, at most a year.
std::optional<double> parse_seconds(std::string_view word);

// At most `most` of the candidates that a slip of the finger away from `word` (edit distance up to about a
// third of its length, or the word as their beginning), best first.
std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates,
                                 std::size_t most = 3);
// `; did you mean "a" or "b"?`, or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// "a, b, c", in lines that stay readable: at most `most` of them, then how many more.
std::string listed(const std::vector<std::string>& words, std::size_t most = 24);

// 1234567 -> 1,234,567; and 1234567.0 -> 1.235 M.
std::string grouped(std::uint64_t value);
std::string grouped(std::int64_t value);
std::string scaled(double value);

}  // namespace testpmd
