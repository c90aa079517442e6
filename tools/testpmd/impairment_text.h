// Settings of an impairment as words: durations, rates, sizes, shares. Pure; every error says what was
// expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tools/testpmd/impairment.h"

namespace testpmd {

std::optional<std::uint64_t> parse_duration_ns(std::string_view text);  // 20ms, 1.5s, 300us, 40ns, 0
std::optional<std::uint64_t> parse_bit_rate(std::string_view text);     // 20mbit, 1gbit, 500kbit, 9600bit, 0
std::optional<std::uint64_t> parse_bytes(std::string_view text);        // 3000, 64k, 2m (powers of 1024)
std::optional<double> parse_share(std::string_view text);               // 0.01 or 1%

// Applies `key=value`; empty when it worked, else what is wrong.
std::string apply_setting(ImpairmentSettings& settings, std::string_view word);

}  // namespace testpmd
