// Order and delivery: what arrived becomes bytes to read, gaps are waited for, breaches end the stream
// (W-25).
#include <algorithm>
#include <cstring>

#include "session/streams_pvt.h"

namespace session {
namespace {

constexpr std::uint32_t kBlockReserve = 8;   // one block of so many is kept for what fills gaps
constexpr std::uint32_t kFewBlocks = 4;      // which any stream may hold
constexpr std::uint32_t kSmallBytes = 256;   // copied behind others rather than keeping a block
constexpr std::int32_t kFarAhead = 1 << 17;  // twice the largest window: no sender may be so far ahead
constexpr std::uint64_t kGapTick_ns = 5'000 * kMillisecond_ns;  // hardened peers: looks at a gap
constexpr std::uint8_t kStartTicks = 60;                        // the same for a beginning that does not come
constexpr std::uint8_t kGapTicks = 12;  // so many with data arriving, and the peer is broken

bool is_fin(std::uint16_t flags) {
  return (flags & kFlagFin) != 0;
}
bool is_reset(std::uint16_t flags) {
  return (flags & kResetFlags) == kResetFlags;
}

}  // namespace

// ---- order

bool Streams::Impl::in_order(const Record& r, std::uint32_t sequence, std::uint16_t prior) const {
  if (unmodified()) return sequence == (r.begun ? r.last + 1 : 0);
  if (prior == kPriorFirst) return !r.begun;
  if (!r.begun || prior == kPriorUntold) return false;
  if (prior != kPriorAllAcked) return sequence - prior == r.last;
  return r.held.empty() || ahead(pools.blocks[r.held.head].sequence, sequence) >= 0;
}

// Every number from the gap given up last, or from the beginning, up to `last` has come.
bool Streams::Impl::arrived(const Record& r, std::uint32_t sequence) const {
  return r.begun && ahead(sequence, r.last) <= 0 && (!r.gave_up || ahead(sequence, r.given_up) > 0);
}

// Why data can't be true, or null.
const char* Streams::Impl::contradiction(const Record& r, std::uint32_t sequence, std::uint16_t prior) const {
  const bool behind = r.begun && ahead(sequence, r.last) <= 0;
  if (unmodified()) return behind && r.options.ordered ? "data of a gap that was given up" : nullptr;
  if (prior == kPriorUntold) return "the peer tells no order";
  if (behind) return "data of a position already passed";
  if (prior == kPriorFirst) return r.begun ? "a second beginning" : nullptr;
  if (prior == kPriorAllAcked) return r.begun ? nullptr : "no beginning";
  return r.begun && ahead(sequence - prior, r.last) < 0 ? "a gap inside what was in order" : nullptr;
}

bool Streams::Impl::has_room(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags,
                             std::uint16_t prior, std::uint32_t bytes) {
  const std::uint32_t index = find(stream);
  bool room = bytes <= kBlockBytes;
  if (room && is_reset(flags) && !unmodified()) return true;
  if (room && index == kNone) {
    if (!peers_id(stream) || (bytes == 0 && unmodified())) return true;  // nothing is opened
    if (count >= config.limits.streams || pools.streams.left() == 0) {
      ++counters.stream_limit;
      return false;
    }
    room = pools.blocks.left() > pools.blocks.size() / kBlockReserve;
  }
  if (room && index != kNone) room = room_in_stream(index, sequence, prior, bytes);
  if (!room) ++counters.no_room;
  return room;
}

bool Streams::Impl::room_in_stream(std::uint32_t index, std::uint32_t sequence, std::uint16_t prior,
                                   std::uint32_t bytes) {
  Record& r = record(index);
  const bool restart = !unmodified() && prior == kPriorFirst && (!r.begun || ahead(sequence, r.last) > 0);
  // Over. What is new may be the next incarnation's, which waits until this one is gone: acknowledged it
  // would be lost. If it is the last one's, the peer gives it up with our reset, which it has or gets.
  if (r.life != Record::Life::kOpen) return unmodified();
  const bool next_one = r.fin_reached && r.fin_queued && ahead(sequence, r.fin_sequence) > 0;
  if (next_one && !unmodified()) {
    // The peer uses the id again, so it has our FIN; its acknowledgement was lost.
    if (!restart) return false;
    r.fin_acked = true;
    drop_send(index);
    maybe_close(index);
    return false;
  }
  if (contradiction(r, sequence, prior) != nullptr) return true;  // on_data() deals with it
  if (in_order(r, sequence, prior)) {
    return pools.blocks.left() > 1 && r.buffered_bytes + bytes <= receive_limit() + INITIAL_STREAM_WINDOW;
  }
  if (!r.held.empty() && ahead(sequence, pools.blocks[r.held.head].sequence) >= kFarAhead) {
    ++counters.far_sequences;
    return false;
  }
  const std::uint32_t most = receive_limit() / kBlockBytes + MAX_PENDING_PACKETS;
  const bool plenty = pools.blocks.left() > pools.blocks.size() / kBlockReserve;
  return (plenty || (r.blocks < kFewBlocks && pools.blocks.left() > 2)) && r.blocks < most &&
         r.buffered_bytes + bytes <= receive_limit();
}

void Streams::Impl::on_data(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags,
                            std::uint16_t prior, std::uint8_t path_id, std::span<const std::uint8_t> text) {
  if (text.size() > kBlockBytes) return;  // has_room() was not asked
  if ((flags & kFlagReliable) != 0) queue_ack(PendingAck{now, sequence, stream, path_id, false});
  std::uint32_t index = find(stream);
  if (!unmodified() && is_reset(flags)) {
    if (index != kNone) peer_reset(index);
    return;
  }
  if (index == kNone) {
    // FIN of what is over. A hardened peer's has a new number only if it overtook the data of a new stream.
    if (text.empty() && unmodified()) return;
    if (!peers_id(stream)) {
      ++counters.no_stream;
      queue_ack(PendingAck{now, sequence, stream, path_id, true});
      return;
    }
    index = create(stream, accept);
    if (index == kNone) return;  // has_room() was not asked
    news(index, kNewsOpened);
  }
  if (record(index).life == Record::Life::kOpen) receive(index, sequence, flags, prior, text);
}

void Streams::Impl::receive(std::uint32_t index, std::uint32_t sequence, std::uint16_t flags,
                            std::uint16_t prior, std::span<const std::uint8_t> text) {
  Record& r = record(index);
  note_arrival(index, static_cast<std::uint32_t>(text.size()));
  note_number(r, sequence);
  const bool fin = is_fin(flags);
  const bool behind_fin = r.fin_seen && ahead(sequence, r.fin_sequence) > 0;
  const bool fin_before = fin && !r.held.empty() && ahead(pools.blocks[r.held.tail].sequence, sequence) > 0;
  if (behind_fin || fin_before) {
    ++counters.after_fin;
    return breach(index, "data behind a FIN");
  }
  if (const char* why = contradiction(r, sequence, prior)) {
    ++counters.order_broken;
    return breach(index, why);
  }
  if (fin) {
    r.fin_seen = true;
    r.fin_sequence = sequence;
  }
  const bool next = in_order(r, sequence, prior);
  bool room = true;
  if (next || !r.options.ordered) room = text.empty() || deliver(index, text);
  const bool late = !next && r.begun && ahead(sequence, r.last) <= 0;  // unordered, of a gap given up
  if (room && !next && !late) {
    room = hold(index, sequence, prior, fin, r.options.ordered ? text : std::span<const std::uint8_t>{});
  }
  if (!room) {
    ++counters.no_memory;
    return breach(index, "no memory for what was acknowledged");  // has_room() was not asked
  }
  if (next) advance(index, sequence, fin);
  if (next || !r.held.empty()) drain(index);
}

void Streams::Impl::advance(std::uint32_t index, std::uint32_t sequence, bool fin) {
  Record& r = record(index);
  r.last = sequence;
  r.begun = true;
  r.gap_at_ns = 0;
  r.gap_ticks = 0;
  if (!fin) return;
  r.fin_reached = true;
  r.repeat_at_ns = 0;
  if (r.readable_bytes == 0) news(index, kNewsFinished);
}

// Delivers what was held back as far as order is known now.
void Streams::Impl::drain(std::uint32_t index) {
  Record& r = record(index);
  while (!r.fin_reached) {
    if (take_mark(r)) continue;
    const std::uint32_t block = r.held.head;
    if (block == kNone) break;
    const Block& b = pools.blocks[block];
    if (const char* why = contradiction(r, b.sequence, b.prior)) {
      ++counters.order_broken;
      return breach(index, why);
    }
    if (!in_order(r, b.sequence, b.prior)) break;
    r.held.remove(pools.blocks.data(), block);
    const std::uint32_t sequence = b.sequence;
    const bool fin = b.fin;
    if (b.bytes != 0) {
      deliver_block(index, block);
    } else {
      give_block(r, block);
    }
    advance(index, sequence, fin);
  }
  if (r.fin_reached && !r.held.empty()) {
    ++counters.after_fin;
    return breach(index, "data behind a FIN");
  }
  if (!r.held.empty() && r.gap_at_ns == 0) {
    r.gap_at_ns = now + (unmodified() ? config.gap_timeout_ns : kGapTick_ns);
  }
  missing_came(index);
  arm_rx(index);
  maybe_close(index);
}

// A gap is as old as may be.
void Streams::Impl::on_gap(std::uint32_t index) {
  Record& r = record(index);
  r.gap_at_ns = 0;
  if (r.held.empty()) return;
  if (!unmodified()) {
    // Silence is the path's; data that goes on arriving around a gap is the peer's.
    // A stream whose beginning never comes is what is left of one that we reset.
    if ((!r.begun || now - r.heard_ns < kGapTick_ns) &&
        ++r.gap_ticks >= (r.begun ? kGapTicks : kStartTicks)) {
      ++counters.order_broken;
      return breach(index, "a gap that the peer does not fill");
    }
    if (!r.begun && now - r.heard_ns >= kGapTicks * kGapTick_ns) return breach(index, "no beginning came");
    r.gap_at_ns = now + kGapTick_ns;
    return;
  }
  ++counters.gaps_given_up;
  const std::uint32_t first = r.begun ? r.last + 1 : 0, to = pools.blocks[r.held.head].sequence;
  if (r.marks != kNone) {
    auto* const bits = pools.block_text[r.marks].data();
    for (std::uint32_t i = 0; i < std::min(to - first, kMarkBits); ++i) {
      const std::uint32_t at = (first + i) % kMarkBits;
      const auto bit = static_cast<std::uint8_t>(1U << (at % 8));
      if ((bits[at / 8] & bit) != 0) --r.marked;
      bits[at / 8] = static_cast<std::uint8_t>(bits[at / 8] & ~bit);
    }
  }
  r.last = r.given_up = to - 1;
  r.begun = r.gave_up = true;
  drain(index);
}

// ---- an unmodified peer's control packets, which fill gaps of its counter

void Streams::Impl::on_control(std::uint32_t index, std::uint32_t sequence) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen || r.fin_reached) return;
  note_number(r, sequence);
  const std::uint32_t expected = r.begun ? r.last + 1 : 0;
  const std::uint32_t distance = sequence - expected;
  if (distance == 0) {
    r.last = sequence;
    r.begun = true;
    r.gap_at_ns = 0;
    return drain(index);
  }
  if (distance >= kMarkBits) return;  // behind, or so far ahead that the gap is given up anyway
  if (r.marks == kNone) {
    if (pools.blocks.left() <= pools.blocks.size() / kBlockReserve) return;
    r.marks = pools.blocks.take();
    if (r.marks == kNone) return;
    ++r.blocks;
    r.marked = 0;
    std::memset(pools.block_text[r.marks].data(), 0, kMarkBits / 8);
  }
  std::uint8_t& byte = pools.block_text[r.marks][sequence % kMarkBits / 8];
  const auto bit = static_cast<std::uint8_t>(1U << (sequence % 8));
  if ((byte & bit) == 0) ++r.marked;
  byte |= bit;
}

