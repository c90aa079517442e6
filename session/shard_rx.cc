// Receiving: which key opens a packet, and what an opened packet changes.
#include "session/receiver_report.h"
#include "session/shard.h"

namespace session {
namespace {

bool is_data(std::uint16_t flags) {
  return (flags & (kFlagAck | kFlagWindowUpdate | kFlagPathValidation)) == 0;
}

bool path_validated(const SessionHot& hot, std::uint8_t path) {
  return ((hot.validated_paths[path / 64] >> (path % 64)) & 1) != 0;
}

RxPick reject(DropReason reason) {
  RxPick pick;
  pick.drop = reason;
  return pick;
}

RxPick pick_from(const KeyRef& ref, EpochBranch branch) {
  RxPick pick;
  pick.key = ref.recv_key;
  pick.nonce_prefix = ref.nonce_prefix;
  pick.branch = branch;
  return pick;
}

DropReason replay_reason(ReplayVerdict verdict) {
  switch (verdict) {
    case ReplayVerdict::kDuplicate:
      return DropReason::kReplayDuplicate;
    case ReplayVerdict::kTooOld:
      return DropReason::kReplayTooOld;
    case ReplayVerdict::kNoRoom:
      return DropReason::kStreamLimit;
    case ReplayVerdict::kNew:
      break;
  }
  return DropReason::kNone;
}

// One packet of the catch-up budget, refilled by the worker's clock. Only the time that whole tokens cost is
// taken off the clock, or frequent callers would never see the rest.
bool take_ahead_token(SessionHot& hot, const ShardLimits& limits, std::uint32_t now_ms) {
  const std::uint32_t elapsed_ms = now_ms - hot.ahead_refill_ms;
  const std::uint64_t earned = std::uint64_t{elapsed_ms} * limits.ahead_per_second / 1000;
  if (hot.ahead_tokens >= limits.ahead_tokens) {  // full; a grant may lie above
    hot.ahead_refill_ms = now_ms;
  } else if (hot.ahead_tokens + earned >= limits.ahead_tokens) {
    hot.ahead_tokens = limits.ahead_tokens;
    hot.ahead_refill_ms = now_ms;
  } else if (earned > 0) {
    const std::uint64_t spent_ms = (earned * 1000 + limits.ahead_per_second - 1) / limits.ahead_per_second;
    hot.ahead_tokens += static_cast<std::uint32_t>(earned);
    hot.ahead_refill_ms += static_cast<std::uint32_t>(spent_ms);
  }
  if (hot.ahead_tokens == 0) return false;
  --hot.ahead_tokens;
  return true;
}

// To control, which looks at it within the budget.
RxPick to_control(SessionHot& hot, const ShardLimits& limits, std::uint32_t now_ms, DropReason otherwise) {
  RxPick pick;
  pick.branch = EpochBranch::kAhead;
  if (!take_ahead_token(hot, limits, now_ms)) pick.drop = otherwise;
  return pick;
}

// After a restart nothing older than its epoch is delivered, for its windows are gone. But a peer that moved
// meanwhile, and whom our announcement cannot reach, has no newer keys: such packets are good for a hint.
bool may_tell_where(const SessionHot& hot, std::uint8_t epoch) {
  return (hot.session_flags & kResumed) != 0 && !hot.heard &&
         hot.current.epoch - epoch <= static_cast<int>(MAX_REKEY_CATCHUP);
}

RxOutcome drop(DropReason reason) {
  RxOutcome outcome;
  outcome.drop = reason;
  return outcome;
}

RxOutcome act(RxAction action) {
  RxOutcome outcome;
  outcome.action = action;
  return outcome;
}

// To an unmodified peer such a packet is data, and so it is from one.
bool takes_report(const SessionHot& hot, const RxFields& fields) {
  return is_report(fields.flags, fields.stream) && (hot.session_flags & kUnmodifiedPeer) == 0;
}

RxOutcome classify_report(const RxFields& fields, std::uint32_t text_bytes) {
  const bool good = text_bytes == kReportBytes && fields.path < kTxPaths;
  return good ? act(RxAction::kReport) : drop(DropReason::kReportMalformed);
}

// Precedence of protocol.md 3.3 and the lengths of 3.5 to 3.7.
RxOutcome classify(std::uint16_t flags, std::uint32_t text_bytes) {
  if ((flags & kFlagAck) != 0) {
    return text_bytes == 4 ? act(RxAction::kAck) : drop(DropReason::kAckLength);
  }
  if ((flags & kFlagWindowUpdate) != 0) {
    return text_bytes == 4 ? act(RxAction::kWindowUpdate) : drop(DropReason::kWindowUpdateLength);
  }
  if ((flags & kFlagPathValidation) != 0) {
    return text_bytes == kPathChallengeBytes ? act(RxAction::kPathValidation)
                                             : drop(DropReason::kPathValidationLength);
  }
  return act((flags & kFlagCoalesced) != 0 ? RxAction::kDeliverBundle : RxAction::kDeliver);
}

}  // namespace

bool Shard::pick_receive_only(const SessionHot& hot, std::uint8_t epoch, RxPick& pick) const {
  if (hot.previous_pkts_left == 0) return false;
  if (hot.previous.valid && hot.previous.epoch == epoch) {
    pick = pick_from(hot.previous, EpochBranch::kPrevious);
    return true;
  }
  if (hot.older == kNone) return false;
  const OlderEpochs& older = older_[hot.older];
  for (std::uint32_t i = 0; i < older.count; ++i) {
    if (older.keys[i].epoch != epoch) continue;
    pick = pick_from(older.keys[i], EpochBranch::kOlder);
    return true;
  }
  return false;
}

RxPick Shard::pick_unusual(SessionHot& hot, const RxFields& fields, std::uint32_t now_ms) const {
  if ((fields.flags & kFlagEncrypted) == 0) [[unlikely]]
    return reject(DropReason::kUnencrypted);
  if (!is_open(hot.state)) [[unlikely]]
    return reject(DropReason::kSessionClosed);
  RxPick pick;
  if (fields.epoch == hot.current.epoch) [[likely]] {
    pick = pick_from(hot.current, EpochBranch::kCurrent);
  } else if (fields.epoch < hot.current.epoch) {
    if (!pick_receive_only(hot, fields.epoch, pick)) {
      if (may_tell_where(hot, fields.epoch))
        return to_control(hot, limits_, now_ms, DropReason::kEpochBehind);
      return reject(DropReason::kEpochBehind);
    }
  } else if (hot.next.valid && fields.epoch == hot.next.epoch) {
    pick = pick_from(hot.next, EpochBranch::kNext);
  } else if (fields.epoch - hot.current.epoch > static_cast<int>(MAX_REKEY_CATCHUP)) {
    return reject(DropReason::kEpochTooFar);
  } else {
    return to_control(hot, limits_, now_ms, DropReason::kEpochAheadBudget);
  }
  // Advisory: spares the open of a plain replay. A RELIABLE one must be opened all the same: when it is
  // authentic it is acknowledged again (W-10).
  if ((fields.flags & kFlagReliable) == 0) {
    const ReplayVerdict seen = windows_.peek(hot, fields.stream, fields.sequence);
    // With several paths the peer may send copies: the later one is opened, or it would look lost.
    if (seen != ReplayVerdict::kNew && hot.path_set == kNoPathSet) [[unlikely]]
      return reject(replay_reason(seen));
  }
  return pick;
}

// What any authentic packet changes, before the window has its say: the epoch, and what control hears of the
// peer.
void Shard::note_authentic(std::uint32_t slot, std::uint8_t epoch) {
  SessionHot& hot = hot_[slot];
  if (hot.next.valid && epoch == hot.next.epoch) [[unlikely]]
    advance_to_next(slot, false);
  if (epoch == hot.current.epoch) [[likely]]
    ++hot.opens_in_epoch;
  if (!hot.heard || epoch > hot.peer_epoch) [[unlikely]] {
    hot.peer_epoch = epoch;
    hot.heard = true;
    mark_pending(slot, kPendingHeard);
  }
}

RxOutcome Shard::judge(std::uint32_t slot, const RxFields& fields, std::uint32_t text_bytes,
                       std::uint64_t now_tsc, std::uint32_t source, bool has_room) {
  SessionHot& hot = hot_[slot];
  note_authentic(slot, fields.epoch);
  const bool data = is_data(fields.flags);
  const bool gated = data && !path_validated(hot, fields.path);
  const bool no_room = !has_room && data && (fields.flags & kFlagReliable) != 0;
  // The gates of path and room come before recording (W-16), yet a duplicate is one behind every gate.
  ReplayVerdict verdict = gated || no_room ? windows_.peek(hot, fields.stream, fields.sequence)
                                           : windows_.commit(hot, fields.stream, fields.sequence);
  if (verdict != ReplayVerdict::kNew) [[unlikely]] {
    ++(verdict == ReplayVerdict::kNoRoom ? hot.rx_other_drops : hot.rx_replayed);
    RxOutcome outcome = drop(replay_reason(verdict));
    const bool reliable =
        data && !gated && (fields.flags & kFlagReliable) != 0 && (fields.flags & kFlagCoalesced) == 0;
    outcome.duplicate_reliable = reliable && verdict == ReplayVerdict::kDuplicate;
    outcome.old_reliable = reliable && verdict == ReplayVerdict::kTooOld;
    return outcome;
  }
  // Not recorded, so a replay of it looks the same: it proves nothing and spends nothing.
  if (no_room && !gated) [[unlikely]] {
    ++hot.rx_other_drops;
    return drop(DropReason::kStreamNoRoom);
  }
  // No replay. Only such packets show that the peer lives, and only they may spend the grace: anyone can
  // repeat old RELIABLE packets until nothing is left for those still on their way.
  hot.last_rx_tsc = now_tsc;
  if (fields.epoch != hot.current.epoch) [[unlikely]] {
    ++hot.grace_accepts;
    if (hot.previous_pkts_left > 0) --hot.previous_pkts_left;
  }
  if (gated) [[unlikely]] {
    ++hot.rx_other_drops;
    return drop(DropReason::kPathNotValidated);
  }
  RxOutcome outcome =
      takes_report(hot, fields) ? classify_report(fields, text_bytes) : classify(fields.flags, text_bytes);
  if (outcome.action == RxAction::kDrop) [[unlikely]] {
    ++hot.rx_other_drops;
    return outcome;
  }
  ++hot.rx_pkts;
  hot.rx_bytes += text_bytes;
  if (source != hot.last_source) [[unlikely]]
    outcome.new_source = note_source(hot, fields, text_bytes, source, outcome.action);
  return outcome;
}

RxOutcome Shard::accept_unusual(std::uint32_t slot, const RxFields& fields, EpochBranch /*branch*/,
                                std::uint32_t text_bytes, std::uint64_t now_tsc, std::uint32_t source,
                                bool has_room) {
  SessionHot& hot = hot_[slot];
  // A session that knows its one source has one path: what goes over path 0 is its traffic.
  const bool plain = fields.path == 0 && (fields.flags & kAsideFlags) == 0 && hot.last_source != 0;
  const bool traffic = plain || note_received_aside(slot, fields, text_bytes, now_tsc);
  const RxOutcome outcome = judge(slot, fields, text_bytes, now_tsc, source, has_room);
  if (!traffic) [[unlikely]] {
    note_aside(slot, outcome.action != RxAction::kDrop, text_bytes);
  } else if ((hot.session_flags & kWatched) == 0 && outcome.action != RxAction::kDrop) [[unlikely]] {
    watch(slot);
  }
  return outcome;
}

}  // namespace session
