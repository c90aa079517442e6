#include "tools/testpmd/histogram.h"

#include <algorithm>
#include <cmath>

namespace testpmd {

void Histogram::merge(const Histogram& other) {
  for (unsigned i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
  min_ = std::min(min_, other.min_);
}

Histogram Histogram::scaled(double factor) const {
  Histogram out;
  if (count_ == 0) return out;
  const auto times = [factor](double value) {
    return static_cast<std::uint64_t>(std::lround(value * factor));
  };
  out.min_ = times(static_cast<double>(min_));
  out.max_ = times(static_cast<double>(max_));
  out.count_ = count_;
  for (unsigned i = 0; i < kBuckets; ++i) {
    if (buckets_[i] == 0) continue;
    const double middle = (static_cast<double>(lowest_of(i)) + static_cast<double>(highest_of(i))) / 2;
    out.buckets_[bucket_of(std::clamp(times(middle), out.min_, out.max_))] += buckets_[i];
  }
  return out;
}

void Histogram::clear() {
  *this = Histogram{};
}

std::uint64_t Histogram::lowest_of(unsigned bucket) {
  if (bucket < (1U << kSubBits)) return bucket;
  const unsigned shift = (bucket >> (kSubBits - 1)) - 1;
  const std::uint64_t top = (bucket & ((1U << (kSubBits - 1)) - 1)) | (1U << (kSubBits - 1));
  return top << shift;
}

std::uint64_t Histogram::highest_of(unsigned bucket) {
  if (bucket < (1U << kSubBits)) return bucket;
  const unsigned shift = (bucket >> (kSubBits - 1)) - 1;
  return lowest_of(bucket) + (1ULL << shift) - 1;
}

std::uint64_t Histogram::percentile(double percent) const {
  if (count_ == 0) return 0;
  const double wanted = std::clamp(percent, 0.0, 100.0) / 100.0 * static_cast<double>(count_);
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(wanted - 1e-9)));
  std::uint64_t seen = 0;
  for (unsigned i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen >= rank) return i + 1 == kBuckets ? max_ : std::min(highest_of(i), max_);
  }
  return max_;
}

double Histogram::mean() const {
  if (count_ == 0) return 0;
  double sum = 0;
  for (unsigned i = 0; i < kBuckets; ++i) {
    if (buckets_[i] == 0) continue;
    sum += static_cast<double>(buckets_[i]) *
           (static_cast<double>(lowest_of(i)) + static_cast<double>(highest_of(i))) / 2;
  }
  return sum / static_cast<double>(count_);
}

}  // namespace testpmd
