// A worker's shard: its sessions, their windows and the operations on them. No DPDK; memory comes from the
// caller.
//
// Owner: one worker. Every function here is called on that thread only (or before it starts). Nothing
// allocates after construction. Control acts through the commands of shard_commands.h, which arrive by
// mailbox and run on the owner.
//
// The receive order of the design: pick_key (bounds and id were checked) -> open (crypto) -> accept. Nothing
// moves before the tag verified: pick_key is free of side effects but for the catch-up budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "crypto/aead.h"
#include "session/drop_reason.h"
#include "session/hot.h"
#include "session/path_counts.h"
#include "session/path_set.h"
#include "session/stream_windows.h"
#include "session/table.h"

namespace session {

struct ShardLimits {
  std::uint32_t sessions = 1024;
  std::uint32_t keys = 8192;               // expanded keys, all epochs and both directions
  std::uint32_t windows = 4096;            // receive windows, all streams of all sessions
  std::uint32_t window_bits = 8192;        // power of two, 1,024..65,536 (design: default 8,192)
  std::uint32_t streams_per_session = 32;  // windows a session may hold
  std::uint32_t tombstones = 16384;        // streams remembered by their highest sequence alone, and
  std::uint32_t tombstones_per_session = 256;
  std::uint64_t index_key = 0;             // of the hash of stream ids: random, not to be known to peers
  std::uint32_t older_blocks = 64;         // sessions that may keep epochs older than previous at one time
  std::uint32_t path_sets = 64;            // sessions that may use several paths at one time, < kNoPathSet
  std::uint32_t previous_pkts = 1U << 20;  // packet budget of one grace period
  std::uint32_t ahead_tokens = 64;         // catch-up budget of a session: burst ...
  std::uint32_t ahead_per_second = 256;    // ... and refill
};

// Further receive-only epochs, newest first; only after a jump or when epochs follow faster than the grace.
inline constexpr unsigned kOlderEpochs = 16;
struct OlderEpochs {
  std::array<KeyRef, kOlderEpochs> keys{};
  std::uint32_t count = 0;
  std::uint32_t next_free = kNone;
};

// Header fields of a received packet, loaded once.
struct RxFields {
  std::uint32_t sequence;
  std::uint16_t stream;
  std::uint16_t flags;
  std::uint8_t epoch;
  std::uint8_t path;
  std::uint16_t ack_delay = 0;  // as it stands in the header; streams.h says what it tells
};
inline RxFields load_fields(const std::uint8_t* header) {
  return RxFields{load_be32(header + kOffSequence),
                  load_be16(header + kOffStream),
                  load_be16(header + kOffFlags),
                  header[kOffEpoch],
                  header[kOffPath],
                  load_be16(header + kOffAckDelay)};
}

enum class EpochBranch : std::uint8_t { kCurrent, kNext, kPrevious, kOlder, kAhead, kReject };

struct RxPick {
  std::uint32_t key = kNone;  // receive key to open with, for kCurrent..kOlder
  std::array<std::uint8_t, 4> nonce_prefix{};
  EpochBranch branch = EpochBranch::kReject;
  DropReason drop = DropReason::kNone;  // for kReject; kAhead with kEpochAheadBudget when the budget is spent
};

// What to do with a packet that opened.
enum class RxAction : std::uint8_t {
  kDrop,            // see drop
  kDeliver,         // data (possibly empty: nothing to hand on)
  kDeliverBundle,   // COALESCED data, framing not yet checked
  kAck,             // 4 bytes
  kWindowUpdate,    // 4 bytes
  kPathValidation,  // 32 bytes
  kReport,          // 40 bytes of a receiver report, content not yet checked; never of an unmodified peer
};
struct RxOutcome {
  RxAction action = RxAction::kDrop;
  DropReason drop = DropReason::kNone;
  bool duplicate_reliable = false;  // authenticated duplicate of a RELIABLE packet: acknowledge again (W-10)
  bool old_reliable = false;        // authenticated, and too old for the window: its stream may know more
  bool new_source = false;          // the newest packet of its stream came from where no path of ours leads
};

inline constexpr unsigned kNeverSealed = kMaxEpoch + 1U;

// A granted number: seal with this key at this epoch and sequence, or drop for the reason given.
struct TxGrant {
  std::uint32_t key = kNone;
  std::uint32_t sequence = 0;
  std::array<std::uint8_t, 4> nonce_prefix{};
  std::uint8_t epoch = 0;
  DropReason drop = DropReason::kNone;
};

class Shard {
 public:
  // `keys` outlives the shard; control writes slots, the shard only reads those it was given. `memory` backs
  // sessions, windows and table: bytes_needed(limits) bytes, 64-byte aligned, zeroed, locked by the caller if
  // it can.
  Shard(const ShardLimits& limits, std::span<const crypto::KeySlot> keys, std::span<std::byte> memory);
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;
  static std::size_t bytes_needed(const ShardLimits& limits);

