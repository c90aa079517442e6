// Latency histogram: log-linear buckets, so that every value is known to better than 1 % from a nanosecond to
// a minute, in memory of a fixed size.
//
// Values below 2^kSubBits have a bucket each; above, every power of two has 2^(kSubBits-1) buckets of equal
// width. Histograms of the same shape are merged by adding them up. Nothing allocates after construction.
//
// Thread: one writer; readers that look meanwhile see counts that may lag. Units are the caller's (the
// harness records TSC cycles and reads nanoseconds by `scaled`).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace testpmd {

class Histogram {
 public:
  static constexpr unsigned kSubBits =
      8;  // 128 buckets a power of two: a width of at most 1/128 of the value
  static constexpr unsigned kMaxBits =
      44;  // 2^44: more than an hour of TSC cycles; larger values count as this
  static constexpr unsigned kBuckets = (kMaxBits - kSubBits + 2) << (kSubBits - 1);

  void record(std::uint64_t value) {
    ++buckets_[bucket_of(value)];
    ++count_;
    if (value > max_) max_ = value;
    if (value < min_) min_ = value;
  }
  void merge(const Histogram& other);
  // Every value times `factor`: by the middles of buckets, least and greatest exactly.
  [[nodiscard]] Histogram scaled(double factor) const;
  void clear();

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t max() const { return max_; }               // exact; 0 when empty
  [[nodiscard]] std::uint64_t min() const { return count_ ? min_ : 0; }  // exact; 0 when empty
  // The least recorded value (rounded up to the end of its bucket, never above max) that at least `percent`
  // of all values don't exceed. 0 when empty. percent in 0..100.
  [[nodiscard]] std::uint64_t percentile(double percent) const;
  [[nodiscard]] double mean() const;  // by the middles of buckets

  [[nodiscard]] static unsigned bucket_of(std::uint64_t value) {
    if (value < (1ULL << kSubBits)) return static_cast<unsigned>(value);
    if (value >= (1ULL << kMaxBits)) return kBuckets - 1;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kSubBits;
    return (shift << (kSubBits - 1)) + static_cast<unsigned>(value >> shift);
  }
  // First and last value of a bucket.
  [[nodiscard]] static std::uint64_t lowest_of(unsigned bucket);
  [[nodiscard]] static std::uint64_t highest_of(unsigned bucket);
  [[nodiscard]] std::uint64_t in_bucket(unsigned bucket) const { return buckets_[bucket]; }

 private:
  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
  std::uint64_t min_ = ~0ULL;
};

}  // namespace testpmd
