#include "tools/testpmd/lane.h"

#include <algorithm>
#include <cstring>

#include <rte_cycles.h>
#include <rte_pause.h>
#include <unistd.h>

namespace testpmd {
namespace {

// Idle loops before a lane pauses, and before it sleeps, where it may.
constexpr unsigned kIdlePause = 16;
constexpr unsigned kIdleSleep = 64;
// Sleep of a lane without traffic: a rekey or a challenge waits for it.
constexpr unsigned kRestSleepUs = 200;
// How often the gateway's MAC address is asked for.
constexpr std::uint64_t kAsksPerSecond = 5;
// What may lie between a generator and its device inside an end before the generator waits.
constexpr unsigned kInnerRoom = kRingSize / 2;

unsigned take(rte_ring* ring, dataplane::Packets& out, unsigned most) {
  out.count = rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void**>(out.at), most, nullptr);
  return out.count;
}

// What one end sent on its WAN side arrives at the other; the caller saw that there is room.
unsigned carry(rte_ring* from, rte_ring* to) {
  dataplane::Packets burst;
  const unsigned room = std::min(rte_ring_free_count(to), dataplane::kMaxBurst);
  if (room == 0 || take(from, burst, room) == 0) return 0;
  rte_ring_sp_enqueue_burst(to, reinterpret_cast<void**>(burst.at), burst.count, nullptr);
  return burst.count;
}

}  // namespace

Lane::Lane(const LaneSetup& setup) : setup_(setup), verifier_(setup.addresses, *setup.map, setup.index) {
  const auto queue = static_cast<std::uint16_t>(setup.index);
  devices_.reserve(1 + setup.wan.size());
  if (setup.lan != nullptr) {
    devices_.emplace_back(setup.lan->config.name, setup.lan->ethdev, queue);
    lan_ = &devices_.back();
  }
  for (const dataplane::Port* port : setup.wan) {
    devices_.emplace_back(port->config.name, port->ethdev, queue);
    wan_.push_back(&devices_.back());
  }
  for (unsigned way = 0; way < kWays; ++way) {
    generators_[way] = std::make_unique<Generator>(static_cast<Way>(way), setup.addresses, *setup.map,
                                                   setup.index, setup.end->pool());
  }
}

Lane::~Lane() = default;

WayCounters Lane::way(Way way) const {
  const auto i = static_cast<std::size_t>(way);
  WayCounters c = verifier_.counters[i];
  c.intended = intended_[i] - intended_base_[i];
  c.sent_pkts = sent_[i].sent_pkts;
  c.sent_bytes = sent_[i].sent_bytes;
  c.refused = sent_[i].refused;
  c.no_buffer += sent_[i].no_buffer;
  return c;
}

SessionCounters Lane::session(std::uint32_t local) const {
  SessionCounters sum;
  for (unsigned way = 0; way < kWays; ++way) {
    const Tracker& t = verifier_.tracker(static_cast<Way>(way), local);
    sum.sent += generators_[way]->sent(local);
    sum.received += t.received();
    sum.duplicates += t.duplicates();
    sum.out_of_order += t.out_of_order();
    sum.latency_sum_tsc += t.latency_sum_tsc();
    sum.latency_max_tsc = std::max<std::uint64_t>(sum.latency_max_tsc, t.latency_max_tsc());
  }
  return sum;
}

void Lane::clear() {
  verifier_.clear();
  sent_ = {};
  intended_base_ = intended_;
  counters_ = {};
  for (auto& generator : generators_) generator->clear();
  for (Device& device : devices_) {
    PortCounters none;
    none.name = device.counters.name;
    device.counters = none;
  }
}

void Lane::take_plan() {
  const Plan* next = next_plan_.load(std::memory_order_acquire);
  if (next == nullptr || next == plan_) return;
  verifier_.adopt(*plan_, *next);
  const bool relays = next->mode == Mode::kRelay && next->running;
  if (setup_.relay != nullptr && !relays) setup_.relay->discard();
  const bool self = next->mode == Mode::kSelf;
  const auto queue = static_cast<std::uint16_t>(setup_.index);
  Outlet up;
  dataplane::MacAddress up_to = next->gateway_mac;
  dataplane::MacAddress up_from{};
  if (self) {
    up.ring = setup_.self->rings(setup_.self_lan, setup_.index).in;
    up_to = setup_.self->port(setup_.self_lan).mac;
  } else if (setup_.lan != nullptr) {
    up.ethdev = setup_.lan->ethdev;
    up.capture = setup_.capture;
    up.queue = queue;
    up_from = setup_.lan->mac;
  }
  Outlet down;
  down.ring = setup_.end->rings(setup_.end_lan, setup_.index).in;
  generators_[0]->adopt(*plan_, *next, up, up_to, up_from);
  generators_[1]->adopt(*plan_, *next, down, setup_.end->port(setup_.end_lan).mac, {});
  if (next->fresh != plan_->fresh) intended_ = {};
  const bool cleared = next->cleared != plan_->cleared;
  plan_ = next;
  if (cleared) clear();
  seen_.store(next, std::memory_order_release);
}

