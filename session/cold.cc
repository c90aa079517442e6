#include "session/cold.h"

#include <algorithm>
#include <utility>

#include "crypto/secret.h"
#include "session/cold_pvt.h"

namespace session {

SessionControl::Impl::Impl(SessionIdentity id, crypto::TrafficSecret secret, SessionPolicy rules,
                           std::uint32_t at, std::uint32_t gen, KeyPool& pool, const crypto::Aead& engine)
    : identity(std::move(id)),
      policy(rules),
      slot(at),
      generation(gen),
      keys(pool),
      aead(engine),
      chain(std::move(secret), identity.suite, identity.variant, identity.role == Role::kInitiator),
      trials(rules.trial_burst, rules.trials_per_second),
      echoes(rules.echo_burst, rules.echoes_per_second),
      manager(make_manager(0)) {
  stored_record.session_id = identity.id;
}

// Keys that were handed out come back from the owner; those that were not are given up here.
SessionControl::Impl::~Impl() {
  if (!initial_given) drop_keys(initial_keys);
  for (Held& held : outbox) {
    if (auto* next = std::get_if<CmdInstallNext>(&held.command)) drop_keys(next->next);
    if (auto* cmd = std::get_if<CmdJump>(&held.command)) {
      drop_keys(cmd->jump->current);
      drop_keys(cmd->jump->next);
      for (unsigned i = 0; i < cmd->jump->skipped_count; ++i) drop_keys(cmd->jump->skipped[i]);
    }
  }
}

// What the peer may still send in when this incarnation begins at `epoch`.
void SessionControl::Impl::keep_before(unsigned epoch) {
  const unsigned oldest = epoch > MAX_REKEY_CATCHUP ? epoch - MAX_REKEY_CATCHUP : 0;
  before = std::make_unique<EpochChain>(chain.clone());
  before->advance_to(static_cast<std::uint8_t>(std::max<unsigned>(peer_epoch, oldest)));
}

// At least two, so that "half of it is used" can be told before it is used up.
std::uint32_t SessionControl::Impl::first_block() const {
  return std::clamp<std::uint32_t>(policy.sequence_block, 2, kMaxSequenceBlock);
}

SessionControl::SessionControl(SessionIdentity identity, crypto::TrafficSecret shared_secret,
                               SessionPolicy policy, std::uint32_t slot, std::uint32_t generation,
                               KeyPool& keys, const crypto::Aead& aead,
                               const std::optional<Fingerprint>& fingerprint) {
  Fingerprint own{};
  if (!fingerprint) crypto::secret_fingerprint(shared_secret, identity.role == Role::kInitiator, own);
  impl_ = std::make_unique<Impl>(std::move(identity), std::move(shared_secret), policy, slot, generation,
                                 keys, aead);
  impl_->stored_record.fingerprint = fingerprint.value_or(own);
}

SessionControl::~SessionControl() = default;

std::optional<StartError> SessionControl::start(const std::optional<StoreRecord>& record,
                                                std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (s.started) return StartError{s.identity.name + ": the session was started already"};
  unsigned epoch = 0;
  if (record) {
    epoch = unsigned{record->taken} + 1;
    if (epoch > kMaxEpoch) {
      return StartError{s.identity.name +
                        ": the epochs of this secret are used up: provide a new secret to both ends"};
    }
    s.seq_start = record->seq_limit;
    s.stored_record.incarnations = record->incarnations;
    s.stored_record.peer_epoch = record->peer_epoch;
    s.stored_record.peer = record->peer;
    s.peer_epoch = record->peer_epoch;
    s.keep_before(epoch);
  }
  s.chain.advance_to(static_cast<std::uint8_t>(epoch));
  if (!s.make_keys(static_cast<std::uint8_t>(epoch), s.initial_keys)) {
    return StartError{s.identity.name + ": no expanded keys are free: raise the number of keys per worker"};
  }
  s.current = s.first_epoch = static_cast<std::uint8_t>(epoch);
  s.take(s.current);
  s.started = true;
  ++s.stored_record.incarnations;
  for (unsigned i = 0; i < kTxStreams; ++i) {
    s.stored_record.seq_limit[i] = s.seq_start[i] + s.first_block();
  }
  s.started_ns = now_ns;
  s.life.heard_ns = now_ns;
  s.life.due_ns = now_ns + kLifeGapNs;
  if (s.policy.idle_timeout_ns != 0)
    s.life.due_ns = now_ns + std::min(kLifeGapNs, s.policy.idle_timeout_ns / 4);
  s.note_epoch(now_ns);
  s.arm_interval(now_ns, s.policy.rekey_interval_ns);
  s.event(record ? SessionEvent::kResumed : SessionEvent::kStarted);
  if (epoch + kEpochsLowMark >= kMaxEpoch) {
    s.said_low = true;
    s.event(SessionEvent::kEpochsLow);
  }
  if (epoch > unsigned{s.peer_epoch} + MAX_REKEY_CATCHUP) s.out_of_reach();
  if (!record) s.prepare_next(now_ns);
  s.manager = s.make_manager(now_ns);
  s.start_probing(now_ns + s.turn_ns());
  if (s.turn_ns() == 0) s.probe(now_ns);
  return std::nullopt;
}

SessionInit SessionControl::initial() const {
  const Impl& s = *impl_;
  SessionInit init;
  if (!s.started || s.durable_version == 0) return init;
  s.initial_given = true;
  init.id = s.identity.id;
  init.slot = s.slot;
  init.generation = s.generation;
  init.current = s.initial_keys;
  init.suite = s.identity.suite;
  init.tx_streams = s.policy.tx_streams;
  unsigned flags = 0;
  if (s.policy.unmodified_peer) flags |= kUnmodifiedPeer;
  if (s.policy.keep_previous_only) flags |= kKeepPreviousOnly;
  if (s.before != nullptr) flags |= kResumed;
  init.session_flags = static_cast<std::uint8_t>(flags);
  init.rekey_soft_limit = s.policy.rekey_soft_limit;
  init.seq_rekey_watermark = s.policy.seq_rekey_watermark;
  init.seq_start = s.seq_start;
  for (unsigned i = 0; i < kTxStreams; ++i) {
    init.seq_limit[i] = s.seq_start[i] + s.first_block();
  }
  return init;
}

void SessionControl::on_advanced(std::uint8_t current_epoch, std::uint64_t now_ns) {
  Impl& s = *impl_;
  // An older epoch is a report that a jump of ours has overtaken.
  if (!s.started || s.state == LifeState::kClosed || current_epoch <= s.current) return;
  const bool asked = s.rekey_in_flight;
  s.take(current_epoch);
  s.next_ready = false;
  s.rekey_in_flight = false;
  s.entered(current_epoch, 0, now_ns);
  const bool followed = !asked && s.peer_epoch >= current_epoch;
  s.event(followed ? SessionEvent::kFollowed : SessionEvent::kRekeyed);
  if (!followed && !asked && s.must_rest_first()) s.event(SessionEvent::kRekeyForced);
  s.prepare_next(now_ns);
  s.pump_rekeys(now_ns);
}

void SessionControl::on_heard(std::uint8_t peer_epoch, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || s.ended()) return;
  s.heard_from(now_ns);
  s.heard_at(peer_epoch);
  s.prepare_next(now_ns);
  s.pump_rekeys(now_ns);
}

