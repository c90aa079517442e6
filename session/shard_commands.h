// What control can make a shard do. Run on the owner, from its mailbox (or before the worker starts).
//
// Every command names slot and generation; a stale one is refused (returns false) and changes nothing. All
// but rekey() are idempotent: repeating one that was carried out returns true and changes nothing, as long as
// any key it brought is still in use. Keys of a refused command go on the retired list, so that every key
// that was handed in comes back once.
#pragma once

#include <array>
#include <cstdint>

#include "session/hot.h"
#include "session/shard.h"

namespace session {

// Everything a new session brings. Built by control, read by the worker, handed back.
struct SessionInit {
  std::array<std::uint8_t, kSessionIdBytes> id{};
  std::uint32_t slot = kNone;
  std::uint32_t generation = 0;
  KeyRef current;  // send and receive keys of the first epoch of this incarnation
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
  std::uint8_t tx_streams = 16;
  std::uint8_t session_flags = 0;
  std::uint64_t rekey_soft_limit = REKEY_SOFT_LIMIT;
  std::uint32_t seq_rekey_watermark = SEQ_REKEY_WATERMARK;
  std::array<std::uint32_t, kTxStreams> seq_start{};  // first sequence each stream may use
  std::array<std::uint32_t, kTxStreams> seq_limit{};  // first one it may not
  OuterTemplate outer;
};

// A jump of several epochs at once, by the peer or by local decision: the new current, a new next (may be
// invalid) and the receive-only references of the skipped epochs, newest first.
struct JumpInit {
  std::uint32_t slot = kNone;
  std::uint32_t generation = 0;
  KeyRef current;
  KeyRef next;
  bool by_peer = false;
  std::uint32_t skipped_count = 0;
  std::array<KeyRef, kOlderEpochs> skipped{};
};

// Where packets of a session go from now on: built by control from session::PathSchedule, copied by the
// worker, handed back. With one slot the session needs nothing but SessionHot::outer; more take a PathSet of
// the shard's pool. Indices beyond `count` mean "none".
struct PathPlan {
  std::uint32_t slot = kNone;
  std::uint32_t generation = 0;
  std::uint32_t count = 0;                           // 1..kTxPaths
  std::uint32_t accepted_count = 0;                  // answer: 1 when the pool had no room, 0 when refused
  std::array<OuterTemplate, kTxPaths> outer{};       // path_id is the id in the header
  std::array<std::uint32_t, kTxPaths> source_tag{};  // source_tag() of each address pair, as packets come in
  std::array<std::uint8_t, kTxStreams> primary{};    // index into outer, by stream
  std::array<std::uint8_t, kTxStreams> second{};     // where a copy goes as well
  std::array<std::uint64_t, 4> validated_paths{1, 0, 0, 0};  // bit per path id that may carry data to us
};

class ShardCommands {
 public:
  explicit ShardCommands(Shard& shard) : shard_(shard) {}

  bool add(const SessionInit& init);
  // Takes the session out of the table, retires all its keys and windows. Packets in flight see
  // kUnknownSession.
  bool remove(std::uint32_t slot, std::uint32_t generation);
  // Accepts `next` when it is exactly current + 1.
  bool install_next(std::uint32_t slot, std::uint32_t generation, const KeyRef& next);
  bool install_jump(const JumpInit& jump);
  // Gives up every receive-only epoch <= `epoch`.
  bool retire_previous(std::uint32_t slot, std::uint32_t generation, std::uint8_t epoch);
  bool grant_sequences(std::uint32_t slot, std::uint32_t generation, std::uint16_t stream,
                       std::uint32_t limit);
  // Lets that many packets 2..16 epochs ahead go to control whatever the refill is: one of them was
  // authentic.
  bool grant_ahead(std::uint32_t slot, std::uint32_t generation, std::uint32_t pkts);
  // Without room for more than one path slot 0 carries everything; accepted_count says so.
  bool set_paths(PathPlan& plan);
  // Inner sources that route to this hop pass the source check as well.
  bool set_alias(std::uint32_t slot, std::uint32_t generation, std::uint32_t hop_word);
  bool set_path_validated(std::uint32_t slot, std::uint32_t generation, std::uint8_t path, bool validated);
  bool set_state(std::uint32_t slot, std::uint32_t generation, LifeState state);
  // Control stopped to watch the session's traffic: when it moves again kPendingMoved says so.
  bool unwatch(std::uint32_t slot, std::uint32_t generation);
  // Own rekey now (an operator asked): a swap to next if it is there; false when it is not.
  bool rekey(std::uint32_t slot, std::uint32_t generation);

 private:
  bool current_handle(std::uint32_t slot, std::uint32_t generation) const;
  bool was_removed(std::uint32_t slot, std::uint32_t generation) const;
  bool holds(const SessionHot& hot, const KeyRef& ref) const;
  bool carried_out(const SessionHot& hot, const JumpInit& jump) const;
  void set_up(SessionHot& hot, const SessionInit& init);
  void apply_jump(JumpInit& jump);

  Shard& shard_;
};

}  // namespace session
