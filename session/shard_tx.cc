// Sending: sequence numbers, the rekey decision and its hard limits, packet frames.
#include <cstring>

#include "session/shard.h"

namespace session {
namespace {

// Closing ends in Closed, or in removal, once what was under way is through.
bool may_send(LifeState state) {
  return state == LifeState::kConnected || state == LifeState::kMigrating || state == LifeState::kClosing;
}

// Sequences used on this stream in this epoch: highest - lowest. Ours only grow, so the first is the lowest
// and a late low number cannot look like a wrap (W-12).
std::uint32_t span_of(const TxStream& stream, std::uint8_t epoch) {
  return stream.used_in_epoch && stream.epoch_tag == epoch ? stream.next - stream.epoch_first : 0;
}

TxGrant refuse(DropReason reason) {
  TxGrant grant;
  grant.drop = reason;
  return grant;
}

}  // namespace

// Limits of the epoch that is current now. Below the soft ones, or in an epoch whose successor is not there
// yet but whose hard limits hold: yes.
bool Shard::may_send_more(std::uint32_t slot, const TxStream& stream, DropReason& drop) {
  SessionHot& hot = hot_[slot];
  std::uint32_t span = span_of(stream, hot.current.epoch);
  const bool last = hot.current.epoch == kMaxEpoch;
  const bool seals_due = hot.seals_in_epoch >= (last ? kAeadMaxInvocations : hot.rekey_soft_limit);
  if (seals_due || span >= hot.seq_rekey_watermark) [[unlikely]] {
    if (last) {
      hot.state = LifeState::kDead;  // fail closed, for good (W-09)
      mark_pending(slot, kPendingDead);
      drop = DropReason::kEpochExhausted;
      return false;
    }
    if (hot.next.valid) {
      advance_to_next(slot, true);
      span = 0;
    }
  }
  if (hot.seals_in_epoch < kAeadMaxInvocations && span < SEQ_REKEY_WATERMARK) [[likely]]
    return true;
  drop = DropReason::kAeadLimit;
  return false;
}

void Shard::take_sequence(std::uint32_t slot, std::uint16_t stream_id, TxGrant& grant) {
  SessionHot& hot = hot_[slot];
  TxStream& stream = hot.tx[stream_id];
  if (!stream.used_in_epoch || stream.epoch_tag != hot.current.epoch) [[unlikely]] {
    stream.epoch_tag = hot.current.epoch;
    stream.epoch_first = stream.next;
    stream.used_in_epoch = true;
  }
  grant.key = hot.current.send_key;
  grant.nonce_prefix = hot.current.nonce_prefix;
  grant.epoch = hot.current.epoch;
  grant.sequence = stream.next++;
  ++hot.seals_in_epoch;
  if (!stream.low_reported && ((stream.limit - stream.next) >> stream.low_shift) == 0) [[unlikely]] {
    stream.low_reported = true;
    hot.seq_low_streams |= 1U << stream_id;
    mark_pending(slot, kPendingSeqLow);
  }
}

TxGrant Shard::grant(std::uint32_t slot, std::uint16_t stream_id) {
  SessionHot& hot = hot_[slot];
  if (!may_send(hot.state)) [[unlikely]]
    return refuse(DropReason::kSessionClosed);
  if (!hot.current.valid || hot.current.send_key == kNone || stream_id >= kTxStreams) [[unlikely]]
    return refuse(DropReason::kNoSendKey);
  const TxStream& stream = hot.tx[stream_id];
  if (stream.next == stream.limit) [[unlikely]]
    return refuse(DropReason::kSequenceUnreserved);
  TxGrant grant;
  if (!may_send_more(slot, stream, grant.drop)) [[unlikely]]
    return grant;
  take_sequence(slot, stream_id, grant);
  return grant;
}

bool Shard::grant_copy(std::uint32_t slot) {
  SessionHot& hot = hot_[slot];
  if (hot.seals_in_epoch >= kAeadMaxInvocations) [[unlikely]]
    return false;
  ++hot.seals_in_epoch;
  return true;
}

void write_packet_frame(std::uint8_t* p, const SessionHot& hot, const TxGrant& grant, std::uint16_t stream,
                        std::uint16_t flags, std::uint8_t path, std::uint32_t text_bytes) {
  p[kOffVersion] = kWireVersion;
  std::memcpy(p + kOffSessionId, hot.id.data(), kSessionIdBytes);
  store_be16(p + kOffStream, stream);
  store_be32(p + kOffSequence, grant.sequence);
  store_be16(p + kOffFlags, flags);
  store_be16(p + kOffAckDelay, 0);
  p[kOffEpoch] = grant.epoch;
  p[kOffPath] = path;
  const auto payload_bytes = static_cast<std::uint32_t>(text_bytes + kTagBytes);
  store_be32(p + kHeaderBytes, payload_bytes);
  store_be32(p + kPayloadOffset + payload_bytes, 0);
}

}  // namespace session
