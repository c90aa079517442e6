#include "dataplane/core.h"

#include <algorithm>
#include <cstring>

#include <rte_ring.h>

#include "dataplane/stream_host.h"
#include "dataplane/topology.h"
#include "dataplane/tsc.h"

namespace dataplane {
namespace {

// Packets of one worker that control has to answer with an ICMP error: RFC 1812 4.3.2.8 and RFC 4443 2.4(f)
// ask for a limit; a token bucket of 100 a burst and 1,000 a second per worker never starves path MTU
// discovery of real hosts.
constexpr std::uint32_t kErrorBurst = 100;
constexpr std::uint32_t kErrorsPerMs = 1;
// ARP, ND and packets to our own addresses: a busy LAN segment stays below, a flood does not keep control
// from its sessions.
constexpr std::uint32_t kLocalBurst = 512;
constexpr std::uint32_t kLocalPerMs = 10;

CorePort make_port(const Port& port, unsigned queue) {
  CorePort p;
  p.ethdev = port.ethdev;
  p.queue = static_cast<std::uint16_t>(queue);
  p.mtu = port.config.mtu;
  p.index = port.index;
  p.lan = port.config.lan;
  p.wan = port.config.wan;
  p.promiscuous = port.config.promiscuous;
  p.mac = port.mac;
  std::memcpy(&p.mac_word, port.mac.data(), port.mac.size());
  p.rx_offloads = port.rx_offloads;
  p.tx_offloads = port.tx_offloads;
  return p;
}

}  // namespace

bool PuntBudget::take(std::uint32_t now_ms) {
  const std::uint32_t elapsed = now_ms - refill_ms;
  if (elapsed != 0) {
    const std::uint64_t refilled = tokens + std::uint64_t{elapsed} * per_ms;
    tokens = static_cast<std::uint32_t>(std::min<std::uint64_t>(refilled, burst));
    refill_ms = now_ms;
  }
  if (tokens == 0) return false;
  --tokens;
  return true;
}

Core::Core(Topology& topo, unsigned worker_index)
    : index(worker_index),
      workers(static_cast<unsigned>(topo.workers.size())),
      burst(std::clamp<unsigned>(topo.config.cores.burst, 1, kMaxBurst)),
      icmp_errors(topo.config.icmp_errors),
      shard(*topo.workers[worker_index].shard),
      fib(*topo.fib),
      stats(*topo.workers[worker_index].stats),
      streams(topo.workers[worker_index].streams.get()),
      pool(topo.packets),
      to_worker(topo.workers[worker_index].to_worker),
      to_control(topo.workers[worker_index].to_control),
      punt_ring(topo.workers[worker_index].punt),
      handoff_in(topo.workers[worker_index].handoff_in),
      adjacencies(topo.config.pools.neighbour_packets),
      error_budget{kErrorBurst, 0, kErrorBurst, kErrorsPerMs},
      local_budget{kLocalBurst, 0, kLocalBurst, kLocalPerMs},
      tsc_per_ms(rte_get_tsc_hz() / 1000),
      handoff(topo.workers.size()),
      taken(topo.workers.size()),
      fences(kMaxFences) {
  for (const WorkerParts& sibling : topo.workers) handoff_out.push_back(sibling.handoff_in[index]);
  for (const Port& port : topo.ports) ports[port_count++] = make_port(port, worker_index);
  for (Fence& fence : fences) fence.until.resize(topo.workers.size());
  std::uint16_t at = 0;
  for (const session::Endpoint& local : topo.local_endpoints) endpoints.add(at++, local);
  tick();
}

std::uint64_t test_tsc = 0;

void Core::tick() {
  now_tsc = read_tsc();
  now_ms = base_ms + static_cast<std::uint32_t>(now_tsc / tsc_per_ms);
}

void Core::punt(rte_mbuf* m, PuntReason reason) {
  meta(m).punt = reason;
  if (rte_ring_sp_enqueue(punt_ring, m) != 0) [[unlikely]] {
    drop(m, session::DropReason::kPuntRing);
    return;
  }
  ++stats.punted;
}

void Core::punt_local(rte_mbuf* m, PuntReason reason) {
  if (!local_budget.take(now_ms)) [[unlikely]] {
    drop(m, session::DropReason::kPuntRate);
    return;
  }
  punt(m, reason);
}

void Core::punt_error(rte_mbuf* m, PuntReason punt_reason, session::DropReason reason) {
  if (!icmp_errors || !error_budget.take(now_ms)) {
    drop(m, reason);
    return;
  }
  punt(m, punt_reason);
}

void Core::hint(const Message& message) {
  if (rte_ring_free_count(to_control) <= kAnswerRoom || !push(to_control, message)) ++stats.hints_dropped;
}

void Core::hand_off(rte_mbuf* m, unsigned owner, HandoffKind kind) {
  meta(m).handoff = kind;
  Packets& list = handoff[owner];
  if (list.full()) flush_handoff();
  list.push(m);
  ++handoff_pending;
}

void Core::flush_handoff() {
  if (handoff_pending == 0) return;
  for (unsigned owner = 0; owner < workers; ++owner) {
    Packets& list = handoff[owner];
    if (list.count == 0) continue;
    rte_ring* ring = handoff_out[owner];
    const unsigned sent =
        rte_ring_sp_enqueue_burst(ring, reinterpret_cast<void**>(list.at), list.count, nullptr);
    stats.handed_off += sent;
    for (unsigned i = sent; i < list.count; ++i) drop(list.at[i], session::DropReason::kHandoffRing);
    list.count = 0;
  }
  handoff_pending = 0;
}

rte_mbuf* Core::originate() {
  rte_mbuf* m = rte_pktmbuf_alloc(pool);
  ++stats.originated;
  if (m == nullptr) [[unlikely]] {
    ++stats.drops[static_cast<std::size_t>(session::DropReason::kNoBuffer)];
  }
  return m;
}

}  // namespace dataplane
