// One direction through a bed's worker, sampled: what a poll costs, how much of it is the AEAD call, and what
// the ports alone cost.
//
// Thread: one. Programs that use it are linked with aead_clock.cc in front of the engine.
#pragma once

#include <cstdint>

#include "bench/bed.h"

namespace bench {

// Time stamp cycles a packet of one sample.
struct Polled {
  double poll = 0;
  double aead = 0;    // inside the engine's batch calls
  double stamps = 0;  // what looking at the clock around these calls added to `poll`, outside of `aead`
  [[nodiscard]] double without_aead() const { return poll - aead - stamps; }
};

class Lane {
 public:
  enum class Way : std::uint8_t { kSeal, kOpen };
  Lane(Bed& bed, Way way, std::size_t bytes);

  void feed(Order& order);
  // Fed packets through the worker and out; what came out is freed.
  Polled poll();
  // Fresh packets through the ports alone.
  double port(Order& order);
  // Packets that should have come out and did not, or the other way round.
  [[nodiscard]] std::uint64_t wrong() const { return wrong_; }

  [[nodiscard]] unsigned in() const { return way_ == Way::kSeal ? support::kLan : support::kWan; }
  [[nodiscard]] unsigned out() const { return way_ == Way::kSeal ? support::kWan : support::kLan; }
  // How many of the next polls' packets come out.
  void expect(unsigned packets) { expected_ = packets; }

 private:
  Bed& bed_;
  Way way_;
  std::size_t bytes_;
  unsigned expected_ = kSample;
  std::uint64_t wrong_ = 0;
};

// Samples of one lane in one run.
struct LaneSamples {
  Samples poll, aead, port, around;
  // `around`: everything but the AEAD call and the ports.
  void add(const Polled& polled, double port_cycles);
  // Counters poll, aead, port, around, each with its minimum, behind `prefix`. The minimum of `around` is
  // what the minima leave: the least poll without AEAD, less the least of the ports.
  void put(benchmark::State& state, const std::string& prefix = {}) const;

 private:
  Samples without_aead_;
};

}  // namespace bench