// What is none of ours: a question to the LAN host, or somebody else's.
void Lane::end_others(Burst& burst, unsigned others, Way at) {
  for (unsigned i = 0; i < others; ++i) {
    rte_mbuf* m = burst.at[i];
    bool discovery = false;
    if (lan_ != nullptr && at == Way::kDown && setup_.host->answer(m, discovery) && lan_->room() != 0) {
      lan_->push(m);
      continue;
    }
    if (!discovery) ++verifier_.counters[static_cast<std::size_t>(at)].foreign;
    rte_pktmbuf_free(m);
  }
}

void Lane::tap(unsigned device, bool outgoing, const rte_mbuf* m, const char* reason) {
  if (setup_.capture == nullptr || !setup_.capture->active()) [[likely]]
    return;
  setup_.capture->take(setup_.index, device, outgoing,
                       {rte_pktmbuf_mtod(m, const std::uint8_t*), rte_pktmbuf_data_len(m)}, reason);
}

unsigned Lane::poll_lan() {
  if (lan_ == nullptr) return 0;
  Burst burst;
  lan_->receive(burst, dataplane::kMaxBurst, counters_);
  for (rte_mbuf* m : burst) tap(0, false, m);
  const unsigned n = burst.count;
  if (n != 0) {
    arrivals_ += n;
    const unsigned others = verifier_.take(burst.at, n, Way::kDown, rte_rdtsc(), setup_.to_lanes);
    end_others(burst, others, Way::kDown);
  }
  return n + lan_->flush(counters_);
}

// What an end delivers on its LAN side. Its own announcements are nobody's business.
unsigned Lane::take_inner(PhantomEnd& end, unsigned port, Way at) {
  Burst burst;
  const unsigned n = take(end.rings(port, setup_.index).out, burst, dataplane::kMaxBurst);
  if (n == 0) return 0;
  arrivals_ += n;
  const unsigned others = verifier_.take(burst.at, n, at, rte_rdtsc(), setup_.to_lanes);
  for (unsigned i = 0; i < others; ++i) {
    const std::uint16_t type = session::load_be16(rte_pktmbuf_mtod(burst.at[i], const std::uint8_t*) + 12);
    if (type == RTE_ETHER_TYPE_IPV4) ++verifier_.counters[static_cast<std::size_t>(at)].foreign;
    rte_pktmbuf_free(burst.at[i]);
  }
  return n;
}

// Frames that arrive are opened one at a time, so that each one's drop reason is known.
unsigned Lane::open_one_by_one(unsigned i) {
  rte_ring* in = setup_.end->rings(setup_.end_wan[i], setup_.index).in;
  Burst burst;
  wan_[i]->receive(burst, std::min(rte_ring_free_count(in), dataplane::kMaxBurst), counters_);
  arrivals_ += burst.count;
  std::array<std::uint8_t, kCaptureBytes> copy;
  for (rte_mbuf* m : burst) {
    const std::size_t wire_bytes = rte_pktmbuf_data_len(m);
    const std::size_t bytes = std::min(wire_bytes, copy.size());
    std::memcpy(copy.data(), rte_pktmbuf_mtod(m, const std::uint8_t*), bytes);
    const auto before = setup_.end->stats(setup_.index).drops;
    rte_ring_sp_enqueue(in, m);
    setup_.end->worker(setup_.index).poll();
    const auto& after = setup_.end->stats(setup_.index).drops;
    const auto changed = std::mismatch(before.begin(), before.end(), after.begin()).first - before.begin();
    const bool dropped = static_cast<std::size_t>(changed) != before.size();
    const char* reason =
        dropped ? session::kDropReasonNames[static_cast<std::size_t>(changed)].data() : nullptr;
    if (setup_.capture != nullptr && setup_.capture->active()) {
      setup_.capture->take(setup_.index, position(i), false, {copy.data(), bytes}, reason, wire_bytes);
    }
  }
  return burst.count;
}

