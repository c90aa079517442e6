#include "dataplane/gateway_operator.h"

namespace dataplane {

GatewayDoor::GatewayDoor(const Topology& topology, SessionManager& sessions, SessionLifecycle& lifecycle,
                         RouteTable& routes, const Neighbours& neighbours, const EventLog& events,
                         Clock clock)
    : topology_(topology),
      sessions_(sessions),
      lifecycle_(lifecycle),
      routes_(routes),
      neighbours_(neighbours),
      events_(events),
      clock_(std::move(clock)),
      begin_ns_(clock_()) {}

OperatorResult GatewayDoor::session_add(const SessionEntry& entry, const std::vector<RouteConfig>& routes) {
  return lifecycle_.add(entry, routes, clock_());
}

OperatorResult GatewayDoor::session_remove(const std::string& name, std::uint64_t drain_ns) {
  return lifecycle_.remove(name, drain_ns, clock_());
}

OperatorResult GatewayDoor::session_replace(const std::string& old_name, const SessionEntry& entry,
                                            std::uint64_t drain_ns) {
  return lifecycle_.replace(old_name, entry, drain_ns, clock_());
}

OperatorResult GatewayDoor::session_rekey(const std::string& name, unsigned steps) {
  if (!sessions_.hop_of(name)) return no_session(name);
  const std::string why = sessions_.request_rekey(name, steps, clock_());
  if (why.empty()) return {};
  const bool bad = steps == 0 || steps > session::MAX_REKEY_CATCHUP;
  return fail(bad ? OperatorStatus::kInvalid : OperatorStatus::kRefused, "session \"" + name + "\": " + why);
}

std::vector<SessionView> GatewayDoor::sessions(std::size_t from, std::size_t most) const {
  return sessions_.view(from, most, clock_());
}

std::optional<SessionView> GatewayDoor::session(const std::string& name) const {
  return sessions_.view(name, clock_());
}

std::size_t GatewayDoor::session_count() const {
  return sessions_.count();
}

OperatorResult GatewayDoor::path_migrate(const std::string& session, unsigned slot,
                                         const std::optional<session::Endpoint>& local,
                                         const std::optional<session::Endpoint>& remote) {
  return sessions_.path_migrate(session, slot, local, remote, clock_());
}

OperatorResult GatewayDoor::path_probe(const std::string& session, unsigned slot) {
  return sessions_.path_probe(session, slot, clock_());
}

OperatorResult GatewayDoor::route_add(const RouteConfig& route) {
  return lifecycle_.route_add(route, clock_());
}

OperatorResult GatewayDoor::route_remove(const IpPrefix& prefix) {
  return routes_.remove(prefix);
}

std::vector<RouteView> GatewayDoor::routes() const {
  return routes_.list();
}

// Without the sessions themselves. Control's lock is held already: this is its own loop.
Snapshot GatewayDoor::stats() const {
  const std::uint64_t now_ns = clock_();
  Snapshot snapshot = take_counters(topology_, static_cast<double>(now_ns - begin_ns_) / 1e9);
  snapshot.memory = sessions_.memory();
  snapshot.neighbours = neighbours_.view();
  snapshot.steering = sessions_.steering();
  snapshot.path_counters = sessions_.paths().counters();
  snapshot.reports = sessions_.report_totals();
  return snapshot;
}

}  // namespace dataplane
