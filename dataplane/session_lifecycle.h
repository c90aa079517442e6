// Sessions that come and go while workers run: add, remove, replace; routes go with them.
//
// Owner: control core. Nothing here waits: each step is begun, and the next one taken in a later loop when
// its condition is met (service()).
//
//   add      identity checked, slot taken -> record durable -> kAddSession, kInitDone -> routes
//   remove   routes out, Closing -> fence -> drain -> kRemoveSession, kSessionRemoved -> fence -> slot free
//   replace  the new session is added beside the old one, each accepting inner sources of the other (alias);
//            once the peer was heard in the new one's epoch its routes are swapped, entry by entry, and the
//            old session is removed. The peer does the same when it hears us. No packet is lost in any order.
//
// A slot is used again only when no packet and no message can name its last session: the first fence is for
// packets routed to it, the second for what was handed over and for the worker's own. Whatever belongs to a
// session (id, name, secret and role) is its own until then, too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "dataplane/control_routes.h"
#include "dataplane/fences.h"
#include "dataplane/session_manager.h"

namespace dataplane {

// How long a replacement may wait for its peer: an operator does one end, then the other.
inline constexpr std::uint64_t kReplaceTimeoutNs = 600'000'000'000;
// Drains end after so many times drain_ns, whatever still comes.
inline constexpr std::uint64_t kMaxDrains = 3;

class SessionLifecycle {
 public:
  SessionLifecycle(Topology& topology, SessionManager& sessions, RouteTable& routes, ControlIo& io,
                   EventLog& events);
  ~SessionLifecycle();
  SessionLifecycle(const SessionLifecycle&) = delete;
  SessionLifecycle& operator=(const SessionLifecycle&) = delete;

  OperatorResult add(const SessionEntry& entry, const std::vector<RouteConfig>& routes, std::uint64_t now_ns);
  OperatorResult remove(const std::string& name, std::uint64_t drain_ns, std::uint64_t now_ns);
  OperatorResult replace(const std::string& old_name, const SessionEntry& entry, std::uint64_t drain_ns,
                         std::uint64_t now_ns);
  OperatorResult route_add(const RouteConfig& route, std::uint64_t now_ns);

  // kInitDone, kSessionRemoved, kFenceDone.
  void on_message(unsigned worker, const Message& message);
  // Next steps that are due. Returns the number of things done.
  unsigned service(std::uint64_t now_ns);
  void set_replace_timeout(std::uint64_t timeout_ns) { replace_timeout_ns_ = timeout_ns; }
  // Sessions on their way in or out.
  [[nodiscard]] std::size_t under_way() const { return changing_.size(); }

 private:
  using Managed = SessionManager::Managed;

  SessionManager::Managed* begin(const SessionEntry& entry, OperatorResult& result, std::uint64_t now_ns);
  OperatorResult check_routes(const std::string& name, const std::vector<RouteConfig>& routes) const;
  void watch(Managed& s);
  bool step(Managed& s, std::uint64_t now_ns);
  bool try_install(Managed& s);
  void send_alias(const Managed& s, Hop other);
  void leave(Managed& s, std::uint64_t drain_ns, std::uint64_t now_ns);
  bool drained(Managed& s, std::uint64_t now_ns) const;
  bool send_remove(Managed& s);
  void watch_replacement(Managed& s, std::uint64_t now_ns);
  void take_over(Managed& fresh, Managed& old, std::uint64_t now_ns);
  void cancel_replacement(Managed& fresh, const std::string& why);
  void give_up(Managed& s, const std::string& why);
  void on_installed(Managed& s);
  void take_expired(std::uint64_t now_ns);
  [[nodiscard]] Hop hop_of(const Managed& s) const;
  [[nodiscard]] const session::SessionHot& hot_of(const Managed& s) const;

  Topology& topology_;
  SessionManager& sessions_;
  RouteTable& routes_;
  ControlIo& io_;
  EventLog& events_;
  Fences fences_;
  std::vector<std::uint32_t> changing_;  // indices of sessions
  // Workers may still read them.
  std::unordered_map<session::SessionInit*, std::unique_ptr<session::SessionInit>> inits_;
  std::uint64_t replace_timeout_ns_ = kReplaceTimeoutNs;
};

}  // namespace dataplane