unsigned Lane::poll_wan(unsigned i) {
  if (plan_->mode == Mode::kCapture && plan_->running) return open_one_by_one(i);
  rte_ring* in = setup_.end->rings(setup_.end_wan[i], setup_.index).in;
  const unsigned room = std::min(rte_ring_free_count(in), dataplane::kMaxBurst);
  if (room == 0) return 0;
  Burst burst;
  wan_[i]->receive(burst, room, counters_);
  if (burst.count == 0) return 0;
  arrivals_ += burst.count;
  for (rte_mbuf* m : burst) tap(position(i), false, m);
  rte_ring_sp_enqueue_burst(in, reinterpret_cast<void**>(burst.at), burst.count, nullptr);
  return burst.count;
}

// What an attacker puts behind the session's own packets.
void Lane::attack(unsigned i) {
  std::array<rte_mbuf*, Device::kWaiting> forged;
  const unsigned n = setup_.attacker->make(forged.data(), wan_[i]->room(), rte_rdtsc());
  for (unsigned k = 0; k < n; ++k) {
    tap(position(i), true, forged[k]);
    wan_[i]->push(forged[k]);
  }
}

unsigned Lane::send_wan(unsigned i) {
  Device& device = *wan_[i];
  const bool attacked = i == 0 && setup_.attacker != nullptr && setup_.attacker->active();
  if (device.waiting() == 0) {
    Burst burst;
    take(setup_.end->rings(setup_.end_wan[i], setup_.index).out, burst, dataplane::kMaxBurst);
    for (rte_mbuf* m : burst) {
      if (attacked && !setup_.attacker->seen(m)) continue;
      tap(position(i), true, m);
      device.push(m);
    }
    if (attacked) attack(i);
  }
  return device.flush(counters_);
}

unsigned Lane::poll_end() {
  unsigned moved = 0;
  for (unsigned i = 0; i < wan_.size(); ++i) moved += poll_wan(i);
  setup_.end->worker(setup_.index).poll();
  for (unsigned i = 0; i < wan_.size(); ++i) moved += send_wan(i);
  return moved + take_inner(*setup_.end, setup_.end_lan, Way::kUp);
}

unsigned Lane::poll_self() {
  PhantomEnd& far = *setup_.end;
  PhantomEnd& near = *setup_.self;
  unsigned moved = 0;
  near.worker(setup_.index).poll();
  for (unsigned i = 0; i < setup_.end_wan.size(); ++i) {
    moved += carry(near.rings(setup_.self_wan[i], setup_.index).out,
                   far.rings(setup_.end_wan[i], setup_.index).in);
  }
  far.worker(setup_.index).poll();
  for (unsigned i = 0; i < setup_.end_wan.size(); ++i) {
    moved += carry(far.rings(setup_.end_wan[i], setup_.index).out,
                   near.rings(setup_.self_wan[i], setup_.index).in);
  }
  moved += take_inner(far, setup_.end_lan, Way::kUp);
  return moved + take_inner(near, setup_.self_lan, Way::kDown);
}

unsigned Lane::poll_relay() {
  const std::uint64_t now_tsc = rte_rdtsc();
  const double ns = static_cast<double>(now_tsc) * 1e9 / static_cast<double>(rte_get_tsc_hz());
  return setup_.relay->poll(static_cast<std::uint64_t>(ns));
}

unsigned Lane::poll_reflect() {
  unsigned moved = 0;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    Device& device = devices_[i];
    Burst burst;
    const unsigned room = std::min(device.room(), dataplane::kMaxBurst);
    if (room != 0) device.receive(burst, room, counters_);
    arrivals_ += burst.count;
    for (rte_mbuf* m : burst) {
      bool discovery = false;
      if (setup_.hosts[i]->answer(m, discovery)) {
        device.push(m);
      } else if (discovery) {
        rte_pktmbuf_free(m);
      } else {
        reflect(m);
        device.push(m);
      }
    }
    moved += burst.count + device.flush(counters_);
  }
  return moved;
}

