// One traffic core of the harness: devices, its worker of the Phantom end (and of the other one in mode
// self), generators and verifier, run to completion in one loop.
//
// Thread: run() on the lane's lcore. The main lcore builds it before and hands plans over (set_plan); what it
// reads meanwhile are counters that may lag.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <rte_ring.h>

#include "tools/testpmd/attacker.h"
#include "tools/testpmd/capture.h"
#include "tools/testpmd/device.h"
#include "tools/testpmd/generator.h"
#include "tools/testpmd/lan_host.h"
#include "tools/testpmd/phantom_end.h"
#include "tools/testpmd/relay_lane.h"
#include "tools/testpmd/verifier.h"

namespace testpmd {

// What a lane works with; all of it outlives the lane. Pointers may be null where the configuration has no
// such thing.
struct LaneSetup {
  unsigned index = 0;
  const SessionMap* map = nullptr;
  AddressPlan addresses;
  PhantomEnd* end = nullptr;
  std::vector<unsigned> end_wan;  // its ports, in the order of the harness's WAN devices
  unsigned end_lan = 0;
  PhantomEnd* self = nullptr;
  std::vector<unsigned> self_wan;
  unsigned self_lan = 0;
  const dataplane::Port* lan = nullptr;
  std::vector<const dataplane::Port*> wan;
  LanHost* host = nullptr;          // of the LAN device
  std::vector<LanHost*> hosts;      // of all devices: the LAN device first, then WAN; for mode reflect
  std::vector<rte_ring*> to_lanes;  // packets for other lanes, by lane; null for itself
  std::vector<rte_ring*> from_lanes;
  Attacker* attacker = nullptr;  // at the first WAN device; of the first lane
  RelayLane* relay = nullptr;    // between the LAN device and the first WAN device
  Capture* capture = nullptr;    // interfaces: devices in order
  bool backoff = false;          // sleep when nothing comes, while traffic runs too
  std::uint32_t sleep_us = 50;
};

class Lane {
 public:
  explicit Lane(const LaneSetup& setup);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // ---- main lcore
  void set_plan(const Plan* plan) { next_plan_.store(plan, std::memory_order_release); }
  // True once the lane goes by this plan and by none before it.
  [[nodiscard]] bool has(const Plan* plan) const { return seen_.load(std::memory_order_acquire) == plan; }
  [[nodiscard]] WayCounters way(Way way) const;
  [[nodiscard]] const Histogram& latency(Way way) const {
    return verifier_.latency[static_cast<std::size_t>(way)];
  }
  [[nodiscard]] const LaneCounters& counters() const { return counters_; }
  [[nodiscard]] const std::vector<Device>& devices() const { return devices_; }
  [[nodiscard]] SessionCounters session(std::uint32_t local) const;
  // Packets that arrived at this lane so far, never set back: nothing moves any more when it stands still.
  [[nodiscard]] std::uint64_t arrivals() const { return __atomic_load_n(&arrivals_, __ATOMIC_RELAXED); }

  // ---- the lane's lcore
  void run(const std::atomic<bool>& stop);

 private:
  using Burst = dataplane::Packets;

  void take_plan();
  void clear();
  unsigned poll(std::uint64_t now_tsc);
  unsigned poll_end();
  unsigned poll_wan(unsigned i);
  unsigned send_wan(unsigned i);
  unsigned poll_lan();
  unsigned take_inner(PhantomEnd& end, unsigned port, Way at);
  unsigned poll_self();
  unsigned poll_reflect();
  unsigned poll_relay();
  // Hands a frame of device `device` (its position) to the capture, where one runs.
  void tap(unsigned device, bool outgoing, const rte_mbuf* m, const char* reason = nullptr);
  unsigned open_one_by_one(unsigned i);
  void attack(unsigned i);
  [[nodiscard]] unsigned position(unsigned wan) const { return wan + (lan_ != nullptr ? 1 : 0); }
  unsigned generate(std::uint64_t now_tsc);
  [[nodiscard]] unsigned room(PhantomEnd& end, unsigned lan, unsigned wan) const;
  void ask_gateway(std::uint64_t now_tsc);
  unsigned take_over();
  void end_others(Burst& burst, unsigned others, Way at);
  void back_off(unsigned moved);
  void drain();

  LaneSetup setup_;
  Plan none_;  // until the first one
  const Plan* plan_ = &none_;
  std::atomic<const Plan*> next_plan_{nullptr};
  std::atomic<const Plan*> seen_{nullptr};
  std::vector<Device> devices_;  // LAN first, where there is one, then WAN
  Device* lan_ = nullptr;
  std::vector<Device*> wan_;
  Verifier verifier_;
  std::array<std::unique_ptr<Generator>, kWays> generators_;
  std::array<WayCounters, kWays> sent_{};
  std::array<std::uint64_t, kWays> intended_base_{};
  std::array<std::uint64_t, kWays> intended_{};
  LaneCounters counters_;
  std::uint64_t arrivals_ = 0;
  std::uint64_t ask_tsc_ = 0;
  unsigned idle_ = 0;
};

}  // namespace testpmd
