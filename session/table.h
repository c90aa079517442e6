// Session id -> slot, open addressing over memory the caller supplies. Owner: the shard's worker.
//
// Eight bytes of the id choose the bucket (after mixing: configured ids need not be hash outputs); the caller
// compares all 32 bytes through the slot's SessionHot before it believes a hit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "session/hot.h"

namespace session {

// 64-bit mix of eight id bytes; the upper half picks the shard, the lower the bucket.
// Two rounds of multiply and xor-shift: every input bit reaches both halves.
[[nodiscard]] inline std::uint64_t session_hash(const std::uint8_t* session_id) {
  std::uint64_t h;
  std::memcpy(&h, session_id, sizeof(h));
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15ULL;
  h ^= h >> 29;
  h *= 0xd6e8feb86659fd93ULL;
  h ^= h >> 32;
  return h;
}

// Owner of a session among `shards` workers. Pure: every core computes the same.
[[nodiscard]] inline unsigned shard_of(const std::uint8_t* session_id, unsigned shards) {
  const auto high = static_cast<std::uint32_t>(session_hash(session_id) >> 32);
  return static_cast<unsigned>((std::uint64_t{high} * shards) >> 32);
}

class SessionTable {
 public:
  static std::size_t bytes_needed(std::uint32_t sessions);
  void init(std::span<std::byte> memory, std::uint32_t sessions, const SessionHot* hot);

  [[nodiscard]] std::uint32_t find(const std::uint8_t* session_id) const;
  void find_batch(const std::uint8_t* const* session_ids, unsigned n, std::uint32_t* slots) const;
  bool insert(const std::uint8_t* session_id, std::uint32_t slot);  // false: full or already there
  bool erase(const std::uint8_t* session_id);
  [[nodiscard]] std::uint32_t count() const { return count_; }

 private:
  struct Bucket {
    std::uint32_t tag;
    std::uint32_t slot;
  };
  [[nodiscard]] std::uint32_t find_hashed(std::uint64_t hash, const std::uint8_t* session_id) const;

  Bucket* buckets_ = nullptr;
  const SessionHot* hot_ = nullptr;
  std::uint32_t mask_ = 0;
  std::uint32_t count_ = 0;
};

}  // namespace session