// Nothing is put into an end that could not leave it again: the harness loses no packet of its own.
unsigned Lane::room(PhantomEnd& end, unsigned lan, unsigned wan) const {
  const unsigned used =
      rte_ring_count(end.rings(lan, setup_.index).in) + rte_ring_count(end.rings(wan, setup_.index).out);
  return used < kInnerRoom ? dataplane::kMaxBurst : 0;
}

unsigned Lane::generate(std::uint64_t now_tsc) {
  unsigned moved = 0;
  for (unsigned way = 0; way < kWays; ++way) {
    Generator& generator = *generators_[way];
    if (!generator.active()) continue;
    const bool up = way == static_cast<unsigned>(Way::kUp);
    const bool to_device = up && plan_->mode != Mode::kSelf;
    unsigned most = dataplane::kMaxBurst;
    if (!up) most = room(*setup_.end, setup_.end_lan, setup_.end_wan[0]);
    if (up && !to_device) most = room(*setup_.self, setup_.self_lan, setup_.self_wan[0]);
    WayCounters& sent = sent_[way];
    const std::uint64_t bytes = sent.sent_bytes;
    const unsigned n = generator.run(now_tsc, most, sent);
    if (to_device && n != 0) lan_->count_sent(n, sent.sent_bytes - bytes - std::uint64_t{n} * kFcsBytes);
    intended_[way] = generator.intended(now_tsc);
    moved += n;
  }
  return moved;
}

void Lane::ask_gateway(std::uint64_t now_tsc) {
  if (setup_.index != 0 || lan_ == nullptr || setup_.host->known() || !setup_.host->wanted()) return;
  if (now_tsc < ask_tsc_ || lan_->room() == 0) return;
  ask_tsc_ = now_tsc + rte_get_tsc_hz() / kAsksPerSecond;
  rte_mbuf* m = rte_pktmbuf_alloc(setup_.end->pool());
  if (m == nullptr) return;
  if (setup_.host->ask(m)) {
    lan_->push(m);
  } else {
    rte_pktmbuf_free(m);
  }
}

unsigned Lane::take_over() {
  unsigned moved = 0;
  for (rte_ring* ring : setup_.from_lanes) {
    Burst burst;
    if (ring == nullptr || take(ring, burst, dataplane::kMaxBurst) == 0) continue;
    moved += burst.count;
    verifier_.take(burst.at, burst.count, Way::kUp, rte_rdtsc(), setup_.to_lanes);
  }
  return moved;
}

unsigned Lane::poll(std::uint64_t now_tsc) {
  unsigned moved = 0;
  if (plan_->mode == Mode::kSelf) {
    moved += generate(now_tsc) + poll_self();
  } else if (plan_->mode == Mode::kReflect && plan_->running) {
    moved += poll_reflect();
  } else if (plan_->mode == Mode::kRelay && plan_->running && setup_.relay != nullptr) {
    moved += poll_relay();
  } else {
    ask_gateway(now_tsc);
    moved += poll_lan() + generate(now_tsc) + poll_end();
  }
  if (setup_.map->lanes() > 1) moved += take_over();
  return moved;
}

void Lane::back_off(unsigned moved) {
  if (moved != 0) {
    idle_ = 0;
    return;
  }
  if (++idle_ < kIdlePause) return;
  if (idle_ < kIdleSleep || (plan_->running && !setup_.backoff)) {
    rte_pause();
    return;
  }
  usleep(plan_->running ? setup_.sleep_us : kRestSleepUs);
}

void Lane::run(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    take_plan();
    const std::uint64_t now_tsc = rte_rdtsc();
    const unsigned moved = poll(now_tsc);
    ++counters_.loops;
    if (moved != 0) {
      ++counters_.busy_loops;
      counters_.busy_tsc += rte_rdtsc() - now_tsc;
    }
    back_off(moved);
  }
  drain();
}

// Workers give back what they hold; what nobody will take any more is freed with the rings.
void Lane::drain() {
  const std::atomic<bool> stop{true};
  setup_.end->worker(setup_.index).run(stop);
  if (setup_.self != nullptr) setup_.self->worker(setup_.index).run(stop);
  for (auto& generator : generators_) generator->discard();
  if (setup_.relay != nullptr) setup_.relay->discard();
  for (Device& device : devices_) device.discard();
  for (rte_ring* ring : setup_.from_lanes) {
    Burst burst;
    while (ring != nullptr && take(ring, burst, dataplane::kMaxBurst) != 0) {
      rte_pktmbuf_free_bulk(burst.at, burst.count);
    }
  }
}

}  // namespace testpmd
