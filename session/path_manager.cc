// Path manager: slots, whose value came back, echoes of foreign challenges, time.
#include "session/path_manager.h"

#include <algorithm>
#include <utility>

#include "crypto/blake3.h"
#include "crypto/secret.h"
#include "session/path_manager_pvt.h"

namespace session {
namespace {

constexpr std::size_t kMarkAt = kPathChallengeBytes / 2;

std::array<std::uint8_t, kPathChallengeBytes - kMarkAt> mark_of(const std::array<std::uint8_t, 32>& key,
                                                                const PathChallenge& value) {
  std::array<std::uint8_t, crypto::kBlake3Bytes> hash;
  crypto::blake3_keyed_hash(key, std::span(value).first<kMarkAt>(), hash);
  std::array<std::uint8_t, kPathChallengeBytes - kMarkAt> mark;
  std::copy_n(hash.begin(), mark.size(), mark.begin());
  return mark;
}

}  // namespace

PathManager::Impl::Impl(const PathPolicy& rules, std::span<const PathEnds> ends, Random source,
                        std::uint64_t now_ns)
    : policy(rules),
      random(std::move(source)),
      echoes(rules.echo_burst, rules.echoes_per_second),
      newcomers(kNewcomerBurst, kNewcomersPerSecond) {
  slots.resize(std::clamp<std::size_t>(ends.size(), 1, kTxPaths));
  for (std::size_t i = 0; i < std::min(ends.size(), slots.size()); ++i) slots[i].ends = ends[i];
  slots[0].state = PathState::kValidated;
  if (known(slots[0].ends)) slots[0].pulse.next_ns = now_ns + (slots.size() == 1 ? rules.first_probe_ns : 0);
  rebuild(now_ns);
}

// With the first value, not for sessions that never send one.
void PathManager::Impl::draw_key() {
  if (keyed) return;
  keyed = true;
  random(mark_key);
  std::array<std::uint8_t, 1> first{};
  random(first);
  next_id =
      static_cast<std::uint8_t>(kFirstChallengeId + first[0] % (kLastChallengeId - kFirstChallengeId + 1));
}

// 16 random bytes and their mark: own values are told from foreign ones without a memory of them.
PathChallenge PathManager::Impl::fresh_value() {
  draw_key();
  PathChallenge value;
  random(std::span(value).first<kMarkAt>());
  const auto mark = mark_of(mark_key, value);
  std::copy(mark.begin(), mark.end(), value.begin() + kMarkAt);
  return value;
}

bool PathManager::Impl::own(const PathChallenge& value) const {
  if (!keyed) return false;  // nothing was sent yet
  const auto mark = mark_of(mark_key, value);
  return crypto::equal_ct(mark.data(), value.data() + kMarkAt, mark.size());
}

void PathManager::Impl::send(std::uint8_t id, const PathChallenge& value, const PathEnds& ends) {
  if (sends.size() == kMaxQueuedSends) {  // nobody fetches: the oldest is the least worth
    sends.pop_front();
    ++refused;
  }
  sends.push_back(PathSend{id, value, ends});
  ++control_pkts;
}

void PathManager::Impl::notice(PathEvent event, std::uint8_t slot, const PathEnds& ends) {
  if (notices.size() == kMaxQueuedNotices) notices.pop_front();
  notices.push_back(PathNotice{event, slot, ends});
}

bool PathManager::Impl::uses(std::uint8_t id) const {
  if (id < slots.size() || kTopProbeId - id < static_cast<int>(slots.size())) return true;
  return std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) {
    return c.attempt.phase == Attempt::Phase::kRunning && c.attempt.id == id;
  });
}

bool PathManager::Impl::has_pair(const PathEnds& ends) const {
  return std::any_of(slots.begin(), slots.end(),
                     [&](const Slot& slot) { return known(slot.ends) && same_pair(slot.ends, ends); });
}

