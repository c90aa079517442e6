// Loss and time of the sending side: three later acknowledgements, time, tail probes, timeouts (RFC 6298,
// 8985; W-10, W-13, W-15, W-22).
#include <algorithm>

#include "session/streams_pvt.h"

namespace session {
namespace {

constexpr std::uint64_t kMaxRto_ns = 60'000 * kMillisecond_ns;  // protocol.md 2.2
constexpr std::uint8_t kMaxBackoffShift = 6;
constexpr std::uint32_t kReorderMin = 3;
constexpr std::uint32_t kReorderMax = 256;
constexpr std::uint8_t kTailProbes = 2;                       // before the timeout
constexpr std::uint64_t kTailSlack_ns = 2 * kMillisecond_ns;  // a tick of the wheel at both ends
constexpr std::uint64_t kWindowProbe_ns = 500 * kMillisecond_ns;
constexpr std::uint64_t kWindowProbeMax_ns = 5'000 * kMillisecond_ns;
constexpr std::uint8_t kMaxFinTries = 12;  // to a peer that acknowledges once, and of a reset
// Without evidence: hours of timeouts, or no number left to ask with.
constexpr std::uint8_t kMostTries = 255;
constexpr std::uint32_t kDistance = 512;  // numbers emitted since (W-15)

}  // namespace

std::uint64_t Streams::Impl::rto_ns(const Record& r) const {
  return std::min(flow().rto_ns() << r.backoff, kMaxRto_ns);
}

std::uint64_t Streams::Impl::tail_probe_ns() const {
  return flow().smoothed_rtt_ns() + std::max(4 * flow().rtt_variation_ns(), kTailSlack_ns);
}

// An acknowledgement: how far the peer is, in transmissions; or that a retransmission was in vain. Who can
// tell which of two it answers? What comes sooner than half a round trip after the last answers an earlier
// one.
void Streams::Impl::widen_reorder(Record& r, const Segment& s) {
  const bool early = s.tries > 1 && now - s.sent_ns < flows[s.flow].snapshot().min_rtt_ns / 2;
  if (s.state == Segment::State::kLost || early) {
    ++counters.spurious;
    if (r.tail_probes == 0) r.reorder = std::min(r.reorder * 2, kReorderMax);
    return;
  }
  if (ahead(s.order, r.acked_order) > 0) r.acked_order = s.order;
  r.acked_sent_ns = std::max(r.acked_sent_ns, s.sent_ns);
}

void Streams::Impl::detect_losses(std::uint32_t index) {
  Record& r = record(index);
  const std::uint64_t srtt_ns = flow().smoothed_rtt_ns();
  const std::uint64_t patience_ns = std::min(srtt_ns, srtt_ns / 4 * r.reorder / kReorderMin);
  while (r.life == Record::Life::kOpen && !r.flight.empty()) {
    const std::uint32_t segment = r.flight.head;
    const Segment& s = pools.segments[segment];
    const bool overtaken = ahead(r.acked_order, s.order) >= static_cast<std::int32_t>(r.reorder);
    const bool late = srtt_ns != 0 && s.sent_ns + patience_ns + kTailSlack_ns < r.acked_sent_ns;
    if (!overtaken && !late) return;
    mark_lost(segment, true);
  }
}

// From flight to what is sent again. `evidence`: later ones were acknowledged.
void Streams::Impl::mark_lost(std::uint32_t segment, bool evidence) {
  Segment& s = pools.segments[segment];
  const std::uint32_t index = s.stream;
  Record& r = record(index);
  if (s.mark.bytes != 0) flows[s.flow].on_lost(s.mark, now);
  s.mark.bytes = 0;
  r.flight.remove(pools.segments.data(), segment);
  s.state = Segment::State::kLost;
  ++waiting;
  r.lost.push_back(pools.segments.data(), segment);
  push_ready(index);
  if (!unmodified()) return;
  const bool fin = (s.flags & kFlagFin) != 0;
  if (fin && s.tries >= kMaxFinTries) return release_acked(segment);
  if (fin) {  // alone in the queue; with a new number, or it is a replay
    r.lost.remove(pools.segments.data(), segment);
    pools.remove_segment(segment);
    --unacked;
    s.numbered = false;
    s.image_bytes = 0;
    s.state = Segment::State::kUnsent;
    r.unsent = segment;
    return;
  }
  if (is_question(s)) return release_acked(segment);  // see ask_evidence(): the next is another one
  if (evidence && s.evident != 0xff) ++s.evident;
  const bool enough = s.evident > config.unmodified_retries;
  if (!enough && s.tries < kMostTries) return;
  if (enough && config.presume_delivered) {
    ++counters.presumed;
    return release_acked(segment);
  }
  ++counters.retries_used_up;
  breach(index, "never acknowledged");
}

void Streams::Impl::time_out(std::uint32_t index, std::uint64_t timeout_ns) {
  Record& r = record(index);
  ++counters.timeouts;
  r.backoff = std::min<std::uint8_t>(static_cast<std::uint8_t>(r.backoff + 1), kMaxBackoffShift);
  r.tail_probes = 0;
  const bool told_often = pools.segments[r.flight.head].tries >= kMaxFinTries;
  if (r.life == Record::Life::kResetting && told_often) return linger(index, timeout_ns);
  // With more to send but no window for it, one goes beyond it: it is as good as evidence, and may earn
  // credit.
  const bool in_doubt = unmodified() && pools.segments[r.queue.head].tries >= kEvidenceTries;
  const bool beyond = in_doubt && r.unsent != kNone && pools.segments[r.unsent].text_bytes > r.window;
  const std::uint32_t last_order = r.order;  // those sent again meanwhile are not looked at
  std::uint32_t segment = r.flight.head;
  while (segment != kNone && pools.segments[segment].sent_ns + timeout_ns <= now) {
    const std::uint32_t next = pools.segments[segment].list_next;
    if (ahead(pools.segments[segment].order, last_order) > 0) break;
    mark_lost(segment, ahead(r.acked_order, pools.segments[segment].order) > 0);
    if (r.life != Record::Life::kOpen && r.life != Record::Life::kResetting) return;
    if (r.flight.empty()) break;
    segment = next;
  }
  if (in_doubt) ask_evidence(index);
  if (beyond) {
    r.probe_now = true;
    push_ready(index);
  }
  settle(index);
}

// Towards a window of 1,024: what is old in numbers goes again before it is too old for ever.
void Streams::Impl::check_distance(std::uint32_t index) {
  if (!unmodified()) return;
  Record& r = record(index);
  const std::uint32_t oldest = r.queue.head;
  if (oldest == kNone) return;
  const Segment& s = pools.segments[oldest];
  if (s.state != Segment::State::kFlight || r.newest - s.sequence < kDistance) return;
  const std::uint64_t patience_ns = std::max(flow().smoothed_rtt_ns() * 2, kTailSlack_ns);
  if (now - s.sent_ns < patience_ns) return;
  mark_lost(oldest, ahead(r.acked_order, s.order) > 0);
}

void Streams::Impl::arm_tx(std::uint32_t index) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen && r.life != Record::Life::kResetting) return;
  std::uint64_t at_ns = UINT64_MAX;
  if (!r.flight.empty()) {
    at_ns = pools.segments[r.flight.head].sent_ns + rto_ns(r);
    if (r.tail_probes < kTailProbes && flow().smoothed_rtt_ns() != 0) {
      at_ns = std::min(at_ns, pools.segments[r.flight.tail].sent_ns + tail_probe_ns());
    }
  } else if (r.tx_at_ns != 0) {
    at_ns = r.tx_at_ns;  // window probe
  }
  if (r.want_memory) at_ns = std::min(at_ns, now + kMemoryRetry_ns);
  if (at_ns == UINT64_MAX) return wheel.cancel(r.tx_timer);
  if (!r.tx_timer.armed() || r.tx_timer.at_ns != at_ns) wheel.arm(r.tx_timer, at_ns);
}

