// Where a stream's window or tombstone is: (session, stream) -> reference, open addressing over memory the
// caller supplies.
//
// Owner: the shard's worker. Look-ups come with ids from packets that nobody authenticated yet, insertions
// only from authentic ones: so the hash is keyed, and no key lies more than kMaxProbes buckets from its home.
// A look-up therefore ends after kMaxProbes buckets whatever is asked; an insertion that would break that is
// refused. Nothing allocates. Removal shifts back, so a table that lives for years is as fast as a new one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "session/hot.h"

namespace session {

class StreamIndex {
 public:
  // At a load of one half or less a distance beyond it comes once in some 10^11 insertions.
  static constexpr std::uint32_t kMaxProbes = 128;

  static std::size_t bytes_needed(std::uint32_t keys);
  // `hash_key`: not to be known to peers.
  void init(std::span<std::byte> memory, std::uint32_t keys, std::uint64_t hash_key);

  // Session and stream in one number. A session is told by where its SessionHot lies: those of a shard are
  // less than 2^32 lines apart.
  [[nodiscard]] static std::uint64_t key_of(const SessionHot& hot, std::uint16_t stream) {
    const auto line =
        static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&hot) / alignof(SessionHot));
    return std::uint64_t{line} << 16 | stream;
  }

  // kNone: not there.
  [[nodiscard]] std::uint32_t find(std::uint64_t key) const;
  bool insert(std::uint64_t key, std::uint32_t reference);   // of a key that is not there; false: no room
  void replace(std::uint64_t key, std::uint32_t reference);  // of a key that is there
  void erase(std::uint64_t key);
  // Buckets that find() looks at.
  [[nodiscard]] std::uint32_t probes(std::uint64_t key) const;

 private:
  // The hash is a bijection: equal hashes are equal keys.
  struct Bucket {
    std::uint64_t hash;
    std::uint32_t reference;  // kNone: empty
    std::uint32_t unused;
  };
  [[nodiscard]] std::uint64_t hash_of(std::uint64_t key) const;
  [[nodiscard]] std::uint32_t home(std::uint64_t hash) const {
    return static_cast<std::uint32_t>(hash) & mask_;
  }
  // Bucket of a hash, or kNone.
  [[nodiscard]] std::uint32_t locate(std::uint64_t hash) const;

  Bucket* buckets_ = nullptr;
  std::uint32_t mask_ = 0;
  std::uint32_t count_ = 0;
  std::uint64_t hash_key_ = 0;
};

}  // namespace session
