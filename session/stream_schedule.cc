// Whose turn it is: acknowledgements, then credit, then data by deficit round robin (W-34, W-36, W-38).
#include <algorithm>

#include "session/streams_pvt.h"

namespace session {
namespace {

// Bytes that a stream may send a turn, by priority: 1, 4 and 16 largest packets.
constexpr std::int32_t kTurn[] = {kImageBytes, 4 * kImageBytes, 16 * kImageBytes};

// Numbers that acknowledgements and credit may take beyond what data may (W-15): data that is under way still
// gets through, its window is 1,024 or, 8,192 for a span of 3,000, some more than twice the span.
std::uint32_t control_span(const Streams::Config& config) {
  return config.unmodified_peer ? MAX_PENDING_PACKETS - 2 : config.span / 2 * 5;
}

}  // namespace

void Streams::Impl::push_ready(std::uint32_t index) {
  Record& r = record(index);
  if (r.is_ready) return;
  r.is_ready = true;
  ready.push_back(pools.streams.data(), index);
}

void Streams::Impl::drop_ready(std::uint32_t index) {
  Record& r = record(index);
  if (!r.is_ready) return;
  r.is_ready = r.in_turn = false;
  r.deficit = 0;
  ready.remove(pools.streams.data(), index);
}

bool Streams::Impl::give_plain(StreamPacket& out, const PlainSlot& what) {
  const std::uint32_t slot = pools.slots.take();
  if (slot == kNone) return false;
  PlainSlot& s = pools.slots[slot];
  s = what;
  const bool ack = (what.flags & kFlagAck) != 0;
  store_be32(s.text.data(), ack ? what.ack.sequence : what.credit);
  out = StreamPacket{};
  out.kind = StreamPacket::Kind::kPlain;
  out.path = what.ack.path;
  out.stream = what.ack.stream;
  out.flags = what.flags | kFlagEncrypted;
  out.ack_delay = what.told;
  if ((what.flags & kFlagFin) == 0) out.text = s.text;
  out.handle = slot;
  return true;
}

bool Streams::Impl::next_control(StreamPacket& out) {
  for (std::uint32_t left = ack_count; left != 0; --left) {
    PlainSlot what;
    if (pools.slots.left() == 0 || !pop_ack(what.ack)) return false;
    const std::uint32_t index = find(what.ack.stream);
    if (index != kNone && !span_left(record(index), control_span(config))) {
      ++counters.held_acks;
      queue_ack(what.ack);
      continue;
    }
    what.flags = what.ack.reset ? kResetFlags : std::uint16_t{kFlagAck};
    if (!what.ack.reset) {
      what.told = static_cast<std::uint16_t>(
          std::min<std::uint64_t>((now - std::min(now, what.ack.received_ns)) / 1000, 0xffff));
    }
    if (unmodified() && config.credit_hint && index != kNone && record(index).life == Record::Life::kOpen) {
      record(index).hint_due = true;
      stage_credit(index);
    }
    return give_plain(out, what);
  }
  return false;
}

bool Streams::Impl::next_credit(StreamPacket& out) {
  while (!with_credit.empty()) {
    if (pools.slots.left() == 0) return false;
    const std::uint32_t index = with_credit.head;
    Record& r = record(index);
    with_credit.remove(pools.streams.data(), index);
    r.in_credit = false;
    if (!span_left(r, control_span(config))) continue;  // settle() stages it again
    PlainSlot what;
    what.credit = grant(r);
    if (what.credit == 0 && !r.hint_due && !r.credit_repeat) continue;
    r.due_bytes -= what.credit;
    r.granted_bytes += what.credit;
    r.hint_due = r.credit_repeat = false;
    what.flags = kFlagWindowUpdate;
    what.ack.stream = r.id;
    what.ack.path = path;
    if (!unmodified()) what.told = static_cast<std::uint16_t>(r.granted_bytes / 1024);
    return give_plain(out, what);
  }
  return false;
}

// The segment that a stream would send now; kNone: it has to wait for something that makes it ready again.
std::uint32_t Streams::Impl::pick(std::uint32_t index) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen && r.life != Record::Life::kResetting) return kNone;
  const bool question = r.unsent != kNone && is_question(pools.segments[r.unsent]);
  if (question && span_left(r, control_span(config))) return r.unsent;
  if (!r.lost.empty()) return r.lost.head;
  if (r.unsent == kNone || question) return kNone;
  if (held && r.life == Record::Life::kOpen) return kNone;
  if (!span_left(r, config.span) || wait_for_missing(index)) return kNone;
  if (pools.segments[r.unsent].text_bytes > config.segment_bytes) split(r.unsent);
  if (pools.segments[r.unsent].text_bytes > r.window && !r.probe_now) {
    await_credit(index);
    return kNone;
  }
  return r.unsent;
}

