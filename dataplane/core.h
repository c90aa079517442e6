// What the stages of one worker share: its shard, engine, ports, tables, rings, counters and transmit
// buffers.
//
// Owner: the worker's thread, from construction to destruction. Nothing here allocates after construction.
// Stages take a Core and a batch, and know neither the worker nor each other beyond the calls below.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "crypto/aead.h"
#include "dataplane/adjacency.h"
#include "dataplane/batch.h"
#include "dataplane/fib.h"
#include "dataplane/local_endpoints.h"
#include "dataplane/mailbox.h"
#include "dataplane/message.h"
#include "dataplane/pkt_meta.h"
#include "dataplane/stats.h"
#include "session/shard.h"

struct rte_mempool;
struct rte_ring;

namespace dataplane {

struct Topology;
class StreamHost;

inline constexpr unsigned kEtherBytes = 14;

// How far ahead a pass asks for the packet it will touch: enough to cover a miss to L3 at about 40 cycles a
// packet and pass (bench_pipeline, 64-byte packets).
inline constexpr unsigned kPrefetchPackets = 4;

// A port as this worker sees it, with its transmit buffer. What the device does not take stays here, in
// order, and is offered again in the next loop.
inline constexpr unsigned kTxBuffer = 512;
struct CorePort {
  std::uint16_t ethdev = 0;
  std::uint16_t queue = 0;
  std::uint16_t mtu = 0;
  std::uint8_t index = 0;
  bool lan = false;
  bool wan = false;
  bool promiscuous = false;
  MacAddress mac{};
  std::uint64_t mac_word = 0;  // mac as the first six bytes of a word
  std::uint64_t rx_offloads = 0;
  std::uint64_t tx_offloads = 0;
  unsigned tx_count = 0;
  std::uint64_t tx_bytes = 0;  // in the buffer
  std::array<rte_mbuf*, kTxBuffer> tx{};
};

// Part of the ring to control that only answers to commands may fill, so that a command once taken is always
// answered.
inline constexpr unsigned kAnswerRoom = 32;

// Token bucket for packets that go to control. Time is the worker's clock in milliseconds.
struct PuntBudget {
  std::uint32_t tokens = 0;
  std::uint32_t refill_ms = 0;
  std::uint32_t burst = 0;
  std::uint32_t per_ms = 0;
  bool take(std::uint32_t now_ms);
};

// Which of a session's paths a packet leaves over.
enum class Via : std::uint8_t {
  kStream,  // as its stream is scheduled, with that path's id, and a copy where one is wanted
  kPath,    // over the path with id SealEntry::path, else as its stream; the id stays
};

// One packet on its way into a session.
struct SealEntry {
  rte_mbuf* m;
  std::uint32_t slot;
  std::uint16_t stream;
  std::uint16_t flags;
  std::uint8_t path;  // for Via::kPath
  Via via;
};

// Fences that wait for siblings' packets; no more commands are taken while there is no room for more.
inline constexpr unsigned kMaxFences = 64;

// What this worker still has to take from its siblings before a fence is answered.
struct Fence {
  Message command;
  std::vector<std::uint64_t> until;  // of Core::taken, by sibling
};

struct Core {
  Core(Topology& topology, unsigned worker_index);

  unsigned index;
  unsigned workers;
  unsigned burst;
  bool icmp_errors;
  session::Shard& shard;
  const Fib& fib;
  CoreStats& stats;
  StreamHost* streams;  // null: no services
  rte_mempool* pool;
  crypto::Aead aead;

  rte_ring* to_worker;                 // Message: from control
  rte_ring* to_control;                // Message: to control
  rte_ring* punt_ring;                 // mbufs: to control
  std::vector<rte_ring*> handoff_in;   // mbufs: from sibling i, null for myself
  std::vector<rte_ring*> handoff_out;  // mbufs: to sibling i, null for myself

  unsigned port_count = 0;
  std::array<CorePort, kMaxPorts> ports{};
  LocalEndpoints endpoints;
  AdjacencyTable adjacencies;
  PuntBudget error_budget;
  PuntBudget local_budget;

  std::uint64_t now_tsc = 0;
  std::uint64_t tsc_per_ms = 0;
  std::uint32_t base_ms = 0;  // of now_ms: other than 0 only where a test is the clock
  std::uint32_t now_ms = 0;

  // Gathered over a loop, emptied before it ends.
  std::array<SealEntry, kMaxBurst> seal{};
  unsigned seal_count = 0;
  std::vector<Packets> handoff;  // one list a sibling
  unsigned handoff_pending = 0;
  std::vector<std::uint64_t> taken;  // packets taken from each sibling
  std::vector<Fence> fences;         // ring of kMaxFences, oldest at fence_head
  unsigned fence_head = 0;
  unsigned fence_count = 0;
  unsigned waiting = 0;  // packets in holds

  void tick();

  // Ends a packet: freed and counted. The only place where packets of a worker are dropped.
  void drop(rte_mbuf* m, session::DropReason reason) {
    ++stats.drops[static_cast<std::size_t>(reason)];
    rte_pktmbuf_free(m);
  }
  void consume(rte_mbuf* m, session::ConsumedKind kind) {
    ++stats.consumed[static_cast<std::size_t>(kind)];
    rte_pktmbuf_free(m);
  }
  // Gives a packet to control; meta besides `punt` is the caller's. A full ring is a counted drop.
  void punt(rte_mbuf* m, PuntReason reason);
  // ARP, ND and packets to our own addresses, within their rate.
  void punt_local(rte_mbuf* m, PuntReason reason);
  // A packet that deserves an ICMP error: to control within the rate, else dropped for `reason`.
  void punt_error(rte_mbuf* m, PuntReason punt_reason, session::DropReason reason);
  // Message to control that may be lost.
  void hint(const Message& message);
  // Gives a packet to the worker that owns its session.
  void hand_off(rte_mbuf* m, unsigned owner, HandoffKind kind);
  void flush_handoff();
  // A fresh packet of ours with full headroom, counted as originated. Null when the pool is empty: then it is
  // counted as dropped, too.
  rte_mbuf* originate();
};

inline std::uint8_t* data_of(rte_mbuf* m) {
  return rte_pktmbuf_mtod(m, std::uint8_t*);
}

}  // namespace dataplane