  // ---- look-up
  // Slot of a session id, or kNone; all 32 bytes are compared.
  [[nodiscard]] std::uint32_t find(const std::uint8_t* session_id) const;
  // The same for n ids at once, with prefetch of table and session lines; n <= crypto::kMaxBatch.
  void find_batch(const std::uint8_t* const* session_ids, unsigned n, std::uint32_t* slots) const;

  [[nodiscard]] SessionHot& hot(std::uint32_t slot) { return hot_[slot]; }
  [[nodiscard]] const SessionHot& hot(std::uint32_t slot) const { return hot_[slot]; }
  [[nodiscard]] const crypto::KeySlot* key(std::uint32_t index) const { return &keys_[index]; }
  [[nodiscard]] const ShardLimits& limits() const { return limits_; }

  // ---- receive
  // Chooses the key for an unauthenticated packet: ENCRYPTED flag, session state, epoch branch, advisory
  // window peek. Changes nothing but the catch-up budget. now_ms: worker clock, only differences matter.
  [[nodiscard]] RxPick pick_key(SessionHot& hot, const RxFields& fields, std::uint32_t now_ms) const {
    if (pick_usual(hot, fields)) [[likely]] {
      return RxPick{hot.current.recv_key, hot.current.nonce_prefix, EpochBranch::kCurrent, DropReason::kNone};
    }
    return pick_unusual(hot, fields, now_ms);
  }

  // After the tag verified, in packet order: advance the epoch if the packet is of `next`, path gate, window
  // commit, length checks of control packets. `text_bytes`: plaintext length. `source`: source_tag of the
  // addresses it came over, 0: not known. `has_room`: false for RELIABLE data that its stream cannot take now
  // (Streams::has_room): unless it is a duplicate it ends as kStreamNoRoom, unrecorded and unacknowledged, so
  // that the peer's repetition is new. Other packets need no room. Counters of the session are updated.
  [[nodiscard]] RxOutcome accept(std::uint32_t slot, const RxFields& fields, EpochBranch branch,
                                 std::uint32_t text_bytes, std::uint64_t now_tsc, std::uint32_t source = 0,
                                 bool has_room = true) {
    if (accept_usual(hot_[slot], fields, text_bytes, now_tsc, source)) [[likely]] {
      return RxOutcome{RxAction::kDeliver};
    }
    return accept_unusual(slot, fields, branch, text_bytes, now_tsc, source, has_room);
  }

  // Whether control may be told of a new source now; at most so often a session that an attacker who replays
  // from many addresses cannot fill the ring. now_ms: worker clock.
  [[nodiscard]] bool take_source_hint(std::uint32_t slot, std::uint32_t source, std::uint32_t now_ms);

  // Whether control may be told of one more PATH_VALIDATION packet of the session now: an authentic peer that
  // floods them must cost neither control's time nor the room that other sessions need in the ring. A refusal
  // is counted. now_ms: worker clock.
  [[nodiscard]] bool take_path_report(std::uint32_t slot, std::uint32_t now_ms);
  // The same for receiver reports, with a budget of their own.
  [[nodiscard]] bool take_receiver_report(std::uint32_t slot, std::uint32_t now_ms);