bool Streams::Impl::next_data(StreamPacket& out) {
  while (!ready.empty()) {
    const std::uint32_t index = ready.head;
    const std::uint32_t segment = pick(index);
    if (segment == kNone) {
      drop_ready(index);
      continue;
    }
    const std::uint32_t bytes =
        pools.segments[segment].text_bytes + static_cast<std::uint32_t>(kPacketOverhead);
    // A question is small and tells of those that fill the window: it does not wait for it.
    if (!is_question(pools.segments[segment]) && !flow().may_send(bytes, now)) {
      const std::uint64_t at_ns = flow().wait_until_ns(bytes, now);
      if (at_ns == UINT64_MAX) return false;
      wheel.arm(pace_timer, at_ns);
      paced_until_ns = at_ns;
      return false;
    }
    Record& r = record(index);
    if (!r.in_turn) {
      r.in_turn = true;
      r.deficit += kTurn[static_cast<unsigned>(r.options.priority)];
    }
    if (r.deficit < static_cast<std::int32_t>(bytes)) {
      r.in_turn = false;
      ready.remove(pools.streams.data(), index);
      ready.push_back(pools.streams.data(), index);
      continue;
    }
    r.deficit -= static_cast<std::int32_t>(bytes);
    give(out, segment);
    return true;
  }
  if (waiting == 0) flow().on_app_limited();  // else the peer's window is the limit
  return false;
}

void Streams::Impl::give(StreamPacket& out, std::uint32_t segment) {
  Segment& s = pools.segments[segment];
  Record& r = record(s.stream);
  if (s.state == Segment::State::kLost) {
    r.lost.remove(pools.segments.data(), segment);
  } else {
    r.unsent = s.next;
    r.window -= s.text_bytes;
    if (r.probe_now && r.window < 0) ++counters.probes;
    r.probe_now = false;
  }
  s.state = Segment::State::kOut;
  --waiting;
  // Also when data goes another way by now: the image keeps the path id it was sealed with, so that no number
  // is sealed twice in an epoch.
  const bool kept = s.image_bytes != 0 && s.epoch == epoch;
  out = StreamPacket{};
  out.kind = StreamPacket::Kind::kReseal;
  if (!s.numbered) out.kind = StreamPacket::Kind::kNew;
  if (kept) out.kind = StreamPacket::Kind::kAgain;
  out.path = kept ? s.path : path;
  if (s.image_bytes != 0) out.image_epoch = s.epoch;
  out.stream = r.id;
  out.flags = s.flags;
  out.ack_delay = s.prior;
  out.sequence = s.sequence;
  out.text = std::span(pools.segment_text[segment]).first(s.text_bytes);
  out.image = std::span(pools.segment_image[segment]);
  if (kept) out.image = out.image.first(s.image_bytes);
  out.handle = segment;
}

// Cut before the path's segments became smaller: the rest becomes a segment of its own.
void Streams::Impl::split(std::uint32_t segment) {
  Segment& s = pools.segments[segment];
  const std::uint32_t rest = pools.segments.take();
  if (rest == kNone) return;  // goes as it is, in fragments
  Segment& t = pools.segments[rest];
  t.stream = s.stream;
  t.flags = s.flags;
  t.text_bytes = static_cast<std::uint16_t>(s.text_bytes - config.segment_bytes);
  s.text_bytes = static_cast<std::uint16_t>(config.segment_bytes);
  std::copy_n(pools.segment_text[segment].data() + s.text_bytes, t.text_bytes,
              pools.segment_text[rest].data());
  Record& r = record(s.stream);
  r.queue.insert(pools.segments.data(), rest, s.next);
  ++r.segments;
  ++waiting;
}

