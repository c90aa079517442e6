// A budget that refills with time: so many at once, so many a second.
//
// Pure; whoever holds it gives the time, in nanoseconds of any monotonic clock. Whole tokens only: the rest
// of the time since the last one is kept, so that frequent callers see it too.
#pragma once

#include <cstdint>

namespace session {

class TokenBucket {
 public:
  // `per_second` 0: never refilled.
  TokenBucket(std::uint32_t burst, std::uint32_t per_second)
      : burst_(burst), per_second_(per_second), tokens_(burst) {}
  bool take(std::uint64_t now_ns) {
    refill(now_ns);
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }
  void give_back() {
    if (tokens_ < burst_) ++tokens_;
  }

 private:
  void refill(std::uint64_t now_ns) {
    if (per_second_ == 0 || now_ns <= last_ns_) return;
    const std::uint64_t gap_ns = 1'000'000'000 / per_second_;
    const std::uint64_t earned = gap_ns == 0 ? burst_ : (now_ns - last_ns_) / gap_ns;
    if (earned == 0) return;
    if (earned >= burst_ - tokens_) {
      tokens_ = burst_;
      last_ns_ = now_ns;
    } else {
      tokens_ += static_cast<std::uint32_t>(earned);
      last_ns_ += earned * gap_ns;
    }
  }

  std::uint32_t burst_;
  std::uint32_t per_second_;
  std::uint32_t tokens_;
  std::uint64_t last_ns_ = 0;
};

}  // namespace session