  // ---- transmit
  // Takes the next sequence of `stream` (< kTxStreams) for one packet, after the rekey decision
  // (protocol.md 6.5 with W-12: span = highest - lowest used in this epoch). A number once granted is burnt,
  // sealed or not.
  [[nodiscard]] TxGrant grant(std::uint32_t slot, std::uint16_t stream) {
    TxGrant grant;
    if (grant_usual(hot_[slot], stream, grant)) [[likely]]
      return grant;
    return grant_unusual(slot, stream);
  }
  // The same for a stream from kDynamicFirst on, whose counter is the caller's: one counter for one id, and
  // all ids of a session from this call alone. Its numbers are those of [first, limit) of the shared
  // reservation, kDynamicNumbers at most; kSequenceUnreserved beyond, kNoSendKey where the tunnel uses the
  // entry for itself.
  [[nodiscard]] TxGrant grant(std::uint32_t slot, TxStream& counter);
  // An old number once more, in the current epoch: a repetition after a rekey. `image_epoch`: the epoch that
  // the kept image of the number was sealed in last, kNeverSealed when its grant came to nothing. Refused
  // (kResealRefused): a number that was not granted, and one whose image is of the current epoch, for that is
  // to be sent again as it is. Once granted the caller keeps the new image, or never asks again: the shard
  // remembers no single numbers. Lowers the base of the span (W-12), never causes a rekey by it.
  [[nodiscard]] TxGrant regrant(std::uint32_t slot, std::uint16_t stream, std::uint32_t sequence,
                                unsigned image_epoch);
  [[nodiscard]] TxGrant regrant(std::uint32_t slot, TxStream& counter, std::uint32_t sequence,
                                unsigned image_epoch);
  // Where the dynamic streams' numbers began in this incarnation (Streams::set_dynamic_limit).
  [[nodiscard]] std::uint32_t dynamic_first(std::uint32_t slot) const { return dynamic_first_[slot]; }
  // Reliable data is under way, in either direction. Towards an unmodified peer an own rekey then waits
  // (protocol.md 1.4 rule 7), but for the hard limits.
  void set_under_way(std::uint32_t slot, bool under_way);
  // An own rekey by limits is due and waits for that: time to hold back new data.
  [[nodiscard]] bool rekey_waits(std::uint32_t slot) const;
  // One more seal with a number just granted, under another path id. False: the epoch has no seal left.
  [[nodiscard]] bool grant_copy(std::uint32_t slot);

  // ---- paths
  // The set of a session that sends over several paths, or null. Others than the worker look at its traffic
  // with the `owner` in mind: it may change hands while they read.
  [[nodiscard]] PathSet* path_set(const SessionHot& hot) const {
    const std::uint16_t index = __atomic_load_n(&hot.path_set, __ATOMIC_RELAXED);  // once: see above
    return index == kNoPathSet ? nullptr : &sets_[index];
  }
  [[nodiscard]] std::uint32_t free_path_sets() const { return free_path_sets_; }
  // A packet was sealed for header path id `path`, `text_bytes` of plaintext. Reports, challenges and probes
  // are told apart from traffic here; the rest of a session with one path costs nothing but the question.
  void note_sent(std::uint32_t slot, std::uint8_t path, std::uint16_t stream, std::uint16_t flags,
                 std::uint32_t text_bytes) {
    SessionHot& hot = hot_[slot];
    const bool aside = path != 0 || (flags & kAsideFlags) != 0 || hot.path_set != kNoPathSet;
    if (aside && !note_sent_aside(slot, path, stream, flags, text_bytes)) [[unlikely]]
      return;
    if ((hot.session_flags & kWatched) == 0) [[unlikely]]
      watch(slot);
  }
  // What was sent and received over a path so far. Any thread: then the parts may be of slightly different
  // moments, and the session may have changed hands meanwhile.
  [[nodiscard]] PathCounts path_counts(std::uint32_t slot, std::uint8_t path) const;

  // ---- ahead of use: asking for lines early is what many sessions cost least with
  // Up to here the lines of live sessions are in the caches anyway, and asking costs more than it gains.
  static constexpr std::uint32_t kFewSessions = 1024;
  [[nodiscard]] bool has_many() const { return table_.count() > kFewSessions; }
  // What sending a packet touches, but for its stream's counter.
  void prefetch_send(std::uint32_t slot) const {
    const auto* line = reinterpret_cast<const std::byte*>(&hot_[slot]);
    __builtin_prefetch(line);
    __builtin_prefetch(line + offsetof(SessionHot, validated_paths));
    __builtin_prefetch(line + offsetof(SessionHot, tx_pkts));
    __builtin_prefetch(line + offsetof(SessionHot, outer));
  }
  void prefetch_send_stream(std::uint32_t slot, std::uint16_t stream) const {
    __builtin_prefetch(&hot_[slot].tx[stream % kTxStreams]);
  }
  // What receiving one touches; the window's own lines once those are there.
  // find_batch() asked for the first line.
  void prefetch_receive(std::uint32_t slot) const {
    const auto* line = reinterpret_cast<const std::byte*>(&hot_[slot]);
    __builtin_prefetch(line + offsetof(SessionHot, validated_paths));
    __builtin_prefetch(line + offsetof(SessionHot, rx_pkts));
    __builtin_prefetch(line + offsetof(SessionHot, window));
  }
  void prefetch_window(std::uint32_t slot, std::uint16_t stream, std::uint32_t sequence) const {
    windows_.prefetch(hot_[slot], stream, sequence);
  }

