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
bool same_bytes(const std::uint8_t* a, const std::uint8_t* b) {
  std::uint64_t left[kSessionIdBytes / 8];
  std::uint64_t right[kSessionIdBytes / 8];
  std::memcpy(left, a, sizeof(left));
  std::memcpy(right, b, sizeof(right));
  return ((left[0] ^ right[0]) | (left[1] ^ right[1]) | (left[2] ^ right[2]) | (left[3] ^ right[3])) == 0;
}

bool same_id(const SessionHot& hot, const std::uint8_t* session_id) {
  return same_bytes(hot.id.data(), session_id);
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

// Three passes, so that the misses of a burst overlap: bucket lines, then session lines, then the compare. A
// packet of the same session as the one before it, as in a train of one flow, is looked up no second time.
void SessionTable::find_batch(const std::uint8_t* const* session_ids, unsigned n,
                              std::uint32_t* slots) const {
  std::uint64_t hashes[crypto::kMaxBatch];
  std::uint8_t places[crypto::kMaxBatch];  // of the packets that begin a run
  unsigned runs = 0;
  std::uint64_t previous = 0;
  for (unsigned i = 0; i < n; ++i) {
    std::uint64_t word;
    std::memcpy(&word, session_ids[i], sizeof(word));
    // Other sessions' first bytes are other ones, nearly always.
    if (i > 0 && word == previous && same_bytes(session_ids[i], session_ids[i - 1])) continue;
    previous = word;
    hashes[runs] = session_hash(session_ids[i]);
    __builtin_prefetch(&buckets_[tag_of(hashes[runs]) & mask_]);
    places[runs++] = static_cast<std::uint8_t>(i);
  }
  for (unsigned r = 0; r < runs; ++r) {
    const Bucket& bucket = buckets_[tag_of(hashes[r]) & mask_];
    if (bucket.slot != kNone) __builtin_prefetch(&hot_[bucket.slot]);
  }
  for (unsigned r = 0; r < runs; ++r) {
    const std::uint8_t* id = session_ids[places[r]];
    const Bucket& home = buckets_[tag_of(hashes[r]) & mask_];
    const bool found = home.slot != kNone && home.tag == tag_of(hashes[r]) && same_id(hot_[home.slot], id);
    const std::uint32_t slot = found ? home.slot : find_hashed(hashes[r], id);
    const unsigned end = r + 1 < runs ? places[r + 1] : n;
    for (unsigned i = places[r]; i < end; ++i) slots[i] = slot;
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