void PathManager::Impl::validate_slot(std::uint8_t index, std::uint64_t rtt_ns, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  slot.attempt = Attempt{};
  slot.pulse = Pulse{};
  slot.pulse.rtt.sample(rtt_ns);
  slot.pulse.next_ns = now_ns;
  slot.state = PathState::kValidated;
  notice(PathEvent::kValidated, index, slot.ends);
  ++version;
  rebuild(now_ns);
}

// The configured address of a further slot is tried for ever, in attempts that end.
void PathManager::Impl::run_slot_attempt(std::uint8_t index, std::uint64_t now_ns) {
  Slot& slot = slots[index];
  if (slot.state == PathState::kValidated || !known(slot.ends)) return;
  Attempt& attempt = slot.attempt;
  if (attempt.fail_if_over(now_ns, doubled_pause_ns(attempt))) {
    slot.state = PathState::kFailed;
    if (attempt.failures == 1) notice(PathEvent::kRejected, index, slot.ends);
  }
  const bool pause_over = attempt.phase == Attempt::Phase::kPaused && now_ns >= attempt.next_ns;
  if (attempt.phase == Attempt::Phase::kIdle || pause_over) {
    attempt.start(index, now_ns, slot.pulse.rtt, policy.attempt_timeout_ns);
    slot.state = PathState::kValidating;
  }
  if (!attempt.wants_send(now_ns)) return;
  const PathChallenge value = fresh_value();
  attempt.record(value, now_ns);
  send(attempt.id, value, slot.ends);
}

// Right bytes are not enough: they must have come from where they were sent to.
PathVerdict PathManager::Impl::own_echo(std::uint8_t id, const PathChallenge& value, const PathEnds& ends,
                                        std::uint64_t now_ns) {
  for (Candidate& c : candidates) {
    if (!came_from(ends, c.ends)) continue;
    const auto rtt = c.attempt.answer(id, value, now_ns);
    if (!rtt) continue;
    settle_proven(now_ns);
    return PathVerdict::kValidated;
  }
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    if (!came_from(ends, slots[i].ends)) continue;
    const auto rtt = slots[i].attempt.answer(id, value, now_ns);
    if (!rtt) continue;
    validate_slot(i, *rtt, now_ns);
    return PathVerdict::kValidated;
  }
  const auto slot = static_cast<unsigned>(kTopProbeId - id);
  if (slot < slots.size()) return probe_echo(static_cast<std::uint8_t>(slot), value, ends, now_ns);
  return PathVerdict::kIgnored;
}

bool PathManager::Impl::seen_before(std::uint8_t id, const PathChallenge& value) const {
  return std::any_of(seen.begin(), seen.end(), [&](const Seen& s) {
    return s.id == id && crypto::equal_ct(s.value.data(), value.data(), value.size());
  });
}

void PathManager::Impl::remember(std::uint8_t id, const PathChallenge& value) {
  put_newest(seen, seen_next, kSeenValues, Seen{id, value});
}

PathVerdict PathManager::Impl::foreign(std::uint8_t id, const PathChallenge& value, const PathEnds& ends,
                                       std::uint64_t now_ns) {
  if (id == 0 || (uses(id) && seen_before(id, value))) return PathVerdict::kIgnored;
  if (id < kTxPaths && id >= slots.size() && known(slots[0].ends) && !policy.unmodified_peer) {
    ++refused;  // an echo would promise that data may come with this id
    return PathVerdict::kIgnored;
  }
  bool at_home = !known(ends);
  for (Slot& slot : slots) {
    const bool here = known(slot.ends) && same_pair(slot.ends, ends);
    const bool behind = slot.fallback && same_pair(slot.fallback->ends, ends);
    // A sign of life; two idle ends would only wake each other.
    if (here && !slot.pulse.up && slot.idle_checks == 0) {
      slot.pulse.next_ns = std::min(slot.pulse.next_ns, std::max(now_ns, slot.pulse.last_ns + kPatienceNs));
    }
    at_home = at_home || here || behind;
  }
  Candidate* stranger = nullptr;
  if (!at_home) standby(id, ends, kChallengeBytes, now_ns, stranger);
  const bool room = stranger == nullptr || may_send(*stranger);  // one for one needs no account
  const bool echo = room && echoes.take(now_ns);
  if (echo) {
    if (uses(id)) remember(id, value);
    if (stranger != nullptr) {
      stranger->bytes_out += ip_bytes(ends, kChallengeBytes);
    } else {
      spend_watched(ends);
    }
    send(id, value, ends);
  } else {
    ++refused;
  }
  if (stranger != nullptr) step(*stranger, now_ns);
  return echo ? PathVerdict::kEcho : PathVerdict::kIgnored;
}