// ---- an unmodified peer's numbers must not run away from what is missing (W-15)

void Streams::Impl::note_number(Record& r, std::uint32_t sequence) const {
  if (!unmodified() || (r.any_seen && ahead(sequence, r.seen) <= 0)) return;
  r.seen = sequence;
  r.any_seen = true;
}

bool Streams::Impl::outruns(const Record& r) const {
  if (!r.any_seen || (r.outrun_let_go && r.outrun_last == r.last)) return false;
  const std::uint32_t most = std::min(config.receive_window, kMarkBits) / 2;
  return r.seen - (r.begun ? r.last : UINT32_MAX) > most && !r.fin_reached;
}

// True: each further segment of ours makes a further number of its. What is missing may also be a control
// packet, which nobody repeats: it is waited for as long as for a gap.
bool Streams::Impl::wait_for_missing(std::uint32_t index) {
  Record& r = record(index);
  if (!outruns(r)) return false;
  if (!r.outrun_waits) {
    ++counters.outrun;
    r.outrun_waits = true;
    r.outrun_at_ns = now + config.gap_timeout_ns;
    arm_rx(index);
  }
  return true;
}

void Streams::Impl::missing_came(std::uint32_t index) {
  Record& r = record(index);
  if (!r.outrun_waits || (outruns(r) && r.outrun_at_ns > now)) return;
  r.outrun_let_go = outruns(r);
  r.outrun_last = r.last;
  r.outrun_waits = false;
  r.outrun_at_ns = 0;
  push_ready(index);
}

