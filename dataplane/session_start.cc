// Start of all sessions.
#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "crypto/kdf.h"
#include "dataplane/outer_template.h"
#include "dataplane/prefix.h"
#include "dataplane/session_manager_pvt.h"
#include "session/shard_commands.h"
#include "session/table.h"

namespace dataplane {

// Two sessions under one (secret, role) would use the same keys with the same numbers.
void SessionManager::refuse_twin(const SessionEntry& entry, const session::Fingerprint& fingerprint) const {
  const std::string& name = entry.identity.name;
  const auto refuse = [](const Managed& twin, const std::string& what) {
    const bool leaving = twin.stage >= Stage::kLeaving;
    throw SessionRefusal(OperatorStatus::kExists,
                         what + (leaving ? " (the former is being removed: try again when it is gone)" : ""));
  };
  const auto twin = fingerprints_.find(fingerprint);
  if (twin != fingerprints_.end()) {
    const Managed& other = *sessions_[twin->second];
    refuse(other,
           fmt::format("sessions \"{}\" and \"{}\" have the same secret and role ({}): nonces would repeat; "
                       "give each session its own secret",
                       other.entry->identity.name, name, entry.secret_file));
  }
  const auto same = ids_.find(entry.identity.id);
  if (same != ids_.end()) {
    const Managed& other = *sessions_[same->second];
    refuse(other, fmt::format("sessions \"{}\" and \"{}\" have the same id: give each its own",
                              other.entry->identity.name, name));
  }
  if (const Managed* other = named(name)) {
    refuse(*other, "two sessions are named \"" + name + "\": give each its own name");
  }
}

SessionManager::Managed& SessionManager::add(const SessionEntry& entry, std::uint64_t now_ns) {
  const std::string& name = entry.identity.name;
  crypto::TrafficSecret secret;
  if (const auto error = load_secret(entry, secret)) {
    throw SessionRefusal(OperatorStatus::kInvalid, error->text());
  }
  auto s = std::make_unique<Managed>();
  crypto::secret_fingerprint(secret, entry.identity.role == session::Role::kInitiator, s->fingerprint);
  refuse_twin(entry, s->fingerprint);
  s->entry = &entry;
  s->worker = session::shard_of(entry.identity.id.data(), static_cast<unsigned>(topology_.workers.size()));
  const auto record = store_.load(s->fingerprint);
  const auto use = slots_[s->worker].take();
  if (!use) {
    throw SessionRefusal(
        OperatorStatus::kNoRoom,
        fmt::format("session \"{}\": worker {} has room for {} sessions: raise limits.sessions", name,
                    s->worker, slots_[s->worker].used()));
  }
  s->control = std::make_unique<session::SessionControl>(
      entry.identity, std::move(secret), entry.policy, use->slot, use->generation,
      *topology_.workers[s->worker].keys, aead_, s->fingerprint);
  s->control->set_pace(pace_ns());
  make_streams(*s);
  give_paths(*s, record);
  if (const auto error = s->control->start(record, now_ns)) {
    slots_[s->worker].give_back(use->slot);
    throw SessionRefusal(OperatorStatus::kRefused, "session " + error->message);
  }
  s->peer = s->control->path_manager().primary().remote;
  try_other_peer(*s, now_ns);
  return enter(std::move(s));
}

SessionManager::Managed& SessionManager::enter(std::unique_ptr<Managed> s) {
  if (holes_.empty()) {
    holes_.push_back(static_cast<std::uint32_t>(sessions_.size()));
    sessions_.emplace_back();
  }
  s->index = holes_.back();
  holes_.pop_back();
  auto& by_slot = by_slot_[s->worker];
  const std::uint32_t slot = s->control->slot();
  if (by_slot.size() <= slot) by_slot.resize(slot + 1, session::kNone);
  by_slot[slot] = s->index;
  const session::SessionIdentity& identity = s->entry->identity;
  by_name_.emplace(identity.name, s->index);
  ids_.emplace(identity.id, s->index);
  fingerprints_.emplace(s->fingerprint, s->index);
  mark(*s);
  const std::uint32_t index = s->index;
  sessions_[index] = std::move(s);
  return *sessions_[index];
}

void SessionManager::forget(Managed& s) {
  release_paths(s, now_ns_);
  forget_traffic(s, now_ns_);
  for (rte_mbuf* m : s.held) io_.drop(m, session::DropReason::kStaleHandle);
  held_ -= s.held.size();
  if (s.scheduled_ns != UINT64_MAX) deadlines_.erase({s.scheduled_ns, s.index});
  if (s.dirty) std::erase(dirty_, s.index);
  const session::SessionIdentity& identity = s.entry->identity;
  by_name_.erase(identity.name);
  ids_.erase(identity.id);
  fingerprints_.erase(s.fingerprint);
  by_slot_[s.worker][s.control->slot()] = session::kNone;
  slots_[s.worker].give_back(s.control->slot());
  holes_.push_back(s.index);
  sessions_[s.index].reset();
}

void SessionManager::find_way(Managed& s, std::uint64_t now_ns) {
  const std::string& name = s.entry->identity.name;
  const session::PathEnds& ends = s.control->path_manager().primary();
  if (ends.remote.family == 0) {
    spdlog::warn("session {}: its peer's address is not known: it must speak first, or set session.peer",
                 name);
  } else if (!wan_hop(topology_.ports, ends.local, ends.remote)) {
    throw SessionRefusal(
        OperatorStatus::kInvalid,
        fmt::format(
            "session \"{}\": no way to {}: no WAN port has it in a connected prefix, and none with an "
            "address of that family has a gateway; set gateway4 or gateway6 of the WAN port",
            name, peer_text(ends.remote)));
  }
  const PathUse* use = paths_.use(s.uses, ends, now_ns);
  if (use == nullptr) {
    throw SessionRefusal(
        OperatorStatus::kNoRoom,
        fmt::format("session \"{}\": no room for {}: at most {} next hops and {} local endpoints", name,
                    peer_text(ends.remote), kMaxNeighbours, kMaxLocalEndpoints));
  }
  s.outer = use->outer;
}

session::SessionInit SessionManager::init_of(Managed& s) {
  session::SessionInit init = s.control->initial();
  init.outer = s.outer;
  if (s.entry->mss_clamp) init.session_flags |= session::kMssClamp;
  if (s.entry->source_check) init.session_flags |= session::kSourceCheck;
  return init;
}

void SessionManager::install(Managed& s, std::uint64_t now_ns) {
  find_way(s, now_ns);
  const session::SessionInit init = init_of(s);
  session::ShardCommands commands(*topology_.workers[s.worker].shard);
  if (!commands.add(init)) {
    throw std::runtime_error("session \"" + s.entry->identity.name +
                             "\": the worker's tables are full: raise the limits of the configuration");
  }
  s.stage = Stage::kLive;
  attach_streams(s);
}

// One transaction; a failure here is an error, never a start without a record.
void SessionManager::commit_first(std::uint64_t now_ns) {
  std::vector<session::StoreRecord> records;
  for (const auto& s : sessions_) records.push_back(s->control->record());
  if (records.empty()) return;
  store_.commit(records);
  for (const auto& s : sessions_) s->control->stored(now_ns);
  ++health_.commits;
  health_.records += records.size();
}

void SessionManager::start(std::uint64_t now_ns) {
  for (const SessionEntry& entry : topology_.config.sessions) add(entry, now_ns);
  commit_first(now_ns);
  for (const auto& s : sessions_) install(*s, now_ns);
  service(now_ns);
}

void SessionManager::log_events(Managed& s) {
  session::SessionEvent event{};
  while (s.control->next_event(event)) log_event(s, event);
}

}  // namespace dataplane
