// Sending: sequence numbers, the rekey decision and its hard limits, packet frames.
#include <algorithm>

#include "session/shard.h"

namespace session {
namespace {

// Sequences used on this stream in this epoch: highest - lowest. Ours only grow, so the first is the lowest
// and a late low number cannot look like a wrap (W-12).
std::uint32_t span_of(const TxStream& stream, std::uint8_t epoch) {
  return stream.used_in_epoch && stream.epoch_tag == epoch ? stream.next - stream.epoch_first : 0;
}

bool can_seal(const SessionHot& hot) {
  return hot.current.valid && hot.current.send_key != kNone;
}

bool has_counter(const SessionHot& hot, std::uint16_t stream_id) {
  return stream_id < kDynamicFirst ||
         (stream_id == kDynamicFirst && (hot.session_flags & kDynamicStreams) == 0);
}

// protocol.md 1.4 rule 7.
bool must_rest_first(const SessionHot& hot) {
  constexpr unsigned kBoth = kUnmodifiedPeer | kUnderWay;
  return (hot.session_flags & kBoth) == kBoth;
}

// One more seal of the current epoch.
void seal_now(SessionHot& hot, TxGrant& grant) {
  grant.key = hot.current.send_key;
  grant.nonce_prefix = hot.current.nonce_prefix;
  grant.epoch = hot.current.epoch;
  ++hot.seals_in_epoch;
}

// No limit of the epoch is near, soft or hard: the case of every packet but the last of an epoch.
bool far_from_limits(const SessionHot& hot, std::uint32_t span) {
  return hot.seals_in_epoch < hot.rekey_soft_limit && hot.seals_in_epoch < kAeadMaxInvocations &&
         span < hot.seq_rekey_watermark && span < SEQ_REKEY_WATERMARK;
}

void take_sequence(SessionHot& hot, TxStream& stream, TxGrant& grant) {
  if (!stream.used_in_epoch || stream.epoch_tag != hot.current.epoch) [[unlikely]] {
    stream.epoch_tag = hot.current.epoch;
    stream.epoch_first = stream.next;
    stream.used_in_epoch = true;
  }
  seal_now(hot, grant);
  grant.sequence = stream.next++;
}

// Of a reservation so much is left to the stream that sent, and control is to be told.
bool runs_low(const TxStream& reservation, std::uint32_t left) {
  return !reservation.low_reported && (left >> reservation.low_shift) == 0;
}

TxGrant refuse(DropReason reason) {
  TxGrant grant;
  grant.drop = reason;
  return grant;
}

}  // namespace

// Limits of the epoch that is current now. Below the soft ones, or in an epoch whose successor is not there
// yet but whose hard limits hold: yes. `span`: of the stream that is to send.
bool Shard::may_send_more(std::uint32_t slot, std::uint32_t span, DropReason& drop) {
  SessionHot& hot = hot_[slot];
  const bool last = hot.current.epoch == kMaxEpoch;
  const bool seals_due = hot.seals_in_epoch >= (last ? kAeadMaxInvocations : hot.rekey_soft_limit);
  if (seals_due || span >= hot.seq_rekey_watermark) [[unlikely]] {
    if (last) {
      hot.state = LifeState::kDead;  // fail closed, for good (W-09)
      mark_pending(slot, kPendingDead);
      drop = DropReason::kEpochExhausted;
      return false;
    }
    const bool hard = hot.seals_in_epoch >= kAeadMaxInvocations || span >= SEQ_REKEY_WATERMARK;
    if (hot.next.valid && (hard || !must_rest_first(hot))) {
      advance_to_next(slot, true);
      span = 0;
    }
  }
  if (hot.seals_in_epoch < kAeadMaxInvocations && span < SEQ_REKEY_WATERMARK) [[likely]]
    return true;
  drop = DropReason::kAeadLimit;
  return false;
}

void Shard::report_low(std::uint32_t slot, unsigned entry) {
  SessionHot& hot = hot_[slot];
  hot.tx[entry].low_reported = true;
  hot.seq_low_streams |= 1U << entry;
  mark_pending(slot, kPendingSeqLow);
}

TxGrant Shard::grant_unusual(std::uint32_t slot, std::uint16_t stream_id) {
  SessionHot& hot = hot_[slot];
  if (!is_open(hot.state)) [[unlikely]]
    return refuse(DropReason::kSessionClosed);
  if (!can_seal(hot) || !has_counter(hot, stream_id)) [[unlikely]]
    return refuse(DropReason::kNoSendKey);
  TxStream& stream = hot.tx[stream_id];
  if (stream.next == stream.limit) [[unlikely]]
    return refuse(DropReason::kSequenceUnreserved);
  TxGrant grant;
  const std::uint32_t span = span_of(stream, hot.current.epoch);
  if (!far_from_limits(hot, span) && !may_send_more(slot, span, grant.drop)) [[unlikely]]
    return grant;
  take_sequence(hot, stream, grant);
  if (runs_low(stream, stream.limit - stream.next)) [[unlikely]]
    report_low(slot, stream_id);
  return grant;
}

// ---- streams whose counters are the caller's

// A session that sends on the id itself would use numbers twice: the first way taken is the only one.
bool Shard::claim_dynamic(std::uint32_t slot) {
  SessionHot& hot = hot_[slot];
  if ((hot.session_flags & kDynamicStreams) != 0) [[likely]]
    return true;
  if (hot.tx_streams >= kDynamicFirst || hot.tx[kDynamicFirst].next != dynamic_first_[slot]) return false;
  hot.session_flags |= kDynamicStreams;
  return true;
}

std::uint32_t Shard::dynamic_numbers(std::uint32_t slot) const {
  return std::min(hot_[slot].tx[kDynamicFirst].limit - dynamic_first_[slot], kDynamicNumbers);
}

// The shared entry says what control and telemetry ask for: the highest number, the longest span.
void Shard::note_dynamic(std::uint32_t slot, const TxStream& counter) {
  SessionHot& hot = hot_[slot];
  TxStream& shared = hot.tx[kDynamicFirst];
  const std::uint32_t first = dynamic_first_[slot];
  const std::uint8_t epoch = hot.current.epoch;
  const std::uint32_t span = std::max(span_of(counter, epoch), span_of(shared, epoch));
  if (counter.next - first > shared.next - first) shared.next = counter.next;
  shared.epoch_first = shared.next - span;
  shared.epoch_tag = epoch;
  shared.used_in_epoch = true;
}

TxGrant Shard::grant(std::uint32_t slot, TxStream& counter) {
  SessionHot& hot = hot_[slot];
  if (!is_open(hot.state)) [[unlikely]]
    return refuse(DropReason::kSessionClosed);
  if (!can_seal(hot) || !claim_dynamic(slot)) [[unlikely]]
    return refuse(DropReason::kNoSendKey);
  const std::uint32_t numbers = dynamic_numbers(slot);
  if (counter.next - dynamic_first_[slot] >= numbers) [[unlikely]]
    return refuse(DropReason::kSequenceUnreserved);
  TxGrant grant;
  if (!may_send_more(slot, span_of(counter, hot.current.epoch), grant.drop)) [[unlikely]]
    return grant;
  take_sequence(hot, counter, grant);
  note_dynamic(slot, counter);
  if (runs_low(hot.tx[kDynamicFirst], numbers - (counter.next - dynamic_first_[slot]))) [[unlikely]]
    report_low(slot, kDynamicFirst);
  return grant;
}

// ---- old numbers in a new epoch

// The span does not lead to a rekey here: the number is as old in the next epoch, and the one after (W-12).
TxGrant Shard::reseal(std::uint32_t slot, TxStream& counter, std::uint32_t sequence, unsigned image_epoch) {
  SessionHot& hot = hot_[slot];
  if (!is_open(hot.state)) [[unlikely]]
    return refuse(DropReason::kSessionClosed);
  if (!can_seal(hot)) [[unlikely]]
    return refuse(DropReason::kNoSendKey);
  const std::uint32_t behind = counter.next - sequence;
  const bool granted = behind != 0 && behind < SEQ_REKEY_WATERMARK;
  if (!granted || (image_epoch >= hot.current.epoch && image_epoch != kNeverSealed)) [[unlikely]]
    return refuse(DropReason::kResealRefused);
  TxGrant grant;
  if (!may_send_more(slot, 0, grant.drop)) [[unlikely]]
    return grant;
  const std::uint8_t epoch = hot.current.epoch;
  if (!counter.used_in_epoch || counter.epoch_tag != epoch || behind > span_of(counter, epoch)) {
    counter.epoch_first = sequence;
    counter.epoch_tag = epoch;
    counter.used_in_epoch = true;
  }
  seal_now(hot, grant);
  grant.sequence = sequence;
  return grant;
}

TxGrant Shard::regrant(std::uint32_t slot, std::uint16_t stream_id, std::uint32_t sequence,
                       unsigned image_epoch) {
  if (!has_counter(hot_[slot], stream_id)) [[unlikely]]
    return refuse(DropReason::kNoSendKey);
  return reseal(slot, hot_[slot].tx[stream_id], sequence, image_epoch);
}

TxGrant Shard::regrant(std::uint32_t slot, TxStream& counter, std::uint32_t sequence, unsigned image_epoch) {
  const std::uint32_t first = dynamic_first_[slot];
  const std::uint32_t used = counter.next - first;
  const bool ours = (hot_[slot].session_flags & kDynamicStreams) != 0 && used <= dynamic_numbers(slot);
  if (!ours || sequence - first >= used) [[unlikely]]
    return refuse(DropReason::kResealRefused);
  const TxGrant grant = reseal(slot, counter, sequence, image_epoch);
  if (grant.drop == DropReason::kNone) note_dynamic(slot, counter);
  return grant;
}

// ---- rest before a rekey

void Shard::set_under_way(std::uint32_t slot, bool under_way) {
  std::uint8_t& flags = hot_[slot].session_flags;
  flags = static_cast<std::uint8_t>(under_way ? flags | kUnderWay : flags & ~kUnderWay);
}

bool Shard::rekey_waits(std::uint32_t slot) const {
  const SessionHot& hot = hot_[slot];
  if (!must_rest_first(hot) || !hot.next.valid) return false;
  if (hot.seals_in_epoch >= hot.rekey_soft_limit) return true;
  return std::any_of(hot.tx.begin(), hot.tx.end(), [&](const TxStream& stream) {
    return span_of(stream, hot.current.epoch) >= hot.seq_rekey_watermark;
  });
}

bool Shard::grant_copy(std::uint32_t slot) {
  SessionHot& hot = hot_[slot];
  if (hot.seals_in_epoch >= kAeadMaxInvocations) [[unlikely]]
    return false;
  ++hot.seals_in_epoch;
  return true;
}

}  // namespace session