void SessionControl::on_sequence_low(std::uint16_t stream, std::uint32_t next, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || stream >= kTxStreams || s.ended()) return;
  Impl::Reservation& r = s.reservation(stream);
  if (r.asked && now_ns - r.last_ns < kSecondNs) r.block = std::min(r.block * 2, kMaxSequenceBlock);
  r.asked = true;
  r.last_ns = now_ns;
  std::uint32_t& limit = s.stored_record.seq_limit[stream];
  const std::uint32_t wanted = next + r.block;
  if (static_cast<std::int32_t>(wanted - limit) > 0) {  // serial numbers: never backwards
    limit = wanted;
    ++s.version;
  }
  s.push(CmdGrantSequences{stream, limit});
  s.next_needed = true;
  s.prepare_next(now_ns);
}

void SessionControl::on_dead(std::uint64_t) {
  Impl& s = *impl_;
  if (s.ended()) return;
  s.state = LifeState::kDead;
  s.probe_due_ns = s.peer_due_ns = kNever;
  s.rekeys_wanted = 0;
  s.wants_next = false;
  s.push(CmdSetState{LifeState::kDead});
  s.event(SessionEvent::kDead);
}

AheadVerdict SessionControl::on_ahead_packet(std::span<const std::uint8_t> packet, std::uint64_t now_ns) {
  Impl& s = *impl_;
  Frame frame{};
  if (!s.started || s.ended() || !parse_frame(packet, frame) || frame.payload_bytes < kTagBytes) {
    return AheadVerdict::kForged;
  }
  if (packet[kOffVersion] != kWireVersion || (load_be16(&packet[kOffFlags]) & kFlagEncrypted) == 0 ||
      !std::equal(s.identity.id.begin(), s.identity.id.end(), packet.begin() + kOffSessionId)) {
    return AheadVerdict::kForged;
  }
  const std::uint8_t epoch = packet[kOffEpoch];
  if (epoch < s.current && s.before != nullptr) return s.try_behind(packet, epoch, now_ns);
  const bool within = epoch <= s.current || (epoch == s.current + 1 && s.next_ready);
  if (within && s.undelivered(epoch) == nullptr) return AheadVerdict::kNotAhead;
  if (unsigned{epoch} > unsigned{s.current} + MAX_REKEY_CATCHUP) return AheadVerdict::kForged;
  return s.try_ahead(packet, epoch, now_ns);
}