bool Streams::Impl::take_mark(Record& r) {
  if (r.marks == kNone) return false;
  const std::uint32_t expected = r.begun ? r.last + 1 : 0;
  std::uint8_t& byte = pools.block_text[r.marks][expected % kMarkBits / 8];
  const auto bit = static_cast<std::uint8_t>(1U << (expected % 8));
  const bool marked = (byte & bit) != 0;
  if (marked) {
    byte = static_cast<std::uint8_t>(byte & ~bit);
    --r.marked;
    r.last = expected;
    r.begun = true;
    r.gap_at_ns = 0;
  }
  if (r.marked == 0) {
    give_block(r, r.marks);
    r.marks = kNone;
  }
  return marked;
}

// ---- blocks

void Streams::Impl::give_block(Record& r, std::uint32_t block) {
  pools.blocks.give(block);
  --r.blocks;
}

bool Streams::Impl::deliver(std::uint32_t index, std::span<const std::uint8_t> text) {
  Record& r = record(index);
  std::uint32_t block = r.delivered.tail;
  if (block == kNone || pools.blocks[block].bytes + text.size() > kBlockBytes) {
    block = pools.blocks.take();
    if (block == kNone) return false;
    ++r.blocks;
    r.delivered.push_back(pools.blocks.data(), block);
  }
  Block& b = pools.blocks[block];
  std::memcpy(pools.block_text[block].data() + b.bytes, text.data(), text.size());
  b.bytes = static_cast<std::uint16_t>(b.bytes + text.size());
  r.buffered_bytes += static_cast<std::uint32_t>(text.size());
  count_readable(index, static_cast<std::uint32_t>(text.size()));
  return true;
}