PathManager::PathManager(const PathPolicy& policy, std::span<const PathEnds> ends, Random random,
                         std::uint64_t now_ns)
    : impl_(std::make_unique<Impl>(policy, ends, std::move(random), now_ns)) {}
PathManager::~PathManager() = default;
PathManager::PathManager(PathManager&&) noexcept = default;
PathManager& PathManager::operator=(PathManager&&) noexcept = default;

PathVerdict PathManager::on_path_validation(std::uint8_t path_id, const PathChallenge& value,
                                            const PathEnds& ends, std::uint64_t now_ns) {
  Impl& s = *impl_;
  ++s.control_pkts;
  ++s.control_rx_pkts;
  return s.own(value) ? s.own_echo(path_id, value, ends, now_ns) : s.foreign(path_id, value, ends, now_ns);
}

// The counters and ours are read at different times; only more than was ever seen is growth.
void PathManager::on_traffic(std::uint64_t rx_pkts, std::uint64_t tx_pkts, std::uint64_t now_ns) {
  Impl& s = *impl_;
  const auto beyond = [](std::uint64_t all, std::uint64_t ours) { return all > ours ? all - ours : 0; };
  const std::uint64_t rx_traffic = beyond(rx_pkts, s.control_rx_pkts);
  const std::uint64_t traffic = rx_traffic + beyond(tx_pkts, s.control_pkts - s.control_rx_pkts);
  if (traffic > s.traffic) s.traffic_ns = now_ns;
  if (rx_traffic > s.rx_traffic) s.rx_moved_ns = now_ns;
  s.traffic = std::max(s.traffic, traffic);
  s.rx_traffic = std::max(s.rx_traffic, rx_traffic);
}

void PathManager::on_capacity(std::uint8_t slot, std::uint64_t bps, bool full, std::uint64_t now_ns) {
  if (slot >= impl_->slot_count()) return;
  impl_->slots[slot].capacity_bps = bps;
  if (full) impl_->slots[slot].full_ns = now_ns;
}

std::uint64_t PathManager::migrations(std::uint8_t slot) const {
  return slot < impl_->slot_count() ? impl_->slots[slot].migrations : 0;
}

void PathManager::on_timer(std::uint64_t now_ns) {
  Impl& s = *impl_;
  s.run_candidates(now_ns);
  for (std::uint8_t i = 1; i < s.slot_count(); ++i) s.run_slot_attempt(i, now_ns);
  s.run_probes(now_ns);
  // A move asks for probes at once, of the new address and of the one that was left.
  const auto moved_now = [&](const Slot& slot) { return slot.moved_ns == now_ns; };
  if (std::any_of(s.slots.begin(), s.slots.end(), moved_now)) s.run_probes(now_ns);
  s.rebuild(now_ns);
}

void PathManager::set_lone_interval(std::uint64_t interval_ns) {
  impl_->policy.lone_interval_ns = interval_ns;
}

