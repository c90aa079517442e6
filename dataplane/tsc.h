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

}  // namespace dataplane