void Streams::Impl::deliver_block(std::uint32_t index, std::uint32_t block) {
  Record& r = record(index);
  const std::uint32_t bytes = pools.blocks[block].bytes;
  const std::uint32_t tail = r.delivered.tail;
  if (bytes <= kSmallBytes && tail != kNone && pools.blocks[tail].bytes + bytes <= kBlockBytes) {
    Block& b = pools.blocks[tail];
    std::memcpy(pools.block_text[tail].data() + b.bytes, pools.block_text[block].data(), bytes);
    b.bytes = static_cast<std::uint16_t>(b.bytes + bytes);
    give_block(r, block);
  } else {
    r.delivered.push_back(pools.blocks.data(), block);
  }
  count_readable(index, bytes);
}

void Streams::Impl::count_readable(std::uint32_t index, std::uint32_t bytes) {
  Record& r = record(index);
  counters.received_bytes += bytes;
  if (r.readable_bytes == 0) news(index, kNewsReadable);
  r.readable_bytes += bytes;
}

// Into the list by number; most come behind all others or before them.
bool Streams::Impl::hold(std::uint32_t index, std::uint32_t sequence, std::uint16_t prior, bool fin,
                         std::span<const std::uint8_t> text) {
  Record& r = record(index);
  const std::uint32_t block = pools.blocks.take();
  if (block == kNone) return false;
  ++r.blocks;
  Block& b = pools.blocks[block];
  b.sequence = sequence;
  b.prior = prior;
  b.fin = fin;
  b.bytes = static_cast<std::uint16_t>(text.size());
  if (!text.empty()) std::memcpy(pools.block_text[block].data(), text.data(), text.size());
  r.buffered_bytes += b.bytes;
  std::uint32_t before = kNone;
  if (!r.held.empty() && ahead(pools.blocks[r.held.head].sequence, sequence) > 0) {
    before = r.held.head;
  } else {
    std::uint32_t behind = r.held.tail;
    while (behind != kNone && ahead(pools.blocks[behind].sequence, sequence) > 0) {
      before = behind;
      behind = pools.blocks[behind].previous;
    }
  }
  r.held.insert(pools.blocks.data(), block, before);
  return true;
}

