// Paths of SessionControl: the manager's wishes become commands; ids of begin_path_validation have a table.
#include <algorithm>
#include <utility>

#include "crypto/secret.h"
#include "session/cold_pvt.h"

namespace session {

PathManager SessionControl::Impl::make_manager(std::uint64_t now_ns) {
  path_policy.unmodified_peer = policy.unmodified_peer;
  path_policy.tx_streams = policy.tx_streams;
  path_policy.echo_burst = policy.echo_burst;
  path_policy.echoes_per_second = policy.echoes_per_second;
  path_policy.lone_interval_ns = pace_ns;
  path_policy.first_probe_ns = turn_ns();
  if (path_ends.empty()) path_ends.emplace_back();
  if (has_paths && path_ends[0].remote.family == 0) path_ends[0].remote = stored_record.peer;
  return PathManager(
      path_policy, path_ends, [](std::span<std::uint8_t> out) { crypto::random_bytes(out); }, now_ns);
}

void SessionControl::Impl::push_schedule() {
  if (!has_paths || manager.schedule_version() == schedule_told || outbox_full()) return;
  CmdSetPaths command;
  command.schedule = std::make_shared<const PathSchedule>(manager.schedule());
  for (unsigned id = 0; id < kTxPaths; ++id) {
    const auto path = static_cast<std::uint8_t>(id);
    if (manager.validated(path)) command.validated[0] |= std::uint64_t{1} << id;
  }
  for (unsigned id = 0; id < kMaxEpoch + 1U; ++id) {  // what begin_path_validation opened stays open
    if (paths.state(static_cast<std::uint8_t>(id)) != PathState::kValidated) continue;
    command.validated[id / 64] |= std::uint64_t{1} << (id % 64);
  }
  schedule_told = manager.schedule_version();
  push_path(std::move(command));
}

void SessionControl::Impl::push_state() {
  if (has_paths && outbox.size() < kMaxQueuedPathCommands) set_migrating(manager.migrating());
}

// An address that answered is worth a record, yet not one for every move: what flaps must not wear the store,
// and nothing is lost but a hint of where to begin after a restart.
void SessionControl::Impl::note_peer(std::uint64_t now_ns) {
  const Endpoint& peer = manager.primary().remote;
  peer_due_ns = kNever;
  if (!has_paths || !is_heard || peer.family == 0 || peer == stored_record.peer) return;
  if (peer_noted_ns != 0 && now_ns < peer_noted_ns + kPeerNoteNs) {
    peer_due_ns = peer_noted_ns + kPeerNoteNs;
    return;
  }
  peer_noted_ns = now_ns;
  stored_record.peer = peer;
  ++version;
}

void SessionControl::Impl::pump_paths(std::uint64_t now_ns) {
  push_schedule();
  PathSend send;
  while (manager.next_send(send)) {
    if (!outbox_full() && !ended()) {
      push_path(CmdSendPathValidation{send.path_id, send.value, send.ends});
    }
  }
  push_state();
  note_peer(now_ns);
}

void SessionControl::set_paths(PathPolicy policy, std::span<const PathEnds> ends) {
  Impl& s = *impl_;
  s.path_policy = policy;
  s.path_ends.assign(ends.begin(), ends.begin() + std::min<std::ptrdiff_t>(std::ssize(ends), kTxPaths));
  s.has_paths = !s.path_ends.empty();
}

// Own values first: their mark tells them on every id. Then ids with an entry in the table, whose states are
// those of protocol.md 10.2; all else is the manager's.
PathVerdict SessionControl::on_path_validation(std::uint8_t path, const PathChallenge& value,
                                               const PathEnds& ends, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (s.ended()) return PathVerdict::kIgnored;
  s.heard_from(now_ns);
  const PathState state = s.paths.state(path);
  const bool in_table = state != PathState::kUnknown && state != PathState::kUnvalidated;
  if (!in_table || s.manager.own_value(value)) {
    const PathVerdict verdict = s.manager.on_path_validation(path, value, ends, now_ns);
    s.pump_paths(now_ns);
    return verdict;
  }
  const PathVerdict verdict = s.paths.receive(path, value, now_ns);
  if (verdict == PathVerdict::kValidated) s.push_path(CmdPathValidated{path, true});
  if (verdict != PathVerdict::kEcho) return verdict;
  if (s.outbox_full() || !s.echoes.take(now_ns)) return PathVerdict::kIgnored;
  s.push_path(CmdSendPathValidation{path, value, ends});
  return PathVerdict::kEcho;
}

void SessionControl::on_source(std::uint8_t path, const PathEnds& ends, std::uint32_t bytes,
                               std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || s.ended()) return;
  s.manager.on_source(path, ends, bytes, now_ns);
  s.pump_paths(now_ns);
}