  // ---- the usual case
  // What is asked of every packet and changed by nearly every one stands here, for the caller's compiler.
  // Each is a case of its namesake above, which knows all cases: same conditions, same changes. False:
  // nothing changed; ask that one. Packets come and go. Closing ends in Closed, or in removal, once what was
  // under way is through.
  [[nodiscard]] static bool is_open(LifeState state) {
    return state == LifeState::kConnected || state == LifeState::kMigrating || state == LifeState::kClosing;
  }
  // A packet of the current epoch, newer than all of its stream: `current` opens it.
  [[nodiscard]] bool pick_usual(const SessionHot& hot, const RxFields& fields) const {
    return fields.epoch == hot.current.epoch && is_open(hot.state) &&
           (fields.flags & (kFlagEncrypted | kFlagReliable)) == kFlagEncrypted &&
           windows_.is_ahead(hot, fields.stream, fields.sequence);
  }
  // The next packet of its stream, tunnel data of the current epoch over the one known path: deliver it.
  [[nodiscard]] bool accept_usual(SessionHot& hot, const RxFields& fields, std::uint32_t text_bytes,
                                  std::uint64_t now_tsc, std::uint32_t source) {
    const bool usual = fields.flags == kTunnelFlags && fields.path == 0 &&
                       fields.epoch == hot.current.epoch && fields.epoch == hot.peer_epoch && hot.heard &&
                       source == hot.last_source && source != 0 && (hot.session_flags & kWatched) != 0 &&
                       (hot.validated_paths[0] & 1) != 0;
    if (!usual || !windows_.commit_next(hot, fields.stream, fields.sequence)) return false;
    ++hot.opens_in_epoch;
    hot.last_rx_tsc = now_tsc;
    ++hot.rx_pkts;
    hot.rx_bytes += text_bytes;
    return true;
  }
  // Not the first packet of its stream in the epoch; no limit of the epoch, soft or hard, is near, nor the
  // end of the reservation, nor the point where control is to hear of it.
  [[nodiscard]] static bool grant_usual(SessionHot& hot, std::uint16_t stream_id, TxGrant& grant) {
    if (stream_id >= kDynamicFirst || !is_open(hot.state)) return false;
    TxStream& stream = hot.tx[stream_id];
    const KeyRef& current = hot.current;
    const std::uint32_t span = stream.next - stream.epoch_first;
    const std::uint32_t left = stream.limit - stream.next;
    const bool usual = current.valid && current.send_key != kNone && stream.used_in_epoch &&
                       stream.epoch_tag == current.epoch && span < hot.seq_rekey_watermark &&
                       span < SEQ_REKEY_WATERMARK && hot.seals_in_epoch < hot.rekey_soft_limit &&
                       hot.seals_in_epoch < kAeadMaxInvocations && left > 1 &&
                       (stream.low_reported || ((left - 1) >> stream.low_shift) != 0);
    if (!usual) return false;
    grant.key = current.send_key;
    grant.sequence = stream.next++;
    grant.nonce_prefix = current.nonce_prefix;
    grant.epoch = current.epoch;
    ++hot.seals_in_epoch;
    return true;
  }

  // ---- owed to control
  // Slots with pending bits, first in first out; returns kNone when there are none. The caller clears the
  // bits it could report with `settle`; bits left put the slot back on the list.
  [[nodiscard]] std::uint32_t take_dirty();
  void settle(std::uint32_t slot, std::uint8_t reported_bits);
  void mark_pending(std::uint32_t slot, std::uint8_t bits);

  // Key indices that no packet of this shard can use any more; control wipes them. Peek/pop keep them until a
  // message took them.
  [[nodiscard]] bool retired_front(std::uint32_t& key_index) const;
  void retired_pop();

