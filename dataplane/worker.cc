#include "dataplane/worker.h"

#include <algorithm>

#include <rte_ethdev.h>
#include <rte_pause.h>
#include <rte_ring.h>
#include <unistd.h>

#include "dataplane/core.h"
#include "dataplane/forward.h"
#include "dataplane/open.h"
#include "dataplane/parse.h"
#include "dataplane/seal.h"
#include "dataplane/steer.h"
#include "dataplane/stream_host.h"
#include "dataplane/tsc.h"
#include "dataplane/tx.h"
#include "dataplane/worker_messages.h"

namespace dataplane {
namespace {

// Idle loops before a worker that may back off pauses, and before it sleeps.
constexpr unsigned kIdlePause = 16;
constexpr unsigned kIdleSleep = 64;
// How often neighbours that packets wait for are looked at.
constexpr std::uint32_t kAgePeriodMs = 100;
// How long a stopping worker goes on sending what it holds.
constexpr std::uint32_t kDrainMs = 100;

unsigned fill_bucket(unsigned n) {
  if (n == 0) return 0;
  return std::min(kBurstBuckets - 1, 32U - static_cast<unsigned>(__builtin_clz(n)));
}

}  // namespace

struct Worker::Impl {
  Impl(Topology& topology, unsigned index)
      : core(topology, index),
        backoff(topology.config.cores.idle_backoff),
        sleep_us(topology.config.cores.idle_sleep_us) {}

  Core core;
  bool backoff;
  std::uint32_t sleep_us;
  unsigned idle = 0;
  std::uint32_t aged_ms = 0;

  bool poll();
  void drain();
  unsigned receive(CorePort& port);
  unsigned take_over(unsigned sibling);
  unsigned take_over_all();
  void open_owned(Packets& pkts, bool handed_over = false);
  void unbundle(Packets& inner);
  void deliver_inner(Packets& parts);
  void finish_loop();
  void back_off(bool moved);
};

// Out of the tunnel: pkts are this worker's own, framing checked.
void Worker::Impl::open_owned(Packets& pkts, bool handed_over) {
  if (pkts.count == 0) return;
  Packets inner;
  const bool bundles = open_burst(core, pkts, inner);
  if (handed_over) {
    for (rte_mbuf* m : inner) ++core.shard.hot(meta(m).slot).handed_over;
  }
  if (bundles) [[unlikely]]
    return unbundle(inner);
  forward_inner(core, inner);
}

// Out of a bundle: IP packets, or datagrams of a session with streams.
void Worker::Impl::deliver_inner(Packets& parts) {
  Packets packets;
  for (rte_mbuf* m : parts) {
    StreamSession* s = core.streams == nullptr ? nullptr : core.streams->session(meta(m).slot);
    if (s == nullptr) {
      packets.push(m);
    } else if (core.streams->take_datagram(*s, meta(m).stream, {data_of(m), m->data_len})) {
      core.consume(m, session::ConsumedKind::kConsumedDatagram);
    } else {
      core.drop(m, session::DropReason::kNoService);
    }
  }
  parts.count = 0;
  forward_inner(core, packets);
}

// Bundles among delivered packets: their parts go on in their place, so order is kept.
void Worker::Impl::unbundle(Packets& inner) {
  Packets plain;
  for (rte_mbuf* m : inner) {
    if ((meta(m).flags & session::kFlagCoalesced) == 0) {
      plain.push(m);
      continue;
    }
    deliver_inner(plain);
    unsigned left = 0;
    if (!check_bundle(core, m, left)) continue;
    std::uint32_t at = 2;
    for (bool more = true; more;) {
      more = next_parts(core, m, at, left, plain);
      deliver_inner(plain);
    }
  }
  deliver_inner(plain);
  inner.count = 0;
}

unsigned Worker::Impl::receive(CorePort& port) {
  Packets in;
  in.count = rte_eth_rx_burst(port.ethdev, port.queue, in.at, static_cast<std::uint16_t>(core.burst));
  ++core.stats.burst_fill[fill_bucket(in.count)];
  if (in.count == 0) return 0;
  const unsigned n = in.count;
  PortStats& stats = core.stats.port[port.index];
  stats.rx_pkts += n;
  for (rte_mbuf* m : in) stats.rx_bytes += m->pkt_len;
  Parsed parsed;
  parse_burst(core, port, in, parsed);
  steer(core, parsed.phantom);
  open_owned(parsed.phantom);
  route(core, parsed.ip);
  return n;
}

// Packets that siblings received for sessions of ours.
unsigned Worker::Impl::take_over(unsigned sibling) {
  rte_ring* ring = core.handoff_in[sibling];
  if (ring == nullptr) return 0;
  Packets in;
  in.count = rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void**>(in.at), core.burst, nullptr);
  if (in.count == 0) return 0;
  core.taken[sibling] += in.count;
  core.stats.taken_over += in.count;
  const unsigned n = in.count;
  Packets phantom;
  for (rte_mbuf* m : in) {
    if (meta(m).handoff == kHandoffOpen) {
      phantom.push(m);
    } else {
      enter_session(core, m, meta(m).slot);
    }
  }
  open_owned(phantom, true);
  return n;
}

