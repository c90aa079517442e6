// Credit in both directions, repeated where it may be lost (W-13), and acknowledgements that wait (W-10,
// W-34).
#include <algorithm>
#include <cstring>

#include "session/streams_pvt.h"

namespace session {
namespace {

constexpr std::uint32_t kKib = 1024;
constexpr std::uint64_t kQuiet_ns = 300 * kMillisecond_ns;  // before credit is repeated, doubled each time
constexpr std::uint64_t kQuietMax_ns = 60'000 * kMillisecond_ns;
constexpr std::uint8_t kRepeats = 6;      // to a hardened peer, which probes; to an unmodified one for ever
constexpr std::uint8_t kRepeatShift = 8;  // 300 ms * 2^8 is beyond kQuietMax_ns
constexpr std::uint64_t kPause_ns = 200 * kMillisecond_ns;  // data behind it may be a probe of a shut window

}  // namespace

// ---- acknowledgements that wait to be sent: a queue in blocks of the pool

bool Streams::Impl::queue_ack(const PendingAck& ack) {
  bool room = ack_count < config.limits.acks;
  if (room && (acks.empty() || ack_write == kAcksPerBlock)) {
    const std::uint32_t block = pools.blocks.take();
    room = block != kNone;
    if (room) {
      acks.push_back(pools.blocks.data(), block);
      ack_write = 0;
    }
  }
  if (!room) {
    ++counters.acks_dropped;
    return false;
  }
  std::memcpy(pools.block_text[acks.tail].data() + ack_write * sizeof(ack), &ack, sizeof(ack));
  ++ack_write;
  ++ack_count;
  return true;
}

bool Streams::Impl::pop_ack(PendingAck& out) {
  if (ack_count == 0) return false;
  std::memcpy(&out, pools.block_text[acks.head].data() + ack_read * sizeof(out), sizeof(out));
  ++ack_read;
  --ack_count;
  if (ack_read == kAcksPerBlock || ack_count == 0) {
    const std::uint32_t block = acks.head;
    acks.remove(pools.blocks.data(), block);
    pools.blocks.give(block);
    ack_read = 0;
  }
  return true;
}

// ---- credit that we give

std::uint32_t Streams::Impl::receive_limit() const {
  return std::max(config.limits.receive_bytes, INITIAL_STREAM_WINDOW);
}

std::uint32_t Streams::Impl::grant(Record& r) const {
  if (r.life != Record::Life::kOpen || r.fin_seen) return 0;
  return unmodified() ? r.due_bytes : r.due_bytes / kKib * kKib;
}

void Streams::Impl::stage_credit(std::uint32_t index) {
  Record& r = record(index);
  if (r.in_credit || r.life != Record::Life::kOpen) return;
  r.in_credit = true;
  with_credit.push_back(pools.streams.data(), index);
}

// The window doubles whenever the reader has consumed one, up to what may be buffered.
void Streams::Impl::consumed(std::uint32_t index, std::uint32_t bytes) {
  Record& r = record(index);
  r.due_bytes += bytes;
  r.consumed_bytes += bytes;
  const std::uint32_t most = unmodified() ? std::min(receive_limit(), MAX_SEND_WINDOW)
                                          : std::min(receive_limit(), kHardenedSendWindow);
  if (r.consumed_bytes >= r.target_bytes && r.target_bytes < most &&
      pools.blocks.left() > pools.blocks.size() / 4) {
    const std::uint32_t more = std::min(r.target_bytes, most - r.target_bytes);
    r.target_bytes += more;
    r.due_bytes += more;
    r.consumed_bytes = 0;
  }
  if (!r.fin_seen && r.due_bytes >= kCreditThreshold) stage_credit(index);
}

void Streams::Impl::granted(std::uint32_t index) {
  Record& r = record(index);
  r.granted_ns = now;
  r.repeat_at_ns = r.fin_seen ? 0 : now + kQuiet_ns;
  arm_rx(index);
}

void Streams::Impl::note_arrival(std::uint32_t index, std::uint32_t bytes) {
  Record& r = record(index);
  r.received_bytes += bytes;
  if (r.received_bytes > INITIAL_STREAM_WINDOW + r.granted_bytes) ++counters.overrun;
  const bool pause = now - r.heard_ns >= kPause_ns;
  r.heard_ns = now;
  r.credit_repeats = 0;
  if (r.granted_bytes == 0 || r.fin_seen) return;
  if (pause && !unmodified()) {
    r.credit_repeat = true;
    stage_credit(index);
  }
}

// The peer is quiet: the last credit may be lost. A hardened peer is told the total again; an unmodified one,
// whose window is the sum of what arrived there, gets some more, as long as the reader is not the reason.
void Streams::Impl::repeat_credit(std::uint32_t index) {
  Record& r = record(index);
  const std::uint64_t pause_ns = std::max(flow().rto_ns(), kQuiet_ns) << r.credit_repeats;
  const std::uint64_t quiet_ns = std::min(pause_ns, kQuietMax_ns);
  const std::uint64_t since_ns = std::max(r.heard_ns, r.granted_ns);
  r.repeat_at_ns = 0;
  if (r.fin_seen || (!unmodified() && r.credit_repeats >= kRepeats)) return;
  if (now - since_ns < quiet_ns || (unmodified() && r.buffered_bytes != 0)) {
    r.repeat_at_ns = std::max(since_ns + quiet_ns, now + kMillisecond_ns);
    if (unmodified() && r.buffered_bytes != 0) r.repeat_at_ns = now + quiet_ns;
    return;
  }
  if (r.credit_repeats < kRepeatShift) ++r.credit_repeats;
  r.repeat_at_ns = now + std::min(quiet_ns * 2, kQuietMax_ns);
  r.credit_repeat = true;
  if (unmodified()) r.due_bytes += kCreditThreshold;
  stage_credit(index);
}

// ---- credit that we are given

void Streams::Impl::on_credit(std::uint32_t index, std::uint32_t credit, std::uint16_t told) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen) return;
  std::uint64_t more = credit;
  if (!unmodified() && told != 0) {
    // Totals modulo 64 MiB: what is more than half of it ahead is an older one that was overtaken.
    const auto news_kib =
        static_cast<std::uint16_t>(told - static_cast<std::uint16_t>(r.credit_total / kKib));
    more = news_kib < 0x8000 ? std::uint64_t{news_kib} * kKib : 0;
  }
  if (more == 0) return;
  r.credit_total += more;
  const std::int64_t cap = unmodified() ? MAX_SEND_WINDOW : kHardenedSendWindow;
  r.window += static_cast<std::int64_t>(more);
  if (r.window > cap) {
    ++counters.credit_overflow;
    r.window = cap;
  }
  r.tx_at_ns = 0;
  r.window_probes = 0;
  if (r.backoff != 0) {  // the peer reads again: what it had no room for goes at once
    r.backoff = 0;
    const std::uint64_t timeout_ns = rto_ns(r);
    while (r.life == Record::Life::kOpen && !r.flight.empty() &&
           pools.segments[r.flight.head].sent_ns + timeout_ns <= now) {
      mark_lost(r.flight.head, false);
    }
  }
  settle(index);  // what was released may have been all that finish() waited for
}

// ---- timer of the receiving side

void Streams::Impl::arm_rx(std::uint32_t index) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen) return;
  std::uint64_t at_ns = UINT64_MAX;
  if (r.gap_at_ns != 0) at_ns = r.gap_at_ns;
  if (r.repeat_at_ns != 0) at_ns = std::min(at_ns, r.repeat_at_ns);
  if (r.outrun_at_ns != 0) at_ns = std::min(at_ns, r.outrun_at_ns);
  if (at_ns == UINT64_MAX) return wheel.cancel(r.rx_timer);
  if (!r.rx_timer.armed() || r.rx_timer.at_ns != at_ns) wheel.arm(r.rx_timer, at_ns);
}

void Streams::Impl::on_rx_timer(std::uint32_t index) {
  Record& r = record(index);
  if (r.outrun_at_ns != 0 && r.outrun_at_ns <= now) missing_came(index);
  if (r.gap_at_ns != 0 && r.gap_at_ns <= now) on_gap(index);
  if (r.life != Record::Life::kOpen) return;
  if (r.repeat_at_ns != 0 && r.repeat_at_ns <= now) repeat_credit(index);
  arm_rx(index);
}

}  // namespace session