void SessionControl::on_traffic(std::uint64_t rx_pkts, std::uint64_t tx_pkts) {
  Impl& s = *impl_;
  const std::uint64_t probes = s.has_paths ? s.manager.control_pkts_total() : 0;
  const std::uint64_t all = rx_pkts + tx_pkts;
  s.traffic = std::max(s.traffic, all > probes ? all - probes : 0);
  s.rx_pkts = rx_pkts;
  s.tx_pkts = tx_pkts;
  if (!s.traffic_reported) s.traffic_at_epoch = 0;
  s.traffic_reported = true;
}

void SessionControl::request_rekey(unsigned steps, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || steps == 0 || !s.open() || s.current == kMaxEpoch) return;
  steps = std::min(steps, MAX_REKEY_CATCHUP);
  const auto target = static_cast<std::uint8_t>(std::min<unsigned>(s.current + steps, kMaxEpoch));
  if (!s.reachable(target)) return s.out_of_reach();
  if (steps == 1 || s.must_rest_first()) {  // a jump that has to wait is made step by step
    s.rekeys_wanted = std::min(s.rekeys_wanted + steps, MAX_REKEY_CATCHUP);
    return s.pump_rekeys(now_ns);
  }
  // Keys short: the jump is given up rather than half made; the operator sees that the epoch stayed.
  (void)s.jump_to(target, false, now_ns);
}

void SessionControl::set_at_rest(bool at_rest, std::uint64_t now_ns) {
  impl_->at_rest = at_rest;
  if (impl_->started) impl_->pump_rekeys(now_ns);
}

bool SessionControl::rekey_waits() const {
  return impl_->rekeys_wanted > 0 && impl_->must_rest_first() && !impl_->ended();
}

// The interval's rule: the peer is with us in this epoch, and packets moved in it. Otherwise look again soon.
void SessionControl::Impl::interval(std::uint64_t now_ns) {
  const bool moved = !traffic_reported || traffic - traffic_at_epoch >= kMinTraffic;
  const bool idle = rekeys_wanted == 0 && !rekey_in_flight;
  const bool wanted = open() && peer_is_here() && moved && idle;
  arm_interval(now_ns, wanted ? policy.rekey_interval_ns : policy.rekey_interval_ns / 8 + 1);
  if (!wanted || current == kMaxEpoch || !reachable(static_cast<std::uint8_t>(current + 1))) return;
  ++rekeys_wanted;
  pump_rekeys(now_ns);
}

