#include "dataplane/seal.h"

#include <cstring>

#include <rte_ethdev.h>

#include "dataplane/ip.h"
#include "dataplane/tx.h"

namespace dataplane {
namespace {

using session::DropReason;

// Packets of one call of the engine: the jobs, and by the same index what sending needs afterwards.
struct SealBatch {
  crypto::AeadJob jobs[kMaxBurst];
  rte_mbuf* packets[kMaxBurst];
  const session::OuterTemplate* outers[kMaxBurst];
  unsigned count = 0;
};

unsigned slot_of(const session::PathSet& set, const SealEntry& entry) {
  const unsigned scheduled = entry.stream < session::kTxStreams ? set.primary[entry.stream] : 0;
  if (entry.via == Via::kStream || set.outer[scheduled].path_id == entry.path) return scheduled;
  for (unsigned i = 0; i < set.count; ++i) {
    if (set.outer[i].path_id == entry.path) return i;
  }
  return scheduled;
}

Way way_over(session::PathSet& set, unsigned slot, const SealEntry& entry) {
  session::OuterTemplate& outer = set.outer[slot];
  return Way{&outer, &set.traffic[slot], entry.via == Via::kStream ? outer.path_id : entry.path};
}

Way way_of(session::SessionHot& hot, session::PathSet* set, const SealEntry& entry) {
  if (set != nullptr) [[unlikely]]
    return way_over(*set, slot_of(*set, entry), entry);
  return Way{&hot.outer, nullptr, entry.via == Via::kStream ? hot.outer.path_id : entry.path};
}

bool wants_copy(const session::PathSet& set, const SealEntry& entry) {
  if (entry.via != Via::kStream || entry.stream >= session::kTxStreams) return false;
  const std::uint8_t second = set.second[entry.stream];
  return second != session::kNoPathSlot && set.outer[second].length != 0;
}

// A packet must have somewhere to go and room for its headers before a number is spent on it.
DropReason check(const session::SessionHot& hot, const SealEntry& entry, const Way& way) {
  if (hot.state == session::LifeState::kFree) return DropReason::kStaleHandle;
  if (way.outer->length == 0) return DropReason::kNoEndpoint;
  if (rte_pktmbuf_headroom(entry.m) < kSealHeadroom) return DropReason::kNoBuffer;
  if (rte_pktmbuf_tailroom(entry.m) < kSealTailroom) return DropReason::kNoBuffer;
  return DropReason::kNone;
}

// False: the packet is gone. A number once granted is spent whatever happens.
[[gnu::always_inline]] inline bool grant_one(Core& core, session::SessionHot& hot, const SealEntry& entry,
                                             const Way& way, session::TxGrant& grant) {
  DropReason bad = check(hot, entry, way);
  if (bad == DropReason::kNone) [[likely]] {
    if (core.shard.grant_usual(hot, entry.stream, grant)) [[likely]]
      return true;
    grant = core.shard.grant(entry.slot, entry.stream);
    bad = grant.drop;
  }
  if (bad == DropReason::kNone) [[likely]]
    return true;
  ++hot.tx_drops;
  core.drop(entry.m, bad);
  return false;
}

// The same plaintext once more, for the second path, whose id makes the nonce another one. Null: without a
// buffer, or a seal left in the epoch, there is no copy.
rte_mbuf* copy_of(Core& core, const SealEntry& entry) {
  if (!core.shard.grant_copy(entry.slot)) return nullptr;
  rte_mbuf* m = core.originate();
  if (m == nullptr) return nullptr;
  const std::uint16_t bytes = entry.m->data_len;
  char* to = rte_pktmbuf_append(m, bytes);
  if (to == nullptr || rte_pktmbuf_tailroom(m) < kSealTailroom) {
    core.drop(m, DropReason::kNoBuffer);
    return nullptr;
  }
  std::memcpy(to, data_of(entry.m), bytes);
  meta(m) = meta(entry.m);
  return m;
}

// IPv4: total length, identification, DSCP/ECN and checksum; IPv6: payload length and traffic class. Then the
// UDP length. `p`: outer IP header, `bytes`: of the whole outer packet.
[[gnu::always_inline]] inline void finish_outer(std::uint8_t* p, session::OuterTemplate& outer,
                                                std::uint32_t bytes, std::uint8_t tclass) {
  const auto total = static_cast<std::uint16_t>(bytes);
  if (outer.length == kIp4Bytes + kUdpBytes) {
    std::memcpy(p, outer.bytes.data(), kIp4Bytes + kUdpBytes);
    const std::uint16_t id = outer.ip_id++;
    p[1] = tclass;
    session::store_be32(p + 2, std::uint32_t{total} << 16 | id);
    session::store_be16(p + 10, checksum_of_few(outer.ip_partial_sum + tclass + total + id));
    session::store_be16(p + kIp4Bytes + 4, static_cast<std::uint16_t>(total - kIp4Bytes));
    return;
  }
  std::memcpy(p, outer.bytes.data(), kIp6Bytes + kUdpBytes);
  p[0] = static_cast<std::uint8_t>(0x60 | (tclass >> 4));
  p[1] = static_cast<std::uint8_t>((tclass << 4) | (p[1] & 0x0f));
  session::store_be16(p + 4, static_cast<std::uint16_t>(total - kIp6Bytes));
  session::store_be16(p + kIp6Bytes + 4, static_cast<std::uint16_t>(total - kIp6Bytes));
}

// What nearly every packet counts for; the rest is count()'s.
bool count_usual(session::SessionHot& hot, const SealEntry& entry, const Way& way, std::uint32_t text_bytes) {
  const bool usual = way.path == 0 && way.traffic == nullptr && (entry.flags & session::kAsideFlags) == 0 &&
                     (hot.session_flags & session::kWatched) != 0 && hot.path_set == session::kNoPathSet;
  if (!usual) return false;
  ++hot.tx_pkts;
  hot.tx_bytes += text_bytes;
  return true;
}

// A session sent a packet once, however many paths it went over.
void count(Core& core, session::SessionHot& hot, const SealEntry& entry, const Way& way, bool copy,
           std::uint32_t text_bytes) {
  core.shard.note_sent(entry.slot, way.path, entry.stream, entry.flags, text_bytes);
  if (!copy) [[likely]] {
    ++hot.tx_pkts;
    hot.tx_bytes += text_bytes;
  }
  if (way.traffic == nullptr) [[likely]]
    return;
  ++way.traffic->tx_pkts;
  way.traffic->tx_bytes += text_bytes;
}

// Headers around the plaintext of `m`, and the job to seal it. Afterwards the data pointer is at the outer IP
// header.
// A call for each packet would be felt.
[[gnu::always_inline]] inline void frame(session::SessionHot& hot, const crypto::KeySlot* key,
                                         const SealEntry& entry, rte_mbuf* m, const session::TxGrant& grant,
                                         const Way& way, SealBatch& batch) {
  const std::uint32_t text_bytes = m->data_len;
  session::OuterTemplate& outer = *way.outer;
  std::uint8_t* text = data_of(m);
  std::uint8_t* p = text - session::kPayloadOffset;
  session::write_packet_frame(p, hot, grant, entry.stream, entry.flags, way.path, text_bytes);
  const unsigned front = static_cast<unsigned>(session::kPayloadOffset) + outer.length;
  m->data_off = static_cast<std::uint16_t>(m->data_off - front);
  m->data_len = static_cast<std::uint16_t>(text_bytes + front + kSealTailroom);
  m->pkt_len = m->data_len;
  finish_outer(p - outer.length, outer, m->data_len, meta(m).outer_ecn);
  const unsigned at = batch.count++;
  batch.packets[at] = m;
  batch.outers[at] = &outer;
  crypto::AeadJob& job = batch.jobs[at];
  job.key = key;
  job.aad = p;
  job.text = text;
  job.text_bytes = text_bytes;
  job.aad_bytes = session::kHeaderBytes;
  job.suite = hot.suite;
  session::build_nonce(job.nonce.data(), grant.nonce_prefix.data(), grant.epoch, entry.stream, grant.sequence,
                       way.path);
}

// Grants and frames one entry over `way`. False: the packet is gone.
[[gnu::always_inline]] inline bool seal_over_way(Core& core, session::SessionHot& hot, const SealEntry& entry,
                                                 const Way& way, session::TxGrant& grant, SealBatch& batch) {
  if (!grant_one(core, hot, entry, way, grant)) [[unlikely]]
    return false;
  const std::uint32_t text_bytes = entry.m->data_len;
  frame(hot, core.shard.key(grant.key), entry, entry.m, grant, way, batch);
  if (core.shard.has_many()) core.aead.prefetch(batch.jobs[batch.count - 1]);
  if (!count_usual(hot, entry, way, text_bytes)) [[unlikely]]
    count(core, hot, entry, way, false, text_bytes);
  return true;
}

// Of a session with several paths: the packet, and its copy where one is wanted. There is room for both.
void seal_on_paths(Core& core, session::SessionHot& hot, session::PathSet& set, const SealEntry& entry,
                   SealBatch& batch) {
  const Way way = way_over(set, slot_of(set, entry), entry);
  session::TxGrant grant;
  if (!grant_one(core, hot, entry, way, grant)) return;
  const std::uint32_t text_bytes = entry.m->data_len;
  rte_mbuf* copy = wants_copy(set, entry) ? copy_of(core, entry) : nullptr;
  frame(hot, core.shard.key(grant.key), entry, entry.m, grant, way, batch);
  count(core, hot, entry, way, false, text_bytes);
  if (copy == nullptr) return;
  const Way second = way_over(set, set.second[entry.stream], entry);
  frame(hot, core.shard.key(grant.key), entry, copy, grant, second, batch);
  count(core, hot, entry, second, true, text_bytes);
}

void seal_one(Core& core, const SealEntry& entry, SealBatch& batch) {
  session::SessionHot& hot = core.shard.hot(entry.slot);
  if (session::PathSet* set = core.shard.path_set(hot); set != nullptr) [[unlikely]]
    return seal_on_paths(core, hot, *set, entry, batch);
  session::TxGrant grant;
  seal_over_way(core, hot, entry, way_of(hot, nullptr, entry), grant, batch);
}

// UDP over IPv6 needs its checksum (RFC 8200 8.1): by the device, or in software over the sealed packet.
void checksum6(const Core& core, rte_mbuf* m, const session::OuterTemplate& outer) {
  std::uint8_t* udp = data_of(m) + kIp6Bytes;
  const std::uint32_t udp_bytes = m->data_len - kIp6Bytes;
  const CorePort& port = core.ports[core.adjacencies.at(outer.adjacency).port];
  if ((port.tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0) {
    m->ol_flags |= RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_UDP_CKSUM;
    m->l2_len = kEtherBytes;
    m->l3_len = kIp6Bytes;
    session::store_be16(udp + 6, fold_sum(std::uint64_t{outer.udp_pseudo_sum} + udp_bytes));
    return;
  }
  session::store_be16(udp + 6, udp_checksum(outer.udp_pseudo_sum, udp, udp_bytes));
}

bool is_ip4(const session::OuterTemplate& outer) {
  return outer.length == kIp4Bytes + kUdpBytes;
}

// Data at the outer IP header.
void finish_frame(Core& core, rte_mbuf* m, const session::OuterTemplate& outer) {
  m->ol_flags = 0;
  if (!is_ip4(outer)) checksum6(core, m, outer);
}

// In a pass of its own: the engine's wide loads of headers and nonces must not meet their small stores.
void seal_and_send(Core& core, SealBatch& batch) {
  core.aead.seal_batch(batch.jobs, batch.count);
  core.stats.sealed_pkts += batch.count;
  for (unsigned at = 0; at < batch.count;) {
    const session::OuterTemplate& outer = *batch.outers[at];
    const unsigned first = at;
    // To one next hop in one go: neighbours in a burst often have it in common.
    for (; at < batch.count && batch.outers[at]->adjacency == outer.adjacency &&
           batch.outers[at]->length == outer.length;
         ++at) {
      finish_frame(core, batch.packets[at], *batch.outers[at]);
    }
    send_run(core, batch.packets + first, at - first, outer.adjacency, is_ip4(outer) ? 4 : 6);
  }
  batch.count = 0;
}

}  // namespace

Way way_over_path(Core& core, std::uint32_t slot, std::uint16_t stream, std::uint8_t path) {
  session::SessionHot& hot = core.shard.hot(slot);
  return way_of(hot, core.shard.path_set(hot), SealEntry{nullptr, slot, stream, 0, path, Via::kPath});
}

void send_packet(Core& core, rte_mbuf* m, session::OuterTemplate& outer) {
  auto* p = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(m, outer.length));
  finish_outer(p, outer, m->data_len, 0);
  finish_frame(core, m, outer);
  send_to(core, m, outer.adjacency, is_ip4(outer) ? 4 : 6);
}

void seal_over(Core& core, const SealEntry& entry, session::OuterTemplate& outer) {
  seal_flush(core);
  SealBatch batch;
  session::TxGrant grant;
  const Way way{&outer, nullptr, entry.path};
  if (seal_over_way(core, core.shard.hot(entry.slot), entry, way, grant, batch)) seal_and_send(core, batch);
}

void seal_flush(Core& core) {
  if (core.seal_count == 0) return;
  SealBatch batch;
  for (unsigned at = 0; at < core.seal_count; ++at) {
    if (batch.count + 2 > kMaxBurst) [[unlikely]]
      seal_and_send(core, batch);
    seal_one(core, core.seal[at], batch);
  }
  seal_and_send(core, batch);
  core.seal_count = 0;
}

}  // namespace dataplane
