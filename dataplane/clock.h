// The machine's steady clock in nanoseconds, as all of control counts time. Any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace dataplane {

inline std::uint64_t steady_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace dataplane