void SessionControl::on_timer(std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || s.state == LifeState::kClosed) return;
  s.retire_due(now_ns);
  if (now_ns >= s.probe_due_ns) s.probe(now_ns);
  if (now_ns >= s.ahead_expiry_ns) {
    s.chain.forget_ahead();
    if (s.before != nullptr) s.before->forget_ahead();
    s.ahead_expiry_ns = kNever;
  }
  if (now_ns >= s.path_expiry_ns) {
    s.paths.expire(now_ns, kPathTimeoutNs);
    s.path_expiry_ns = kNever;
  }
  if (now_ns >= s.key_retry_ns) {
    s.key_retry_ns = kNever;
    if (s.wants_next) s.prepare_next(now_ns);
    s.pump_rekeys(now_ns);
  }
  if (now_ns >= s.interval_due_ns) s.interval(now_ns);
  if (now_ns >= s.life.due_ns) s.live(now_ns);
  if (s.ended()) return;
  s.manager.on_traffic(s.rx_pkts, s.tx_pkts, now_ns);
  s.manager.on_timer(now_ns);
  s.pump_paths(now_ns);
}

std::uint64_t SessionControl::next_deadline_ns() const {
  const Impl& s = *impl_;
  if (s.state == LifeState::kClosed) return kNever;
  std::uint64_t at = std::min({s.probe_due_ns, s.ahead_expiry_ns, s.path_expiry_ns, s.key_retry_ns,
                               s.interval_due_ns, s.life.due_ns, s.peer_due_ns});
  if (!s.ended()) at = std::min(at, s.manager.next_deadline_ns());
  for (const Impl::Grace& grace : s.graces) at = std::min(at, grace.deadline_ns);
  return at;
}

bool SessionControl::wants_store() const {
  return !impl_->durable();
}

StoreRecord SessionControl::record() const {
  impl_->written_version = impl_->version;
  return impl_->stored_record;
}

void SessionControl::stored(std::uint64_t now_ns) {
  impl_->durable_version = impl_->written_version;
  impl_->start_graces(now_ns);
}

bool SessionControl::next_command(ControlCommand& out) {
  Impl& s = *impl_;
  if (!s.path_outbox.empty() && s.durable_version != 0) {
    out = std::move(s.path_outbox.front());
    s.path_outbox.pop_front();
    return true;
  }
  if (s.outbox.empty() || s.outbox.front().version > s.durable_version) return false;
  out = std::move(s.outbox.front().command);
  s.outbox.pop_front();
  return true;
}

bool SessionControl::next_event(SessionEvent& out) {
  if (impl_->events.empty()) return false;
  out = impl_->events.front();
  impl_->events.pop_front();
  return true;
}

const SessionIdentity& SessionControl::identity() const {
  return impl_->identity;
}
std::uint8_t SessionControl::current_epoch() const {
  return impl_->current;
}
std::uint8_t SessionControl::taken_epoch() const {
  return impl_->stored_record.taken;
}
LifeState SessionControl::state() const {
  return impl_->state;
}
std::uint32_t SessionControl::slot() const {
  return impl_->slot;
}
std::uint32_t SessionControl::generation() const {
  return impl_->generation;
}
bool SessionControl::heard() const {
  return impl_->is_heard;
}
std::uint8_t SessionControl::peer_epoch() const {
  return impl_->peer_epoch;
}
unsigned SessionControl::furthest_epoch() const {
  return impl_->furthest();
}
std::uint32_t SessionControl::incarnations() const {
  return impl_->stored_record.incarnations;
}
std::uint64_t SessionControl::derivations() const {
  return impl_->chain.derivations();
}
double SessionControl::epochs_left_seconds(std::uint64_t now_ns) const {
  const Impl& s = *impl_;
  const int used = s.current - s.first_epoch;
  if (used <= 0 || now_ns <= s.started_ns) return -1.0;
  const double seconds = static_cast<double>(now_ns - s.started_ns) / static_cast<double>(kSecondNs);
  return static_cast<double>(kMaxEpoch - s.stored_record.taken) * seconds / used;
}

}  // namespace session
