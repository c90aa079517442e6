// What a stream has to send, and what becomes of it: bytes into segments, acknowledgements, FIN.
#include <algorithm>
#include <cstring>

#include "session/streams_pvt.h"

namespace session {
namespace {

constexpr std::uint32_t kSegmentReserve =
    16;                                     // one part of so many is kept for streams that have next to none
constexpr std::uint32_t kFreeSegments = 2;  // which any stream may have

// Segments of one stream: the reference's permits, or twice what full ones would need.
std::uint32_t most_segments(const Streams::Config& config) {
  if (config.unmodified_peer) return MAX_PENDING_PACKETS;
  return config.limits.send_bytes / config.segment_bytes * 2 + 64;
}

}  // namespace

std::uint32_t Streams::Impl::new_segment(std::uint32_t index, bool control) {
  Record& r = record(index);
  if (!control && r.segments >= most_segments(config)) return kNone;
  const bool plenty = pools.segments.left() > pools.segments.size() / kSegmentReserve;
  std::uint32_t made = kNone;
  if (control || plenty || r.segments < kFreeSegments) made = pools.segments.take();
  if (made == kNone) {
    ++counters.no_memory;
    r.want_memory = true;
    arm_tx(index);
    return kNone;
  }
  Segment& s = pools.segments[made];
  s.stream = index;
  s.flags = kFlagEncrypted | kFlagReliable;
  r.queue.push_back(pools.segments.data(), made);
  if (r.unsent == kNone) r.unsent = made;
  ++r.segments;
  ++waiting;
  return made;
}

std::size_t Streams::Impl::append(std::uint32_t index, std::span<const std::uint8_t> bytes) {
  Record& r = record(index);
  std::size_t taken = 0;
  while (taken < bytes.size() && r.tx_bytes < config.limits.send_bytes) {
    std::uint32_t tail = r.queue.tail;
    const bool grows = tail != kNone && pools.segments[tail].state == Segment::State::kUnsent &&
                       pools.segments[tail].text_bytes < config.segment_bytes;
    if (!grows) tail = new_segment(index, false);
    if (tail == kNone) break;
    Segment& s = pools.segments[tail];
    const std::size_t part = std::min({bytes.size() - taken, std::size_t{config.segment_bytes} - s.text_bytes,
                                       std::size_t{config.limits.send_bytes} - r.tx_bytes});
    std::memcpy(pools.segment_text[tail].data() + s.text_bytes, bytes.data() + taken, part);
    s.text_bytes = static_cast<std::uint16_t>(s.text_bytes + part);
    r.tx_bytes += static_cast<std::uint32_t>(part);
    taken += part;
  }
  if (taken < bytes.size()) r.want_writable = true;
  if (taken != 0) push_ready(index);
  return taken;
}

void Streams::Impl::queue_fin(std::uint32_t index) {
  Record& r = record(index);
  const bool reset = r.life == Record::Life::kResetting;
  if (r.fin_queued || (!reset && unmodified() && !r.queue.empty())) return;
  const std::uint32_t made = new_segment(index, true);
  if (made == kNone) return;
  const std::uint16_t kind = reset && !unmodified() ? kResetFlags : std::uint16_t{kFlagFin};
  pools.segments[made].flags |= kind;
  r.fin_queued = true;
  push_ready(index);
}

void Streams::Impl::unlink_segment(std::uint32_t segment) {
  Segment& s = pools.segments[segment];
  Record& r = record(s.stream);
  if (s.mark.bytes != 0) flows[s.flow].forget(s.mark);
  if (s.state == Segment::State::kFlight) r.flight.remove(pools.segments.data(), segment);
  if (s.state == Segment::State::kLost) r.lost.remove(pools.segments.data(), segment);
  if (s.state == Segment::State::kLost || s.state == Segment::State::kUnsent) --waiting;
  if (r.unsent == segment) r.unsent = s.next;
  r.queue.remove(pools.segments.data(), segment);
  if (s.numbered) {
    pools.remove_segment(segment);
    --unacked;
  }
  --r.segments;
  r.tx_bytes -= s.text_bytes;
  s.stream = kNone;
  if (s.state != Segment::State::kOut) pools.segments.give(segment);
}

void Streams::Impl::drop_send(std::uint32_t index) {
  Record& r = record(index);
  while (!r.queue.empty()) unlink_segment(r.queue.head);
  r.want_writable = r.want_memory = r.probe_now = false;
  r.backoff = r.tail_probes = 0;
}

void Streams::Impl::release_acked(std::uint32_t segment) {
  const Segment& s = pools.segments[segment];
  if ((s.flags & kFlagFin) != 0) record(s.stream).fin_acked = true;
  unlink_segment(segment);
}

void Streams::Impl::on_ack(std::uint32_t index, std::uint32_t acked, std::uint64_t ack_delay_ns) {
  Record& r = record(index);
  const std::uint32_t segment = pools.find_segment(index, acked);
  if (segment == kNone) {
    // Once more what was acknowledged, or never sent.
    if (!r.any_number || ahead(acked, r.newest) > 0) ++counters.ack_unknown;
    return;
  }
  Segment& s = pools.segments[segment];
  if (s.tries == 0) {
    ++counters.ack_unknown;  // its number was taken, nothing was sent yet
    return;
  }
  if (s.state == Segment::State::kOut) {
    s.acked = true;
    return;
  }
  widen_reorder(r, s);
  if (s.mark.bytes != 0) flows[s.flow].on_acked(s.mark, ack_delay_ns, s.tries == 1, now);
  s.mark.bytes = 0;
  if (s.tries == 1) r.backoff = 0;
  r.tail_probes = 0;
  // Everything that went before a question was asked would have been acknowledged before it.
  if (is_question(s)) r.acked_order = s.order + r.reorder - 1;
  release_acked(segment);
  detect_losses(index);
  settle(index);
}

void Streams::Impl::settle(std::uint32_t index) {
  Record& r = record(index);
  if (r.life == Record::Life::kResetting && r.fin_acked) return linger(index, 3 * rto_ns(r));
  const std::uint32_t bytes = config.limits.send_bytes, segments = most_segments(config);
  if (r.want_writable && !r.want_memory && r.tx_bytes <= bytes - bytes / 4 &&
      r.segments <= segments - segments / 4) {
    r.want_writable = false;
    news(index, kNewsWritable);
  }
  if (r.finishing) queue_fin(index);
  maybe_close(index);
  if (r.life != Record::Life::kOpen && r.life != Record::Life::kResetting) return;
  push_ready(index);
  if (r.credit_repeat || r.due_bytes >= kCreditThreshold) stage_credit(index);  // held by the span before
  arm_tx(index);
}

bool Streams::Impl::span_left(const Record& r, std::uint32_t span) const {
  if (r.queue.empty() || !pools.segments[r.queue.head].numbered) return true;
  return r.newest - pools.segments[r.queue.head].sequence + 1 < span;
}

}  // namespace session
