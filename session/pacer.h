// Token bucket of one path, in bytes (protocol.md 12.6).
//
// Owner: that of the path's flow. Pure; time in nanoseconds of any monotonic clock, which never goes back.
// Unlike the reference's it counts billionths of a byte, so that no time is lost to rounding however often it
// is asked; it lets a packet larger than the bucket go when the bucket is full, instead of never; and who
// does not ask (acknowledgements, probes) goes into debt, so that the mean rate holds.
#pragma once

#include <algorithm>
#include <cstdint>

namespace session {

inline constexpr std::uint64_t MIN_PACING_RATE = 1'024;  // bytes a second, protocol.md 2.3
inline constexpr std::uint32_t MAX_BURST_BYTES = 65'536;

class Pacer {
 public:
  // `burst_bytes`: the bucket, full at first; at most MAX_BURST_BYTES.
  Pacer(std::uint64_t rate_bps, std::uint32_t burst_bytes, std::uint64_t now_ns) : last_ns_(now_ns) {
    set(rate_bps, burst_bytes);
    tokens_ = bucket_;
  }
  // Tokens until now are those of the old rate.
  void set_rate(std::uint64_t rate_bps, std::uint32_t burst_bytes, std::uint64_t now_ns) {
    if (rate_bps == rate_bps_ && bucket_of(burst_bytes) == bucket_) return;
    refill(now_ns);
    set(rate_bps, burst_bytes);
    tokens_ = std::clamp(tokens_, -bucket_, bucket_);
  }
  [[nodiscard]] bool has(std::uint32_t bytes, std::uint64_t now_ns) {
    refill(now_ns);
    return tokens_ >= need(bytes);
  }
  // Whether there were enough or not; the debt is one bucket at most.
  void consume(std::uint32_t bytes, std::uint64_t now_ns) {
    refill(now_ns);
    tokens_ = std::max(tokens_ - std::int64_t{bytes} * kUnits, -bucket_);
  }
  // When has() will be true, if nothing is consumed until then.
  [[nodiscard]] std::uint64_t ready_at_ns(std::uint32_t bytes) const {
    if (tokens_ >= need(bytes)) return last_ns_;
    const auto rate = static_cast<std::int64_t>(rate_bps_);
    return last_ns_ + static_cast<std::uint64_t>((need(bytes) - tokens_ + rate - 1) / rate);
  }
  [[nodiscard]] std::uint64_t rate_bps() const { return rate_bps_; }
  [[nodiscard]] std::uint32_t burst_bytes() const { return static_cast<std::uint32_t>(bucket_ / kUnits); }

 private:
  static constexpr std::int64_t kUnits = 1'000'000'000;  // a byte; a byte a second gives one a nanosecond
  static constexpr std::uint64_t kMaxRate = 1ULL << 40;  // 8 Tbit/s: products below fit
  static std::int64_t bucket_of(std::uint32_t bytes) {
    return std::int64_t{std::clamp<std::uint32_t>(bytes, 1, MAX_BURST_BYTES)} * kUnits;
  }
  [[nodiscard]] std::int64_t need(std::uint32_t bytes) const {
    return std::min(std::int64_t{bytes} * kUnits, bucket_);
  }
  void set(std::uint64_t rate_bps, std::uint32_t burst_bytes) {
    rate_bps_ = std::clamp(rate_bps, MIN_PACING_RATE, kMaxRate);
    bucket_ = bucket_of(burst_bytes);
    // From the deepest debt to a full bucket; longer silences add no more, and no product can overflow.
    fill_ns_ = 2 * static_cast<std::uint64_t>(bucket_) / rate_bps_ + 1;
  }
  void refill(std::uint64_t now_ns) {
    if (now_ns <= last_ns_) return;
    const std::uint64_t passed_ns = std::min(now_ns - last_ns_, fill_ns_);
    tokens_ = std::min(tokens_ + static_cast<std::int64_t>(passed_ns * rate_bps_), bucket_);
    last_ns_ = now_ns;
  }

  std::uint64_t rate_bps_ = 0;
  std::uint64_t fill_ns_ = 0;
  std::uint64_t last_ns_;
  std::int64_t bucket_ = 0;  // in kUnits, like tokens_
  std::int64_t tokens_ = 0;  // negative: debt
};

}  // namespace session
