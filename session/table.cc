#include "session/table.h"

#include <bit>
#include <cstring>

namespace session {
namespace {

// Load at most one half, so that a miss ends after one or two buckets.
std::uint32_t bucket_count(std::uint32_t sessions) {
  return std::bit_ceil(sessions < 8 ? 16U : sessions * 2);
}

std::uint32_t tag_of(std::uint64_t hash) {
  return static_cast<std::uint32_t>(hash);
}

// Word by word and without a branch between them: nearly always all are equal.
bool same_id(const SessionHot& hot, const std::uint8_t* session_id) {
  std::uint64_t known[kSessionIdBytes / 8];
  std::uint64_t asked[kSessionIdBytes / 8];
  std::memcpy(known, hot.id.data(), sizeof(known));
  std::memcpy(asked, session_id, sizeof(asked));
  return ((known[0] ^ asked[0]) | (known[1] ^ asked[1]) | (known[2] ^ asked[2]) | (known[3] ^ asked[3])) == 0;
}

}  // namespace

std::size_t SessionTable::bytes_needed(std::uint32_t sessions) {
  return std::size_t{bucket_count(sessions)} * sizeof(Bucket);
}

void SessionTable::init(std::span<std::byte> memory, std::uint32_t sessions, const SessionHot* hot) {
  buckets_ = reinterpret_cast<Bucket*>(memory.data());
  hot_ = hot;
  mask_ = bucket_count(sessions) - 1;
  for (std::uint32_t i = 0; i <= mask_; ++i) buckets_[i] = Bucket{0, kNone};
}

std::uint32_t SessionTable::find_hashed(std::uint64_t hash, const std::uint8_t* session_id) const {
  for (std::uint32_t i = tag_of(hash) & mask_;; i = (i + 1) & mask_) {
    const Bucket& bucket = buckets_[i];
    if (bucket.slot == kNone) return kNone;
    if (bucket.tag == tag_of(hash) && same_id(hot_[bucket.slot], session_id)) return bucket.slot;
  }
}

std::uint32_t SessionTable::find(const std::uint8_t* session_id) const {
  return find_hashed(session_hash(session_id), session_id);
}

// Three passes, so that the misses of a burst overlap: bucket lines, then session lines, then the compare.
void SessionTable::find_batch(const std::uint8_t* const* session_ids, unsigned n,
                              std::uint32_t* slots) const {
  std::uint64_t hashes[crypto::kMaxBatch];
  for (unsigned i = 0; i < n; ++i) {
    hashes[i] = session_hash(session_ids[i]);
    __builtin_prefetch(&buckets_[tag_of(hashes[i]) & mask_]);
  }
  for (unsigned i = 0; i < n; ++i) {
    const Bucket& bucket = buckets_[tag_of(hashes[i]) & mask_];
    if (bucket.slot != kNone) __builtin_prefetch(&hot_[bucket.slot]);
  }
  for (unsigned i = 0; i < n; ++i) {
    const Bucket& home = buckets_[tag_of(hashes[i]) & mask_];
    const bool found =
        home.slot != kNone && home.tag == tag_of(hashes[i]) && same_id(hot_[home.slot], session_ids[i]);
    slots[i] = found ? home.slot : find_hashed(hashes[i], session_ids[i]);
  }
}

bool SessionTable::insert(const std::uint8_t* session_id, std::uint32_t slot) {
  const std::uint64_t hash = session_hash(session_id);
  if (count_ > mask_ / 2 || find_hashed(hash, session_id) != kNone) return false;
  std::uint32_t i = tag_of(hash) & mask_;
  while (buckets_[i].slot != kNone) i = (i + 1) & mask_;
  buckets_[i] = Bucket{tag_of(hash), slot};
  ++count_;
  return true;
}

// Backward shift: no tombstones, so a table that lives for years stays as fast as a new one.
bool SessionTable::erase(const std::uint8_t* session_id) {
  const std::uint32_t tag = tag_of(session_hash(session_id));
  std::uint32_t i = tag & mask_;
  while (buckets_[i].slot != kNone &&
         !(buckets_[i].tag == tag && same_id(hot_[buckets_[i].slot], session_id))) {
    i = (i + 1) & mask_;
  }
  if (buckets_[i].slot == kNone) return false;
  for (std::uint32_t j = (i + 1) & mask_; buckets_[j].slot != kNone; j = (j + 1) & mask_) {
    const std::uint32_t home = buckets_[j].tag & mask_;
    if (((j - home) & mask_) < ((j - i) & mask_)) continue;
    buckets_[i] = buckets_[j];
    i = j;
  }
  buckets_[i] = Bucket{0, kNone};
  --count_;
  return true;
}

}  // namespace session
