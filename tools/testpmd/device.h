// One queue of a real device, as a lane uses it, with what the device had no room for.
//
// Owner: the lane.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "dataplane/batch.h"
#include "tools/testpmd/counters.h"

namespace testpmd {

inline unsigned fill_bucket(unsigned n) {
  if (n == 0) return 0;
  return std::min(dataplane::kBurstBuckets - 1, 32U - static_cast<unsigned>(__builtin_clz(n)));
}

class Device {
 public:
  // Two bursts wait at most: one that was refused, and answers of ours behind it.
  static constexpr unsigned kWaiting = 2 * dataplane::kMaxBurst;

  Device(const std::string& name, std::uint16_t ethdev, std::uint16_t queue)
      : ethdev_(ethdev), queue_(queue) {
    counters.name = name;
  }

  void receive(dataplane::Packets& out, unsigned most, LaneCounters& lane) {
    out.count = rte_eth_rx_burst(ethdev_, queue_, out.at, static_cast<std::uint16_t>(most));
    ++lane.rx_burst[fill_bucket(out.count)];
    counters.rx_pkts += out.count;
    for (rte_mbuf* m : out) counters.rx_bytes += m->pkt_len;
  }
  [[nodiscard]] unsigned room() const { return kWaiting - count_; }
  [[nodiscard]] unsigned waiting() const { return count_; }
  // There is room for it.
  void push(rte_mbuf* m) { waiting_[count_++] = m; }
  // Offers what waits; returns how many were taken.
  unsigned flush(LaneCounters& lane) {
    if (count_ == 0) return 0;
    const std::uint64_t before = bytes(0);
    const unsigned sent =
        rte_eth_tx_burst(ethdev_, queue_, waiting_.data(), static_cast<std::uint16_t>(count_));
    ++lane.tx_burst[fill_bucket(sent)];
    count_ -= sent;
    for (unsigned i = 0; i < count_; ++i) waiting_[i] = waiting_[i + sent];
    counters.tx_pkts += sent;
    counters.tx_bytes += before - bytes(0);
    counters.tx_refused += count_ != 0 ? 1 : 0;
    return sent;
  }
  // What a generator handed to the device itself.
  void count_sent(std::uint64_t pkts, std::uint64_t bytes) {
    counters.tx_pkts += pkts;
    counters.tx_bytes += bytes;
  }
  void discard() {
    for (; count_ != 0; --count_) rte_pktmbuf_free(waiting_[count_ - 1]);
  }
  [[nodiscard]] std::uint16_t ethdev() const { return ethdev_; }
  [[nodiscard]] std::uint16_t queue() const { return queue_; }

  PortCounters counters;

 private:
  [[nodiscard]] std::uint64_t bytes(unsigned from) const {
    std::uint64_t sum = 0;
    for (unsigned i = from; i < count_; ++i) sum += waiting_[i]->pkt_len;
    return sum;
  }
  std::uint16_t ethdev_;
  std::uint16_t queue_;
  unsigned count_ = 0;
  std::array<rte_mbuf*, kWaiting> waiting_{};
};

}  // namespace testpmd
