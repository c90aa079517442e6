// Addresses of sessions: what workers and operators say of them, what is shown, and what is given back.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "dataplane/origin.h"
#include "dataplane/outer_template.h"
#include "dataplane/prefix.h"
#include "dataplane/session_manager_pvt.h"

namespace dataplane {
namespace {

using session::PathEnds;
using session::PathEvent;

std::string text_of(const session::Endpoint& endpoint) {
  return endpoint.family == 0 ? "unknown" : to_text(endpoint);
}

std::string text_of(const PathEnds& ends) {
  return fmt::format("{} -> {}", text_of(ends.local), text_of(ends.remote));
}

struct Words {
  const char* kind;
  const char* level;
  const char* text;
};

// Sessions of mobile peers move all day: only what needs somebody's attention is louder than "info".
Words words_of(PathEvent event) {
  switch (event) {
    case PathEvent::kCandidate:
      return {"path_candidate", "debug", "is being validated:"};
    case PathEvent::kMigrated:
      return {"migrated", "info", "moved to"};
    case PathEvent::kRejected:
      return {"path_rejected", "info", "stays; no answer from"};
    case PathEvent::kReturned:
      return {"path_returned", "info", "is back at"};
    case PathEvent::kDown:
      return {"path_down", "warn", "is down:"};
    case PathEvent::kUp:
      return {"path_up", "info", "is up:"};
    case PathEvent::kValidated:
      return {"path_validated", "info", "may carry data:"};
  }
  return {"path", "info", ""};
}

std::uint64_t read(const std::uint64_t& value) {
  return __atomic_load_n(&value, __ATOMIC_RELAXED);
}

}  // namespace

std::uint64_t SessionManager::steering_key(const Managed& s) {
  return (std::uint64_t{s.worker} << 32) | s.control->slot();
}

// Slot 0 begins at the configured peer, else at the last validated one of the store, or the other way round.
// The one that was not taken is tried as a candidate by try_other_peer().
void SessionManager::give_paths(Managed& s, const std::optional<session::StoreRecord>& record) {
  const SessionEntry& entry = *s.entry;
  PathEnds first{entry.local, entry.peer};
  if (record && record->peer.family != 0) {
    const auto local = paths_.listeners().towards(record->peer, entry.local);
    const PathEnds stored{local.value_or(entry.local), record->peer};
    const bool known = local.has_value() && stored != first;
    const bool stored_first = first.remote.family == 0 || entry.prefer_stored_peer;
    if (known && first.remote.family != 0) s.other = stored_first ? first : stored;
    if (known && stored_first) first = stored;
  }
  std::vector<PathEnds> all{first};
  all.insert(all.end(), entry.more_paths.begin(), entry.more_paths.end());
  s.control->set_paths(entry.paths, all);
}

void SessionManager::try_other_peer(Managed& s, std::uint64_t now_ns) {
  if (!s.other) return;
  if (s.entry->paths.migration != session::MigrationPolicy::kOff) s.control->migrate(0, *s.other, now_ns);
  s.other.reset();
}

void SessionManager::on_source(Managed& s, const Message& message, std::uint64_t now_ns) {
  const PathEnds ends = paths_.origin(message);
  if (ends.remote.family == 0) return;
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, message.origin.value.data(), sizeof bytes);
  s.control->on_source(message.a, ends, bytes, now_ns);
}

// A packet from before our restart: where it came from, the peer may be.
void SessionManager::hint_of(Managed& s, rte_mbuf* m, std::uint64_t now_ns) {
  const PktMeta& md = meta(m);
  if (md.source == 0) return;
  Message from;
  from.origin = Origin{};
  put_origin(m, md, from);
  const PathEnds ends = paths_.origin(from);
  if (ends.remote.family == 0) return;
  s.control->on_source(rte_pktmbuf_mtod(m, const std::uint8_t*)[session::kOffPath], ends, m->data_len,
                       now_ns);
}

void SessionManager::on_plan_done(unsigned worker, const Message& message) {
  if (paths_.on_plan_done(message.plan)) return;
  const Managed* s = find(worker, message.slot, message.generation);
  if (s == nullptr) return;
  events_.add(s->entry->identity.name, "path_limit",
              "only its first path is used: the worker has no room for further ones, raise limits.path_sets",
              "warn");
}

// What no slot, fallback or candidate of the session needs any more is given back; rules follow the slots.
void SessionManager::settle_paths(Managed& s, std::uint64_t now_ns) {
  const session::PathManager& manager = s.control->path_manager();
  s.peer = manager.primary().remote;
  std::vector<PathEnds> wanted;
  manager.pairs(wanted);
  paths_.keep_only(s.uses, wanted, now_ns);
  std::vector<Flow> flows;
  const session::PathSchedule& schedule = manager.schedule();
  for (const PathUse& use : s.uses) {
    const auto* end = schedule.slot.data() + schedule.count;
    const auto is = [&](const session::PathSchedule::Slot& slot) { return slot.ends == use.ends; };
    if (std::any_of(schedule.slot.data(), end, is)) flows.push_back({use.port, use.ends});
  }
  steering_.want(steering_key(s), s.worker, std::move(flows));
}