unsigned Worker::Impl::take_over_all() {
  unsigned moved = 0;
  for (unsigned sibling = 0; sibling < core.workers; ++sibling) moved += take_over(sibling);
  return moved;
}

void Worker::Impl::finish_loop() {
  seal_flush(core);
  core.flush_handoff();
  answer_fences(core);
  tx_flush(core);
  pay_owed(core);
  if (core.now_ms - aged_ms >= kAgePeriodMs) {
    aged_ms = core.now_ms;
    age_holds(core);
  }
  core.stats.held = held(core);
}

bool Worker::Impl::poll() {
  core.tick();
  unsigned moved = 0;
  for (unsigned i = 0; i < core.port_count; ++i) moved += receive(core.ports[i]);
  moved += take_over_all();
  Packets returned;
  const unsigned messages = take_messages(core, returned);
  moved += returned.count;
  steer(core, returned);
  open_owned(returned);
  if (core.streams != nullptr && core.streams->run(core)) ++moved;
  finish_loop();
  CoreStats& stats = core.stats;
  ++stats.loops;
  if (moved != 0) {
    ++stats.busy_loops;
    stats.busy_tsc += read_tsc() - core.now_tsc;
  }
  return moved + messages != 0;
}

void Worker::Impl::back_off(bool moved) {
  if (moved) {
    idle = 0;
    return;
  }
  if (++idle < kIdlePause) return;
  if (idle < kIdleSleep || held(core) != 0) {
    rte_pause();
    return;
  }
  ++core.stats.sleeps;
  usleep(sleep_us);
}

// Nothing new is received; siblings' packets, control's messages and held packets still are worked off.
void Worker::Impl::drain() {
  core.tick();
  if (core.streams != nullptr) core.streams->end(core);
  const std::uint32_t begin = core.now_ms;
  bool busy = true;
  while (core.now_ms - begin < kDrainMs && (busy || held(core) != 0)) {
    core.tick();
    unsigned moved = take_over_all();
    Packets returned;
    moved += take_messages(core, returned);
    steer(core, returned);
    open_owned(returned);
    finish_loop();
    busy = moved != 0;
  }
  discard_held(core);
  core.stats.held = 0;
}

Worker::Worker(Topology& topology, unsigned index) : impl_(std::make_unique<Impl>(topology, index)) {}
Worker::~Worker() = default;

bool Worker::poll() {
  return impl_->poll();
}

void Worker::set_clock(std::uint32_t now_ms) {
  impl_->core.tsc_per_ms = UINT64_MAX;
  impl_->core.base_ms = now_ms;
}

void Worker::run(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    const bool moved = impl_->poll();
    if (impl_->backoff) impl_->back_off(moved);
  }
  impl_->drain();
}

}  // namespace dataplane
