// Routes of a running gateway: what is in the FIB, why, and how it changes.
//
// Owner: control core. A prefix has what its port gives it (a connected prefix, the default route of a LAN
// port's gateway) and at most one route of the configuration or of an operator, which stands over that and
// gives it back when it goes. Our own addresses are ours whatever routes say. Ports that are WAN too lead no
// plain traffic to their gateway, which is for Phantom packets.
//
// A route into a session that its worker does not know yet is kept, and installed by install(). Workers see
// each change whole (fib.h): the old next hop or the new one, never none.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/neighbour.h"
#include "dataplane/operator.h"
#include "dataplane/topology.h"

namespace dataplane {

class RouteTable {
 public:
  RouteTable(Topology& topology, Neighbours& neighbours) : topology_(topology), neighbours_(neighbours) {}
  RouteTable(const RouteTable&) = delete;
  RouteTable& operator=(const RouteTable&) = delete;

  // Before launch: what the ports give. Throws std::runtime_error with advice.
  void add_ports(std::uint64_t now_ns);
  // Before launch, behind add_ports(): our addresses. Throws std::runtime_error with advice.
  void add_own_addresses();

  // A route into a session (`hop`: nothing while its worker does not know it) or to a LAN gateway (`hop` is
  // ignored). `check` does all of it but the change.
  OperatorResult check(const RouteConfig& route) const;
  OperatorResult add(const RouteConfig& route, std::optional<Hop> hop, std::uint64_t now_ns);
  OperatorResult remove(const IpPrefix& prefix);

  // All routes of a session: into the FIB; to another session; gone. Return how many there are.
  unsigned install(const std::string& session, Hop hop);
  unsigned move(const std::string& from, const std::string& to, Hop hop);
  unsigned remove_all(const std::string& session);
  [[nodiscard]] std::vector<IpPrefix> of(const std::string& session) const;

  [[nodiscard]] std::vector<RouteView> list() const;
  [[nodiscard]] std::size_t size() const { return routes_.size(); }

 private:
  struct Target {
    Hop hop;
    std::string session;               // into it, or
    std::optional<IpAddress> gateway;  // to it, on `port`, or
    std::uint8_t port = 0;             // onto its link
    bool installed = true;
  };
  struct Entry {
    std::optional<Target> base;   // of a port
    std::optional<Target> route;  // of the configuration or an operator
    bool own = false;             // our address: stands over both
    [[nodiscard]] bool empty() const { return !base && !route && !own; }
  };
  using Key = std::tuple<std::uint8_t, std::array<std::uint8_t, 16>, std::uint8_t>;

  static Key key_of(const IpPrefix& prefix);
  static IpPrefix prefix_of(const Key& key);
  // Makes the FIB say what the entry says; false: no room.
  bool apply(const Key& key, const Entry& entry);
  void take_out(std::map<Key, Entry>::iterator at);
  Target gateway_target(const Port& port, const IpAddress& gateway, std::uint64_t now_ns);
  [[nodiscard]] const Port* lan_port_of(const IpAddress& gateway) const;
  void must(const IpPrefix& prefix, Target target);

  Topology& topology_;
  Neighbours& neighbours_;
  std::map<Key, Entry> routes_;
  std::multimap<std::string, Key> by_session_;
};

}  // namespace dataplane
