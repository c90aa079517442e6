// A rate limit on control's clock: `burst` at once, `per_second` in the long run.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dataplane {

class TokenBucket {
 public:
  TokenBucket(std::uint32_t burst, std::uint32_t per_second)
      : burst_(burst), gap_ns_(1'000'000'000 / per_second), tokens_(burst) {}

  bool take(std::uint64_t now_ns) {
    const std::uint64_t earned = now_ns > last_ns_ ? (now_ns - last_ns_) / gap_ns_ : 0;
    if (earned != 0) {
      tokens_ = std::min<std::uint64_t>(burst_, tokens_ + earned);
      last_ns_ = tokens_ == burst_ ? now_ns : last_ns_ + earned * gap_ns_;
    }
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }

  // Takes a take() back: it served something that is not to be limited.
  void give_back() { tokens_ = std::min(burst_, tokens_ + 1); }

 private:
  std::uint64_t burst_;
  std::uint64_t gap_ns_;
  std::uint64_t tokens_;
  std::uint64_t last_ns_ = 0;
};

}  // namespace dataplane
