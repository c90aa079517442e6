// What arrived of one session and way: a window over the last numbers, and counters. One cache line, for a
// hundred thousand sessions are looked up at random.
//
// Thread: the lane that owns the session writes; readers see counters that may lag.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

namespace testpmd {

enum class Arrival : std::uint8_t {
  kInOrder,
  kLate,  // for the first time, but a later one of its flow was here before
  kDuplicate,
  kTooOld,  // behind the window: not known whether it is a duplicate
};

class alignas(64) Tracker {
 public:
  static constexpr unsigned kWindow = 256;

  // Numbers n and n + k * `flows` are of one flow.
  Arrival arrive(std::uint32_t number, unsigned flows) {
    const auto ahead = static_cast<std::int32_t>(number - next_);
    if (ahead >= 0) [[likely]] {
      advance(static_cast<std::uint32_t>(ahead));
      mark(number);
      ++received_;
      return Arrival::kInOrder;
    }
    return behind(number, flows);
  }
  void note_latency(std::uint64_t tsc) {
    latency_sum_tsc_ += tsc;
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    latency_max_tsc_ = std::max(latency_max_tsc_, static_cast<std::uint32_t>(std::min(tsc, kMost)));
  }
  // Counters to zero; what was seen stays known.
  void clear_counters() {
    received_ = duplicates_ = out_of_order_ = latency_max_tsc_ = 0;
    latency_sum_tsc_ = 0;
  }

  [[nodiscard]] std::uint32_t received() const { return received_; }
  [[nodiscard]] std::uint32_t duplicates() const { return duplicates_; }
  [[nodiscard]] std::uint32_t out_of_order() const { return out_of_order_; }
  [[nodiscard]] std::uint64_t latency_sum_tsc() const { return latency_sum_tsc_; }
  [[nodiscard]] std::uint32_t latency_max_tsc() const { return latency_max_tsc_; }
  [[nodiscard]] std::uint32_t next() const { return next_; }  // one above the highest number seen

 private:
  static constexpr std::uint32_t kWord = 64;

  [[nodiscard]] bool marked(std::uint32_t number) const {
    return ((seen_[number / kWord % seen_.size()] >> (number % kWord)) & 1U) != 0;
  }
  void mark(std::uint32_t number) { seen_[number / kWord % seen_.size()] |= 1ULL << (number % kWord); }
  void unmark(std::uint32_t number) { seen_[number / kWord % seen_.size()] &= ~(1ULL << (number % kWord)); }
  // Makes next_ + skipped the highest; what lies between was not seen.
  void advance(std::uint32_t skipped) {
    if (skipped >= kWindow) {
      seen_.fill(0);
    } else {
      for (std::uint32_t i = 0; i <= skipped; ++i) unmark(next_ + i);
    }
    next_ += skipped + 1;
  }
  Arrival behind(std::uint32_t number, unsigned flows) {
    if (next_ - number > kWindow) return Arrival::kTooOld;
    if (marked(number)) {
      ++duplicates_;
      return Arrival::kDuplicate;
    }
    mark(number);
    ++received_;
    for (std::uint32_t later = number + flows; static_cast<std::int32_t>(later - next_) < 0; later += flows) {
      if (!marked(later)) continue;
      ++out_of_order_;
      return Arrival::kLate;
    }
    return Arrival::kInOrder;
  }

  std::array<std::uint64_t, kWindow / kWord> seen_{};
  std::uint32_t next_ = 0;
  std::uint32_t received_ = 0;
  std::uint32_t duplicates_ = 0;
  std::uint32_t out_of_order_ = 0;
  std::uint64_t latency_sum_tsc_ = 0;
  std::uint32_t latency_max_tsc_ = 0;
};
static_assert(sizeof(Tracker) == 64);

}  // namespace testpmd
