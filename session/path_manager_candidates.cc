// Path manager: candidates, their allowance and attempts, moves and the way back.
#include <algorithm>

#include "crypto/secret.h"
#include "session/path_manager_pvt.h"

namespace session {

void Attempt::start(std::uint8_t on_id, std::uint64_t now_ns, const RoundTrip& rtt, std::uint64_t for_ns) {
  phase = Phase::kRunning;
  id = on_id;
  started_ns = now_ns;
  limit_ns = for_ns;
  gap_ns = std::max(2 * rtt.srtt_ns, kPatienceNs);
  next_ns = now_ns;
  sent.clear();
}

bool Attempt::wants_send(std::uint64_t now_ns) const {
  return phase == Phase::kRunning && sent.size() < PathManager::kAttemptSends && now_ns >= next_ns;
}

void Attempt::record(const PathChallenge& value, std::uint64_t now_ns) {
  sent.push_back(Challenge{value, now_ns, true, true});
  next_ns = now_ns + gap_ns;
  gap_ns *= 2;
}

std::optional<std::uint64_t> Attempt::answer(std::uint8_t on_id, const PathChallenge& value,
                                             std::uint64_t now_ns) {
  if (phase != Phase::kRunning || on_id != id) return std::nullopt;
  for (const Challenge& challenge : sent) {
    if (!crypto::equal_ct(challenge.value.data(), value.data(), value.size())) continue;
    phase = Phase::kProven;
    failures = 0;
    rtt_ns = now_ns - challenge.sent_ns;
    next_ns = now_ns + kProofNs;
    return rtt_ns;
  }
  return std::nullopt;
}

bool Attempt::fail_if_over(std::uint64_t now_ns, std::uint64_t pause_ns) {
  if (phase != Phase::kRunning || now_ns < started_ns + limit_ns) return false;
  phase = Phase::kPaused;
  next_ns = now_ns + pause_ns;
  ++failures;
  sent.clear();  // an echo that comes later finds nothing
  return true;
}

std::uint64_t Attempt::deadline_ns() const {
  if (phase == Phase::kIdle) return kNeverNs;
  if (phase != Phase::kRunning) return next_ns;
  const std::uint64_t end = started_ns + limit_ns;
  return sent.size() < PathManager::kAttemptSends ? std::min(end, next_ns) : end;
}

Candidate* PathManager::Impl::find_candidate(const PathEnds& ends) {
  const auto at = std::find_if(candidates.begin(), candidates.end(),
                               [&](const Candidate& c) { return same_pair(c.ends, ends); });
  return at == candidates.end() ? nullptr : &*at;
}

void PathManager::Impl::erase(const Candidate* c) {
  candidates.erase(candidates.begin() + (c - candidates.data()));
}

// Its place may be taken by a newcomer: it failed, waits in vain, or did not answer in a fair time.
bool PathManager::Impl::gives_way(const Candidate& c, std::uint64_t now_ns) const {
  if (c.named) return false;
  if (c.attempt.phase == Attempt::Phase::kProven) return !c.wants_move;
  if (c.attempt.phase != Attempt::Phase::kRunning) return true;
  return now_ns >= c.attempt.started_ns + probation_ns(c.slot);
}

std::uint64_t PathManager::Impl::probation_ns(std::uint8_t slot) const {
  return std::max(4 * slots[slot].pulse.rtt.srtt_ns, 250 * kMs);
}

// Who gives way first. One that failed, or that the peer left (nothing came from it for a while): however
// many packets came from there before.
std::uint64_t PathManager::Impl::rank(const Candidate& c, std::uint64_t now_ns) const {
  const bool left = now_ns >= c.seen_ns + probation_ns(c.slot);
  return c.attempt.phase == Attempt::Phase::kPaused || left ? 0 : c.pkts;
}

// Nothing answers where the slot's packets go: an attempt more costs less than the time without one.
bool PathManager::Impl::dark(std::uint8_t index) const {
  const Slot& slot = slots[index];
  return slot.state == PathState::kValidated && known(slot.ends) && !slot.pulse.up;
}

// While it is dark the first attempt of an address is short, so that its place is soon another's. It grows
// with each failure, lest a slow peer is never waited for.
std::uint64_t PathManager::Impl::attempt_ns(const Candidate& c) const {
  if (!dark(c.slot)) return policy.attempt_timeout_ns;
  const std::uint64_t first = std::max(8 * slots[c.slot].pulse.rtt.srtt_ns, kDarkAttemptNs);
  return std::min(first << std::min(c.attempt.failures, 8U), policy.attempt_timeout_ns);
}

std::uint64_t PathManager::Impl::doubled_pause_ns(const Attempt& attempt) const {
  return std::min(policy.attempt_pause_ns << std::min(attempt.failures, 16U), kMaxPauseNs);
}

std::uint64_t PathManager::Impl::pause_ns(const Candidate& c) const {
  return dark(c.slot) ? std::min(kDarkPauseNs, policy.attempt_pause_ns) : doubled_pause_ns(c.attempt);
}

// The slot went down: what was waited for at leisure is urgent now.
void PathManager::Impl::hurry_candidates(std::uint8_t slot, std::uint64_t now_ns) {
  for (Candidate& c : candidates) {
    if (c.slot != slot || c.named) continue;
    Attempt& attempt = c.attempt;
    if (attempt.phase == Attempt::Phase::kRunning) {  // what is on its way may still come
      const std::uint64_t soon = now_ns + kPatienceNs - attempt.started_ns;
      attempt.limit_ns = std::min(attempt.limit_ns, std::max(attempt_ns(c), soon));
    }
    if (attempt.phase == Attempt::Phase::kPaused) {
      attempt.next_ns = std::min(attempt.next_ns, now_ns + pause_ns(c));
    }
  }
}

// A place in the table, or nothing. `pkts`: of the newcomer; it has to outnumber whom it pushes out.
Candidate* PathManager::Impl::make_room(bool by_force, std::uint64_t pkts, std::uint64_t now_ns) {
  if (candidates.size() < kMaxCandidates) {
    candidates.reserve(kMaxCandidates);
    return &candidates.emplace_back();
  }
  Candidate* weakest = nullptr;
  for (Candidate& c : candidates) {
    if (by_force ? c.named : (!gives_way(c, now_ns) || rank(c, now_ns) >= pkts)) continue;
    if (weakest == nullptr || rank(c, now_ns) < rank(*weakest, now_ns)) weakest = &c;
  }
  if (weakest != nullptr) *weakest = Candidate{};
  return weakest;
}

// Counts a packet of an address that is no candidate. By the Misra-Gries rule an address that sends more than
// its share of the newest packets is among those kept, however many others there are.
void PathManager::Impl::watch(std::uint8_t slot, const PathEnds& ends, std::uint64_t bytes, bool data,
                              std::uint64_t now_ns) {
  std::erase_if(watched, [&](const Watched& w) { return now_ns >= w.seen_ns + kWatchNs; });
  const auto at =
      std::find_if(watched.begin(), watched.end(), [&](const Watched& w) { return same_pair(w.ends, ends); });
  if (at != watched.end()) {
    ++at->pkts;
    at->bytes += bytes;
    at->seen_ns = now_ns;
    at->slot = slot;
    at->data = at->data || data;
    return;
  }
  if (watched.size() < kMaxWatched) {
    watched.push_back(Watched{ends, slot, data, 1, bytes, now_ns});
    return;
  }
  ++refused;
  for (Watched& w : watched) --w.pkts;
  std::erase_if(watched, [](const Watched& w) { return w.pkts == 0; });
}

// One of its packets was answered with as many bytes: they are no allowance any more.
void PathManager::Impl::spend_watched(const PathEnds& ends) {
  for (Watched& w : watched) {
    if (same_pair(w.ends, ends)) w.bytes -= std::min(w.bytes, ip_bytes(ends, kChallengeBytes));
  }
}

// The address with the most packets becomes a candidate when there is a place and it is time for one.
Candidate* PathManager::Impl::admit(std::uint64_t now_ns) {
  const auto most = std::max_element(watched.begin(), watched.end(),
                                     [](const Watched& a, const Watched& b) { return a.pkts < b.pkts; });
  if (most == watched.end() || !newcomers.take(now_ns)) return nullptr;
  Candidate* c = make_room(false, most->pkts, now_ns);
  if (c == nullptr) {
    newcomers.give_back();
    return nullptr;
  }
  c->slot = most->slot;
  c->ends = most->ends;
  c->pkts = most->pkts;
  c->seen_ns = most->seen_ns;
  c->bytes_in = most->bytes;
  c->wants_move = most->data;
  watched.erase(most);
  return c;
}

// The candidate that this packet's address is or becomes; nothing while it is only watched. Another one that
// got its place this time starts as well.
Candidate* PathManager::Impl::candidate_for(std::uint8_t slot, const PathEnds& ends,
                                            std::uint64_t payload_bytes, bool data, std::uint64_t now_ns) {
  if (Candidate* c = find_candidate(ends)) {
    if (data && c->slot != slot && !c->named) hand_over(*c, slot);
    c->bytes_in += ip_bytes(ends, payload_bytes);
    ++c->pkts;
    c->seen_ns = now_ns;
    return c;
  }
  watch(slot, ends, ip_bytes(ends, payload_bytes), data, now_ns);
  Candidate* c = admit(now_ns);
  if (!watched.empty()) watch_due_ns = std::min(watch_due_ns, now_ns + 1'000 * kMs / kNewcomersPerSecond);
  if (c == nullptr || same_pair(c->ends, ends)) return c;
  step(*c, now_ns);
  return nullptr;
}

// A further slot that is not valid yet is validated on its own id, which is what lets the peer send on it.
std::uint8_t PathManager::Impl::pick_id(std::uint8_t slot) {
  if (slot > 0 && !policy.unmodified_peer && slots[slot].state != PathState::kValidated) return slot;
  draw_key();
  do {
    next_id = next_id >= kLastChallengeId ? kFirstChallengeId : static_cast<std::uint8_t>(next_id + 1);
  } while (uses(next_id));
  return next_id;
}

void PathManager::Impl::begin(Candidate& c, std::uint64_t now_ns) {
  const std::uint8_t id = pick_id(c.slot);
  c.attempt.start(id, now_ns, slots[c.slot].pulse.rtt, c.named ? policy.attempt_timeout_ns : attempt_ns(c));
  notice(PathEvent::kCandidate, c.slot, c.ends);
  Slot& slot = slots[c.slot];
  if (known(slot.ends) && slot.state == PathState::kValidated) {  // does the old address still live?
    slot.pulse.next_ns = std::min(slot.pulse.next_ns, now_ns);
    slot.traffic_seen = kNeverNs;
  }
}

bool PathManager::Impl::may_send(const Candidate& c) const {
  return c.named || c.bytes_out + ip_bytes(c.ends, kChallengeBytes) < 3 * c.bytes_in;
}

void PathManager::Impl::step(Candidate& c, std::uint64_t now_ns) {
  const bool pause_over = c.attempt.phase == Attempt::Phase::kPaused && now_ns >= c.attempt.next_ns;
  if (c.attempt.phase == Attempt::Phase::kIdle || pause_over) begin(c, now_ns);
  if (!c.attempt.wants_send(now_ns)) return;
  if (!may_send(c)) {
    c.attempt.next_ns = now_ns + kPatienceNs;  // more of its packets may come
    return;
  }
  const PathChallenge value = fresh_value();
  c.attempt.record(value, now_ns);
  c.bytes_out += ip_bytes(c.ends, kChallengeBytes);
  send(c.attempt.id, value, c.ends);
}

void PathManager::Impl::run_candidates(std::uint64_t now_ns) {
  std::erase_if(watched, [&](const Watched& w) { return now_ns >= w.seen_ns + kWatchNs; });
  if (Candidate* c = admit(now_ns)) step(*c, now_ns);
  watch_due_ns = watched.empty() ? kNeverNs : now_ns + 1'000 * kMs / kNewcomersPerSecond;
  for (std::size_t i = 0; i < candidates.size();) {
    Candidate& c = candidates[i];
    if (c.attempt.fail_if_over(now_ns, pause_ns(c))) {
      notice(PathEvent::kRejected, c.slot, c.ends);
      c.wants_move = false;  // until data comes from it again
    }
    const bool paused = c.attempt.phase == Attempt::Phase::kPaused;
    const bool stale =
        c.attempt.phase == Attempt::Phase::kProven && !c.wants_move && now_ns >= c.attempt.next_ns;
    if (stale || (paused && c.named) || (paused && now_ns >= c.attempt.next_ns + kForgetNs)) {
      candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    if (!paused) step(c, now_ns);
    ++i;
  }
  settle_proven(now_ns);
}

bool PathManager::Impl::may_move(const Slot& slot, std::uint64_t now_ns) const {
  return slot.migrations == 0 || now_ns >= slot.moved_ns + kMoveGapNs;
}

// Moves to candidates that have answered: because data comes from them, or because nothing else lives.
void PathManager::Impl::settle_proven(std::uint64_t now_ns) {
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    const Slot& slot = slots[c.slot];
    const bool needed = c.wants_move || (known(slot.ends) && !slot.pulse.up);
    if (c.attempt.phase != Attempt::Phase::kProven || !needed || !may_move(slot, now_ns)) continue;
    const std::uint8_t index = c.slot;
    const PathEnds ends = c.ends;
    RoundTrip rtt;
    rtt.sample(c.attempt.rtt_ns);
    erase(&c);
    move(index, ends, rtt, now_ns);
    i = static_cast<std::size_t>(-1);  // the table changed: from the start
  }
}

void PathManager::Impl::move(std::uint8_t index, const PathEnds& ends, const RoundTrip& rtt,
                             std::uint64_t now_ns) {
  Slot& slot = slots[index];
  const bool back = slot.fallback && same_pair(slot.fallback->ends, ends);
  const bool first = slot.state != PathState::kValidated;
  slot.left = slot.ends;
  slot.left_until_ns = now_ns + std::max({2 * slot.pulse.rtt.srtt_ns, 2 * rtt.srtt_ns, kLeftNs});
  slot.probes_sent_before += slot.pulse.sent;
  slot.probes_answered_before += slot.pulse.answered;
  slot.fallback.reset();
  if (known(slot.ends) && !first) {
    slot.fallback = std::make_unique<Fallback>();
    slot.fallback->ends = slot.ends;
    slot.fallback->until_ns = now_ns + policy.fallback_ns;
    slot.fallback->pulse.rtt = slot.pulse.rtt;
    slot.fallback->pulse.up = slot.pulse.up;
    slot.fallback->pulse.next_ns = now_ns;
  }
  slot.ends = ends;
  slot.state = PathState::kValidated;
  slot.attempt = Attempt{};
  slot.pulse = Pulse{};
  slot.pulse.rtt = rtt;
  slot.pulse.next_ns = now_ns;
  slot.moved_ns = now_ns;
  ++slot.migrations;
  slot.capacity_bps = slot.full_ns = 0;  // of another path
  // Where the peer was before it came here is not where it goes next: only newer packets say so.
  for (Candidate& c : candidates) {
    if (c.slot == index && !c.named) c.wants_move = false;
  }
  notice(back ? PathEvent::kReturned : PathEvent::kMigrated, index, ends);
  if (first) notice(PathEvent::kValidated, index, ends);
  ++version;
  rebuild(now_ns);
}

// Without a challenge, because its probe was answered from there since it was left.
bool PathManager::Impl::return_to_fallback(std::uint8_t index, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  if (!slot.fallback || !slot.fallback->proven || !slot.fallback->pulse.up || !may_move(slot, now_ns)) {
    return false;
  }
  const PathEnds ends = slot.fallback->ends;
  const RoundTrip rtt = slot.fallback->pulse.rtt;
  move(index, ends, rtt, now_ns);
  return true;
}

// Data tells better than a challenge which slot an address is for; a slot's first proof needs the slot's id.
void PathManager::Impl::hand_over(Candidate& c, std::uint8_t slot) {
  c.slot = slot;
  c.wants_move = false;
  if (slots[slot].state != PathState::kValidated) c.attempt = Attempt{};
}

std::optional<std::uint8_t> PathManager::Impl::slot_of_hint(std::uint8_t path_id) const {
  if (policy.unmodified_peer) return path_id == 0 ? std::optional(active) : std::nullopt;
  return path_id < slots.size() ? std::optional(path_id) : std::nullopt;
}

bool PathManager::Impl::from_left(const Slot& slot, const PathEnds& ends, std::uint64_t now_ns) const {
  return known(slot.left) && now_ns < slot.left_until_ns && same_pair(slot.left, ends);
}

// The peer challenges us from an address we do not know: it may be about to move there.
void PathManager::Impl::standby(std::uint8_t id, const PathEnds& ends, std::uint64_t payload_bytes,
                                std::uint64_t now_ns, Candidate*& out) {
  if (policy.migration == MigrationPolicy::kOff) return;
  const auto probed = static_cast<unsigned>(kTopProbeId - id);
  std::uint8_t slot = policy.unmodified_peer ? active : std::uint8_t{0};
  if (!policy.unmodified_peer && id < slots.size()) slot = id;
  if (!policy.unmodified_peer && probed < slots.size()) slot = static_cast<std::uint8_t>(probed);
  out = candidate_for(slot, ends, payload_bytes, false, now_ns);
  if (out == nullptr) return;
  if (slots[out->slot].state != PathState::kValidated) out->wants_move = true;  // nothing to move away from
}

void PathManager::on_source(std::uint8_t path_id, const PathEnds& ends, std::uint32_t bytes,
                            std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!known(ends) || s.has_pair(ends) || s.policy.migration == MigrationPolicy::kOff) return;
  if (path_id >= kFirstChallengeId) {
    Candidate* c = nullptr;
    s.standby(path_id, ends, bytes, now_ns, c);
    if (c != nullptr) s.step(*c, now_ns);
    return;
  }
  const auto index = s.slot_of_hint(path_id);
  if (!index) return;
  Slot& slot = s.slots[*index];
  s.hint_ns = now_ns;
  if (s.from_left(slot, ends, now_ns)) return;
  const bool behind = slot.fallback && same_pair(slot.fallback->ends, ends);
  if (behind && s.return_to_fallback(*index, now_ns)) return;
  Candidate* c = s.candidate_for(*index, ends, bytes, true, now_ns);
  if (c == nullptr) return;
  c->wants_move = true;
  s.step(*c, now_ns);
  s.settle_proven(now_ns);
}

bool PathManager::migrate(std::uint8_t index, const PathEnds& ends, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (index >= s.slots.size() || !known(ends) || s.has_pair(ends)) return false;
  const auto other = std::find_if(s.candidates.begin(), s.candidates.end(),
                                  [&](const Candidate& c) { return c.named && c.slot == index; });
  if (other != s.candidates.end()) s.erase(&*other);  // the latest order counts
  Candidate* c = s.find_candidate(ends);
  if (c == nullptr) c = s.make_room(true, 0, now_ns);
  if (c == nullptr) return false;
  *c = Candidate{};
  c->slot = index;
  c->ends = ends;
  c->named = c->wants_move = true;
  s.step(*c, now_ns);
  return true;
}

}  // namespace session