std::uint64_t PathManager::next_deadline_ns() const {
  const Impl& s = *impl_;
  std::uint64_t at = s.watch_due_ns;
  for (const Candidate& c : s.candidates) {
    const bool paused = c.attempt.phase == Attempt::Phase::kPaused;  // ends by itself only in oblivion
    at = std::min(at, paused ? c.attempt.next_ns + kForgetNs : c.attempt.deadline_ns());
    if (c.attempt.phase == Attempt::Phase::kProven && c.wants_move) {
      at = std::min(at, s.slots[c.slot].moved_ns + kMoveGapNs);
    }
  }
  for (const Slot& slot : s.slots) {
    at = std::min({at, slot.attempt.deadline_ns(), slot.pulse.next_ns, slot.pulse.overdue_ns()});
    if (!slot.fallback) continue;
    const Fallback& f = *slot.fallback;
    at = std::min({at, f.until_ns, f.pulse.next_ns, f.pulse.overdue_ns()});
  }
  if (s.better != kNoPath) at = std::min(at, s.better_since_ns + kSwitchNs);
  return at;
}

bool PathManager::next_send(PathSend& out) {
  if (impl_->sends.empty()) return false;
  out = impl_->sends.front();
  impl_->sends.pop_front();
  return true;
}

bool PathManager::next_notice(PathNotice& out) {
  if (impl_->notices.empty()) return false;
  out = impl_->notices.front();
  impl_->notices.pop_front();
  return true;
}

std::uint64_t PathManager::schedule_version() const {
  return impl_->version;
}
const PathSchedule& PathManager::schedule() const {
  return impl_->schedule;
}

bool PathManager::validated(std::uint8_t path_id) const {
  if (path_id == 0) return true;
  if (impl_->policy.unmodified_peer || path_id >= impl_->slots.size()) return false;
  return impl_->slots[path_id].state == PathState::kValidated;
}

const PathEnds& PathManager::primary() const {
  return impl_->slots[0].ends;
}

bool PathManager::migrating() const {
  const Impl& s = *impl_;
  return std::any_of(s.candidates.begin(), s.candidates.end(), [&](const Candidate& c) {
    return c.wants_move && c.attempt.phase == Attempt::Phase::kRunning && s.in_use(c.slot);
  });
}

std::vector<PathSlotView> PathManager::view() const {
  const Impl& s = *impl_;
  std::vector<PathSlotView> out;
  for (std::uint8_t i = 0; i < s.slot_count(); ++i) {
    const Slot& slot = s.slots[i];
    const Pulse& p = slot.pulse;
    PathSlotView v;
    v.slot = i;
    v.ends = slot.ends;
    v.state = slot.state;
    v.up = p.up && slot.state == PathState::kValidated;
    v.in_use = s.in_use(i);
    if (p.rtt.known) v.srtt_ms = static_cast<double>(p.rtt.srtt_ns) / static_cast<double>(kMs);
    v.rttvar_ms = static_cast<double>(p.rtt.rttvar_ns) / static_cast<double>(kMs);
    v.loss = p.loss;
    v.probes_sent = slot.probes_sent_before + p.sent;
    v.probes_answered = slot.probes_answered_before + p.answered;
    v.migrations = slot.migrations;
    if (slot.fallback) v.fallback = slot.fallback->ends;
    const auto c = std::find_if(s.candidates.begin(), s.candidates.end(), [&](const Candidate& one) {
      return one.slot == i && one.attempt.phase == Attempt::Phase::kRunning;
    });
    if (c != s.candidates.end()) v.candidate = c->ends;
    out.push_back(v);
  }
  return out;
}

void PathManager::pairs(std::vector<PathEnds>& out) const {
  out.clear();
  for (const Slot& slot : impl_->slots) {
    out.push_back(slot.ends);
    if (slot.fallback) out.push_back(slot.fallback->ends);
  }
  for (const Candidate& c : impl_->candidates) {
    const Attempt::Phase phase = c.attempt.phase;
    if (phase == Attempt::Phase::kRunning || phase == Attempt::Phase::kProven) out.push_back(c.ends);
  }
}

std::uint64_t PathManager::refused_total() const {
  return impl_->refused;
}
std::uint64_t PathManager::control_pkts_total() const {
  return impl_->control_pkts;
}
bool PathManager::own_value(const PathChallenge& value) const {
  return impl_->own(value);
}
bool PathManager::uses_id(std::uint8_t path_id) const {
  return impl_->uses(path_id);
}

}  // namespace session
