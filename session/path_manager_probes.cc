// Path manager: round trips, probes, up and down.
#include <algorithm>

#include "crypto/secret.h"
#include "session/path_manager_pvt.h"

namespace session {

void RoundTrip::sample(std::uint64_t rtt_ns) {
  if (!known) {
    known = true;
    srtt_ns = rtt_ns;
    rttvar_ns = rtt_ns / 2;
    return;
  }
  const std::uint64_t off = rtt_ns > srtt_ns ? rtt_ns - srtt_ns : srtt_ns - rtt_ns;
  rttvar_ns = (3 * rttvar_ns + off) / 4;
  srtt_ns = (7 * srtt_ns + rtt_ns) / 8;
}

std::uint64_t RoundTrip::patience_ns() const {
  if (!known) return kFirstPatienceNs;
  return std::max({3 * srtt_ns, srtt_ns + 4 * rttvar_ns, kPatienceNs});
}

void Pulse::record(const PathChallenge& value, std::uint64_t now_ns, bool counts) {
  put_newest(ring, ring_next, kRing, Challenge{value, now_ns, true, counts});
  last_ns = now_ns;
  ++sent;
}

// A late echo, of a probe that was taken for lost, shows life as well.
bool Pulse::answer(const PathChallenge& value, std::uint64_t now_ns) {
  for (Challenge& c : ring) {
    if (!c.open || !crypto::equal_ct(c.value.data(), value.data(), value.size())) continue;
    c.open = false;
    ++answered;
    rtt.sample(now_ns - c.sent_ns);
    if (c.counts) loss -= loss / 8;
    lost_in_row = 0;
    down_probes = 0;
    ++echoes_in_row;
    if (!up) next_ns = now_ns;
    if (echoes_in_row >= kEchoesUp) up = true;
    return true;
  }
  return false;
}

void Pulse::expire(std::uint64_t now_ns, unsigned lost_down, std::uint64_t heard_ns) {
  for (Challenge& c : ring) {
    if (!c.open || !c.counts || c.sent_ns + rtt.patience_ns() > now_ns) continue;
    c.counts = false;
    if (heard_ns > c.sent_ns) continue;
    loss += (1 - loss) / 8;
    echoes_in_row = 0;
    ++lost_in_row;
    if (lost_in_row >= lost_down) up = false;
    if (up) next_ns = now_ns;  // certainty soon, not after the usual gap
  }
}

std::uint64_t Pulse::overdue_ns() const {
  std::uint64_t at = kNeverNs;
  for (const Challenge& c : ring) {
    if (c.open && c.counts) at = std::min(at, c.sent_ns + rtt.patience_ns());
  }
  return at;
}

std::uint64_t Pulse::room_ns() const {
  if (ring.size() < kRing) return 0;
  const Challenge& oldest = ring[ring_next % kRing];
  return oldest.open && oldest.counts ? oldest.sent_ns + rtt.patience_ns() : 0;
}

void PathManager::Impl::send_probe(Pulse& pulse, std::uint8_t slot, const PathEnds& ends,
                                   std::uint64_t now_ns, bool counts) {
  const PathChallenge value = fresh_value();
  pulse.record(value, now_ns, counts);
  send(static_cast<std::uint8_t>(kTopProbeId - slot), value, ends);
}

PathVerdict PathManager::Impl::probe_echo(std::uint8_t index, const PathChallenge& value,
                                          const PathEnds& ends, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  const bool was_up = slot.pulse.up;
  if (came_from(ends, slot.ends) && slot.pulse.answer(value, now_ns)) {
    judge(index, was_up, now_ns);
  } else if (slot.fallback && came_from(ends, slot.fallback->ends) &&
             slot.fallback->pulse.answer(value, now_ns)) {
    slot.fallback->proven = known(ends);
    if (!slot.pulse.up) (void)return_to_fallback(index, now_ns);
  }
  return PathVerdict::kIgnored;
}

void PathManager::Impl::judge(std::uint8_t index, bool was_up, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  if (slot.pulse.up == was_up) return;
  if (slot.pulse.up) {
    notice(PathEvent::kUp, index, slot.ends);
  } else {
    went_down(index, now_ns);
  }
  rebuild(now_ns);
}

void PathManager::Impl::went_down(std::uint8_t index, std::uint64_t now_ns) {
  notice(PathEvent::kDown, index, slots[index].ends);
  if (return_to_fallback(index, now_ns)) return;
  hurry_candidates(index, now_ns);
  settle_proven(now_ns);
}

bool PathManager::Impl::alternatives(std::uint8_t index) const {
  if (slots.size() > 1 || slots[index].fallback) return true;
  return std::any_of(candidates.begin(), candidates.end(),
                     [&](const Candidate& c) { return c.slot == index; });
}

// Packets of the peer tell of an address's life only where there is but one.
std::uint64_t PathManager::Impl::heard_ns(std::uint8_t index) const {
  return alternatives(index) || hint_ns >= rx_moved_ns ? 0 : rx_moved_ns;
}

// Where there is no other address to turn to, nothing hangs on noticing a break soon.
std::uint64_t PathManager::Impl::usual_gap_ns(std::uint8_t index) const {
  if (alternatives(index)) return policy.probe_interval_ns;
  return std::max(policy.probe_interval_ns, policy.lone_interval_ns);
}

std::uint64_t PathManager::Impl::gap_ns(std::uint8_t index, std::uint64_t now_ns) const {
  const Slot& slot = slots[index];
  const std::uint64_t usual = usual_gap_ns(index);
  if (!slot.pulse.up) return usual << std::min(slot.pulse.down_probes / 4, kDownShift);
  const bool busy = traffic != 0 && now_ns - traffic_ns < 2 * usual;
  if (busy && in_use(index) && alternatives(index)) {
    return std::min(usual, std::max(8 * slot.pulse.rtt.srtt_ns, kFastProbeNs));
  }
  return usual;
}

void PathManager::Impl::run_slot_probes(std::uint8_t index, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  if (slot.state != PathState::kValidated || !known(slot.ends)) return;
  const bool was_up = slot.pulse.up;
  slot.pulse.expire(now_ns, policy.probes_lost_down, heard_ns(index));
  slot.pulse.next_ns = std::max(slot.pulse.next_ns, slot.pulse.room_ns());
  if (slot.pulse.next_ns <= now_ns) {
    // Silence costs nothing: a session with one address and no traffic is looked at ever more rarely.
    const bool sure = slot.pulse.lost_in_row == 0 || !slot.pulse.up;
    const bool idle = !alternatives(index) && traffic == slot.traffic_seen && sure;
    slot.idle_checks = idle ? std::min(slot.idle_checks + 1, kIdleShift) : 0;
    slot.traffic_seen = traffic;
    if (!idle || !slot.pulse.up) send_probe(slot.pulse, index, slot.ends, now_ns, true);
    if (!slot.pulse.up) ++slot.pulse.down_probes;
    slot.pulse.next_ns = now_ns + (idle ? usual_gap_ns(index) << slot.idle_checks : gap_ns(index, now_ns));
  }
  judge(index, was_up, now_ns);
}

void PathManager::Impl::run_fallback(std::uint8_t index, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  if (!slot.fallback) return;
  Fallback& f = *slot.fallback;
  if (now_ns >= f.until_ns) {
    slot.fallback.reset();
    return;
  }
  f.pulse.expire(now_ns, policy.probes_lost_down, 0);
  if (!f.pulse.up) f.proven = false;
  f.pulse.next_ns = std::max(f.pulse.next_ns, f.pulse.room_ns());
  if (f.pulse.next_ns > now_ns) return;
  send_probe(f.pulse, index, f.ends, now_ns, true);
  if (!f.pulse.up) ++f.pulse.down_probes;
  f.pulse.next_ns =
      now_ns + (policy.probe_interval_ns << (f.pulse.up ? 0 : std::min(f.pulse.down_probes / 4, kDownShift)));
}

void PathManager::Impl::run_probes(std::uint64_t now_ns) {
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    run_fallback(i, now_ns);
    run_slot_probes(i, now_ns);
  }
}

bool PathManager::probe(std::uint8_t slot, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (slot >= s.slots.size() || !known(s.slots[slot].ends)) return false;
  const bool counts = s.slots[slot].state == PathState::kValidated;
  s.send_probe(s.slots[slot].pulse, slot, s.slots[slot].ends, now_ns, counts);
  return true;
}

void PathManager::announce(std::uint64_t now_ns) {
  Impl& s = *impl_;
  s.send_probe(s.slots[s.active].pulse, s.active, PathEnds{}, now_ns, false);
}

}  // namespace session
