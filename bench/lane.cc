#include "bench/lane.h"

#include "bench/aead_clock.h"

namespace bench {

Lane::Lane(Bed& bed, Way way, std::size_t bytes) : bed_(bed), way_(way), bytes_(bytes) {}

void Lane::feed(Order& order) {
  if (way_ == Way::kSeal) {
    bed_.feed_plain(order, bytes_);
  } else {
    bed_.feed_sealed(order, bytes_);
  }
}

Polled Lane::poll() {
  static const auto kStamp = static_cast<double>(stamp_cycles());
  aead_clock.reset();
  Polled polled;
  polled.poll = poll_sample(bed_.site.gw);
  polled.aead = static_cast<double>(aead_clock.cycles) / kSample;
  polled.stamps = kStamp * static_cast<double>(aead_clock.calls) / kSample;
  const unsigned sent = discard_sent(bed_.site.gw, out());
  wrong_ += expected_ > sent ? expected_ - sent : sent - expected_;
  bed_.control();
  return polled;
}

double Lane::port(Order& order) {
  feed(order);
  const double cycles = port_sample(bed_.site.gw, in(), out());
  discard_sent(bed_.site.gw, out());
  return cycles;
}

void LaneSamples::add(const Polled& polled, double port_cycles) {
  poll.add(polled.poll);
  aead.add(polled.aead);
  port.add(port_cycles);
  around.add(polled.without_aead() - port_cycles);
  without_aead_.add(polled.without_aead());
}

void LaneSamples::put(benchmark::State& state, const std::string& prefix) const {
  bench::put(state, prefix + "poll", poll);
  bench::put(state, prefix + "aead", aead);
  bench::put(state, prefix + "port", port);
  state.counters[prefix + "around"] = around.median();
  state.counters[prefix + "around_min"] = without_aead_.least() - port.least();
}

}  // namespace bench
