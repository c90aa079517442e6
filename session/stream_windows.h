// Receive windows of the streams of a session: found, created, and given up in bounded memory (W-30).
//
// Owner: the shard's worker. Ids below kDirectRxStreams are found by index, others through a StreamIndex that
// all sessions of the shard share: a look-up is bounded whatever ids are asked for. When a session holds its
// share, the least recently used window of the others becomes a tombstone of a few bytes: "everything up to
// `highest` counts as seen". A stream that comes back starts from there, so it stays replay-safe. What was
// late by then is refused as too old, never as a duplicate: a duplicate is acknowledged again, and nobody
// knows whether this one ever came. Without room for a tombstone a new stream is refused; a stream that has
// one may come back in place of the least recently used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "session/hot.h"
#include "session/replay.h"
#include "session/stream_index.h"

namespace session {

class StreamWindows {
 public:
  struct Limits {
    std::uint32_t windows;
    std::uint32_t window_bits;
    std::uint32_t per_session;  // windows
    std::uint32_t tombstones;   // in all, and
    std::uint32_t tombstones_per_session;
    std::uint64_t index_key = 0;
  };

  static std::size_t bytes_needed(const Limits& limits);
  void init(std::span<std::byte> memory, const Limits& limits);

  // The sequence lies ahead of everything its stream's window has seen, and finding that took no search: the
  // case of nearly every packet. False says nothing; ask peek() and commit().
  [[nodiscard]] bool is_ahead(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const {
    const ReplayState* state = direct(hot, stream);
    return state != nullptr && sequence - state->highest - 1 < (1U << 31) - 1;
  }
  // Records the sequence if it is the next one of such a window. False: nothing changed; ask commit().
  bool commit_next(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) {
    if (direct(hot, stream) == nullptr) return false;
    const std::uint32_t index = hot.window[stream];
    ReplayState& state = pool_.entry(index).state;
    if (sequence - state.highest != 1) return false;
    state.highest = sequence;
    pool_.words(index)[(sequence / 64) & (pool_.bits() / 64 - 1)] |= std::uint64_t{1} << (sequence % 64);
    return true;
  }
  // Advisory, no change: a stream never seen is kNew.
  [[nodiscard]] ReplayVerdict peek(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const;
  // Decides and records. kNoRoom: the stream limit.
  ReplayVerdict commit(SessionHot& hot, std::uint16_t stream, std::uint32_t sequence);
  // After commit() said kNew: no newer packet of the stream was seen.
  [[nodiscard]] bool newest(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const;
  void release_all(SessionHot& hot);
  void prefetch(const SessionHot& hot, std::uint16_t stream, std::uint32_t sequence) const;

  [[nodiscard]] std::uint32_t free_windows() const { return pool_.free_count(); }
  [[nodiscard]] std::uint32_t free_tombstones() const { return free_tombstones_; }
  // Steps that a look-up of this stream takes.
  [[nodiscard]] std::uint32_t probes(const SessionHot& hot, std::uint16_t stream) const {
    return stream < kDirectRxStreams ? 1 : index_.probes(StreamIndex::key_of(hot, stream));
  }

 private:
  struct Tombstone {
    std::uint32_t highest;
    std::uint32_t next;  // ring of a session's tombstones, or the free list
    std::uint32_t prev;
    std::uint16_t stream;
  };
  // What the index refers to: a window, or with this bit a tombstone.
  static constexpr std::uint32_t kGrave = 1U << 31;

  // State of a window that is found without a search and saw a packet, or null.
  [[nodiscard]] const ReplayState* direct(const SessionHot& hot, std::uint16_t stream) const {
    if (stream >= kDirectRxStreams) return nullptr;
    const std::uint32_t index = hot.window[stream];
    if (index >= kGrave) return nullptr;
    const ReplayState& state = pool_.entry(index).state;
    return state.initialised ? &state : nullptr;
  }
  [[nodiscard]] std::uint32_t find(const SessionHot& hot, std::uint16_t stream) const;
  void touch(SessionHot& hot, std::uint32_t index);
  [[nodiscard]] ReplayVerdict judge(std::uint32_t index, std::uint32_t sequence, ReplayVerdict verdict) const;
  std::uint32_t create(SessionHot& hot, std::uint16_t stream);
  bool give_up_one(SessionHot& hot);
  bool bury(SessionHot& hot, std::uint16_t stream, std::uint32_t highest);
  void unbury(SessionHot& hot, std::uint32_t index);
  std::uint32_t open_window(SessionHot& hot, std::uint16_t stream);
  void revive(std::uint32_t index, std::uint32_t floor);

  WindowPool pool_;
  StreamIndex index_;
  Tombstone* tombstones_ = nullptr;
  std::uint32_t tombstone_free_ = kNone;
  std::uint32_t free_tombstones_ = 0;
  Limits limits_{};
};

}  // namespace session
