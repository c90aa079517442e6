#include "dataplane/session_lifecycle.h"

#include <algorithm>

#include <fmt/format.h>

#include "dataplane/session_manager_pvt.h"

namespace dataplane {
namespace {

OperatorResult carries_streams(const std::string& name) {
  return fail(OperatorStatus::kRefused, "session \"" + name +
                                            "\" carries streams of a service, so no routes lead into it: use "
                                            "another session for them");
}

constexpr const char* kStoreFails =
    "the state store cannot be written, so no session can be added; see the log for the reason";

}  // namespace

SessionLifecycle::SessionLifecycle(Topology& topology, SessionManager& sessions, RouteTable& routes,
                                   ControlIo& io, EventLog& events)
    : topology_(topology),
      sessions_(sessions),
      routes_(routes),
      io_(io),
      events_(events),
      fences_(io, static_cast<unsigned>(topology.workers.size())) {}

SessionLifecycle::~SessionLifecycle() = default;

Hop SessionLifecycle::hop_of(const Managed& s) const {
  return Hop::make(HopKind::kSession, s.worker, s.control->slot());
}

const session::SessionHot& SessionLifecycle::hot_of(const Managed& s) const {
  return topology_.workers[s.worker].shard->hot(s.control->slot());
}

void SessionLifecycle::watch(Managed& s) {
  if (s.watched) return;
  s.watched = true;
  changing_.push_back(s.index);
}

// ---- add

OperatorResult SessionLifecycle::check_routes(const std::string& name,
                                              const std::vector<RouteConfig>& routes) const {
  for (auto at = routes.begin(); at != routes.end(); ++at) {
    if (at->session != name) {
      return fail(OperatorStatus::kInvalid, "routes of session \"" + name + "\" must name it");
    }
    if (auto checked = routes_.check(*at); !checked.ok()) return checked;
    const auto same = [&](const RouteConfig& other) { return other.prefix == at->prefix; };
    if (std::any_of(routes.begin(), at, same)) {
      return fail(OperatorStatus::kExists, "routes of session \"" + name + "\" name one prefix twice");
    }
  }
  return {};
}

// Checked, in a slot, waiting for its record to be durable. Null: `result` says why.
SessionManager::Managed* SessionLifecycle::begin(const SessionEntry& entry, OperatorResult& result,
                                                 std::uint64_t now_ns) {
  if (sessions_.health().failing) {
    result = fail(OperatorStatus::kStore, kStoreFails);
    return nullptr;
  }
  auto own = std::make_unique<SessionEntry>(entry);
  Managed* s = nullptr;
  try {
    s = &sessions_.add(*own, now_ns);
    s->own_entry = std::move(own);
    s->stage = Stage::kStoring;
    sessions_.find_way(*s, now_ns);
  } catch (const SessionRefusal& refusal) {
    result = fail(refusal.status(), refusal.what());
  } catch (const std::runtime_error& error) {
    result = fail(OperatorStatus::kStore, error.what());
  }
  if (!result.ok()) {
    if (s != nullptr) sessions_.forget(*s);
    return nullptr;
  }
  watch(*s);
  return s;
}

OperatorResult SessionLifecycle::add(const SessionEntry& entry, const std::vector<RouteConfig>& routes,
                                     std::uint64_t now_ns) {
  const std::string name = entry.identity.name;
  OperatorResult result = check_routes(name, routes);
  if (!result.ok()) return result;
  Managed* s = begin(entry, result, now_ns);
  if (s == nullptr) return result;
  if (s->streams != nullptr && !routes.empty()) {
    result = carries_streams(name);
    give_up(*s, result.message);
    return result;
  }
  for (const RouteConfig& route : routes) {
    result = routes_.add(route, std::nullopt, now_ns);
    if (result.ok()) continue;
    routes_.remove_all(name);
    give_up(*s, result.message);
    return result;
  }
  return {};
}

OperatorResult SessionLifecycle::route_add(const RouteConfig& route, std::uint64_t now_ns) {
  if (route.lan_gateway) return routes_.add(route, std::nullopt, now_ns);
  const Managed* s = sessions_.named(route.session);
  if (s == nullptr) return no_session(route.session);
  if (s->stage >= Stage::kLeaving) {
    return fail(OperatorStatus::kRefused, "session \"" + route.session + "\" is being removed");
  }
  if (s->streams != nullptr) return carries_streams(route.session);
  std::optional<Hop> hop;
  if (s->stage == Stage::kLive) hop = hop_of(*s);
  return routes_.add(route, hop, now_ns);
}

// True once the worker was told. Commands that the session has waiting go behind it.
bool SessionLifecycle::try_install(Managed& s) {
  if (s.control->wants_store()) {
    if (sessions_.health().failing) give_up(s, kStoreFails);
    return false;
  }
  if (!io_.has_room(s.worker)) return false;
  auto init = std::make_unique<session::SessionInit>(sessions_.init_of(s));
  Message message;
  message.kind = MessageKind::kAddSession;
  message.slot = init->slot;
  message.generation = init->generation;
  message.init = init.get();
  inits_.emplace(init.get(), std::move(init));
  io_.send(s.worker, message);
  sessions_.attach_streams(s);
  s.stage = Stage::kAdding;
  if (const Managed* old = sessions_.named(s.replaces)) {
    send_alias(s, hop_of(*old));
    send_alias(*old, hop_of(s));
  }
  sessions_.mark(s);
  return true;
}

void SessionLifecycle::send_alias(const Managed& s, Hop other) {
  Message message;
  message.kind = MessageKind::kSetAlias;
  message.slot = s.control->slot();
  message.generation = s.control->generation();
  message.c = other.word;
  io_.send(s.worker, message);
}

void SessionLifecycle::on_installed(Managed& s) {
  if (s.stage != Stage::kAdding) return;  // on its way out already
  const session::SessionHot& hot = hot_of(s);
  const std::string& name = s.entry->identity.name;
  if (__atomic_load_n(&hot.generation, __ATOMIC_RELAXED) != s.control->generation()) {
    events_.add(name, "add_failed", "the worker's tables are full: raise the limits of the configuration",
                "error");
    if (!s.replaces.empty()) cancel_replacement(s, "the new session found no room");
    return leave(s, 0, 0);
  }
  s.stage = Stage::kLive;
  s.announced = true;
  const unsigned routes = routes_.install(name, hop_of(s));
  events_.add(name, "added", fmt::format("added (worker {}, {} routes)", s.worker, routes));
}

// It was never with a worker.
void SessionLifecycle::give_up(Managed& s, const std::string& why) {
  const std::string name = s.entry->identity.name;
  events_.add(name, "add_failed", why, "error");
  if (!s.replaces.empty()) cancel_replacement(s, why);
  routes_.remove_all(name);
  s.stage = Stage::kGone;
  s.ticket = fences_.request();
}

// ---- remove

OperatorResult SessionLifecycle::remove(const std::string& name, std::uint64_t drain_ns,
                                        std::uint64_t now_ns) {
  Managed* s = sessions_.named(name);
  if (s == nullptr) return no_session(name);
  if (s->stage >= Stage::kLeaving) {
    return fail(OperatorStatus::kRefused, "session \"" + name + "\" is being removed already");
  }
  if (!s->replaced_by.empty()) {
    return fail(OperatorStatus::kRefused,
                fmt::format("session \"{}\" is being replaced by \"{}\"; remove that one to keep this one",
                            name, s->replaced_by));
  }
  if (!s->replaces.empty()) cancel_replacement(*s, "the new session was removed");
  leave(*s, drain_ns, now_ns);
  return {};
}

void SessionLifecycle::leave(Managed& s, std::uint64_t drain_ns, std::uint64_t now_ns) {
  routes_.remove_all(s.entry->identity.name);
  s.announced = true;
  if (s.stage == Stage::kStoring) {
    s.stage = Stage::kGone;
  } else {
    s.control->close();
    sessions_.mark(s);
    s.stage = Stage::kLeaving;
  }
  s.drain_ns = drain_ns;
  s.drain_until_ns = now_ns;
  s.ticket = fences_.request();
  watch(s);
}

// Nothing came for drain_ns, or it came for too long.
bool SessionLifecycle::drained(Managed& s, std::uint64_t now_ns) const {
  const std::uint64_t heard = __atomic_load_n(&hot_of(s).rx_pkts, __ATOMIC_RELAXED);
  if (heard != s.drain_heard) {
    s.drain_heard = heard;
    s.drain_quiet_ns = now_ns;
  }
  const session::LifeState state = s.control->state();
  const bool deaf = state == session::LifeState::kClosed || state == session::LifeState::kDead;
  return deaf || now_ns >= s.drain_until_ns || now_ns - s.drain_quiet_ns >= s.drain_ns;
}

bool SessionLifecycle::send_remove(Managed& s) {
  if (!io_.has_room(s.worker)) return false;
  s.control->end();
  sessions_.log_events(s);
  // The new one's alias names a slot that will be another session's.
  if (const Managed* fresh = sessions_.named(s.replaced_by)) send_alias(*fresh, Hop{});
  Message message;
  message.kind = MessageKind::kRemoveSession;
  message.slot = s.control->slot();
  message.generation = s.control->generation();
  io_.send(s.worker, message);
  s.stage = Stage::kRemoving;
  return true;
}

// ---- replace

OperatorResult SessionLifecycle::replace(const std::string& old_name, const SessionEntry& entry,
                                         std::uint64_t drain_ns, std::uint64_t now_ns) {
  Managed* old = sessions_.named(old_name);
  if (old == nullptr) return no_session(old_name);
  if (old->stage != Stage::kLive) {
    return fail(OperatorStatus::kRefused, "session \"" + old_name + "\" is being added or removed");
  }
  if (!old->replaced_by.empty() || !old->replaces.empty()) {
    const std::string& other = old->replaces.empty() ? old->replaced_by : old->replaces;
    return fail(
        OperatorStatus::kRefused,
        fmt::format("session \"{}\" takes part in a replacement already, with \"{}\"", old_name, other));
  }
  OperatorResult result;
  Managed* fresh = begin(entry, result, now_ns);
  if (fresh == nullptr) return result;
  fresh->replaces = old_name;
  fresh->drain_ns = drain_ns;
  fresh->replace_until_ns = now_ns + replace_timeout_ns_;
  old->replaced_by = entry.identity.name;
  events_.add(old_name, "replacing", fmt::format("\"{}\" will take over its routes", old->replaced_by));
  return {};
}

// The peer was heard in the new session's own epoch: it can open what we send there.
void SessionLifecycle::watch_replacement(Managed& s, std::uint64_t now_ns) {
  Managed* old = sessions_.named(s.replaces);
  if (old == nullptr) {
    s.replaces.clear();
    return;
  }
  if (s.control->heard() && s.control->peer_epoch() >= s.control->current_epoch()) {
    return take_over(s, *old, now_ns);
  }
  const session::LifeState state = s.control->state();
  const bool over = state == session::LifeState::kClosed || state == session::LifeState::kDead;
  if (!over && now_ns < s.replace_until_ns) return;
  cancel_replacement(s, over ? "the new session ended" : "its peer was not heard in time");
  leave(s, 0, now_ns);
}

void SessionLifecycle::take_over(Managed& fresh, Managed& old, std::uint64_t now_ns) {
  const std::string& name = fresh.entry->identity.name;
  const std::string& old_name = old.entry->identity.name;
  const unsigned routes = routes_.move(old_name, name, hop_of(fresh));
  events_.add(old_name, "replaced", fmt::format("\"{}\" took over its {} routes", name, routes));
  fresh.replaces.clear();
  leave(old, fresh.drain_ns, now_ns);
}

void SessionLifecycle::cancel_replacement(Managed& fresh, const std::string& why) {
  Managed* old = sessions_.named(fresh.replaces);
  fresh.replaces.clear();
  if (old == nullptr) return;
  events_.add(old->entry->identity.name, "replace_failed",
              fmt::format("keeps its routes, \"{}\" does not take over: {}", fresh.entry->identity.name, why),
              "warn");
  old->replaced_by.clear();
  if (old->stage == Stage::kLive) send_alias(*old, Hop{});
}

// ---- steps

void SessionLifecycle::on_message(unsigned worker, const Message& message) {
  if (message.kind == MessageKind::kFenceDone) return fences_.on_done(message.c);
  if (message.kind == MessageKind::kInitDone) inits_.erase(message.init);
  Managed* s = sessions_.find(worker, message.slot, message.generation);
  if (s == nullptr) return;
  if (message.kind == MessageKind::kInitDone) return on_installed(*s);
  if (message.kind != MessageKind::kSessionRemoved || s->stage != Stage::kRemoving) return;
  s->stage = Stage::kGone;
  s->ticket = fences_.request();
}

// True: nothing is left to watch.
bool SessionLifecycle::step(Managed& s, std::uint64_t now_ns) {
  switch (s.stage) {
    case Stage::kStoring:
      try_install(s);
      return false;
    case Stage::kLive:
      if (!s.replaces.empty()) watch_replacement(s, now_ns);
      return s.stage == Stage::kLive && s.replaces.empty();
    case Stage::kLeaving:
      if (!fences_.passed(s.ticket)) return false;
      s.stage = Stage::kDraining;
      s.drain_heard = __atomic_load_n(&hot_of(s).rx_pkts, __ATOMIC_RELAXED);
      s.drain_quiet_ns = now_ns;
      s.drain_until_ns = now_ns + kMaxDrains * s.drain_ns;
      [[fallthrough]];
    case Stage::kDraining:
      if (drained(s, now_ns)) send_remove(s);
      return false;
    case Stage::kGone:
      return fences_.passed(s.ticket);
    case Stage::kStarting:
    case Stage::kAdding:
    case Stage::kRemoving:
      return false;
  }
  return false;
}

// Closed for want of a peer, and to be removed then.
void SessionLifecycle::take_expired(std::uint64_t now_ns) {
  for (const std::string& name : sessions_.take_expired()) {
    Managed* s = sessions_.named(name);
    if (s == nullptr || s->stage != Stage::kLive || !s->replaced_by.empty()) continue;
    remove(name, 0, now_ns);
  }
}

unsigned SessionLifecycle::service(std::uint64_t now_ns) {
  take_expired(now_ns);
  unsigned done = 0;
  // Steps may append to the list, and never take from it.
  std::size_t kept = 0;
  for (std::size_t i = 0; i < changing_.size(); ++i) {
    const std::uint32_t index = changing_[i];
    Managed& s = *sessions_.sessions_[index];
    const Stage before = s.stage;
    const bool over = step(s, now_ns);
    done += over || s.stage != before ? 1 : 0;
    if (!over) {
      changing_[kept++] = index;
      continue;
    }
    s.watched = false;
    if (s.stage != Stage::kGone) continue;
    const std::string name = s.entry->identity.name;
    const bool announced = s.announced;
    sessions_.forget(s);
    if (announced) events_.add(name, "removed", "removed");
  }
  changing_.resize(kept);
  return done + fences_.service();
}

}  // namespace dataplane
