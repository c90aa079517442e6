#include "session/shard_commands.h"

#include <algorithm>
#include <bit>

namespace session {
namespace {

bool same_keys(const KeyRef& a, const KeyRef& b) {
  return a.valid && b.valid && a.epoch == b.epoch && a.recv_key == b.recv_key;
}

// Control is told when half of a grant is left.
std::uint8_t low_mark(std::uint32_t granted) {
  return static_cast<std::uint8_t>(granted < 4 ? 1 : std::bit_width(granted) - 2);
}

}  // namespace

bool ShardCommands::current_handle(std::uint32_t slot, std::uint32_t generation) const {
  if (slot >= shard_.limits_.sessions) return false;
  const SessionHot& hot = shard_.hot_[slot];
  return hot.state != LifeState::kFree && hot.generation == generation;
}

// True when the session uses these keys, in whatever place by now: the command that brought them is a
// repeated one, and giving them back would have control wipe them in use.
bool ShardCommands::holds(const SessionHot& hot, const KeyRef& ref) const {
  if (same_keys(hot.current, ref) || same_keys(hot.next, ref) || same_keys(hot.previous, ref)) return true;
  if (hot.older == kNone) return false;
  const OlderEpochs& older = shard_.older_[hot.older];
  return std::any_of(older.keys.begin(), older.keys.begin() + older.count,
                     [&](const KeyRef& held) { return same_keys(held, ref); });
}

// Any of its keys in use: the jump was carried out before, and giving back the others would do no good.
bool ShardCommands::carried_out(const SessionHot& hot, const JumpInit& jump) const {
  return holds(hot, jump.current) || holds(hot, jump.next) ||
         std::any_of(jump.skipped.begin(), jump.skipped.begin() + jump.skipped_count,
                     [&](const KeyRef& ref) { return holds(hot, ref); });
}

bool ShardCommands::add(const SessionInit& init) {
  KeyRef offered = init.current;
  if (current_handle(init.slot, init.generation) && shard_.hot_[init.slot].id == init.id) return true;
  if (init.slot >= shard_.limits_.sessions || shard_.hot_[init.slot].state != LifeState::kFree ||
      !shard_.table_.insert(init.id.data(), init.slot)) {
    shard_.retire(offered);
    return false;
  }
  set_up(shard_.hot_[init.slot], init);
  shard_.dynamic_first_[init.slot] = init.seq_start[kDynamicFirst];
  shard_.aside_[init.slot] = PathAside{};
  return true;
}

void ShardCommands::set_up(SessionHot& hot, const SessionInit& init) {
  const bool listed = hot.in_dirty_list;  // a predecessor's entry of the dirty list stays linked
  const std::uint32_t next_dirty = hot.next_dirty;
  hot = SessionHot{};
  hot.in_dirty_list = listed;
  hot.next_dirty = listed ? next_dirty : kNone;
  hot.window.fill(kNone);
  hot.id = init.id;
  hot.generation = init.generation;
  hot.suite = init.suite;
  hot.tx_streams = init.tx_streams;
  constexpr unsigned kOwn = kDynamicStreams | kUnderWay | kWatched;
  hot.session_flags = static_cast<std::uint8_t>(init.session_flags & ~kOwn);
  if ((hot.session_flags & kUnmodifiedPeer) != 0) hot.session_flags |= kWatched;  // it never gets reports
  hot.rekey_soft_limit = std::clamp<std::uint64_t>(init.rekey_soft_limit, 1, kAeadMaxInvocations);
  hot.seq_rekey_watermark = std::clamp<std::uint32_t>(init.seq_rekey_watermark, 1, SEQ_REKEY_WATERMARK);
  hot.outer = init.outer;
  hot.known_source[0] = source_tag(init.outer);
  for (unsigned i = 0; i < kTxStreams; ++i) {
    hot.tx[i].next = init.seq_start[i];
    hot.tx[i].limit = init.seq_limit[i];
    hot.tx[i].low_shift = low_mark(init.seq_limit[i] - init.seq_start[i]);
  }
  shard_.enter_epoch(hot, init.current);
  hot.state = LifeState::kConnected;
}

bool ShardCommands::was_removed(std::uint32_t slot, std::uint32_t generation) const {
  if (slot >= shard_.limits_.sessions) return false;
  const SessionHot& hot = shard_.hot_[slot];
  return hot.state == LifeState::kFree && hot.generation == generation;
}

bool ShardCommands::remove(std::uint32_t slot, std::uint32_t generation) {
  if (!current_handle(slot, generation)) return was_removed(slot, generation);
  SessionHot& hot = shard_.hot_[slot];
  shard_.table_.erase(hot.id.data());
  hot.state = LifeState::kFree;
  shard_.retire(hot.current);
  shard_.retire(hot.next);
  shard_.retire(hot.previous);
  shard_.retire_older(hot, kMaxEpoch);
  shard_.windows_.release_all(hot);
  shard_.release_path_set(hot);
  hot.pending = 0;
  return true;
}

bool ShardCommands::install_next(std::uint32_t slot, std::uint32_t generation, const KeyRef& next) {
  KeyRef offered = next;
  if (!current_handle(slot, generation)) {
    shard_.retire(offered);
    return false;
  }
  SessionHot& hot = shard_.hot_[slot];
  if (holds(hot, offered)) return true;
  if (hot.next.valid || offered.epoch != hot.current.epoch + 1) {
    shard_.retire(offered);
    return false;
  }
  hot.next = offered;
  return true;
}

bool ShardCommands::install_jump(const JumpInit& jump) {
  JumpInit offered = jump;
  const bool known = current_handle(jump.slot, jump.generation);
  if (known && carried_out(shard_.hot_[jump.slot], jump)) return true;
  if (!known || jump.current.epoch <= shard_.hot_[jump.slot].current.epoch) {
    shard_.retire(offered.current);
    shard_.retire(offered.next);
    for (unsigned i = 0; i < offered.skipped_count; ++i) shard_.retire(offered.skipped[i]);
    return false;
  }
  apply_jump(offered);
  return true;
}

// Receive-only epochs are pushed oldest first: the epoch that is left, an installed next that was jumped
// over, and what the jump brings for the others.
void ShardCommands::apply_jump(JumpInit& jump) {
  SessionHot& hot = shard_.hot_[jump.slot];
  const KeyRef left = hot.current;
  KeyRef passed = hot.next;
  shard_.enter_epoch(hot, jump.current);
  hot.next = jump.next;
  shard_.keep_receiving(jump.slot, left);
  if (passed.valid && passed.epoch < hot.current.epoch) {
    shard_.keep_receiving(jump.slot, passed);
  } else {
    shard_.retire(passed);
  }
  for (std::uint32_t i = jump.skipped_count; i-- > 0;) {
    KeyRef& skipped = jump.skipped[i];
    const bool wanted = skipped.epoch > hot.previous.epoch && skipped.epoch < hot.current.epoch;
    if (wanted) {
      shard_.keep_receiving(jump.slot, skipped);
    } else {
      shard_.retire(skipped);
    }
  }
  ++(jump.by_peer ? hot.catch_ups : hot.rekeys);
  shard_.mark_pending(jump.slot, kPendingAdvanced);
}

bool ShardCommands::retire_previous(std::uint32_t slot, std::uint32_t generation, std::uint8_t epoch) {
  if (!current_handle(slot, generation)) return false;
  SessionHot& hot = shard_.hot_[slot];
  if (hot.previous.valid && hot.previous.epoch <= epoch) shard_.retire(hot.previous);
  shard_.retire_older(hot, epoch);
  return true;
}

bool ShardCommands::grant_sequences(std::uint32_t slot, std::uint32_t generation, std::uint16_t stream,
                                    std::uint32_t limit) {
  if (!current_handle(slot, generation) || stream >= kTxStreams) return false;
  TxStream& tx = shard_.hot_[slot].tx[stream];
  const std::uint32_t more = limit - tx.limit;
  if (more == 0 || more >= SEQ_REKEY_WATERMARK) return true;  // repeated or older grant
  tx.limit = limit;
  tx.low_shift = low_mark(limit - tx.next);
  tx.low_reported = false;
  return true;
}

bool ShardCommands::grant_ahead(std::uint32_t slot, std::uint32_t generation, std::uint32_t pkts) {
  if (!current_handle(slot, generation)) return false;
  std::uint32_t& tokens = shard_.hot_[slot].ahead_tokens;
  tokens = std::max(tokens, pkts);
  return true;
}

bool ShardCommands::set_path_validated(std::uint32_t slot, std::uint32_t generation, std::uint8_t path,
                                       bool validated) {
  if (!current_handle(slot, generation)) return false;
  std::uint64_t& word = shard_.hot_[slot].validated_paths[path / 64];
  const std::uint64_t bit = std::uint64_t{1} << (path % 64);
  word = validated ? word | bit : word & ~bit;
  return true;
}

bool ShardCommands::set_state(std::uint32_t slot, std::uint32_t generation, LifeState state) {
  if (!current_handle(slot, generation) || state == LifeState::kFree) return false;
  SessionHot& hot = shard_.hot_[slot];
  if (hot.state == LifeState::kDead && state != LifeState::kClosed) return state == LifeState::kDead;
  hot.state = state;
  return true;
}

bool ShardCommands::rekey(std::uint32_t slot, std::uint32_t generation) {
  if (!current_handle(slot, generation) || !shard_.hot_[slot].next.valid) return false;
  shard_.advance_to_next(slot, true);
  return true;
}

}  // namespace session