 private:
  friend class ShardCommands;
  [[nodiscard]] RxPick pick_unusual(SessionHot& hot, const RxFields& fields, std::uint32_t now_ms) const;
  RxOutcome accept_unusual(std::uint32_t slot, const RxFields& fields, EpochBranch branch,
                           std::uint32_t text_bytes, std::uint64_t now_tsc, std::uint32_t source,
                           bool has_room);
  [[nodiscard]] TxGrant grant_unusual(std::uint32_t slot, std::uint16_t stream);
  // Swaps to `next`; both the own decision to rekey and an authentic packet of next lead here.
  void advance_to_next(std::uint32_t slot, bool own_decision);
  void enter_epoch(SessionHot& hot, const KeyRef& entered);
  void note_authentic(std::uint32_t slot, std::uint8_t epoch);
  // Keeps `ref` as the newest receive-only epoch; what does not fit is retired.
  void keep_receiving(std::uint32_t slot, KeyRef ref);
  void keep_older(std::uint32_t slot, KeyRef& ref);
  void retire(KeyRef& ref);
  void retire_key(std::uint32_t& index);
  void retire_older(SessionHot& hot, unsigned epoch);
  [[nodiscard]] bool may_send_more(std::uint32_t slot, std::uint32_t span, DropReason& drop);
  void report_low(std::uint32_t slot, unsigned entry);
  bool claim_dynamic(std::uint32_t slot);
  [[nodiscard]] std::uint32_t dynamic_numbers(std::uint32_t slot) const;
  void note_dynamic(std::uint32_t slot, const TxStream& counter);
  TxGrant reseal(std::uint32_t slot, TxStream& counter, std::uint32_t sequence, unsigned image_epoch);
  bool note_source(SessionHot& hot, const RxFields& fields, std::uint32_t text_bytes, std::uint32_t source,
                   RxAction action);
  bool note_sent_aside(std::uint32_t slot, std::uint8_t path, std::uint16_t stream, std::uint16_t flags,
                       std::uint32_t text_bytes);
  RxOutcome judge(std::uint32_t slot, const RxFields& fields, std::uint32_t text_bytes, std::uint64_t now_tsc,
                  std::uint32_t source, bool has_room);
  void note_aside(std::uint32_t slot, bool accepted, std::uint32_t text_bytes);
  bool note_received_aside(std::uint32_t slot, const RxFields& fields, std::uint32_t text_bytes,
                           std::uint64_t now_tsc);
  void watch(std::uint32_t slot);
  void init_path_sets(std::span<std::byte> memory);
  PathSet* take_path_set(std::uint32_t slot);
  void release_path_set(SessionHot& hot);
  [[nodiscard]] bool pick_receive_only(const SessionHot& hot, std::uint8_t epoch, RxPick& pick) const;

  ShardLimits limits_;
  std::span<const crypto::KeySlot> keys_;
  SessionHot* hot_ = nullptr;
  SessionTable table_;
  StreamWindows windows_;
  OlderEpochs* older_ = nullptr;
  std::uint32_t older_free_ = kNone;
  PathSet* sets_ = nullptr;
  std::uint32_t* path_due_ms_ = nullptr;  // a slot's PATH_VALIDATION reports so far are paid for at this time
  std::uint32_t* report_due_ms_ = nullptr;  // the same of receiver reports
  PathAside* aside_ = nullptr;              // by slot
  std::uint32_t* dynamic_first_ = nullptr;  // by slot
  std::uint32_t set_free_ = kNone;
  std::uint32_t free_path_sets_ = 0;
  std::uint32_t* retired_ = nullptr;  // ring of limits_.keys entries: every key fits, so it cannot overflow
  std::uint32_t retired_head_ = 0;
  std::uint32_t retired_count_ = 0;
  std::uint32_t dirty_head_ = kNone;
  std::uint32_t dirty_tail_ = kNone;
};

// Tag of packets that come back from where `outer` leads; 0 when it leads nowhere.
std::uint32_t source_tag(const OuterTemplate& outer);

// Writes the constant part and the numbers of a Phantom header with its length fields around `text_bytes` of
// plaintext: header at p, plaintext at p + kPayloadOffset, tag and 4 zero bytes (ext_len) behind it.
// `ack_delay`: the header field, 0 for the tunnel.
inline void write_packet_frame(std::uint8_t* p, const SessionHot& hot, const TxGrant& grant,
                               std::uint16_t stream, std::uint16_t flags, std::uint8_t path,
                               std::uint32_t text_bytes, std::uint16_t ack_delay = 0) {
  p[kOffVersion] = kWireVersion;
  std::memcpy(p + kOffSessionId, hot.id.data(), kSessionIdBytes);
  store_fields(p, stream, grant.sequence, flags, ack_delay, grant.epoch, path);
  const auto payload_bytes = static_cast<std::uint32_t>(text_bytes + kTagBytes);
  store_be32(p + kHeaderBytes, payload_bytes);
  store_be32(p + kPayloadOffset + payload_bytes, 0);
}

}  // namespace session