void Streams::Impl::numbered(StreamPacket& packet, std::uint32_t sequence) {
  packet.sequence = sequence;
  const bool plain = packet.kind == StreamPacket::Kind::kPlain;
  const std::uint32_t index = plain ? find(packet.stream) : pools.segments[packet.handle].stream;
  if (index == kNone) return;
  Record& r = record(index);
  if (!r.any_number || ahead(sequence, r.newest) > 0) r.newest = sequence;
  r.any_number = true;
  if (packet.kind != StreamPacket::Kind::kNew) return;
  Segment& s = pools.segments[packet.handle];
  const std::uint32_t distance = sequence - r.last_data;
  if (!unmodified()) {
    s.prior = kPriorFirst;
    if (r.any_data) s.prior = distance <= kPriorMax ? static_cast<std::uint16_t>(distance) : kPriorAllAcked;
  }
  r.last_data = sequence;
  r.any_data = true;
  s.sequence = sequence;
  s.numbered = true;
  ++unacked;
  pools.add_segment(packet.handle);
  packet.ack_delay = s.prior;
}

void Streams::Impl::sealed_segment(const StreamPacket& packet, std::uint8_t epoch_of,
                                   std::uint32_t image_bytes) {
  Segment& s = pools.segments[packet.handle];
  if (s.stream == kNone) return pools.segments.give(packet.handle);  // given up meanwhile
  const std::uint32_t index = s.stream;
  Record& r = record(index);
  if (s.tries == 0) {
    ++counters.segments;
    counters.sent_bytes += s.text_bytes;
    if ((s.flags & kFlagFin) != 0 && r.life == Record::Life::kOpen) ++counters.fins;
  } else {
    ++(packet.kind == StreamPacket::Kind::kAgain ? counters.segments_again : counters.segments_resealed);
  }
  if (packet.kind != StreamPacket::Kind::kAgain) {
    s.image_bytes = static_cast<std::uint16_t>(std::min(image_bytes, kImageBytes));
    s.epoch = epoch_of;
    s.path = packet.path;
  }
  s.state = Segment::State::kFlight;
  r.flight.push_back(pools.segments.data(), packet.handle);
  if (s.acked) {
    release_acked(packet.handle);
    return settle(index);
  }
  const bool this_way = packet.path == path || packet.kind == StreamPacket::Kind::kAgain;
  s.flow = this_way ? flow_now : static_cast<std::uint8_t>(flow_slot(packet.path));
  // A peer that never acknowledges twice may have had it all along: four such would fill the smallest window,
  // and nothing new could show that the path works (W-10).
  if (!unmodified() || s.tries < kEvidenceTries) flows[s.flow].on_sent(s.mark, s.image_bytes, now);
  s.sent_ns = now;
  s.order = ++r.order;
  if (s.tries != 0xff) ++s.tries;
  check_distance(index);
  if (s.tries > 1 && r.lost.empty() && (r.unsent == kNone || !span_left(r, config.span))) ask_evidence(index);
  arm_tx(index);
}

void Streams::Impl::not_sent_segment(const StreamPacket& packet) {
  Segment& s = pools.segments[packet.handle];
  if (s.stream == kNone) return pools.segments.give(packet.handle);
  const std::uint32_t index = s.stream;
  Record& r = record(index);
  ++waiting;
  if (s.numbered) {
    s.state = Segment::State::kLost;
    r.lost.push_front(pools.segments.data(), packet.handle);
  } else {
    s.state = Segment::State::kUnsent;
    r.unsent = packet.handle;
    r.window += s.text_bytes;
  }
  if (s.acked) {
    release_acked(packet.handle);
    return settle(index);
  }
  r.deficit += s.text_bytes + static_cast<std::int32_t>(kPacketOverhead);
  push_ready(index);
  arm_tx(index);
}

void Streams::Impl::sealed_plain(const StreamPacket& packet) {
  const PlainSlot what = pools.slots[packet.handle];
  pools.slots.give(packet.handle);
  if ((what.flags & kFlagAck) != 0) {
    ++counters.acks;
    return;
  }
  if ((what.flags & kFlagWindowUpdate) == 0) return;
  ++(what.credit != 0 ? counters.credits : counters.credit_hints);
  const std::uint32_t index = find(packet.stream);
  if (index == kNone || what.credit == 0) return;
  granted(index);
}

void Streams::Impl::not_sent_plain(const StreamPacket& packet) {
  const PlainSlot what = pools.slots[packet.handle];
  pools.slots.give(packet.handle);
  if ((what.flags & kFlagWindowUpdate) == 0) {
    queue_ack(what.ack);
    return;
  }
  const std::uint32_t index = find(packet.stream);
  if (index == kNone || record(index).life != Record::Life::kOpen) return;
  Record& r = record(index);
  if (unmodified()) {  // a hardened peer is told the total again
    r.due_bytes += what.credit;
    r.granted_bytes -= what.credit;
  }
  r.credit_repeat = true;
  stage_credit(index);
}

}  // namespace session