void SessionControl::on_capacity(std::uint8_t path, std::uint64_t bps, bool full, std::uint64_t now_ns) {
  impl_->manager.on_capacity(path, bps, full, now_ns);
}

void SessionControl::on_unvalidated_path(std::uint8_t path) {
  impl_->paths.note_data(path);
}

std::optional<PathChallenge> SessionControl::begin_path_validation(std::uint8_t path,
                                                                   const PathChallenge& fresh,
                                                                   std::uint64_t now_ns) {
  Impl& s = *impl_;
  const auto value = s.paths.challenge(path, fresh, now_ns);
  if (!value) return std::nullopt;
  s.path_expiry_ns = std::min(s.path_expiry_ns, now_ns + kPathTimeoutNs);
  s.push_path(CmdSendPathValidation{path, *value});
  return value;
}

void SessionControl::note_validated_peer(const Endpoint& peer) {
  if (impl_->stored_record.peer == peer) return;
  impl_->stored_record.peer = peer;
  ++impl_->version;
}

bool SessionControl::migrate(std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || s.ended()) return false;
  const bool begun = s.manager.migrate(slot, ends, now_ns);
  s.pump_paths(now_ns);
  return begun;
}

bool SessionControl::probe(std::uint8_t slot, std::uint64_t now_ns) {
  Impl& s = *impl_;
  if (!s.started || s.ended()) return false;
  const bool sent = s.manager.probe(slot, now_ns);
  s.pump_paths(now_ns);
  return sent;
}

bool SessionControl::next_path_notice(PathNotice& out) {
  return impl_->manager.next_notice(out);
}
const PathTable& SessionControl::paths() const {
  return impl_->paths;
}
const PathManager& SessionControl::path_manager() const {
  return impl_->manager;
}
std::vector<PathSlotView> SessionControl::path_views() const {
  return impl_->manager.view();
}

// ---- the announcement

std::uint64_t SessionControl::Impl::paced(std::uint64_t gap_ns) const {
  const std::uint64_t most_ns = policy.idle_timeout_ns == 0 ? kNever : policy.idle_timeout_ns / 8;
  return std::max(gap_ns, std::min(pace_ns, most_ns));
}

// Very many sessions that start at once must not all speak at once: neither end's control could follow.
std::uint64_t SessionControl::Impl::turn_ns() const {
  const std::uint64_t pace = paced(0);
  if (pace <= policy.probe_initial_ns) return 0;
  return (std::uint64_t{load_be32(stored_record.fingerprint.data())} * (pace >> 10U) >> 32U) << 10U;
}

void SessionControl::set_pace(std::uint64_t gap_ns) {
  impl_->pace_ns = gap_ns;
  impl_->manager.set_lone_interval(gap_ns);
}

void SessionControl::Impl::start_probing(std::uint64_t first_ns) {
  probe_due_ns = first_ns;
  probe_gap_ns = paced(policy.probe_initial_ns);
}

void SessionControl::Impl::probe(std::uint64_t now_ns) {
  manager.announce(now_ns);
  pump_paths(now_ns);
  probe_due_ns = now_ns + probe_gap_ns;
  probe_gap_ns = paced(std::min(probe_gap_ns * 2, policy.probe_max_ns));
}

}  // namespace session