void Streams::Impl::drop_receive(std::uint32_t index) {
  Record& r = record(index);
  for (StreamRecord::Blocks* list : {&r.delivered, &r.held}) {
    while (!list->empty()) {
      const std::uint32_t block = list->head;
      list->remove(pools.blocks.data(), block);
      give_block(r, block);
    }
  }
  if (r.marks != kNone) give_block(r, r.marks);
  r.marks = kNone;
  r.head_offset = r.readable_bytes = r.buffered_bytes = 0;
  r.gap_at_ns = r.repeat_at_ns = 0;
}

void Streams::Impl::consume(std::uint32_t index, std::size_t bytes) {
  Record& r = record(index);
  const auto all_bytes = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, r.readable_bytes));
  std::uint32_t left = all_bytes;
  while (left != 0) {
    const std::uint32_t block = r.delivered.head;
    const std::uint32_t part = std::min(left, pools.blocks[block].bytes - r.head_offset);
    r.head_offset += part;
    left -= part;
    if (r.head_offset < pools.blocks[block].bytes) break;
    r.delivered.remove(pools.blocks.data(), block);
    give_block(r, block);
    r.head_offset = 0;
  }
  r.readable_bytes -= all_bytes;
  r.buffered_bytes -= all_bytes;
  if (all_bytes == 0 || r.life != Record::Life::kOpen) return;
  consumed(index, all_bytes);
  if (r.fin_reached && r.readable_bytes == 0) news(index, kNewsFinished);
  maybe_close(index);
}

// The peer says on an acknowledgement that it is done: nothing that is not here comes.
void Streams::Impl::finish_receiving(std::uint32_t index) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen || r.fin_reached) return;
  r.fin_seen = true;
  r.fin_sequence = r.last;
  while (!r.held.empty()) {
    const std::uint32_t block = r.held.head;
    r.buffered_bytes -= pools.blocks[block].bytes;
    r.held.remove(pools.blocks.data(), block);
    give_block(r, block);
  }
  advance(index, r.last, true);
  maybe_close(index);
}

}  // namespace session
