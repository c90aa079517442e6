#include "tools/testpmd/generator.h"

#include <algorithm>
#include <cmath>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace testpmd {

unsigned Outlet::put(rte_mbuf** packets, unsigned n) const {
  if (ring != nullptr) {
    return rte_ring_sp_enqueue_burst(ring, reinterpret_cast<void**>(packets), n, nullptr);
  }
  return rte_eth_tx_burst(ethdev, queue, packets, static_cast<std::uint16_t>(n));
}

Generator::Generator(Way way, const AddressPlan& plan, const SessionMap& map, unsigned lane,
                     rte_mempool* pool)
    : way_(way), plan_(plan), map_(map), lane_(lane), pool_(pool) {
  next_.resize(map.of_lane(lane).size());
  base_.resize(next_.size());
}

Generator::~Generator() {
  discard();
}

void Generator::adopt(const Plan& before, const Plan& now, const Outlet& outlet,
                      const dataplane::MacAddress& to, const dataplane::MacAddress& from) {
  now_ = &now;
  outlet_ = outlet;
  maker_ = FrameMaker(way_, plan_, to, from);
  locals_ = map_.count(lane_, now.sessions);
  const double share = now.sessions == 0 ? 0 : static_cast<double>(locals_) / now.sessions;
  if (local_ >= locals_) local_ = 0;
  active_ = now.sending && now.ways[static_cast<std::size_t>(way_)] && locals_ != 0;
  if (now.fresh != before.fresh) {
    discard();
    schedule_.reset();
    made_ = extra_ = 0;
    local_ = 0;
    turn_ = 0;
    first_left_ = static_cast<std::uint64_t>(std::ceil(static_cast<double>(now.first_pkts) * share));
    std::fill(next_.begin(), next_.end(), 0);
    std::fill(base_.begin(), base_.end(), 0);
  }
  if (now.schedule != before.schedule) schedule_.set(now.pkts_per_tsc * share, now.start_tsc, now.end_tsc);
  if (turn_ >= now.sizes.size()) turn_ = 0;
}

void Generator::clear() {
  base_ = next_;
  for (unsigned i = 0; i < count_; ++i) --base_[local_of(waiting_[head_ + i])];
}

std::uint32_t Generator::local_of(const rte_mbuf* m) const {
  return map_.local(read_stamp(rte_pktmbuf_mtod(m, const std::uint8_t*) + kStampAt).session);
}

std::uint64_t Generator::intended(std::uint64_t now_tsc) const {
  return extra_ + schedule_.intended(now_tsc);
}

unsigned Generator::due(std::uint64_t now_tsc) const {
  if (!active_ || !schedule_.begun(now_tsc)) return 0;
  if (first_left_ != 0) return static_cast<unsigned>(std::min<std::uint64_t>(first_left_, now_->burst));
  if (schedule_.unlimited()) return schedule_.over(now_tsc) ? 0 : now_->burst;
  const std::uint64_t behind = intended(now_tsc) - made_;
  return static_cast<unsigned>(std::min<std::uint64_t>(behind, now_->burst));
}

void Generator::write(rte_mbuf* m, std::uint64_t now_tsc) {
  const unsigned bytes = now_->sizes[turn_];
  if (++turn_ == now_->sizes.size()) turn_ = 0;
  const std::uint32_t session = map_.of_lane(lane_)[local_];
  const std::uint32_t number = next_[local_]++;
  if (++local_ == locals_) local_ = 0;
  const std::uint32_t flows = now_->flows;
  const std::uint32_t flow = flows == 1 ? 0 : number % flows;
  const std::uint16_t port = now_->ports[static_cast<std::size_t>(way_)][std::size_t{session} * flows + flow];
  m->data_len = static_cast<std::uint16_t>(bytes - kFcsBytes);
  m->pkt_len = m->data_len;
  maker_.write(rte_pktmbuf_mtod(m, std::uint8_t*), bytes, port,
               Stamp{session, way_, number, now_tsc, now_->run});
}

void Generator::make(std::uint64_t now_tsc, unsigned n, WayCounters& counters) {
  if (rte_pktmbuf_alloc_bulk(pool_, waiting_.data(), n) != 0) {
    counters.no_buffer += n;
    return;
  }
  for (unsigned i = 0; i < n; ++i) rte_prefetch0(rte_pktmbuf_mtod(waiting_[i], void*));
  for (unsigned i = 0; i < n; ++i) write(waiting_[i], now_tsc);
  if (outlet_.capture != nullptr && outlet_.capture->active()) [[unlikely]] {
    for (unsigned i = 0; i < n; ++i) {
      const rte_mbuf* m = waiting_[i];
      outlet_.capture->take(lane_, 0, true, {rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len}, nullptr);
    }
  }
  head_ = 0;
  count_ = n;
  made_ += n;
  if (first_left_ != 0 || schedule_.unlimited()) extra_ += n;
  first_left_ -= std::min<std::uint64_t>(first_left_, n);
}

unsigned Generator::hand_over(WayCounters& counters) {
  if (count_ == 0) return 0;
  std::uint64_t bytes[dataplane::kMaxBurst];
  for (unsigned i = 0; i < count_; ++i) bytes[i] = waiting_[head_ + i]->pkt_len + kFcsBytes;
  const unsigned taken = outlet_.put(waiting_.data() + head_, count_);
  for (unsigned i = 0; i < taken; ++i) counters.sent_bytes += bytes[i];
  counters.sent_pkts += taken;
  head_ += taken;
  count_ -= taken;
  if (count_ != 0) ++counters.refused;
  return taken;
}

unsigned Generator::run(std::uint64_t now_tsc, unsigned room, WayCounters& counters) {
  if (count_ == 0) {
    const unsigned n = std::min(due(now_tsc), room);
    if (n != 0) make(now_tsc, n, counters);
  }
  return room == 0 ? 0 : hand_over(counters);
}

// These were never sent, so their sessions don't count them.
void Generator::discard() {
  for (; count_ != 0; --count_) {
    rte_mbuf* m = waiting_[head_++];
    ++base_[local_of(m)];
    rte_pktmbuf_free(m);
  }
}

}  // namespace testpmd
