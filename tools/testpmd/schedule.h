// When packets are due: so many a TSC cycle since a moment, or as fast as it goes.
//
// Thread: the lane that owns it. Nothing is lost over a change of the rate.
#pragma once

#include <cstdint>

namespace testpmd {

class Schedule {
 public:
  // `pkts_per_tsc` 0: as fast as it goes. `end_tsc` 0: without end. Packets intended so far stay intended.
  void set(double pkts_per_tsc, std::uint64_t start_tsc, std::uint64_t end_tsc) {
    base_ = intended(start_tsc);
    rate_ = pkts_per_tsc;
    start_tsc_ = start_tsc;
    end_tsc_ = end_tsc;
  }
  void reset() { *this = Schedule{}; }
  [[nodiscard]] bool unlimited() const { return rate_ == 0; }
  [[nodiscard]] bool over(std::uint64_t now_tsc) const { return end_tsc_ != 0 && now_tsc >= end_tsc_; }
  [[nodiscard]] bool begun(std::uint64_t now_tsc) const { return now_tsc >= start_tsc_; }
  // Packets that should have been sent until now.
  [[nodiscard]] std::uint64_t intended(std::uint64_t now_tsc) const {
    if (end_tsc_ != 0 && now_tsc > end_tsc_) now_tsc = end_tsc_;
    if (now_tsc <= start_tsc_) return base_;
    return base_ + static_cast<std::uint64_t>(static_cast<double>(now_tsc - start_tsc_) * rate_);
  }

 private:
  double rate_ = 0;
  std::uint64_t base_ = 0;
  std::uint64_t start_tsc_ = 0;
  std::uint64_t end_tsc_ = 0;
};

}  // namespace testpmd
