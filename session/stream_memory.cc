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
  std::uint32_t index = stream_bucket(owner, id);
  while (index != kNone && (streams[index].owner != owner || streams[index].id != id)) {
    index = streams[index].hash_next;
  }
  return index;
}

void StreamPools::add_stream(std::uint32_t record) {
  std::uint32_t& bucket = stream_bucket(streams[record].owner, streams[record].id);
  streams[record].hash_next = bucket;
  bucket = record;
}

void StreamPools::remove_stream(std::uint32_t record) {
  std::uint32_t* link = &stream_bucket(streams[record].owner, streams[record].id);
  while (*link != record) link = &streams[*link].hash_next;
  *link = streams[record].hash_next;
}

std::uint32_t StreamPools::find_segment(std::uint32_t record, std::uint32_t sequence) const {
  std::uint32_t index = segment_bucket(record, sequence);
  while (index != kNone && (segments[index].stream != record || segments[index].sequence != sequence)) {
    index = segments[index].hash_next;
  }
  return index;
}

void StreamPools::add_segment(std::uint32_t segment) {
  std::uint32_t& bucket = segment_bucket(segments[segment].stream, segments[segment].sequence);
  segments[segment].hash_next = bucket;
  bucket = segment;
}

void StreamPools::remove_segment(std::uint32_t segment) {
  std::uint32_t* link = &segment_bucket(segments[segment].stream, segments[segment].sequence);
  while (*link != segment) link = &segments[*link].hash_next;
  *link = segments[segment].hash_next;
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