// Nothing is under way and the peer's window is shut: when a segment goes beyond it (W-13).
void Streams::Impl::await_credit(std::uint32_t index) {
  Record& r = record(index);
  if (!r.flight.empty() || r.tx_at_ns != 0) return;
  const std::uint64_t pause_ns = std::max(flow().rto_ns(), kWindowProbe_ns) << r.window_probes;
  r.tx_at_ns = now + std::min(pause_ns, kWindowProbeMax_ns);
  arm_tx(index);
}

void Streams::Impl::on_tx_timer(std::uint32_t index) {
  Record& r = record(index);
  if (r.life == Record::Life::kLingering) {
    r.life = Record::Life::kOver;
    return news(index, kNewsClosed);
  }
  if (r.want_memory) {
    r.want_memory = false;
    if (r.finishing || r.life == Record::Life::kResetting) queue_fin(index);
    settle(index);
  }
  if (!r.flight.empty()) {
    const std::uint64_t timeout_ns = rto_ns(r);
    if (pools.segments[r.flight.head].sent_ns + timeout_ns <= now) return time_out(index, timeout_ns);
    probe_tail(index);
  } else if (r.tx_at_ns != 0 && r.tx_at_ns <= now) {
    r.tx_at_ns = 0;
    r.probe_now = true;
    if (r.window_probes < kMaxBackoffShift) ++r.window_probes;
    push_ready(index);
  }
  arm_tx(index);
}

// The newest segment again: its acknowledgement tells what was lost before it, long before the timeout.
void Streams::Impl::probe_tail(std::uint32_t index) {
  Record& r = record(index);
  const std::uint32_t segment = r.flight.tail;
  Segment& s = pools.segments[segment];
  if (r.tail_probes >= kTailProbes || s.sent_ns + tail_probe_ns() > now) return;
  ++r.tail_probes;
  if (unmodified() && ((s.flags & kFlagFin) != 0 || s.tries > 1)) return ask_evidence(index);
  if (s.mark.bytes != 0) flows[s.flow].forget(s.mark);
  s.mark.bytes = 0;
  r.flight.remove(pools.segments.data(), segment);
  s.state = Segment::State::kLost;
  ++waiting;
  r.lost.push_back(pools.segments.data(), segment);
  push_ready(index);
}

// An unmodified peer acknowledges once: was it the segment that was lost, time after time, or the only
// acknowledgement of it? A segment without text, which it acknowledges and does not deliver, shows that what
// was sent before it would have been acknowledged (W-10).
void Streams::Impl::ask_evidence(std::uint32_t index) {
  Record& r = record(index);
  if (!unmodified() || r.life != Record::Life::kOpen || r.fin_queued) return;
  const std::uint32_t last = r.flight.tail;
  if (r.unsent != kNone && is_question(pools.segments[r.unsent])) return;
  if (last != kNone && is_question(pools.segments[last])) return;
  const std::uint32_t made = pools.segments.take();
  if (made == kNone) return;
  Segment& s = pools.segments[made];
  s.stream = index;
  s.flags = kFlagEncrypted | kFlagReliable;
  r.queue.insert(pools.segments.data(), made, r.unsent);  // before data that the span holds back
  r.unsent = made;
  ++r.segments;
  ++waiting;
  push_ready(index);
}

}  // namespace session
