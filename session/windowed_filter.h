// The extreme of the last so many ticks, and nothing else of them.
//
// A tick is whatever the caller counts: rounds, seconds. Values are positive, 0 means none. Pure, fixed size;
// an update costs a comparison, and a pass over the slots when the tick moved. Entries leave when a later
// update finds them too old (protocol.md 12.2); while nothing comes, what was known stays known.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>

namespace session {

template <unsigned kTicks, typename Better>
class WindowedFilter {
 public:
  void update(std::uint64_t tick, std::uint64_t value) {
    advance(tick);
    improve(slots_[tick_ % kTicks], value);
    improve(best_, value);
  }
  // Forgets everything but this value.
  void reset(std::uint64_t tick, std::uint64_t value) {
    slots_.fill(0);
    tick_ = tick;
    slots_[tick_ % kTicks] = best_ = value;
  }
  [[nodiscard]] std::uint64_t best() const { return best_; }

 private:
  static void improve(std::uint64_t& held, std::uint64_t value) {
    if (held == 0 || Better{}(value, held)) held = value;
  }
  void advance(std::uint64_t tick) {
    if (tick <= tick_) return;
    const std::uint64_t passed = std::min<std::uint64_t>(tick - tick_, kTicks);
    for (std::uint64_t i = 0; i < passed; ++i) slots_[(tick - i) % kTicks] = 0;
    tick_ = tick;
    best_ = 0;
    for (const std::uint64_t value : slots_) {
      if (value != 0) improve(best_, value);
    }
  }

  std::array<std::uint64_t, kTicks> slots_{};
  std::uint64_t tick_ = 0;
  std::uint64_t best_ = 0;
};

template <unsigned kTicks>
using WindowedMax = WindowedFilter<kTicks, std::greater<std::uint64_t>>;
template <unsigned kTicks>
using WindowedMin = WindowedFilter<kTicks, std::less<std::uint64_t>>;

}  // namespace session
