#include "session/stream_memory.h"

#include <algorithm>
#include <bit>

#include "session/streams_pvt.h"

namespace session {
namespace {

// Spreads keys that an endpoint or its peer chooses (ids, counters); chains are bounded by the pool anyway.
std::uint64_t mix(std::uint64_t key) {
  key ^= key >> 32;
  key *= 0x9e3779b97f4a7c15ULL;  // 2^64 over the golden ratio
  return key ^ (key >> 29);
}

std::unique_ptr<std::uint32_t[]> buckets(std::uint32_t mask) {
  auto made = std::make_unique_for_overwrite<std::uint32_t[]>(std::size_t{mask} + 1);
  std::fill_n(made.get(), std::size_t{mask} + 1, kNone);
  return made;
}

std::uint32_t mask_for(std::uint32_t items) {
  return std::bit_ceil(std::max(items, 1U)) - 1;
}

// A bucket is the head of a chain through the items' hash_next.
template <typename T, typename Is>
std::uint32_t find_in(std::uint32_t bucket, const IndexPool<T>& items, Is is) {
  while (bucket != kNone && !is(items[bucket])) bucket = items[bucket].hash_next;
  return bucket;
}

template <typename T>
void add_to(std::uint32_t& bucket, IndexPool<T>& items, std::uint32_t index) {
  items[index].hash_next = bucket;
  bucket = index;
}

template <typename T>
void remove_from(std::uint32_t& bucket, IndexPool<T>& items, std::uint32_t index) {
  std::uint32_t* link = &bucket;
  while (*link != index) link = &items[*link].hash_next;
  *link = items[index].hash_next;
}

}  // namespace

StreamPools::StreamPools(const StreamMemory::Config& config_in)
    : config(config_in),
      streams(config.streams),
      segments(config.segments),
      blocks(config.blocks),
      slots(kMaxOutstanding),
      segment_text(std::make_unique_for_overwrite<Text[]>(config.segments)),
      segment_image(std::make_unique_for_overwrite<Image[]>(config.segments)),
      block_text(std::make_unique_for_overwrite<Text[]>(config.blocks)),
      stream_mask_(mask_for(config.streams)),
      segment_mask_(mask_for(config.segments)),
      stream_buckets_(buckets(stream_mask_)),
      segment_buckets_(buckets(segment_mask_)) {}

std::uint32_t& StreamPools::stream_bucket(const Streams* owner, std::uint16_t id) const {
  const auto key = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(owner)) * 0x10001ULL + id;
  return stream_buckets_[mix(key) & stream_mask_];
}

std::uint32_t& StreamPools::segment_bucket(std::uint32_t record, std::uint32_t sequence) const {
  // Neighbours in a stream stay neighbours in the table: acknowledgements come in order.
  return segment_buckets_[(sequence + static_cast<std::uint32_t>(mix(record))) & segment_mask_];
}

std::uint32_t StreamPools::find_stream(const Streams* owner, std::uint16_t id) const {
  return find_in(stream_bucket(owner, id), streams,
                 [&](const StreamRecord& r) { return r.owner == owner && r.id == id; });
}

void StreamPools::add_stream(std::uint32_t record) {
  add_to(stream_bucket(streams[record].owner, streams[record].id), streams, record);
}

void StreamPools::remove_stream(std::uint32_t record) {
  remove_from(stream_bucket(streams[record].owner, streams[record].id), streams, record);
}

std::uint32_t StreamPools::find_segment(std::uint32_t record, std::uint32_t sequence) const {
  return find_in(segment_bucket(record, sequence), segments,
                 [&](const Segment& s) { return s.stream == record && s.sequence == sequence; });
}

void StreamPools::add_segment(std::uint32_t segment) {
  add_to(segment_bucket(segments[segment].stream, segments[segment].sequence), segments, segment);
}

void StreamPools::remove_segment(std::uint32_t segment) {
  remove_from(segment_bucket(segments[segment].stream, segments[segment].sequence), segments, segment);
}

StreamMemory::StreamMemory(const Config& config) : pools_(std::make_unique<StreamPools>(config)) {}
StreamMemory::~StreamMemory() = default;

StreamMemory::Usage StreamMemory::usage() const {
  return {pools_->streams.used(), pools_->segments.used(), pools_->blocks.used()};
}

const StreamMemory::Config& StreamMemory::config() const {
  return pools_->config;
}

}  // namespace session
