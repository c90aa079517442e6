#include "dataplane/session_manager.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "crypto/secret.h"
#include "dataplane/clock.h"
#include "dataplane/pkt_meta.h"
#include "dataplane/session_manager_pvt.h"
#include "dataplane/tsc.h"

namespace dataplane {

using session::DropReason;

SessionManager::SessionManager(Topology& topology, session::EpochStore& store, ControlIo& io,
                               Neighbours& neighbours, EventLog& events)
    : topology_(topology),
      store_(store),
      io_(io),
      neighbours_(neighbours),
      events_(events),
      paths_(topology, io, neighbours),
      flow_driver_(topology),
      steering_(static_cast<unsigned>(topology.workers.size()), flow_driver_, steady_ns),
      by_slot_(topology.workers.size()) {
  for (const WorkerParts& worker : topology.workers) slots_.emplace_back(worker.shard->limits().sessions);
}

SessionManager::~SessionManager() {
  finish();
}

std::optional<Hop> SessionManager::hop_of(const std::string& name) const {
  const Managed* s = named(name);
  if (s == nullptr) return std::nullopt;
  return Hop::make(HopKind::kSession, s->worker, s->control->slot());
}

SessionManager::Managed* SessionManager::named(const std::string& name) {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : sessions_[at->second].get();
}

const SessionManager::Managed* SessionManager::named(const std::string& name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : sessions_[at->second].get();
}

SessionManager::Managed* SessionManager::find(unsigned worker, std::uint32_t slot, std::uint32_t generation) {
  if (slot >= by_slot_[worker].size() || by_slot_[worker][slot] == session::kNone) return nullptr;
  Managed* s = sessions_[by_slot_[worker][slot]].get();
  return s->control->generation() == generation ? s : nullptr;
}

void SessionManager::mark(Managed& s) {
  if (s.dirty) return;
  s.dirty = true;
  dirty_.push_back(s.index);
}

void SessionManager::on_message(unsigned worker, const Message& message, std::uint64_t now_ns) {
  if (message.kind == MessageKind::kKeyRetired) return topology_.workers[worker].keys->release(message.c);
  if (message.kind == MessageKind::kJumpDone) {
    jumps_.erase(message.jump);
    return;
  }
  if (message.kind == MessageKind::kPathsDone) return on_plan_done(worker, message);
  if (message.kind == MessageKind::kProbeDone) return paths_.on_probe_done(message.probe);
  Managed* s = find(worker, message.slot, message.generation);
  if (s == nullptr) return;
  switch (message.kind) {
    case MessageKind::kAdvanced:
      s->control->on_advanced(message.a, now_ns);
      break;
    case MessageKind::kHeard:
      s->control->on_heard(message.a, now_ns);
      break;
    case MessageKind::kSequenceLow:
      s->control->on_sequence_low(message.b, message.c, now_ns);
      break;
    case MessageKind::kDead:
      s->control->on_dead(now_ns);
      break;
    case MessageKind::kStreamsAtRest:
      s->control->set_at_rest(message.a != 0, now_ns);
      break;
    case MessageKind::kPathValidation:
      s->control->on_path_validation(message.a, message.origin.value, paths_.origin(message), now_ns);
      break;
    case MessageKind::kMoved:
      return on_moved(*s, now_ns);
    case MessageKind::kReport:
      return on_report(*s, message, now_ns);
    case MessageKind::kReportSent:
      return on_report_sent(*s, message, now_ns);
    case MessageKind::kNewSource:
      on_source(*s, message, now_ns);
      break;
    default:
      return;
  }
  mark(*s);
}

void SessionManager::on_ahead(unsigned worker, rte_mbuf* m, std::uint64_t now_ns) {
  Managed* s = find(worker, meta(m).slot, meta(m).generation);
  if (s == nullptr || s->stage >= Stage::kRemoving) return io_.drop(m, DropReason::kStaleHandle);
  if (s->held.size() >= kHeldPerSession || held_ >= kHeldInAll || !trials_.take(now_ns)) {
    return io_.drop(m, DropReason::kEpochAheadBudget);
  }
  const std::span<const std::uint8_t> packet(rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len);
  switch (s->control->on_ahead_packet(packet, now_ns)) {
    case session::AheadVerdict::kForged:
      io_.drop(m, DropReason::kEpochAheadForged);
      break;
    case session::AheadVerdict::kBudget:
      io_.drop(m, DropReason::kEpochAheadBudget);
      break;
    case session::AheadVerdict::kBehind:
      hint_of(*s, m, now_ns);
      io_.drop(m, DropReason::kEpochBehind);
      break;
    case session::AheadVerdict::kCatchUp:
      trials_.give_back();
      welcome_ahead(*s, now_ns);
      [[fallthrough]];
    case session::AheadVerdict::kNotAhead:
      s->held.push_back(m);  // goes back behind the commands it depends on
      ++held_;
      break;
  }
  mark(*s);
}

// Authentic packets ahead come until the jump is durable and installed: the worker's budget must not stop
// them.
void SessionManager::welcome_ahead(Managed& s, std::uint64_t now_ns) {
  constexpr std::uint64_t kGapNs = 10'000'000;
  if (now_ns - s.welcomed_ns < kGapNs || !io_.has_room(s.worker)) return;
  s.welcomed_ns = now_ns;
  Message m;
  m.kind = MessageKind::kAheadBudget;
  m.slot = s.control->slot();
  m.generation = s.control->generation();
  m.c = kAheadGrant;
  io_.send(s.worker, m);
}

void SessionManager::schedule(Managed& s) {
  const std::uint64_t at = s.control->next_deadline_ns();
  if (at == s.scheduled_ns) return;
  if (s.scheduled_ns != UINT64_MAX) deadlines_.erase({s.scheduled_ns, s.index});
  s.scheduled_ns = at;
  if (at != UINT64_MAX) deadlines_.emplace(at, s.index);
}

// Counters that the owner writes; its time stamp is turned into control's clock.
void SessionManager::report_traffic(Managed& s, std::uint64_t now_ns) {
  const session::SessionHot& hot = topology_.workers[s.worker].shard->hot(s.control->slot());
  // Not the worker's yet: what stands there is of the slot's last session.
  if (__atomic_load_n(&hot.generation, __ATOMIC_RELAXED) != s.control->generation()) return;
  session::TrafficReport report = session::read_traffic(hot);
  const std::uint64_t heard_tsc = __atomic_load_n(&hot.last_rx_tsc, __ATOMIC_RELAXED);
  if (heard_tsc != 0) {
    report.heard_ns = now_ns - std::min(now_ns - 1, ns_since(heard_tsc));
  }
  s.control->on_traffic(report, now_ns);
}

// Those of the file count before they are added.
std::uint64_t SessionManager::pace_ns() const {
  return std::max(count(), topology_.config.sessions.size()) * kPaceNs;
}

unsigned SessionManager::run_timers(std::uint64_t now_ns) {
  unsigned ran = 0;
  while (ran < kSessionsALoop && !deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    Managed& s = *sessions_[deadlines_.begin()->second];
    deadlines_.erase(deadlines_.begin());
    s.scheduled_ns = UINT64_MAX;
    report_traffic(s, now_ns);
    s.control->set_pace(pace_ns());
    s.control->on_timer(now_ns);
    mark(s);
    ++ran;
  }
  return ran;
}

void SessionManager::store_failed(const char* why, std::uint64_t now_ns) {
  ++health_.failures;
  store_retry_ns_ = now_ns + store_gap_ns_;
  store_gap_ns_ = std::min(store_gap_ns_ * 2, kStoreRetryMaxNs);
  if (health_.failing) return;
  health_.failing = true;
  ++health_.troubles;
  spdlog::error("state store: {}. Traffic continues with the present keys; no rekey until it works again",
                why);
}

unsigned SessionManager::save(std::span<const std::uint32_t> sessions, std::uint64_t now_ns) {
  if (now_ns < store_retry_ns_) return 0;
  std::vector<session::StoreRecord> records;
  std::vector<Managed*> waiting;
  for (const std::uint32_t index : sessions) {
    Managed& s = *sessions_[index];
    if (!s.control->wants_store()) continue;
    records.push_back(s.control->record());
    waiting.push_back(&s);
  }
  if (records.empty()) return 0;
  try {
    store_.commit(records);
  } catch (const std::exception& error) {
    store_failed(error.what(), now_ns);
    return 0;
  }
  for (Managed* s : waiting) s->control->stored(now_ns);
  ++health_.commits;
  health_.records += records.size();
  if (health_.failing) spdlog::info("state store: works again after {} failures", health_.failures);
  health_.failing = false;
  store_retry_ns_ = 0;
  store_gap_ns_ = kStoreRetryNs;
  return static_cast<unsigned>(records.size());
}

std::optional<Message> SessionManager::message_of(Managed& s, const session::ControlCommand& command) {
  Message m;
  bool leads = true;
  std::visit(Overloaded{
                 [&](const session::CmdInstallNext& c) {
                   m.kind = MessageKind::kInstallNext;
                   m.key = c.next;
                 },
                 [&](const session::CmdJump& c) {
                   m.kind = MessageKind::kJump;
                   m.jump = c.jump.get();
                   jumps_.emplace(c.jump.get(), c.jump);
                 },
                 [&](const session::CmdRetirePrevious& c) {
                   m.kind = MessageKind::kRetirePrevious;
                   m.a = c.epoch;
                 },
                 [&](const session::CmdGrantSequences& c) {
                   m.kind = MessageKind::kGrantSequences;
                   m.b = c.stream;
                   m.c = c.limit;
                 },
                 [&](const session::CmdRekey&) { m.kind = MessageKind::kRekey; },
                 [&](const session::CmdSendPathValidation& c) {
                   const auto probe = paths_.probe(s.uses, c, now_ns_);
                   leads = probe.has_value();
                   if (leads) m = *probe;
                   s.paths_moved = true;
                 },
                 [&](const session::CmdPathValidated& c) {
                   m.kind = MessageKind::kPathValidated;
                   m.a = c.path;
                   m.b = c.validated ? 1 : 0;
                 },
                 [&](const session::CmdSetPaths& c) {
                   m = paths_.plan(s.uses, c, now_ns_);
                   m.plan->slot = s.control->slot();
                   m.plan->generation = s.control->generation();
                   s.paths_moved = true;
                 },
                 [&](const session::CmdSetState& c) {
                   m.kind = MessageKind::kSetState;
                   m.a = static_cast<std::uint8_t>(c.state);
                 },
             },
             command);
  if (!leads) return std::nullopt;
  m.slot = s.control->slot();
  m.generation = s.control->generation();
  return m;
}

// Packets go back once everything the session had to say is on its way.
bool SessionManager::release_held(Managed& s) {
  if (s.control->wants_store()) return s.held.empty();
  while (!s.held.empty()) {
    if (!io_.has_room(s.worker)) return false;
    io_.give_back(s.worker, s.held.front());
    s.held.pop_front();
    --held_;
  }
  return true;
}

// True when the session has nothing left to say or to store.
bool SessionManager::drain(Managed& s, unsigned& done) {
  log_events(s);
  log_path_notices(s);
  // Not with the worker yet, or no longer: what it would be told waits, or goes with the session.
  if (s.stage == Stage::kStoring || s.stage >= Stage::kRemoving) return true;
  tell_hold(s);
  session::ControlCommand command;
  while (io_.has_room(s.worker)) {
    if (!s.control->next_command(command)) {
      if (s.paths_moved || s.uses.size() > s.control->path_manager().schedule().count) {
        settle_paths(s, now_ns_);
      }
      s.paths_moved = false;
      schedule(s);
      return release_held(s) && !s.control->wants_store();
    }
    if (const auto message = message_of(s, command)) io_.send(s.worker, *message);
    ++done;
  }
  schedule(s);
  return false;
}

unsigned SessionManager::service(std::uint64_t now_ns) {
  now_ns_ = now_ns;
  unsigned done = run_timers(now_ns) + paths_.service(now_ns) + steering_.service(now_ns);
  done += look_around(now_ns);
  if (dirty_.empty()) return done;
  // In turns: a loop must not grow with the number of sessions that wait for room or for the store.
  const auto end = dirty_.begin() + std::min(std::ssize(dirty_), std::ptrdiff_t{kSessionsALoop});
  const std::vector<std::uint32_t> turn(dirty_.begin(), end);
  dirty_.erase(dirty_.begin(), end);
  done += save(turn, now_ns);
  for (const std::uint32_t index : turn) {
    Managed& s = *sessions_[index];
    s.dirty = !drain(s, done);
    if (s.dirty) dirty_.push_back(index);
  }
  return done;
}

void SessionManager::finish() {
  steering_.clear();
  for (const auto& s : sessions_) {
    if (s == nullptr) continue;
    for (rte_mbuf* m : s->held) io_.drop(m, DropReason::kDraining);
    s->held.clear();
  }
  held_ = 0;
}

std::string SessionManager::request_rekey(const std::string& name, unsigned steps, std::uint64_t now_ns) {
  Managed* found = named(name);
  if (found == nullptr) return no_session(name).message;
  if (steps == 0 || steps > session::MAX_REKEY_CATCHUP) {
    return fmt::format("a rekey goes 1 to {} epochs ahead", session::MAX_REKEY_CATCHUP);
  }
  Managed& s = *found;
  session::SessionControl& control = *s.control;
  if (control.state() == session::LifeState::kDead) return "the session is dead: it needs a new secret";
  if (control.state() == session::LifeState::kClosing || control.state() == session::LifeState::kClosed) {
    return "the session is closing or closed";
  }
  if (control.current_epoch() + steps > session::kMaxEpoch) {
    return fmt::format("only {} epochs are left: provide a new secret to both ends",
                       session::kMaxEpoch - control.current_epoch());
  }
  if (control.current_epoch() + steps > control.furthest_epoch()) {
    return fmt::format(
        "the peer was last heard at epoch {}, and epoch {} is the furthest it could follow to with {} left "
        "for "
        "restarts",
        control.peer_epoch(), control.furthest_epoch(), s.entry->policy.restart_reserve);
  }
  control.request_rekey(steps, now_ns);
  mark(s);
  return {};
}

}  // namespace dataplane
