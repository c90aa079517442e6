#include "session/stream_index.h"

#include <bit>

namespace session {
namespace {

// Load at most one half.
std::uint32_t bucket_count(std::uint32_t keys) {
  return std::bit_ceil(keys < 8 ? 16U : keys * 2);
}

}  // namespace

std::size_t StreamIndex::bytes_needed(std::uint32_t keys) {
  return std::size_t{bucket_count(keys)} * sizeof(Bucket);
}

void StreamIndex::init(std::span<std::byte> memory, std::uint32_t keys, std::uint64_t hash_key) {
  buckets_ = reinterpret_cast<Bucket*>(memory.data());
  mask_ = bucket_count(keys) - 1;
  count_ = 0;
  hash_key_ = hash_key;
  for (std::uint32_t i = 0; i <= mask_; ++i) buckets_[i] = Bucket{0, kNone, 0};
}

// Three rounds of xor, multiply and shift, the secret in front of each: all of them can be undone, so two
// keys never have one hash.
std::uint64_t StreamIndex::hash_of(std::uint64_t key) const {
  std::uint64_t h = key ^ hash_key_;
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15ULL;
  h ^= std::rotl(hash_key_, 23);
  h ^= h >> 29;
  h *= 0xd6e8feb86659fd93ULL;
  h ^= std::rotl(hash_key_, 47);
  h ^= h >> 32;
  h *= 0xff51afd7ed558ccdULL;
  return h ^ h >> 33;
}

std::uint32_t StreamIndex::locate(std::uint64_t hash) const {
  std::uint32_t i = home(hash);
  for (std::uint32_t probe = 0; probe < kMaxProbes; ++probe, i = (i + 1) & mask_) {
    if (buckets_[i].reference == kNone) return kNone;
    if (buckets_[i].hash == hash) return i;
  }
  return kNone;
}

std::uint32_t StreamIndex::find(std::uint64_t key) const {
  const std::uint32_t at = locate(hash_of(key));
  return at == kNone ? kNone : buckets_[at].reference;
}

std::uint32_t StreamIndex::probes(std::uint64_t key) const {
  const std::uint64_t hash = hash_of(key);
  std::uint32_t count = 1;
  for (std::uint32_t i = home(hash); count < kMaxProbes; ++count, i = (i + 1) & mask_) {
    if (buckets_[i].reference == kNone || buckets_[i].hash == hash) break;
  }
  return count;
}

bool StreamIndex::insert(std::uint64_t key, std::uint32_t reference) {
  if (count_ > mask_ / 2) return false;
  const std::uint64_t hash = hash_of(key);
  std::uint32_t i = home(hash);
  for (std::uint32_t probe = 0; probe < kMaxProbes; ++probe, i = (i + 1) & mask_) {
    if (buckets_[i].reference != kNone) continue;
    buckets_[i] = Bucket{hash, reference, 0};
    ++count_;
    return true;
  }
  return false;
}

void StreamIndex::replace(std::uint64_t key, std::uint32_t reference) {
  const std::uint32_t at = locate(hash_of(key));
  if (at != kNone) buckets_[at].reference = reference;
}

// Whatever lay behind moves up, never further from its home.
void StreamIndex::erase(std::uint64_t key) {
  std::uint32_t i = locate(hash_of(key));
  if (i == kNone) return;
  for (std::uint32_t j = (i + 1) & mask_; buckets_[j].reference != kNone; j = (j + 1) & mask_) {
    const std::uint32_t from_home = (j - home(buckets_[j].hash)) & mask_;
    if (from_home < ((j - i) & mask_)) continue;
    buckets_[i] = buckets_[j];
    i = j;
  }
  buckets_[i] = Bucket{0, kNone, 0};
  --count_;
}

}  // namespace session
