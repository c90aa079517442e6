// Makes the packets of one way on one lane, when they are due, and hands them to a device or a ring.
//
// Owner: the lane. Sessions are taken in turn. What the outlet has no room for stays here and goes first; it
// counts as sent when it was taken.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <rte_mempool.h>
#include <rte_ring.h>

#include "dataplane/batch.h"
#include "tools/testpmd/capture.h"
#include "tools/testpmd/plan.h"
#include "tools/testpmd/schedule.h"
#include "tools/testpmd/session_map.h"

namespace testpmd {

// Where packets go: a queue of a device, or a ring.
struct Outlet {
  rte_ring* ring = nullptr;  // else the device
  std::uint16_t ethdev = 0;
  std::uint16_t queue = 0;
  unsigned put(rte_mbuf** packets, unsigned n) const;
  Capture* capture = nullptr;  // that sees what is made for the device: interface 0
};

class Generator {
 public:
  // For the sessions of one lane; `map` outlives it.
  Generator(Way way, const AddressPlan& plan, const SessionMap& map, unsigned lane, rte_mempool* pool);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // A plan holds from now on.
  void adopt(const Plan& before, const Plan& now, const Outlet& outlet, const dataplane::MacAddress& to,
             const dataplane::MacAddress& from);
  // Sends what is due, as far as `room` allows. Returns how many packets were taken.
  unsigned run(std::uint64_t now_tsc, unsigned room, WayCounters& counters);
  // Frees what could not be handed over.
  void discard();
  // Counts of `sent` by session begin at 0 again.
  void clear();

  [[nodiscard]] bool active() const { return active_ || count_ != 0; }
  [[nodiscard]] std::uint64_t intended(std::uint64_t now_tsc) const;
  [[nodiscard]] std::uint32_t sent(std::uint32_t local) const { return next_[local] - base_[local]; }

 private:
  [[nodiscard]] unsigned due(std::uint64_t now_tsc) const;
  void make(std::uint64_t now_tsc, unsigned n, WayCounters& counters);
  unsigned hand_over(WayCounters& counters);
  void write(rte_mbuf* m, std::uint64_t now_tsc);
  [[nodiscard]] std::uint32_t local_of(const rte_mbuf* m) const;

  Way way_;
  AddressPlan plan_;
  const SessionMap& map_;
  unsigned lane_;
  rte_mempool* pool_;
  FrameMaker maker_;
  Outlet outlet_;
  Schedule schedule_;
  const Plan* now_ = nullptr;
  bool active_ = false;
  std::uint64_t made_ = 0;        // since the run began
  std::uint64_t first_left_ = 0;  // to be sent at once
  std::uint64_t extra_ = 0;       // packets beside the schedule: first ones, and all when there is no rate
  std::uint32_t local_ = 0;       // session whose turn it is, among ours
  std::uint32_t locals_ = 0;      // sessions of ours that are sent to
  std::size_t turn_ = 0;          // of sizes
  unsigned head_ = 0, count_ = 0;
  std::array<rte_mbuf*, dataplane::kMaxBurst> waiting_{};
  std::vector<std::uint32_t> next_;  // number of the next packet, by session of ours
  std::vector<std::uint32_t> base_;  // number at the last clear
};

}  // namespace testpmd
