#include "session/stream_windows.h"

#include <cstring>

namespace session {
namespace {

constexpr std::uint32_t kHalfSpace = 1U << 31;

std::size_t round_up(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

bool above(std::uint32_t sequence, std::uint32_t floor) {
  return sequence != floor && sequence - floor < kHalfSpace;
}

// Rings of a session, doubly linked by index: `head` is the first, the one before it the last.
template <typename At>
void ring_add(std::uint32_t& head, std::uint32_t index, At at) {
  if (head == kNone) {
    at(index).next = at(index).prev = index;
  } else {
    const std::uint32_t last = at(head).prev;
    at(index).next = head;
    at(index).prev = last;
    at(last).next = at(head).prev = index;
  }
  head = index;
}

template <typename At>
void ring_remove(std::uint32_t& head, std::uint32_t index, At at) {
  const std::uint32_t next = at(index).next;
  const std::uint32_t prev = at(index).prev;
  at(prev).next = next;
  at(next).prev = prev;
  if (head == index) head = next == index ? kNone : next;
}

}  // namespace

std::size_t StreamWindows::bytes_needed(const Limits& limits) {
  return round_up(WindowPool::bytes_needed(limits.windows, limits.window_bits)) +
         round_up(std::size_t{limits.tombstones} * sizeof(Tombstone)) +
         StreamIndex::bytes_needed(limits.windows + limits.tombstones);
}

void StreamWindows::init(std::span<std::byte> memory, const Limits& limits) {
  limits_ = limits;
  const std::size_t pool_bytes = round_up(WindowPool::bytes_needed(limits.windows, limits.window_bits));
  pool_.init(memory.first(pool_bytes), limits.windows, limits.window_bits);
  tombstones_ = reinterpret_cast<Tombstone*>(memory.data() + pool_bytes);
  const std::size_t grave_bytes = round_up(std::size_t{limits.tombstones} * sizeof(Tombstone));
  index_.init(memory.subspan(pool_bytes + grave_bytes), limits.windows + limits.tombstones, limits.index_key);
  free_tombstones_ = limits.tombstones;
  for (std::uint32_t i = limits.tombstones; i-- > 0;) {
    tombstones_[i].next = tombstone_free_;
    tombstone_free_ = i;
  }
}

// A window, a tombstone (kGrave), or kNone. Windows found without a search are never given up.
std::uint32_t StreamWindows::find(const SessionHot& hot, std::uint16_t stream) const {
  if (stream < kDirectRxStreams) [[likely]]
    return hot.window[stream];
  return index_.find(StreamIndex::key_of(hot, stream));
}

// Moves a window that the index found to the front of its session's.
void StreamWindows::touch(SessionHot& hot, std::uint32_t index) {
  if (hot.extra_windows == index) return;
  const auto at = [this](std::uint32_t i) -> WindowPool::Entry& { return pool_.entry(i); };
  ring_remove(hot.extra_windows, index, at);
  ring_add(hot.extra_windows, index, at);
}

ReplayVerdict StreamWindows::peek(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
  const std::uint32_t index = find(hot, stream);
  if (index < kGrave) [[likely]] {
    return judge(index, sequence,
                 replay_peek(pool_.entry(index).state, pool_.words(index), pool_.bits(), sequence));
  }
  if (index == kNone) return ReplayVerdict::kNew;
  const std::uint32_t highest = tombstones_[index & ~kGrave].highest;
  if (above(sequence, highest)) return ReplayVerdict::kNew;
  return sequence == highest ? ReplayVerdict::kDuplicate : ReplayVerdict::kTooOld;
}

// A revived window has every bit below its floor set, seen or not: such a bit is no proof of a duplicate.
ReplayVerdict StreamWindows::judge(std::uint32_t index, std::uint32_t sequence, ReplayVerdict verdict) const {
  if (verdict != ReplayVerdict::kDuplicate) [[likely]]
    return verdict;
  const WindowPool::Entry& entry = pool_.entry(index);
  const bool floor_inside = entry.revived && entry.state.highest - entry.floor < pool_.bits();
  return floor_inside && sequence != entry.floor && !above(sequence, entry.floor) ? ReplayVerdict::kTooOld
                                                                                  : verdict;
}

ReplayVerdict StreamWindows::commit(SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) {
  std::uint32_t index = find(hot, stream);
  if (index >= kGrave) [[unlikely]] {
    const ReplayVerdict verdict = peek(hot, stream, sequence);
    if (verdict != ReplayVerdict::kNew) return verdict;
    index = create(hot, stream);
    if (index == kNone) return ReplayVerdict::kNoRoom;
  } else if (stream >= kDirectRxStreams) {
    touch(hot, index);
  }
  return judge(index, sequence,
               replay_commit(pool_.entry(index).state, pool_.words(index), pool_.bits(), sequence));
}

bool StreamWindows::newest(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
  const std::uint32_t index = find(hot, stream);
  return index < kGrave && pool_.entry(index).state.highest == sequence;
}

std::uint32_t StreamWindows::create(SessionHot& hot, std::uint16_t stream) {
  const bool full = hot.window_count >= limits_.per_session || pool_.free_count() == 0;
  if (full && hot.extra_windows == kNone) return kNone;
  if (stream < kDirectRxStreams) {
    if (full && !give_up_one(hot)) return kNone;
    hot.window[stream] = open_window(hot, stream);
    return hot.window[stream];
  }
  const std::uint64_t key = StreamIndex::key_of(hot, stream);
  const std::uint32_t found = index_.find(key);
  const bool revived = found != kNone;
  std::uint32_t floor = 0;
  if (revived) {
    // The stream's own tombstone goes first: where all are taken it is the one that give_up_one() needs.
    floor = tombstones_[found & ~kGrave].highest;
    unbury(hot, found & ~kGrave);
  } else if (!index_.insert(key, 0)) {
    return kNone;
  }
  if (full && !give_up_one(hot)) {  // not with a tombstone just freed
    index_.erase(key);
    return kNone;
  }
  const std::uint32_t index = open_window(hot, stream);
  if (revived) revive(index, floor);
  index_.replace(key, index);
  ring_add(hot.extra_windows, index,
           [this](std::uint32_t i) -> WindowPool::Entry& { return pool_.entry(i); });
  return index;
}

std::uint32_t StreamWindows::open_window(SessionHot& hot, std::uint16_t stream) {
  ++hot.window_count;
  return pool_.allocate(stream);
}

// Everything up to `floor` counts as seen.
void StreamWindows::revive(std::uint32_t index, std::uint32_t floor) {
  WindowPool::Entry& entry = pool_.entry(index);
  entry.state = ReplayState{floor, true};
  entry.revived = true;
  entry.floor = floor;
  std::memset(pool_.words(index), 0xff, pool_.bits() / 8);
}

// The least recently used window of those that the index finds: the ring's last.
bool StreamWindows::give_up_one(SessionHot& hot) {
  if (hot.extra_windows == kNone) return false;
  const std::uint32_t index = pool_.entry(hot.extra_windows).prev;
  const WindowPool::Entry& entry = pool_.entry(index);
  if (!bury(hot, entry.stream, entry.state.highest)) return false;
  ring_remove(hot.extra_windows, index,
              [this](std::uint32_t i) -> WindowPool::Entry& { return pool_.entry(i); });
  pool_.release(index);
  --hot.window_count;
  return true;
}

// The index refers to the tombstone from now on.
bool StreamWindows::bury(SessionHot& hot, std::uint16_t stream, std::uint32_t highest) {
  if (tombstone_free_ == kNone || hot.tombstone_count >= limits_.tombstones_per_session) return false;
  const std::uint32_t index = tombstone_free_;
  tombstone_free_ = tombstones_[index].next;
  tombstones_[index] = Tombstone{highest, kNone, kNone, stream};
  ring_add(hot.tombstones, index, [this](std::uint32_t i) -> Tombstone& { return tombstones_[i]; });
  index_.replace(StreamIndex::key_of(hot, stream), index | kGrave);
  ++hot.tombstone_count;
  --free_tombstones_;
  return true;
}

// Takes a tombstone out of its session's; what the index says of the stream is the caller's.
void StreamWindows::unbury(SessionHot& hot, std::uint32_t index) {
  ring_remove(hot.tombstones, index, [this](std::uint32_t i) -> Tombstone& { return tombstones_[i]; });
  tombstones_[index].next = tombstone_free_;
  tombstone_free_ = index;
  --hot.tombstone_count;
  ++free_tombstones_;
}

void StreamWindows::release_all(SessionHot& hot) {
  for (std::uint32_t& index : hot.window) {
    if (index != kNone) pool_.release(index);
    index = kNone;
  }
  while (hot.extra_windows != kNone) {
    const std::uint32_t index = hot.extra_windows;
    index_.erase(StreamIndex::key_of(hot, pool_.entry(index).stream));
    ring_remove(hot.extra_windows, index,
                [this](std::uint32_t i) -> WindowPool::Entry& { return pool_.entry(i); });
    pool_.release(index);
  }
  hot.window_count = 0;
  while (hot.tombstones != kNone) {
    index_.erase(StreamIndex::key_of(hot, tombstones_[hot.tombstones].stream));
    unbury(hot, hot.tombstones);
  }
}

void StreamWindows::prefetch(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
  if (stream >= kDirectRxStreams || hot.window[stream] == kNone) return;
  const std::uint32_t index = hot.window[stream];
  __builtin_prefetch(&pool_.entry(index));
  __builtin_prefetch(pool_.words(index) + (sequence / 64) % (pool_.bits() / 64));
}

}  // namespace session
