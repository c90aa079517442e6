// Epochs of SessionControl: keys, preparation of next, jumps, catch-up, graces.
#include <algorithm>
#include <cstring>

#include "crypto/secret.h"
#include "session/cold_pvt.h"

namespace session {

bool SessionControl::Impl::make_keys(std::uint8_t epoch, KeyRef& out) {
  if (keys.free_count() < 2) return false;
  DirectionKeys raw;
  chain.keys(epoch, raw);
  out = KeyRef{keys.allocate(), keys.allocate(), raw.nonce_prefix, epoch, true, 0};
  aead.expand_key(identity.suite, raw.send.span(), keys.slot(out.send_key));
  aead.expand_key(identity.suite, raw.recv.span(), keys.slot(out.recv_key));
  return true;
}

bool SessionControl::Impl::make_recv_key(std::uint8_t epoch, KeyRef& out) {
  if (keys.free_count() < 1) return false;
  DirectionKeys raw;
  chain.keys(epoch, raw);
  out = KeyRef{kNone, keys.allocate(), raw.nonce_prefix, epoch, true, 0};
  aead.expand_key(identity.suite, raw.recv.span(), keys.slot(out.recv_key));
  return true;
}

void SessionControl::Impl::drop_keys(KeyRef& ref) {
  if (!ref.valid) return;
  keys.release(ref.send_key);
  keys.release(ref.recv_key);
  ref = KeyRef{};
}

void SessionControl::Impl::take(std::uint8_t epoch) {
  if (started && epoch <= stored_record.taken) return;
  stored_record.taken = epoch;
  ++version;
}

unsigned SessionControl::Impl::furthest() const {
  return unsigned{peer_epoch} + MAX_REKEY_CATCHUP -
         std::min<unsigned>(policy.restart_reserve, MAX_REKEY_CATCHUP - 1);
}

void SessionControl::Impl::heard_at(std::uint8_t epoch) {
  if (!is_heard) event(SessionEvent::kPeerHeard);
  is_heard = true;
  before.reset();
  if (epoch > peer_epoch) {
    peer_epoch = epoch;
    said_out_of_reach = false;
  }
  // Written with whatever is stored next: it only informs the reckoning of reach after a restart.
  stored_record.peer_epoch = peer_epoch;
  if (peer_is_here()) probe_due_ns = kNever;
}

void SessionControl::Impl::out_of_reach() {
  if (said_out_of_reach) return;
  said_out_of_reach = true;
  event(SessionEvent::kPeerOutOfReach);
}

void SessionControl::Impl::prepare_next(std::uint64_t now_ns) {
  if (next_ready || ended() || current == kMaxEpoch) return;
  if (state == LifeState::kClosing && !next_needed) return;
  wants_next = true;
  const auto epoch = static_cast<std::uint8_t>(current + 1);
  if (!reachable(epoch)) return out_of_reach();
  KeyRef next;
  if (!make_keys(epoch, next)) {
    key_retry_ns = now_ns + kKeyRetryNs;
    return;
  }
  key_retry_ns = kNever;
  wants_next = false;
  next_ready = true;
  take(epoch);
  push(CmdInstallNext{next});
}

// One swap at a time: a second one would find no next until the owner reported the first.
void SessionControl::Impl::pump_rekeys(std::uint64_t now_ns) {
  if (rekeys_wanted == 0 || rekey_in_flight || ended() || must_rest_first()) return;
  if (current == kMaxEpoch) {
    rekeys_wanted = 0;
    return;
  }
  prepare_next(now_ns);
  if (!next_ready) {  // no keys free: later. Out of the peer's reach: refused, as request_rekey does
    if (!reachable(static_cast<std::uint8_t>(current + 1))) rekeys_wanted = 0;
    return;
  }
  --rekeys_wanted;
  rekey_in_flight = true;
  push(CmdRekey{});
}

// Receive keys of the epochs first..last, newest first. All or nothing.
bool SessionControl::Impl::skipped_keys(JumpInit& jump, unsigned first, unsigned last) {
  if (first > last) return true;
  if (policy.keep_previous_only) first = last;
  for (unsigned epoch = last; epoch >= first; --epoch) {
    KeyRef& ref = jump.skipped[jump.skipped_count];
    if (!make_recv_key(static_cast<std::uint8_t>(epoch), ref)) return false;
    ++jump.skipped_count;
    if (epoch == 0) break;
  }
  return true;
}

// The owner holds current and, when next_ready, current + 1: the jump brings only what it lacks, so no epoch
// has two expanded keys. (The owner keeps an installed next as a receive-only epoch.)
bool SessionControl::Impl::jump_to(std::uint8_t target, bool by_peer, std::uint64_t now_ns) {
  auto jump = std::make_shared<JumpInit>();
  jump->slot = slot;
  jump->generation = generation;
  jump->by_peer = by_peer;
  const unsigned first_missing = unsigned{current} + (next_ready ? 2 : 1);
  if (!make_keys(target, jump->current) || !skipped_keys(*jump, first_missing, target - 1U)) {
    drop_keys(jump->current);
    for (unsigned i = 0; i < jump->skipped_count; ++i) drop_keys(jump->skipped[i]);
    return false;
  }
  next_ready = target < kMaxEpoch && reachable(static_cast<std::uint8_t>(target + 1)) &&
               make_keys(static_cast<std::uint8_t>(target + 1), jump->next);
  wants_next = target < kMaxEpoch && !next_ready;
  if (wants_next) key_retry_ns = now_ns + kKeyRetryNs;
  take(static_cast<std::uint8_t>(target + (next_ready ? 1 : 0)));
  push(CmdJump{std::move(jump)});
  rekey_in_flight = false;
  rekeys_wanted = 0;  // a newer epoch is what was asked for
  entered(target, version, now_ns);
  event(by_peer ? SessionEvent::kCaughtUp : SessionEvent::kRekeyed);
  return true;
}

void SessionControl::Impl::entered(std::uint8_t epoch, std::uint64_t waits_for, std::uint64_t now_ns) {
  const auto left = static_cast<std::uint8_t>(epoch - 1);
  graces.push_back(Grace{left, waits_for});
  start_graces(now_ns);
  chain.advance_to(epoch);
  ahead_expiry_ns = kNever;
  current = epoch;
  note_epoch(now_ns);
  traffic_at_epoch = traffic;
  arm_interval(now_ns, policy.rekey_interval_ns);
  if (epoch + kEpochsLowMark >= kMaxEpoch && !said_low) {
    said_low = true;
    event(SessionEvent::kEpochsLow);
  }
  if (peer_is_here()) {
    probe_due_ns = kNever;
  } else {
    start_probing(now_ns + paced(policy.probe_initial_ns));
  }
}

// A jump that waits for the store has not happened yet: the epochs it leaves keep their whole grace.
void SessionControl::Impl::start_graces(std::uint64_t now_ns) {
  for (Grace& grace : graces) {
    if (grace.deadline_ns != kNever || grace.version > durable_version) continue;
    grace.deadline_ns = now_ns + policy.grace_ns;
    grace.hard_deadline_ns = now_ns + kMaxGraces * policy.grace_ns;
  }
}

void SessionControl::Impl::retire_due(std::uint64_t now_ns) {
  for (std::size_t i = 0; i < graces.size();) {
    Grace& grace = graces[i];
    if (grace.deadline_ns > now_ns) {
      ++i;
      continue;
    }
    if (peer_epoch <= grace.epoch && now_ns < grace.hard_deadline_ns) {
      grace.deadline_ns = std::min(now_ns + policy.grace_ns, grace.hard_deadline_ns);
      ++i;
      continue;
    }
    push(CmdRetirePrevious{grace.epoch});
    event(SessionEvent::kPreviousRetired);
    graces.erase(graces.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

const KeyRef* SessionControl::Impl::undelivered(std::uint8_t epoch) const {
  for (const Held& held : outbox) {
    if (const auto* next = std::get_if<CmdInstallNext>(&held.command)) {
      if (next->next.epoch == epoch) return &next->next;
    } else if (const auto* cmd = std::get_if<CmdJump>(&held.command)) {
      const JumpInit& jump = *cmd->jump;
      if (jump.current.epoch == epoch) return &jump.current;
      if (jump.next.valid && jump.next.epoch == epoch) return &jump.next;
      for (unsigned i = 0; i < jump.skipped_count; ++i) {
        if (jump.skipped[i].epoch == epoch) return &jump.skipped[i];
      }
    }
  }
  return nullptr;
}

// Trial open of a copy: the packet itself must stay as it came.
bool SessionControl::Impl::opens(std::span<const std::uint8_t> packet, const crypto::KeySlot& key,
                                 const std::array<std::uint8_t, 4>& nonce_prefix) {
  const auto payload_bytes = load_be32(packet.data() + kHeaderBytes);
  scratch.assign(packet.begin() + kPayloadOffset,
                 packet.begin() + static_cast<std::ptrdiff_t>(kPayloadOffset + payload_bytes));
  crypto::AeadJob job{};
  job.key = &key;
  job.aad = packet.data();
  job.text = scratch.data();
  job.text_bytes = static_cast<std::uint32_t>(payload_bytes - kTagBytes);
  job.aad_bytes = kHeaderBytes;
  job.suite = identity.suite;
  build_nonce(job.nonce.data(), nonce_prefix.data(), packet[kOffEpoch], load_be16(&packet[kOffStream]),
              load_be32(&packet[kOffSequence]), packet[kOffPath]);
  const bool opened = (aead.open_batch(&job, 1) & 1U) != 0;
  crypto::wipe(scratch.data(), scratch.size());
  return opened;
}

AheadVerdict SessionControl::Impl::try_ahead(std::span<const std::uint8_t> packet, std::uint8_t epoch,
                                             std::uint64_t now_ns) {
  if (!trials.take(now_ns)) return AheadVerdict::kBudget;
  if (const KeyRef* ref = undelivered(epoch)) {  // behind commands that wait for the store
    if (!opens(packet, keys.slot(ref->recv_key), ref->nonce_prefix)) return AheadVerdict::kForged;
    trials.give_back();
    return AheadVerdict::kCatchUp;
  }
  ahead_expiry_ns = now_ns + kAheadKeepNs;
  const EpochChain::Trial trial = chain.trial(epoch, aead);
  if (!opens(packet, *trial.key, trial.nonce_prefix)) return AheadVerdict::kForged;
  heard_at(epoch);
  if (!jump_to(epoch, true, now_ns)) return AheadVerdict::kBudget;
  trials.give_back();
  return AheadVerdict::kCatchUp;
}

AheadVerdict SessionControl::Impl::try_behind(std::span<const std::uint8_t> packet, std::uint8_t epoch,
                                              std::uint64_t now_ns) {
  if (epoch < before->base() || epoch >= first_epoch) return AheadVerdict::kForged;
  if (!trials.take(now_ns)) return AheadVerdict::kBudget;
  ahead_expiry_ns = now_ns + kAheadKeepNs;
  const EpochChain::Trial trial = before->trial(epoch, aead);
  return opens(packet, *trial.key, trial.nonce_prefix) ? AheadVerdict::kBehind : AheadVerdict::kForged;
}

}  // namespace session
