// The time stamp counter, which tests that are the clock stand in for.
//
// Thread: any. In production nothing writes `test_tsc`: it is a constant in a line of its own readers.
#pragma once

#include <cstdint>

#include <rte_cycles.h>

namespace dataplane {

// Other than 0: what every gateway of the process reads in place of the counter. Tests on one thread only.
extern std::uint64_t test_tsc;

inline std::uint64_t read_tsc() {
  return test_tsc != 0 ? test_tsc : rte_rdtsc();
}

// The counter in nanoseconds, from whenever it began.
inline std::uint64_t tsc_to_ns(std::uint64_t tsc) {
  __extension__ using Wide = unsigned __int128;
  static const std::uint64_t kNsOf2to32 =
      static_cast<std::uint64_t>((Wide{1'000'000'000} << 32) / rte_get_tsc_hz());
  return static_cast<std::uint64_t>((Wide{tsc} * kNsOf2to32) >> 32);
}

// Nanoseconds since another core took this stamp; 0 when it is ahead of ours.
inline std::uint64_t ns_since(std::uint64_t tsc) {
  const std::uint64_t now_tsc = read_tsc();
  return now_tsc > tsc ? tsc_to_ns(now_tsc - tsc) : 0;
}

}  // namespace dataplane
