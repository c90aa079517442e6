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
};

// A packet must have somewhere to go and room for its headers before a number is spent on it.
DropReason check(const Core& core, const SealEntry& entry) {
  const session::SessionHot& hot = core.shard.hot(entry.slot);
  if (hot.state == session::LifeState::kFree) return DropReason::kStaleHandle;
  if (hot.outer.length == 0) return DropReason::kNoEndpoint;
  if (rte_pktmbuf_headroom(entry.m) < kSealHeadroom) return DropReason::kNoBuffer;
  if (rte_pktmbuf_tailroom(entry.m) < kSealTailroom) return DropReason::kNoBuffer;
  return DropReason::kNone;
}

// Numbers are granted in packet order; a number once granted is spent whatever happens.
unsigned grant_pass(Core& core, Granted* out) {
  unsigned n = 0;
  for (unsigned i = 0; i < core.seal_count; ++i) {
    const SealEntry& entry = core.seal[i];
    DropReason bad = check(core, entry);
    if (bad == DropReason::kNone) [[likely]] {
      out[n].grant = core.shard.grant(entry.slot, entry.stream);
      bad = out[n].grant.drop;
    }
    if (bad != DropReason::kNone) [[unlikely]] {
      ++core.shard.hot(entry.slot).tx_drops;
      core.drop(entry.m, bad);
      continue;
    }
    out[n++].entry = entry;
  }
  core.seal_count = 0;
  return n;
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

// Headers around the plaintext, and the job to seal it. Afterwards the data pointer is at the outer IP
// header.
void frame_pass(Core& core, const Granted& g, crypto::AeadJob& job) {
  rte_mbuf* m = g.entry.m;
  session::SessionHot& hot = core.shard.hot(g.entry.slot);
  const std::uint32_t text_bytes = m->data_len;
  const std::uint8_t path = g.entry.active_path ? hot.outer.path_id : g.entry.path;
  std::uint8_t* text = data_of(m);
  std::uint8_t* p = text - session::kPayloadOffset;
  session::write_packet_frame(p, hot, g.grant, g.entry.stream, g.entry.flags, path, text_bytes);
  const unsigned front = static_cast<unsigned>(session::kPayloadOffset) + hot.outer.length;
  m->data_off = static_cast<std::uint16_t>(m->data_off - front);
  m->data_len = static_cast<std::uint16_t>(text_bytes + front + kSealTailroom);
  m->pkt_len = m->data_len;
  finish_outer(p - hot.outer.length, hot.outer, m->data_len, meta(m).outer_ecn);
  ++hot.tx_pkts;
  hot.tx_bytes += text_bytes;
  job.key = core.shard.key(g.grant.key);
  job.aad = p;
  job.text = text;
  job.text_bytes = text_bytes;
  job.aad_bytes = session::kHeaderBytes;
  job.suite = hot.suite;
  session::build_nonce(job.nonce.data(), g.grant.nonce_prefix.data(), g.grant.epoch, g.entry.stream,
                       g.grant.sequence, path);
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

void send_pass(Core& core, const Granted& g) {
  const session::OuterTemplate& outer = core.shard.hot(g.entry.slot).outer;
  rte_mbuf* m = g.entry.m;
  m->ol_flags = 0;
  if (outer.length != kIp4Bytes + kUdpBytes) checksum6(core, m, outer);
  send_to(core, m, outer.adjacency);
}

}  // namespace

void seal_push(Core& core, const SealEntry& entry) {
  if (core.seal_count == kMaxBurst) seal_flush(core);
  core.seal[core.seal_count++] = entry;
}

void seal_flush(Core& core) {
  if (core.seal_count == 0) return;
  Granted granted[kMaxBurst];
  crypto::AeadJob jobs[kMaxBurst];
  const unsigned n = grant_pass(core, granted);
  for (unsigned i = 0; i < n; ++i) frame_pass(core, granted[i], jobs[i]);
  core.aead.seal_batch(jobs, n);
  core.stats.sealed_pkts += n;
  for (unsigned i = 0; i < n; ++i) send_pass(core, granted[i]);
}

}  // namespace dataplane
