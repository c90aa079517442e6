// What an operator can ask of a running gateway: the seam between the control socket (rpc_*.cc) and control.
//
// Thread: every call comes on the control core, from its own loop, so nothing here locks. Calls return at
// once: what takes time (a challenge, a drain) is begun, and events tell how it ended. Errors name the thing
// and say what to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/config.h"
#include "dataplane/control.h"
#include "dataplane/event_log.h"
#include "dataplane/snapshot.h"

namespace dataplane {

enum class OperatorStatus : std::uint8_t {
  kOk,
  kNotFound,  // no such session, route, path
  kExists,    // duplicate name, id, secret and role, or route
  kInvalid,   // a value that cannot be: message names the field
  kRefused,   // not now, or not in this state
  kNoRoom,    // a table of this gateway is full
  kStore,     // the state store could not be written: nothing was done
};
struct OperatorResult {
  OperatorStatus status = OperatorStatus::kOk;
  std::string message;  // empty when ok, else what is wrong and what to do
  [[nodiscard]] bool ok() const { return status == OperatorStatus::kOk; }
};
inline OperatorResult fail(OperatorStatus status, std::string message) {
  return OperatorResult{status, std::move(message)};
}
inline OperatorResult no_session(const std::string& name) {
  return fail(OperatorStatus::kNotFound, "no session is named \"" + name + "\"");
}

struct RouteView {
  IpPrefix prefix;
  std::string session;                   // or
  std::optional<IpAddress> lan_gateway;  // or
  std::string port;                      // a connected prefix
};

class GatewayOperator {
 public:
  virtual ~GatewayOperator() = default;

  // `entry` is complete and checked by itself (load_session_text); `routes` go into it at once.
  virtual OperatorResult session_add(const SessionEntry& entry, const std::vector<RouteConfig>& routes) = 0;
  // Routes go at once, then the session drains: it receives until nothing came for `drain_ns` or three times
  // that passed, and is removed. 0: at once.
  virtual OperatorResult session_remove(const std::string& name, std::uint64_t drain_ns) = 0;
  // Make before break: `entry` is added beside `old_name`, takes over its routes once its peer was heard, and
  // the old session drains and goes.
  virtual OperatorResult session_replace(const std::string& old_name, const SessionEntry& entry,
                                         std::uint64_t drain_ns) = 0;
  virtual OperatorResult session_rekey(const std::string& name, unsigned steps) = 0;
  // At most so many, behind the first `from`; each costs microseconds of control.
  [[nodiscard]] virtual std::vector<SessionView> sessions(std::size_t from, std::size_t most) const = 0;
  [[nodiscard]] virtual std::optional<SessionView> session(const std::string& name) const = 0;
  [[nodiscard]] virtual std::size_t session_count() const = 0;

  // Validates the pair and moves the path there. An end left out stays as it is.
  virtual OperatorResult path_migrate(const std::string& session, unsigned slot,
                                      const std::optional<session::Endpoint>& local,
                                      const std::optional<session::Endpoint>& remote) = 0;
  virtual OperatorResult path_probe(const std::string& session, unsigned slot) = 0;

  virtual OperatorResult route_add(const RouteConfig& route) = 0;
  virtual OperatorResult route_remove(const IpPrefix& prefix) = 0;
  [[nodiscard]] virtual std::vector<RouteView> routes() const = 0;

  [[nodiscard]] virtual Snapshot stats() const = 0;
  [[nodiscard]] virtual const EventLog& events() const = 0;
};

}  // namespace dataplane
