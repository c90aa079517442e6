#include "dataplane/stream_seal.h"

#include <cstring>

#include "dataplane/core.h"
#include "dataplane/stream_host.h"

namespace dataplane {
namespace {

using session::DropReason;
using Kind = session::StreamPacket::Kind;

void frame(session::Shard& shard, const StreamSession& s, const session::StreamPacket& packet,
           const session::TxGrant& grant, std::uint8_t path, std::uint32_t text_bytes, std::uint8_t* p,
           crypto::AeadJob& job) {
  const session::SessionHot& hot = shard.hot(s.slot);
  session::write_packet_frame(p, hot, grant, packet.stream, packet.flags, path, text_bytes, packet.ack_delay);
  job.key = shard.key(grant.key);
  job.aad = p;
  job.text = p + session::kPayloadOffset;
  job.text_bytes = text_bytes;
  job.aad_bytes = session::kHeaderBytes;
  job.suite = hot.suite;
  session::build_nonce(job.nonce.data(), grant.nonce_prefix.data(), grant.epoch, packet.stream,
                       grant.sequence, path);
}

// The packet's text in a buffer of its own, or its whole image. Null: no buffer.
rte_mbuf* buffer_for(Core& core, const session::StreamPacket& packet) {
  rte_mbuf* m = core.originate();
  if (m == nullptr) return nullptr;
  const bool again = packet.kind == Kind::kAgain;
  const std::size_t bytes = again ? packet.image.size() : session::kPacketOverhead + packet.text.size();
  auto* p = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(m, static_cast<std::uint16_t>(bytes)));
  if (p == nullptr) {
    core.drop(m, DropReason::kNoBuffer);
    return nullptr;
  }
  if (again) {
    std::memcpy(p, packet.image.data(), bytes);
  } else if (!packet.text.empty()) {
    std::memcpy(p + session::kPayloadOffset, packet.text.data(), packet.text.size());
  }
  return m;
}

std::uint32_t text_of(const rte_mbuf* m) {
  return m->data_len - static_cast<std::uint32_t>(session::kPacketOverhead);
}

}  // namespace

StreamPush StreamBatch::push(Core& core, StreamSession& s, const session::StreamPacket& packet,
                             std::uint64_t now_ns) {
  if (full()) flush(core, now_ns);
  rte_mbuf* m = buffer_for(core, packet);
  if (m == nullptr) {
    s.streams.not_sent(packet, now_ns);
    return StreamPush::kNoBuffer;
  }
  Job& job = jobs_[count_];
  job.packet = packet;
  job.session = &s;
  job.m = m;
  job.datagram = false;
  job.way = way_over_path(core, s.slot, packet.stream, packet.path);
  job.grant = session::TxGrant{};
  if (packet.kind != Kind::kAgain) job.grant = s.link.grant(job.packet);
  if (job.grant.drop != DropReason::kNone) [[unlikely]] {
    ++core.shard.hot(s.slot).tx_drops;
    s.streams.not_sent(packet, now_ns);
    core.drop(m, job.grant.drop);
    return StreamPush::kRefused;
  }
  ++count_;
  return StreamPush::kTaken;
}

void StreamBatch::push_datagram(Core& core, StreamSession& s, std::uint16_t stream, rte_mbuf* m,
                                std::uint64_t now_ns) {
  if (full()) flush(core, now_ns);
  Job& job = jobs_[count_];
  job.packet = session::StreamPacket{};
  job.packet.stream = stream;
  job.packet.flags = session::kFlagEncrypted;
  job.session = &s;
  job.m = m;
  job.datagram = true;
  job.way = way_over_path(core, s.slot, stream, core.shard.hot(s.slot).outer.path_id);
  job.packet.path = job.way.path;
  DropReason bad = DropReason::kNoEndpoint;
  if (job.way.outer->length != 0) [[likely]] {
    job.grant = s.link.grant(stream);
    bad = job.grant.drop;
  }
  if (bad != DropReason::kNone) [[unlikely]] {
    ++core.shard.hot(s.slot).tx_drops;
    return core.drop(m, bad);
  }
  rte_pktmbuf_prepend(m, static_cast<std::uint16_t>(session::kPayloadOffset));
  rte_pktmbuf_append(m, static_cast<std::uint16_t>(session::kPacketOverhead - session::kPayloadOffset));
  ++count_;
}

void StreamBatch::send(Core& core, Job& job) {
  session::SessionHot& hot = core.shard.hot(job.session->slot);
  const std::uint32_t text_bytes = text_of(job.m);
  core.shard.note_sent(job.session->slot, job.way.path, job.packet.stream, job.packet.flags, text_bytes);
  ++hot.tx_pkts;
  hot.tx_bytes += text_bytes;
  if (job.way.traffic != nullptr) {
    ++job.way.traffic->tx_pkts;
    job.way.traffic->tx_bytes += text_bytes;
  }
  send_packet(core, job.m, *job.way.outer);
}

void StreamBatch::flush(Core& core, std::uint64_t now_ns) {
  crypto::AeadJob aead[kMaxBurst];
  unsigned n = 0;
  for (unsigned i = 0; i < count_; ++i) {
    Job& job = jobs_[i];
    if (job.packet.kind == Kind::kAgain) continue;
    frame(core.shard, *job.session, job.packet, job.grant, job.way.path, text_of(job.m), data_of(job.m),
          aead[n++]);
  }
  core.aead.seal_batch(aead, n);
  core.stats.sealed_pkts += n;
  for (unsigned i = 0; i < count_; ++i) {
    Job& job = jobs_[i];
    const std::uint8_t* p = data_of(job.m);
    const std::uint32_t bytes = job.m->data_len;
    const bool keep = job.packet.kind == Kind::kNew || job.packet.kind == Kind::kReseal;
    if (keep) std::memcpy(job.packet.image.data(), p, bytes);
    if (!job.datagram) {
      job.session->streams.sealed(job.packet, p[session::kOffEpoch], job.packet.sequence, bytes, now_ns);
    }
    send(core, job);
  }
  count_ = 0;
}

}  // namespace dataplane
