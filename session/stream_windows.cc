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

}  // namespace

std::size_t StreamWindows::bytes_needed(const Limits& limits) {
  return round_up(WindowPool::bytes_needed(limits.windows, limits.window_bits)) +
         round_up(std::size_t{limits.tombstones} * sizeof(Tombstone));
}

void StreamWindows::init(std::span<std::byte> memory, const Limits& limits) {
  limits_ = limits;
  const std::size_t pool_bytes = round_up(WindowPool::bytes_needed(limits.windows, limits.window_bits));
  pool_.init(memory.first(pool_bytes), limits.windows, limits.window_bits);
  tombstones_ = reinterpret_cast<Tombstone*>(memory.data() + pool_bytes);
  free_tombstones_ = limits.tombstones;
  for (std::uint32_t i = limits.tombstones; i-- > 0;) {
    tombstones_[i].next = tombstone_free_;
    tombstone_free_ = i;
  }
}

std::uint32_t StreamWindows::find(const SessionHot& hot, std::uint16_t stream) const {
  if (stream < kDirectRxStreams) [[likely]]
    return hot.window[stream];
  std::uint32_t index = hot.extra_windows;
  while (index != kNone && pool_.entry(index).stream != stream) index = pool_.entry(index).next;
  return index;
}

// As find(), and moves the window to the front of the chain.
std::uint32_t StreamWindows::find_first_used(SessionHot& hot, std::uint16_t stream) {
  if (stream < kDirectRxStreams) [[likely]]
    return hot.window[stream];
  std::uint32_t* link = &hot.extra_windows;
  while (*link != kNone && pool_.entry(*link).stream != stream) link = &pool_.entry(*link).next;
  const std::uint32_t index = *link;
  if (index == kNone || index == hot.extra_windows) return index;
  *link = pool_.entry(index).next;
  pool_.entry(index).next = hot.extra_windows;
  hot.extra_windows = index;
  return index;
}

ReplayVerdict StreamWindows::peek(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
  const std::uint32_t index = find(hot, stream);
  if (index != kNone) [[likely]] {
    return judge(index, sequence,
                 replay_peek(pool_.entry(index).state, pool_.words(index), pool_.bits(), sequence));
  }
  const Tombstone* grave = tombstone(hot, stream);
  if (grave == nullptr || above(sequence, grave->highest)) return ReplayVerdict::kNew;
  return sequence == grave->highest ? ReplayVerdict::kDuplicate : ReplayVerdict::kTooOld;
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
  std::uint32_t index = find_first_used(hot, stream);
  if (index == kNone) [[unlikely]] {
    const ReplayVerdict verdict = peek(hot, stream, sequence);
    if (verdict != ReplayVerdict::kNew) return verdict;
    index = create(hot, stream);
    if (index == kNone) return ReplayVerdict::kNoRoom;
  }
  return judge(index, sequence,
               replay_commit(pool_.entry(index).state, pool_.words(index), pool_.bits(), sequence));
}

bool StreamWindows::newest(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
  const std::uint32_t index = find(hot, stream);
  return index != kNone && pool_.entry(index).state.highest == sequence;
}

std::uint32_t StreamWindows::create(SessionHot& hot, std::uint16_t stream) {
  const bool full = hot.window_count >= limits_.per_session || pool_.free_count() == 0;
  if (full && hot.extra_windows == kNone) return kNone;
  // The stream's own tombstone goes first: where all are taken it is the one that give_up_one() needs.
  std::uint32_t floor = 0;
  const bool revived = unbury(hot, stream, floor);
  if (full && !give_up_one(hot)) return kNone;
  const std::uint32_t index = pool_.allocate(stream);
  WindowPool::Entry& entry = pool_.entry(index);
  if (revived) {
    entry.state = ReplayState{floor, true};
    entry.revived = true;
    entry.floor = floor;
    std::memset(pool_.words(index), 0xff, pool_.bits() / 8);
  }
  if (stream < kDirectRxStreams) {
    hot.window[stream] = index;
  } else {
    entry.next = hot.extra_windows;
    hot.extra_windows = index;
  }
  ++hot.window_count;
  return index;
}

// The least recently used window of the chain: its last. Windows found by index are never given up.
bool StreamWindows::give_up_one(SessionHot& hot) {
  if (hot.extra_windows == kNone) return false;
  std::uint32_t* link = &hot.extra_windows;
  while (pool_.entry(*link).next != kNone) link = &pool_.entry(*link).next;
  const std::uint32_t index = *link;
  const WindowPool::Entry& entry = pool_.entry(index);
  if (!bury(hot, entry.stream, entry.state.highest)) return false;
  *link = kNone;
  pool_.release(index);
  --hot.window_count;
  return true;
}

bool StreamWindows::bury(SessionHot& hot, std::uint16_t stream, std::uint32_t highest) {
  if (tombstone_free_ == kNone || hot.tombstone_count >= limits_.tombstones_per_session) return false;
  const std::uint32_t index = tombstone_free_;
  tombstone_free_ = tombstones_[index].next;
  tombstones_[index] = Tombstone{highest, hot.tombstones, stream};
  hot.tombstones = index;
  ++hot.tombstone_count;
  --free_tombstones_;
  return true;
}

const StreamWindows::Tombstone* StreamWindows::tombstone(const SessionHot& hot, std::uint16_t stream) const {
  for (std::uint32_t i = hot.tombstones; i != kNone; i = tombstones_[i].next) {
    if (tombstones_[i].stream == stream) return &tombstones_[i];
  }
  return nullptr;
}

bool StreamWindows::unbury(SessionHot& hot, std::uint16_t stream, std::uint32_t& highest) {
  std::uint32_t* link = &hot.tombstones;
  while (*link != kNone && tombstones_[*link].stream != stream) link = &tombstones_[*link].next;
  if (*link == kNone) return false;
  const std::uint32_t index = *link;
  highest = tombstones_[index].highest;
  *link = tombstones_[index].next;
  tombstones_[index].next = tombstone_free_;
  tombstone_free_ = index;
  --hot.tombstone_count;
  ++free_tombstones_;
  return true;
}

void StreamWindows::release_all(SessionHot& hot) {
  for (std::uint32_t& index : hot.window) {
    if (index != kNone) pool_.release(index);
    index = kNone;
  }
  while (hot.extra_windows != kNone) {
    const std::uint32_t index = hot.extra_windows;
    hot.extra_windows = pool_.entry(index).next;
    pool_.release(index);
  }
  hot.window_count = 0;
  while (hot.tombstones != kNone) {
    std::uint32_t floor = 0;
    unbury(hot, tombstones_[hot.tombstones].stream, floor);
  }
}

void StreamWindows::prefetch(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
  if (stream >= kDirectRxStreams || hot.window[stream] == kNone) return;
  const std::uint32_t index = hot.window[stream];
  __builtin_prefetch(&pool_.entry(index));
  __builtin_prefetch(pool_.words(index) + (sequence / 64) % (pool_.bits() / 64));
}

}  // namespace session