void SessionManager::release_paths(Managed& s, std::uint64_t now_ns) {
  paths_.keep_only(s.uses, {}, now_ns);
  steering_.want(steering_key(s), s.worker, {});
}

void SessionManager::log_path_notices(Managed& s) {
  session::PathNotice notice;
  while (s.control->next_path_notice(notice)) {
    const Words words = words_of(notice.event);
    events_.add(s.entry->identity.name, words.kind,
                fmt::format("path {} {} {}", notice.slot, words.text, text_of(notice.ends)), words.level);
  }
}

void SessionManager::view_paths(const Managed& s, const session::Shard& shard, SessionView& v) const {
  const session::SessionHot& hot = shard.hot(s.control->slot());
  v.paths = s.control->path_views();
  v.path_refused = s.control->path_manager().refused_total();
  v.path_counters.resize(v.paths.size());
  view_bandwidth(s, v);
  v.handed_over = __atomic_load_n(&hot.handed_over, __ATOMIC_RELAXED);
  v.steered = steering_.steered(steering_key(s));
  const session::PathSet* set = shard.path_set(hot);
  if (set != nullptr && set->owner == s.control->slot()) {
    for (std::size_t i = 0; i < v.path_counters.size(); ++i) {
      const session::PathTraffic& traffic = set->traffic[i];
      v.path_counters[i] = {read(traffic.tx_pkts), read(traffic.tx_bytes), read(traffic.rx_pkts),
                            read(traffic.rx_bytes)};
    }
  } else if (!v.path_counters.empty()) {
    v.path_counters[0] = {v.tx_pkts, v.tx_bytes, v.rx_pkts, v.rx_bytes};
  }
}

// ---- what operators ask

// Both ends, complete and possible, or why not.
OperatorResult SessionManager::check_ends(const PathEnds& ends) const {
  if (ends.remote.family == 0) {
    return fail(OperatorStatus::kRefused, "the peer's address is not known yet: name it");
  }
  if (!paths_.listeners().on_wan(ends.local)) {
    return fail(
        OperatorStatus::kInvalid,
        fmt::format("local: {} is not an address of a WAN port of this gateway", text_of(ends.local)));
  }
  if (!is_host(ends.remote) || paths_.listeners().on_wan(ends.remote)) {
    return fail(OperatorStatus::kInvalid,
                fmt::format("peer: {} is not the address of another host", text_of(ends.remote)));
  }
  if (!wan_hop(topology_.ports, ends.local, ends.remote)) {
    return fail(OperatorStatus::kInvalid,
                fmt::format("no way from {} to {}: both must be of one family, and a WAN port needs the peer "
                            "on its link or a gateway",
                            text_of(ends.local), text_of(ends.remote)));
  }
  return {};
}

OperatorResult SessionManager::path_migrate(const std::string& name, unsigned slot,
                                            const std::optional<session::Endpoint>& local,
                                            const std::optional<session::Endpoint>& remote,
                                            std::uint64_t now_ns) {
  Managed* s = named(name);
  if (s == nullptr) return no_session(name);
  const session::PathSchedule& schedule = s->control->path_manager().schedule();
  if (slot >= schedule.count) {
    return fail(OperatorStatus::kNotFound,
                fmt::format("session \"{}\" has {} path(s), the first is 0", name, schedule.count));
  }
  if (!local && !remote) return fail(OperatorStatus::kInvalid, "name local, peer or both");
  PathEnds ends = schedule.slot[slot].ends;
  if (remote) ends.remote = *remote;
  if (local) ends.local = *local;
  if (!local) ends.local = paths_.listeners().towards(ends.remote, ends.local).value_or(ends.local);
  if (OperatorResult result = check_ends(ends); !result.ok()) return result;
  if (!s->control->migrate(static_cast<std::uint8_t>(slot), ends, now_ns)) {
    return fail(
        OperatorStatus::kRefused,
        fmt::format("path {} of session \"{}\" is there already, or the session is closed", slot, name));
  }
  mark(*s);
  return {};
}

OperatorResult SessionManager::path_probe(const std::string& name, unsigned slot, std::uint64_t now_ns) {
  Managed* s = named(name);
  if (s == nullptr) return no_session(name);
  const unsigned count = s->control->path_manager().schedule().count;
  if (slot >= count) {
    return fail(OperatorStatus::kNotFound,
                fmt::format("session \"{}\" has {} path(s), the first is 0", name, count));
  }
  if (!s->control->probe(static_cast<std::uint8_t>(slot), now_ns)) {
    return fail(
        OperatorStatus::kRefused,
        fmt::format("path {} of session \"{}\" has no address yet, or the session is closed", slot, name));
  }
  mark(*s);
  return {};
}

}  // namespace dataplane
