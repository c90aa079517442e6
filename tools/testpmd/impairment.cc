#include "tools/testpmd/impairment.h"

namespace testpmd {
namespace {

constexpr std::uint64_t kBitNsPerByte = 8'000'000'000;  // divided by bits per second: ns of one byte

std::uint64_t time_of(std::uint64_t bytes, std::uint64_t rate_bits_per_s) {
  return bytes * kBitNsPerByte / rate_bits_per_s;
}

std::uint64_t jittered(const ImpairmentSettings& settings, double where) {
  const double spread = (2 * where - 1) * static_cast<double>(settings.jitter_ns);
  return static_cast<std::uint64_t>(std::max(0.0, static_cast<double>(settings.delay_ns) + spread));
}

}  // namespace

// SplitMix64: one addition and a mix, a full period, and any seed is a good one.
std::uint64_t Impairment::next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double Impairment::chance(std::uint64_t& state) {
  return static_cast<double>(next_random(state) >> 11) * 0x1.0p-53;
}

void Impairment::set(const ImpairmentSettings& settings, std::uint64_t now_ns) {
  const std::uint64_t old_rate = settings_.rate_bits_per_s;
  const std::uint64_t new_rate = settings.rate_bits_per_s;
  if (new_rate == 0 || old_rate == 0) {
    served_ns_ = 0;
  } else if (served_ns_ > now_ns && new_rate != old_rate) {
    const double waiting_ns = static_cast<double>(served_ns_ - now_ns);
    const double scale = static_cast<double>(old_rate) / static_cast<double>(new_rate);
    served_ns_ = now_ns + static_cast<std::uint64_t>(waiting_ns * scale);
  }
  settings_ = settings;
}

std::uint64_t Impairment::pass_rate(std::uint32_t bytes, std::uint64_t now_ns) {
  const std::uint64_t rate = settings_.rate_bits_per_s;
  if (rate == 0) return now_ns;
  const std::uint64_t served = std::max(served_ns_, now_ns) + time_of(bytes, rate);
  const std::uint64_t credit = time_of(settings_.burst_bytes, rate);
  const std::uint64_t leaves = served > now_ns + credit ? served - credit : now_ns;
  if (leaves - now_ns > time_of(settings_.queue_bytes, rate)) return kNever;
  served_ns_ = served;
  return leaves;
}

Impairment::Fate Impairment::decide(std::uint32_t bytes, std::uint64_t now_ns) {
  ++counters.in_pkts;
  counters.in_bytes += bytes;
  const double loss = chance(random_);
  const double duplicate = chance(random_);
  const double reorder = chance(random_);
  const double where = chance(random_);
  const bool corrupted = chance(damage_random_) < settings_.corrupt;
  const std::uint64_t damage = next_random(damage_random_);
  if (cut_) {
    ++counters.cut_pkts;
    return {};
  }
  if (loss < settings_.loss) {
    ++counters.lost_pkts;
    return {};
  }
  const std::uint64_t leaves = pass_rate(bytes, now_ns);
  if (leaves == kNever) {
    ++counters.queue_drops_pkts;
    return {};
  }
  std::uint64_t due = leaves + jittered(settings_, where);
  if (reorder < settings_.reorder) {
    ++counters.reordered_pkts;
    due = std::max(due, last_due_ns_) + settings_.reorder_ns;
  } else {
    due = last_due_ns_ = std::max(due, last_due_ns_);
  }
  if (corrupted) ++counters.corrupted_pkts;
  return {.forwarded = true,
          .duplicated = duplicate < settings_.duplicate,
          .corrupted = corrupted,
          .due_ns = due,
          .damage = damage};
}

}  // namespace testpmd
