// Samples of one figure and what is shown of them, for all programs here.
//
// On a machine that others share a core gets slower and faster within seconds, by half of everything. So what
// is compared is sampled in turns, and medians stand beside minima.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <x86intrin.h>

namespace bench {

// The time stamp counter once everything before is done. The fence keeps what is timed from running past it.
inline std::uint64_t stamp() {
  _mm_lfence();
  return __rdtsc();
}

// Cycles that one stamp adds to what is timed: the least of many.
inline std::uint64_t stamp_cycles() {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (unsigned i = 0; i < 10'000; ++i) {
    const std::uint64_t begin = stamp();
    least = std::min(least, stamp() - begin);
  }
  return least;
}

class Samples {
 public:
  void add(double value) { values_.push_back(value); }
  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] double median() const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
  }
  [[nodiscard]] double least() const {
    return values_.empty() ? 0 : *std::min_element(values_.begin(), values_.end());
  }

 private:
  std::vector<double> values_;
};

// Counters NAME (median) and NAME_min.
inline void put(benchmark::State& state, const std::string& name, const Samples& samples) {
  state.counters[name] = samples.median();
  state.counters[name + "_min"] = samples.least();
}

// Counters NAME and NAME_min: `top` over `bottom`, medians by medians and minima by minima.
inline void put_ratio(benchmark::State& state, const std::string& name, const Samples& top,
                      const Samples& bottom) {
  if (bottom.median() > 0) state.counters[name] = top.median() / bottom.median();
  if (bottom.least() > 0) state.counters[name + "_min"] = top.least() / bottom.least();
}

}  // namespace bench
