// What an operator may ask of this gateway, over its sessions, routes and counters (operator.h).
//
// Owner: control core; reached as Control::operator_door(), used from inside its loop (Control::set_hook).
#pragma once

#include <functional>

#include "dataplane/operator.h"
#include "dataplane/session_lifecycle.h"

namespace dataplane {

class GatewayDoor final : public GatewayOperator {
 public:
  using Clock = std::function<std::uint64_t()>;  // ns, as control's loop reads it

  GatewayDoor(const Topology& topology, SessionManager& sessions, SessionLifecycle& lifecycle,
              RouteTable& routes, const Neighbours& neighbours, const EventLog& events, Clock clock);

  OperatorResult session_add(const SessionEntry& entry, const std::vector<RouteConfig>& routes) override;
  OperatorResult session_remove(const std::string& name, std::uint64_t drain_ns) override;
  OperatorResult session_replace(const std::string& old_name, const SessionEntry& entry,
                                 std::uint64_t drain_ns) override;
  OperatorResult session_rekey(const std::string& name, unsigned steps) override;
  [[nodiscard]] std::vector<SessionView> sessions(std::size_t from, std::size_t most) const override;
  [[nodiscard]] std::optional<SessionView> session(const std::string& name) const override;
  [[nodiscard]] std::size_t session_count() const override;

  OperatorResult path_migrate(const std::string& session, unsigned slot,
                              const std::optional<session::Endpoint>& local,
                              const std::optional<session::Endpoint>& remote) override;
  OperatorResult path_probe(const std::string& session, unsigned slot) override;

  OperatorResult route_add(const RouteConfig& route) override;
  OperatorResult route_remove(const IpPrefix& prefix) override;
  [[nodiscard]] std::vector<RouteView> routes() const override;

  [[nodiscard]] Snapshot stats() const override;
  [[nodiscard]] const EventLog& events() const override { return events_; }

 private:
  const Topology& topology_;
  SessionManager& sessions_;
  SessionLifecycle& lifecycle_;
  RouteTable& routes_;
  const Neighbours& neighbours_;
  const EventLog& events_;
  Clock clock_;
  std::uint64_t begin_ns_;
};

}  // namespace dataplane
