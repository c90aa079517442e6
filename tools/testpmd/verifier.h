// Looks at every packet that arrives at one lane: is it ours, whole, new, in order, how late.
//
// Owner: the lane. A session's packets are judged by the lane that owns it (session_map.h); those that arrive
// elsewhere are handed over by rings.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/batch.h"
#include "tools/testpmd/plan.h"
#include "tools/testpmd/session_map.h"
#include "tools/testpmd/tracker.h"

namespace testpmd {

class Verifier {
 public:
  // `map` outlives it.
  Verifier(const AddressPlan& plan, const SessionMap& map, unsigned lane);

  void adopt(const Plan& before, const Plan& now);
  // Counters of sessions begin at 0 again.
  void clear();
  // Takes out of `packets` what is ours (counted and freed, or handed to its lane through `to_lanes`, by
  // lane); returns how many are left, which are none of ours, in order. `at`: the way whose packets are
  // expected there.
  unsigned take(rte_mbuf** packets, unsigned n, Way at, std::uint64_t now_tsc,
                const std::vector<rte_ring*>& to_lanes);

  [[nodiscard]] const Tracker& tracker(Way way, std::uint32_t local) const {
    return trackers_[static_cast<std::size_t>(way)][local];
  }
  std::array<WayCounters, kWays> counters{};
  std::array<Histogram, kWays> latency{};

 private:
  struct Arrived {
    Stamp stamp;
    unsigned bytes;
    rte_mbuf* m;
  };
  void judge(const Arrived& arrived, std::uint64_t now_tsc);
  bool right_run(const Stamp& stamp, WayCounters& c);
  void note_gap(unsigned ways, std::uint64_t now_tsc);
  bool hand_over(const Arrived& arrived, const std::vector<rte_ring*>& to_lanes);

  AddressPlan plan_;
  const SessionMap& map_;
  unsigned lane_;
  std::uint32_t flows_ = 1;
  std::uint16_t run_ = 0;
  std::uint16_t other_run_ = 0;                  // of the last packet that was not of ours
  bool any_run_ = false;                         // mode verify: the sender is another program
  std::array<std::uint64_t, kWays> last_tsc_{};  // of arrivals
  std::array<std::vector<Tracker>, kWays> trackers_;
};

}  // namespace testpmd
