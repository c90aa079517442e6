#include "tools/testpmd/verifier.h"

#include <algorithm>

#include <rte_prefetch.h>

namespace testpmd {
namespace {

// Packets of so many runs before this one are late; what claims to be of any other run is damaged.
constexpr std::uint16_t kKnownRuns = 64;

}  // namespace

Verifier::Verifier(const AddressPlan& plan, const SessionMap& map, unsigned lane)
    : plan_(plan), map_(map), lane_(lane) {
  for (std::vector<Tracker>& trackers : trackers_) trackers.resize(map.of_lane(lane).size());
}

void Verifier::adopt(const Plan& before, const Plan& now) {
  flows_ = now.flows;
  any_run_ = now.mode == Mode::kVerify;
  if (now.fresh == before.fresh) return;
  run_ = now.run;
  for (std::vector<Tracker>& trackers : trackers_) std::fill(trackers.begin(), trackers.end(), Tracker{});
  last_tsc_ = {};
}

void Verifier::clear() {
  counters = {};
  for (Histogram& histogram : latency) histogram.clear();
  for (std::vector<Tracker>& trackers : trackers_) {
    for (Tracker& tracker : trackers) tracker.clear_counters();
  }
}

// In mode verify two packets in a row of one other run mean that the sender has begun anew.
bool Verifier::right_run(const Stamp& stamp, WayCounters& c) {
  if (stamp.run == run_) [[likely]]
    return true;
  if (any_run_ && stamp.run == other_run_) {
    run_ = stamp.run;
    for (std::vector<Tracker>& trackers : trackers_) std::fill(trackers.begin(), trackers.end(), Tracker{});
    return true;
  }
  other_run_ = stamp.run;
  const bool late = static_cast<std::uint16_t>(run_ - stamp.run) <= kKnownRuns;
  ++(late || any_run_ ? c.foreign : c.corrupt);
  return false;
}

void Verifier::judge(const Arrived& arrived, std::uint64_t now_tsc) {
  const Stamp& stamp = arrived.stamp;
  const auto way = static_cast<std::size_t>(stamp.way);
  WayCounters& c = counters[way];
  if (!right_run(stamp, c)) return;
  Tracker& tracker = trackers_[way][map_.local(stamp.session)];
  switch (tracker.arrive(stamp.sequence, flows_)) {
    case Arrival::kDuplicate:
      ++c.duplicates;
      return;
    case Arrival::kTooOld:
      ++c.too_old;
      return;
    case Arrival::kLate:
      ++c.out_of_order;
      break;
    case Arrival::kInOrder:
      break;
  }
  ++c.received;
  c.received_bytes += arrived.bytes;
  const std::uint64_t latency_tsc = now_tsc > stamp.tsc ? now_tsc - stamp.tsc : 0;
  latency[way].record(latency_tsc);
  tracker.note_latency(latency_tsc);
}

void Verifier::note_gap(unsigned ways, std::uint64_t now_tsc) {
  for (std::size_t way = 0; way < kWays; ++way) {
    if (((ways >> way) & 1U) == 0) continue;
    if (last_tsc_[way] != 0) {
      counters[way].longest_gap_tsc = std::max(counters[way].longest_gap_tsc, now_tsc - last_tsc_[way]);
    }
    last_tsc_[way] = now_tsc;
  }
}

// True: its own lane has it now, or it was lost on the way there.
bool Verifier::hand_over(const Arrived& arrived, const std::vector<rte_ring*>& to_lanes) {
  const unsigned owner = map_.owner(arrived.stamp.session);
  if (owner == lane_) return false;
  if (rte_ring_sp_enqueue(to_lanes[owner], arrived.m) != 0) {
    ++counters[static_cast<std::size_t>(arrived.stamp.way)].no_buffer;
    rte_pktmbuf_free(arrived.m);
  }
  return true;
}

unsigned Verifier::take(rte_mbuf** packets, unsigned n, Way at, std::uint64_t now_tsc,
                        const std::vector<rte_ring*>& to_lanes) {
  Arrived arrived[dataplane::kMaxBurst];
  rte_mbuf* done[dataplane::kMaxBurst];
  unsigned ours = 0, others = 0, done_count = 0, ways = 0;
  for (unsigned i = 0; i < n; ++i) rte_prefetch0(rte_pktmbuf_mtod(packets[i], void*));
  for (unsigned i = 0; i < n; ++i) {
    rte_mbuf* m = packets[i];
    Arrived& a = arrived[ours];
    a.m = m;
    const Found found = inspect(rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len, plan_, map_.sessions(),
                                a.stamp, a.bytes);
    if (found == Found::kOther) {
      packets[others++] = m;
    } else if (found == Found::kDamaged) {
      ++counters[static_cast<std::size_t>(at)].corrupt;
      done[done_count++] = m;
    } else {
      if (hand_over(a, to_lanes)) continue;
      rte_prefetch0(&trackers_[static_cast<std::size_t>(a.stamp.way)][map_.local(a.stamp.session)]);
      ways |= 1U << static_cast<unsigned>(a.stamp.way);
      ++ours;
    }
  }
  note_gap(ways, now_tsc);
  for (unsigned i = 0; i < ours; ++i) {
    judge(arrived[i], now_tsc);
    done[done_count++] = arrived[i].m;
  }
  rte_pktmbuf_free_bulk(done, done_count);
  return others;
}

}  // namespace testpmd
