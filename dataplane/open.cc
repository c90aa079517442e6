#include "dataplane/open.h"

#include <cstring>

#include "dataplane/origin.h"
#include "dataplane/seal.h"
#include "dataplane/stream_host.h"
#include "session/receiver_report.h"

namespace dataplane {
namespace {

using session::DropReason;
using session::EpochBranch;

// One packet between choosing its key and acting on it.
struct OpenEntry {
  rte_mbuf* m;
  std::uint32_t slot;
  session::RxFields fields;
  EpochBranch branch;
};

struct OpenBatch {
  crypto::AeadJob jobs[kMaxBurst];
  union {  // of 64 the first `count` mean something; nobody waits for the others to be set to zero
    OpenEntry entries[kMaxBurst];
  };
  unsigned count = 0;
  OpenBatch() {}
};

void look_up(const Core& core, Packets& pkts, std::uint32_t* slots) {
  const std::uint8_t* ids[kMaxBurst];
  for (unsigned i = 0; i < pkts.count; ++i) ids[i] = data_of(pkts.at[i]) + session::kOffSessionId;
  core.shard.find_batch(ids, pkts.count, slots);
}

// Two passes, for the second asks for what the lines of the first tell.
void prefetch(const Core& core, Packets& pkts, const std::uint32_t* slots) {
  for (unsigned i = 0; i < pkts.count; ++i) {
    if (slots[i] != session::kNone) core.shard.prefetch_receive(slots[i]);
  }
  for (unsigned i = 0; i < pkts.count; ++i) {
    const std::uint8_t* p = data_of(pkts.at[i]);
    if (slots[i] == session::kNone) continue;
    core.shard.prefetch_window(slots[i], session::load_be16(p + session::kOffStream),
                               session::load_be32(p + session::kOffSequence));
  }
}

// Ahead of what the worker has keys for: control looks at it and gives it back.
void punt_ahead(Core& core, rte_mbuf* m, std::uint32_t slot, const session::SessionHot& hot) {
  PktMeta& md = meta(m);
  md.slot = slot;
  md.generation = hot.generation;
  core.punt(m, PuntReason::kEpochAhead);
}

// The key of a packet that pick_usual() does not speak for. False: it ended here.
bool choose(Core& core, session::SessionHot& hot, OpenEntry& entry, session::RxPick& pick) {
  pick = core.shard.pick_key(hot, entry.fields, core.now_ms);
  if (pick.drop != DropReason::kNone) {
    core.drop(entry.m, pick.drop);
    return false;
  }
  if (pick.branch == EpochBranch::kAhead) {
    punt_ahead(core, entry.m, entry.slot, hot);
    return false;
  }
  entry.branch = pick.branch;
  return true;
}

void prepare(Core& core, rte_mbuf* m, std::uint32_t slot, OpenBatch& batch) {
  if (slot == session::kNone) [[unlikely]]
    return core.drop(m, DropReason::kUnknownSession);
  std::uint8_t* p = data_of(m);
  session::SessionHot& hot = core.shard.hot(slot);
  OpenEntry& entry = batch.entries[batch.count];
  entry.m = m;
  entry.slot = slot;
  entry.fields = session::load_fields(p);
  entry.branch = EpochBranch::kCurrent;
  std::uint32_t key = hot.current.recv_key;
  const std::uint8_t* prefix = hot.current.nonce_prefix.data();
  session::RxPick pick;
  if (!core.shard.pick_usual(hot, entry.fields)) [[unlikely]] {
    if (!choose(core, hot, entry, pick)) return;
    key = pick.key;
    prefix = pick.nonce_prefix.data();
  }
  const std::uint32_t payload = session::load_be32(p + session::kHeaderBytes);
  if (payload < session::kTagBytes) [[unlikely]] {
    ++hot.rx_auth_failed;
    return core.drop(m, DropReason::kAuth);
  }
  crypto::AeadJob& job = batch.jobs[batch.count++];
  job.key = core.shard.key(key);
  job.aad = p;
  job.text = p + session::kPayloadOffset;
  job.text_bytes = payload - static_cast<std::uint32_t>(session::kTagBytes);
  job.aad_bytes = session::kHeaderBytes;
  job.suite = hot.suite;
  session::build_nonce(job.nonce.data(), prefix, entry.fields.epoch, entry.fields.stream,
                       entry.fields.sequence, entry.fields.path);
  if (core.shard.has_many()) core.aead.prefetch(job);
}

// The packet's acknowledgement (protocol.md 1.4 rule 2): its sequence, on its stream, mirroring its path.
void acknowledge(Core& core, const OpenEntry& entry) {
  if (entry.fields.stream >= session::kTxStreams) return;
  rte_mbuf* m = core.originate();
  if (m == nullptr) return;
  std::uint8_t* p = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(m, 4));
  session::store_be32(p, entry.fields.sequence);
  meta(m).outer_ecn = 0;
  seal_push(core, SealEntry{m, entry.slot, entry.fields.stream, session::kFlagEncrypted | session::kFlagAck,
                            entry.fields.path, Via::kPath});
}

void report_path_validation(Core& core, const OpenEntry& entry, const std::uint8_t* text) {
  Message message;
  message.kind = MessageKind::kPathValidation;
  message.a = entry.fields.path;
  message.slot = entry.slot;
  message.generation = core.shard.hot(entry.slot).generation;
  message.origin = Origin{};
  std::memcpy(message.origin.value.data(), text, message.origin.value.size());
  if (meta(entry.m).source != 0) put_origin(entry.m, meta(entry.m), message);
  core.hint(message);
}

// The newest packet of its stream came from where no path of ours leads.
void report_source(Core& core, const OpenEntry& entry) {
  const PktMeta& md = meta(entry.m);
  if (!core.shard.take_source_hint(entry.slot, md.source, core.now_ms)) return;
  Message message;
  message.kind = MessageKind::kNewSource;
  message.a = entry.fields.path;
  message.slot = entry.slot;
  message.generation = core.shard.hot(entry.slot).generation;
  message.origin = Origin{};
  const std::uint32_t datagram_bytes = entry.m->data_len;
  std::memcpy(message.origin.value.data(), &datagram_bytes, sizeof(datagram_bytes));
  put_origin(entry.m, md, message);
  core.hint(message);
}

// What control needs of it, with the counters as they stand now: both ends count up to the same packet.
void take_report(Core& core, const OpenEntry& entry, const crypto::AeadJob& job) {
  const auto report = session::decode_report({job.text, job.text_bytes});
  if (!report || report->path != entry.fields.path) {
    ++core.shard.hot(entry.slot).rx_other_drops;
    return core.drop(entry.m, DropReason::kReportMalformed);
  }
  if (!core.shard.take_receiver_report(entry.slot, core.now_ms)) {
    return core.drop(entry.m, DropReason::kReportRate);
  }
  const session::PathCounts counts = core.shard.path_counts(entry.slot, entry.fields.path);
  Message message;
  message.kind = MessageKind::kReport;
  message.a = entry.fields.path;
  message.b = counts.origin;
  message.c = counts.received_pkts;
  message.slot = entry.slot;
  message.generation = core.shard.hot(entry.slot).generation;
  message.heard = HeardReport{core.now_tsc,
                              report->received_packets,
                              report->interval_bytes,
                              report->number,
                              report->echo_number,
                              report->echo_delay_us,
                              report->interval_packets,
                              report->interval_us,
                              static_cast<std::uint32_t>(counts.received_bytes)};
  core.hint(message);
  core.consume(entry.m, session::ConsumedKind::kConsumedReport);
}

// The plaintext becomes the packet.
void hand_on(rte_mbuf* m, const OpenEntry& entry, std::uint32_t text_bytes, Packets& inner) {
  PktMeta& md = meta(m);
  md.slot = entry.slot;
  md.flags = entry.fields.flags;
  md.stream = entry.fields.stream;
  md.path = entry.fields.path;
  m->data_off = static_cast<std::uint16_t>(m->data_off + session::kPayloadOffset);
  m->data_len = static_cast<std::uint16_t>(text_bytes);
  m->pkt_len = text_bytes;
  inner.push(m);
}

bool deliver(Core& core, const OpenEntry& entry, std::uint32_t text_bytes, Packets& inner) {
  if ((entry.fields.flags & session::kFlagReliable) != 0) acknowledge(core, entry);
  if (text_bytes == 0) {
    core.consume(entry.m, session::ConsumedKind::kConsumedEmpty);
    return false;
  }
  hand_on(entry.m, entry, text_bytes, inner);
  return (entry.fields.flags & session::kFlagCoalesced) != 0;
}

// Of a session with streams, after accept(). True when a bundle was delivered: its parts are datagrams.
bool act_stream(Core& core, StreamSession& s, const OpenEntry& entry, const session::RxOutcome& outcome,
                std::span<const std::uint8_t> text, Packets& inner) {
  core.streams->take(core, s, outcome, entry.fields, text);
  if (outcome.action == session::RxAction::kDeliverBundle) {
    return deliver(core, entry, static_cast<std::uint32_t>(text.size()), inner);
  }
  if (session::is_stream_data(entry.fields.flags)) {
    core.consume(entry.m, session::ConsumedKind::kConsumedStream);
  } else if (text.empty()) {
    core.consume(entry.m, session::ConsumedKind::kConsumedEmpty);
  } else if (core.streams->take_datagram(s, entry.fields.stream, text)) {
    core.consume(entry.m, session::ConsumedKind::kConsumedDatagram);
  } else {
    core.drop(entry.m, DropReason::kNoService);
  }
  return false;
}

// Any packet, after the tag verified. True when a bundle was delivered.
bool act_unusual(Core& core, StreamSession* streams, const OpenEntry& entry, const crypto::AeadJob& job,
                 Packets& inner) {
  const std::span<const std::uint8_t> text(job.text, job.text_bytes);
  const bool has_room = streams == nullptr || streams->link.has_room(entry.fields, job.text_bytes);
  const session::RxOutcome outcome = core.shard.accept(entry.slot, entry.fields, entry.branch, job.text_bytes,
                                                       core.now_tsc, meta(entry.m).source, has_room);
  if (outcome.new_source) [[unlikely]]
    report_source(core, entry);
  switch (outcome.action) {
    case session::RxAction::kDeliver:
    case session::RxAction::kDeliverBundle:
      if (streams != nullptr) [[unlikely]]
        return act_stream(core, *streams, entry, outcome, text, inner);
      return deliver(core, entry, job.text_bytes, inner);
    case session::RxAction::kAck:
      if (streams != nullptr) core.streams->take(core, *streams, outcome, entry.fields, text);
      core.consume(entry.m, session::ConsumedKind::kConsumedAck);
      return false;
    case session::RxAction::kWindowUpdate:
      if (streams != nullptr) core.streams->take(core, *streams, outcome, entry.fields, text);
      core.consume(entry.m, session::ConsumedKind::kConsumedWindowUpdate);
      return false;
    case session::RxAction::kReport:
      take_report(core, entry, job);
      return false;
    case session::RxAction::kPathValidation:
      if (!core.shard.take_path_report(entry.slot, core.now_ms)) {
        core.drop(entry.m, DropReason::kPathRate);
        return false;
      }
      if (streams != nullptr) core.streams->take(core, *streams, outcome, entry.fields, text);
      report_path_validation(core, entry, job.text);
      core.consume(entry.m, session::ConsumedKind::kConsumedPathValidation);
      return false;
    case session::RxAction::kDrop:
      break;
  }
  if (streams != nullptr) {
    core.streams->take(core, *streams, outcome, entry.fields, text);
  } else if (outcome.duplicate_reliable) {
    acknowledge(core, entry);
  }
  core.drop(entry.m, outcome.drop);
  return false;
}

// After the tag verified. True when a bundle was delivered.
bool act(Core& core, const OpenEntry& entry, const crypto::AeadJob& job, Packets& inner) {
  StreamSession* streams = core.streams == nullptr ? nullptr : core.streams->session(entry.slot);
  session::SessionHot& hot = core.shard.hot(entry.slot);
  const std::uint32_t source = meta(entry.m).source;
  if (streams != nullptr || job.text_bytes == 0 ||
      !core.shard.accept_usual(hot, entry.fields, job.text_bytes, core.now_tsc, source)) [[unlikely]] {
    return act_unusual(core, streams, entry, job, inner);
  }
  hand_on(entry.m, entry, job.text_bytes, inner);
  return false;
}

}  // namespace

