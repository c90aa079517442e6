// An impairment node between two ports: what arrives at one leaves by the other, after what the settings of
// that direction do to it (impairment.h): delay, jitter, rate, loss, reordering, duplication, corruption.
//
// Thread: poll() on one lane. set() and text() on the main lcore, meanwhile: settings are handed over.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rte_mempool.h>

namespace testpmd {

class RelayLane {
 public:
  struct End {
    std::uint16_t ethdev = 0;
    std::uint16_t queue = 0;
  };
  // `pool`: for copies. The same seed, settings, sizes and times give the same fates.
  RelayLane(End a, End b, rte_mempool* pool, std::uint64_t seed);
  ~RelayLane();
  RelayLane(const RelayLane&) = delete;
  RelayLane& operator=(const RelayLane&) = delete;

  // ---- main lcore. `direction`: ab, ba or both; words as `delay=5ms` `rate=100mbit` `loss=1%`. Empty: done.
  std::string set(const std::string& direction, const std::vector<std::string>& words);
  [[nodiscard]] std::string text() const;  // settings and counters
  [[nodiscard]] std::uint64_t held() const;

  // ---- the lane. How many packets moved.
  unsigned poll(std::uint64_t now_ns);
  // Frees what is held; the lane rests.
  void discard();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace testpmd
