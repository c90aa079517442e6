// Memory of a shard, look-up, epochs, and what is owed to control.
#include "session/shard.h"

#include <new>
#include <stdexcept>

namespace session {
namespace {

constexpr std::size_t kLine = 64;

std::size_t round_up(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

StreamWindows::Limits window_limits(const ShardLimits& limits) {
  return {limits.windows,
          limits.window_bits,
          limits.streams_per_session,
          limits.tombstones,
          limits.tombstones_per_session,
          limits.index_key};
}

// Hands out consecutive, line-aligned pieces of the shard's memory.
class Carver {
 public:
  explicit Carver(std::span<std::byte> memory) : rest_(memory) {}
  std::span<std::byte> take(std::size_t bytes) {
    const std::size_t size = round_up(bytes);
    if (size > rest_.size()) throw std::length_error("shard memory is smaller than Shard::bytes_needed");
    const std::span<std::byte> piece = rest_.first(size);
    rest_ = rest_.subspan(size);
    return piece;
  }

 private:
  std::span<std::byte> rest_;
};

}  // namespace

std::size_t Shard::bytes_needed(const ShardLimits& limits) {
  return round_up(std::size_t{limits.sessions} * sizeof(SessionHot)) +
         round_up(SessionTable::bytes_needed(limits.sessions)) +
         round_up(StreamWindows::bytes_needed(window_limits(limits))) +
         round_up(std::size_t{limits.older_blocks} * sizeof(OlderEpochs)) +
         round_up(std::size_t{limits.path_sets} * sizeof(PathSet)) +
         3 * round_up(std::size_t{limits.sessions} * sizeof(std::uint32_t)) +
         round_up(std::size_t{limits.sessions} * sizeof(PathAside)) +
         round_up(std::size_t{limits.keys} * sizeof(std::uint32_t));
}

Shard::Shard(const ShardLimits& limits, std::span<const crypto::KeySlot> keys, std::span<std::byte> memory)
    : limits_(limits), keys_(keys), free_path_sets_(limits.path_sets) {
  if (limits.path_sets >= kNoPathSet) throw std::length_error("more path sets than an index can name");
  Carver carver(memory);
  hot_ = reinterpret_cast<SessionHot*>(carver.take(std::size_t{limits.sessions} * sizeof(SessionHot)).data());
  table_.init(carver.take(SessionTable::bytes_needed(limits.sessions)), limits.sessions, hot_);
  windows_.init(carver.take(StreamWindows::bytes_needed(window_limits(limits))), window_limits(limits));
  older_ = reinterpret_cast<OlderEpochs*>(
      carver.take(std::size_t{limits.older_blocks} * sizeof(OlderEpochs)).data());
  for (std::uint32_t i = limits.older_blocks; i-- > 0;) {
    new (&older_[i]) OlderEpochs{};
    older_[i].next_free = older_free_;
    older_free_ = i;
  }
  init_path_sets(carver.take(std::size_t{limits.path_sets} * sizeof(PathSet)));
  path_due_ms_ = reinterpret_cast<std::uint32_t*>(
      carver.take(std::size_t{limits.sessions} * sizeof(std::uint32_t)).data());
  report_due_ms_ = reinterpret_cast<std::uint32_t*>(
      carver.take(std::size_t{limits.sessions} * sizeof(std::uint32_t)).data());
  aside_ = reinterpret_cast<PathAside*>(carver.take(std::size_t{limits.sessions} * sizeof(PathAside)).data());
  dynamic_first_ = reinterpret_cast<std::uint32_t*>(
      carver.take(std::size_t{limits.sessions} * sizeof(std::uint32_t)).data());
  retired_ =
      reinterpret_cast<std::uint32_t*>(carver.take(std::size_t{limits.keys} * sizeof(std::uint32_t)).data());
}

std::uint32_t Shard::find(const std::uint8_t* session_id) const {
  return table_.find(session_id);
}

void Shard::find_batch(const std::uint8_t* const* session_ids, unsigned n, std::uint32_t* slots) const {
  table_.find_batch(session_ids, n, slots);
}

void Shard::advance_to_next(std::uint32_t slot, bool own_decision) {
  SessionHot& hot = hot_[slot];
  const KeyRef left = hot.current;
  enter_epoch(hot, hot.next);
  hot.next = KeyRef{};
  keep_receiving(slot, left);
  ++(own_decision ? hot.rekeys : hot.followed);
  mark_pending(slot, kPendingAdvanced);
}

void Shard::enter_epoch(SessionHot& hot, const KeyRef& entered) {
  hot.current = entered;
  hot.seals_in_epoch = 0;
  hot.opens_in_epoch = 0;
  hot.previous_pkts_left = limits_.previous_pkts;
  hot.ahead_tokens = limits_.ahead_tokens;  // what was granted was for the way here
}

void Shard::keep_receiving(std::uint32_t slot, KeyRef ref) {
  if (!ref.valid) return;
  SessionHot& hot = hot_[slot];
  retire_key(ref.send_key);
  if (hot.previous.valid) keep_older(slot, hot.previous);
  hot.previous = ref;
}

// Moves `ref` to the front of the session's older epochs, or gives it up.
void Shard::keep_older(std::uint32_t slot, KeyRef& ref) {
  SessionHot& hot = hot_[slot];
  const bool previous_only = (hot.session_flags & kKeepPreviousOnly) != 0;
  if (previous_only || (hot.older == kNone && older_free_ == kNone)) {
    retire(ref);
    mark_pending(slot, kPendingPrevious);
    return;
  }
  if (hot.older == kNone) {
    hot.older = older_free_;
    older_free_ = older_[hot.older].next_free;
    older_[hot.older].count = 0;
  }
  OlderEpochs& older = older_[hot.older];
  if (older.count == kOlderEpochs) {
    retire(older.keys[--older.count]);
    mark_pending(slot, kPendingPrevious);
  }
  for (std::uint32_t i = older.count; i > 0; --i) older.keys[i] = older.keys[i - 1];
  older.keys[0] = ref;
  ++older.count;
  ref = KeyRef{};
}

// Gives up every older epoch <= `epoch`; they are sorted newest first.
void Shard::retire_older(SessionHot& hot, unsigned epoch) {
  if (hot.older == kNone) return;
  OlderEpochs& older = older_[hot.older];
  while (older.count > 0 && older.keys[older.count - 1].epoch <= epoch) retire(older.keys[--older.count]);
  if (older.count > 0) return;
  older.next_free = older_free_;
  older_free_ = hot.older;
  hot.older = kNone;
}

void Shard::retire(KeyRef& ref) {
  if (ref.valid) {
    retire_key(ref.send_key);
    retire_key(ref.recv_key);
  }
  ref = KeyRef{};
}

void Shard::retire_key(std::uint32_t& index) {
  if (index != kNone && retired_count_ < limits_.keys) {
    retired_[(retired_head_ + retired_count_++) % limits_.keys] = index;
  }
  index = kNone;
}

bool Shard::retired_front(std::uint32_t& key_index) const {
  if (retired_count_ == 0) return false;
  key_index = retired_[retired_head_];
  return true;
}

void Shard::retired_pop() {
  retired_head_ = (retired_head_ + 1) % limits_.keys;
  --retired_count_;
}

std::uint32_t Shard::take_dirty() {
  const std::uint32_t slot = dirty_head_;
  if (slot == kNone) return kNone;
  SessionHot& hot = hot_[slot];
  dirty_head_ = hot.next_dirty;
  if (dirty_head_ == kNone) dirty_tail_ = kNone;
  hot.next_dirty = kNone;
  hot.in_dirty_list = false;
  return slot;
}

void Shard::settle(std::uint32_t slot, std::uint8_t reported_bits) {
  SessionHot& hot = hot_[slot];
  hot.pending = static_cast<std::uint8_t>(hot.pending & ~reported_bits);
  if (hot.pending != 0) mark_pending(slot, 0);
}

void Shard::mark_pending(std::uint32_t slot, std::uint8_t bits) {
  SessionHot& hot = hot_[slot];
  hot.pending = static_cast<std::uint8_t>(hot.pending | bits);
  if (hot.in_dirty_list) return;
  hot.in_dirty_list = true;
  hot.next_dirty = kNone;
  (dirty_tail_ == kNone ? dirty_head_ : hot_[dirty_tail_].next_dirty) = slot;
  dirty_tail_ = slot;
}

}  // namespace session