bool open_burst(Core& core, Packets& pkts, Packets& inner) {
  if (pkts.count == 0) return false;
  std::uint32_t slots[kMaxBurst];
  OpenBatch batch;
  look_up(core, pkts, slots);
  if (core.shard.has_many()) prefetch(core, pkts, slots);
  for (unsigned i = 0; i < pkts.count; ++i) prepare(core, pkts.at[i], slots[i], batch);
  pkts.count = 0;
  const std::uint64_t opened = core.aead.open_batch(batch.jobs, batch.count);
  core.stats.opened_pkts += static_cast<unsigned>(__builtin_popcountll(opened));
  bool bundles = false;
  for (unsigned i = 0; i < batch.count; ++i) {
    if ((opened >> i & 1) != 0) [[likely]] {
      bundles |= act(core, batch.entries[i], batch.jobs[i], inner);
    } else {
      ++core.shard.hot(batch.entries[i].slot).rx_auth_failed;
      core.drop(batch.entries[i].m, DropReason::kAuth);
    }
  }
  return bundles;
}

bool check_bundle(Core& core, rte_mbuf* bundle, unsigned& left) {
  const std::uint8_t* p = data_of(bundle);
  const std::uint32_t bytes = bundle->data_len;
  if (bytes < 2) {
    core.drop(bundle, DropReason::kCoalescedHeader);
    return false;
  }
  left = session::load_be16(p);
  std::uint32_t at = 2;
  for (unsigned i = 0; i < left; ++i) {
    const std::uint32_t part = at + 2 <= bytes ? session::load_be16(p + at) : 0;
    if (at + 2 + part > bytes) {
      core.drop(bundle, DropReason::kCoalescedPart);
      return false;
    }
    at += 2 + part;
  }
  return true;
}

bool next_parts(Core& core, rte_mbuf* bundle, std::uint32_t& at, unsigned& left, Packets& parts) {
  while (left > 0 && !parts.full()) {
    const std::uint8_t* p = data_of(bundle) + at;
    const std::uint16_t bytes = session::load_be16(p);
    at += 2U + bytes;
    --left;
    if (bytes == 0) continue;
    rte_mbuf* m = core.originate();
    char* to = m == nullptr ? nullptr : rte_pktmbuf_append(m, bytes);
    if (to == nullptr) {
      if (m != nullptr) core.drop(m, DropReason::kNoBuffer);
      continue;
    }
    std::memcpy(to, p + 2, bytes);
    meta(m) = meta(bundle);
    parts.push(m);
  }
  if (left > 0) return true;
  core.consume(bundle, session::ConsumedKind::kConsumedTransformed);
  return false;
}

}  // namespace dataplane
