#include "dataplane/seal.h"

#include <cstring>

#include <rte_ethdev.h>

#include "dataplane/ip.h"
#include "dataplane/tx.h"

namespace dataplane {
namespace {

using session::DropReason;

struct Granted {
  SealEntry entry;
  session::TxGrant grant;
  Way way;
  bool copy;
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

bool wants_copy(const session::PathSet* set, const SealEntry& entry) {
  if (set == nullptr) [[likely]]
    return false;
  if (entry.via != Via::kStream || entry.stream >= session::kTxStreams) return false;
  const std::uint8_t second = set->second[entry.stream];
  return second != session::kNoPathSlot && set->outer[second].length != 0;
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
bool grant_one(Core& core, session::SessionHot& hot, const SealEntry& entry, const Way& way, Granted& out) {
  DropReason bad = check(hot, entry, way);
  if (bad == DropReason::kNone) [[likely]] {
    out.grant = core.shard.grant(entry.slot, entry.stream);
    bad = out.grant.drop;
  }
  if (bad != DropReason::kNone) [[unlikely]] {
    ++hot.tx_drops;
    core.drop(entry.m, bad);
    return false;
  }
  out.entry = entry;
  out.way = way;
  out.copy = false;
  return true;
}

// The same plaintext under the same number for the second path, whose id makes the nonce another one. Without
// a buffer there is no copy. False: none was made.
bool copy_one(Core& core, session::PathSet& set, const Granted& original, Granted& out) {
  const SealEntry& entry = original.entry;
  if (!core.shard.grant_copy(entry.slot)) return false;
  rte_mbuf* m = core.originate();
  if (m == nullptr) return false;
  const std::uint16_t bytes = entry.m->data_len;
  char* to = rte_pktmbuf_append(m, bytes);
  if (to == nullptr || rte_pktmbuf_tailroom(m) < kSealTailroom) {
    core.drop(m, DropReason::kNoBuffer);
    return false;
  }
  std::memcpy(to, data_of(entry.m), bytes);
  meta(m) = meta(entry.m);
  out = original;
  out.entry.m = m;
  out.way = way_over(set, set.second[entry.stream], entry);
  out.copy = true;
  return true;
}

// Numbers are granted in packet order, from entry `at` on until a batch is full. Returns the next entry.
unsigned grant_pass(Core& core, unsigned at, Granted* out, unsigned& n) {
  for (; at < core.seal_count; ++at) {
    const SealEntry& entry = core.seal[at];
    session::SessionHot& hot = core.shard.hot(entry.slot);
    session::PathSet* set = core.shard.path_set(hot);
    const bool twice = wants_copy(set, entry);
    if (n + (twice ? 2U : 1U) > kMaxBurst) break;
    if (!grant_one(core, hot, entry, way_of(hot, set, entry), out[n])) [[unlikely]]
      continue;
    ++n;
    if (twice && copy_one(core, *set, out[n - 1], out[n])) ++n;
  }
  return at;
}

// IPv4: total length, identification, DSCP/ECN and checksum; IPv6: payload length and traffic class. Then the
// UDP length. `p`: outer IP header, `bytes`: of the whole outer packet.
void finish_outer(std::uint8_t* p, session::OuterTemplate& outer, std::uint32_t bytes, std::uint8_t tclass) {
  const auto total = static_cast<std::uint16_t>(bytes);
  std::memcpy(p, outer.bytes.data(), outer.length);
  if (outer.length == kIp4Bytes + kUdpBytes) {
    const std::uint16_t id = outer.ip_id++;
    p[1] = tclass;
    session::store_be16(p + 2, total);
    session::store_be16(p + 4, id);
    session::store_be16(p + 10, checksum_of(std::uint64_t{outer.ip_partial_sum} + tclass + total + id));
    session::store_be16(p + kIp4Bytes + 4, static_cast<std::uint16_t>(total - kIp4Bytes));
    return;
  }
  p[0] = static_cast<std::uint8_t>(0x60 | (tclass >> 4));
  p[1] = static_cast<std::uint8_t>((tclass << 4) | (p[1] & 0x0f));
  session::store_be16(p + 4, static_cast<std::uint16_t>(total - kIp6Bytes));
  session::store_be16(p + kIp6Bytes + 4, static_cast<std::uint16_t>(total - kIp6Bytes));
}

// A session sent a packet once, however many paths it went over.
void count(Core& core, session::SessionHot& hot, const Granted& g, std::uint32_t text_bytes) {
  core.shard.note_sent(g.entry.slot, g.way.path, g.entry.stream, g.entry.flags, text_bytes);
  if (!g.copy) [[likely]] {
    ++hot.tx_pkts;
    hot.tx_bytes += text_bytes;
  }
  if (g.way.traffic == nullptr) [[likely]]
    return;
  ++g.way.traffic->tx_pkts;
  g.way.traffic->tx_bytes += text_bytes;
}

// Headers around the plaintext, and the job to seal it. Afterwards the data pointer is at the outer IP
// header.
void frame_pass(Core& core, const Granted& g, crypto::AeadJob& job) {
  rte_mbuf* m = g.entry.m;
  session::SessionHot& hot = core.shard.hot(g.entry.slot);
  const std::uint32_t text_bytes = m->data_len;
  session::OuterTemplate& outer = *g.way.outer;
  std::uint8_t* text = data_of(m);
  std::uint8_t* p = text - session::kPayloadOffset;
  session::write_packet_frame(p, hot, g.grant, g.entry.stream, g.entry.flags, g.way.path, text_bytes);
  const unsigned front = static_cast<unsigned>(session::kPayloadOffset) + outer.length;
  m->data_off = static_cast<std::uint16_t>(m->data_off - front);
  m->data_len = static_cast<std::uint16_t>(text_bytes + front + kSealTailroom);
  m->pkt_len = m->data_len;
  finish_outer(p - outer.length, outer, m->data_len, meta(m).outer_ecn);
  count(core, hot, g, text_bytes);
  job.key = core.shard.key(g.grant.key);
  job.aad = p;
  job.text = text;
  job.text_bytes = text_bytes;
  job.aad_bytes = session::kHeaderBytes;
  job.suite = hot.suite;
  session::build_nonce(job.nonce.data(), g.grant.nonce_prefix.data(), g.grant.epoch, g.entry.stream,
                       g.grant.sequence, g.way.path);
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

// Data at the outer IP header.
void send_framed(Core& core, rte_mbuf* m, const session::OuterTemplate& outer) {
  m->ol_flags = 0;
  if (outer.length != kIp4Bytes + kUdpBytes) checksum6(core, m, outer);
  send_to(core, m, outer.adjacency);
}

void seal_granted(Core& core, const Granted* granted, unsigned n) {
  crypto::AeadJob jobs[kMaxBurst];
  for (unsigned i = 0; i < n; ++i) frame_pass(core, granted[i], jobs[i]);
  core.aead.seal_batch(jobs, n);
  core.stats.sealed_pkts += n;
  for (unsigned i = 0; i < n; ++i) send_framed(core, granted[i].entry.m, *granted[i].way.outer);
}

}  // namespace

Way way_over_path(Core& core, std::uint32_t slot, std::uint16_t stream, std::uint8_t path) {
  session::SessionHot& hot = core.shard.hot(slot);
  return way_of(hot, core.shard.path_set(hot), SealEntry{nullptr, slot, stream, 0, path, Via::kPath});
}

void send_packet(Core& core, rte_mbuf* m, session::OuterTemplate& outer) {
  auto* p = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(m, outer.length));
  finish_outer(p, outer, m->data_len, 0);
  send_framed(core, m, outer);
}

void seal_push(Core& core, const SealEntry& entry) {
  if (core.seal_count == kMaxBurst) seal_flush(core);
  core.seal[core.seal_count++] = entry;
}

void seal_over(Core& core, const SealEntry& entry, session::OuterTemplate& outer) {
  seal_flush(core);
  Granted granted;
  const Way way{&outer, nullptr, entry.path};
  if (grant_one(core, core.shard.hot(entry.slot), entry, way, granted)) seal_granted(core, &granted, 1);
}

void seal_flush(Core& core) {
  for (unsigned at = 0; at < core.seal_count;) {
    Granted granted[kMaxBurst];
    unsigned n = 0;
    at = grant_pass(core, at, granted, n);
    seal_granted(core, granted, n);
  }
  core.seal_count = 0;
}

}  // namespace dataplane
