// Two complete gateways, workers and control core each, on a network that the test is: it sees every datagram
// between them and may rewrite, copy or lose it. Time of control cores and of workers' budgets is the test's.
//
//   A: LAN 10.1.0.1/24, WAN 192.0.2.1/24 and 2001:db8:a::1/64, initiator
//   B: LAN 10.2.0.1/24, WAN 198.51.100.2/24 and 2001:db8:b::2/64, responder
// The host of a LAN, and the router to what is behind it, is .9. Peers are reached by gateways with fixed MAC
// addresses, so no address of a peer needs resolving. Thread: one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/control.h"
#include "dataplane/operator.h"
#include "session/memory_store.h"
#include "tests/support/pipeline.h"

namespace support {

// Id and secret of the sessions `number`.
std::array<std::uint8_t, session::kSessionIdBytes> roaming_id(unsigned number);
std::array<std::uint8_t, 32> roaming_secret(unsigned number);

// A datagram on its way over the network. Both ends may be changed, within their family.
struct Transit {
  bool from_a = false;
  session::Endpoint from;
  session::Endpoint to;
  std::uint8_t* payload = nullptr;  // of UDP; a Phantom packet
  std::size_t bytes = 0;
  unsigned queue = 0;  // receive queue it comes to
};

class End {
 public:
  End(const std::string& name, unsigned side, const GatewayOptions& options);
  ~End();
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  // Session `number` of the side, to be changed before start(). Behind it: 256 hosts of 10.64.0.0/10, which
  // is A's, or of 10.128.0.0/10, B's.
  dataplane::SessionEntry& add_session(unsigned number, const session::Endpoint& peer);
  // What an operator does to a running gateway and to its configuration, which a restart reads: a session
  // more with the hosts of `route` behind it; one less; `number` in place of `old`, make before break.
  dataplane::OperatorResult add_running(unsigned number, unsigned route, const session::Endpoint& peer);
  dataplane::OperatorResult remove_running(unsigned number, std::uint64_t drain_ns);
  dataplane::OperatorResult replace_running(unsigned old, unsigned number, std::uint64_t drain_ns);
  // Of the configuration alone: `number` back to `old`, after a replacement that failed; or gone.
  void reconfigure(unsigned number, std::optional<unsigned> old);
  [[nodiscard]] dataplane::RouteConfig route_to(unsigned route, unsigned number) const;
  [[nodiscard]] std::optional<dataplane::SessionView> find(unsigned number) const;
  void start(std::function<std::uint64_t()> clock);
  // The same gateway after a crash: what is not in the store is gone.
  void restart(std::function<std::uint64_t()> clock);
  bool poll();
  // From its LAN host .9 to the host of session `number` of the other side.
  void send(unsigned number, std::size_t payload = 64, std::uint8_t class_of_traffic = 0);
  // What came out at the LAN since the last call.
  std::uint64_t delivered();
  [[nodiscard]] dataplane::SessionView view(unsigned number = 0) const;
  [[nodiscard]] bool balanced() const;
  [[nodiscard]] std::uint64_t drops() const;
  [[nodiscard]] session::Endpoint wan(std::uint8_t family = 4, std::uint16_t port = 4500) const;

  unsigned side;
  session::MemoryStore store;
  dataplane::CoreStats control_stats;
  std::unique_ptr<Gateway> gw;
  std::unique_ptr<dataplane::Control> control;

 private:
  void make();
  void clear_routes();
  void configure();
  std::string name_;
  GatewayOptions options_;
  std::string directory_;
  [[nodiscard]] dataplane::SessionEntry make_entry(unsigned number, const session::Endpoint& peer) const;
  struct Configured {
    unsigned number;
    unsigned route;
    dataplane::SessionEntry entry;
  };
  std::vector<Configured> entries_;
  Bytes lan_frame_;
  std::function<std::uint64_t()> clock_;  // ns; empty before start()
};

class Network {
 public:
  // False: the datagram is lost.
  using Wire = std::function<bool(Transit&)>;

  explicit Network(const GatewayOptions& options = {});

  // A pair of sessions, `number` at both ends; each knows the other's address.
  void add_pair(unsigned number, const std::function<void(dataplane::SessionEntry&)>& change = {});
  void start();
  // Until nothing moves any more. An end that was not started takes no part.
  void settle();
  // Lets time pass, a step at a time.
  void pass(std::uint64_t ns, std::uint64_t step_ns = 10'000'000);
  // A datagram made by the test, to the WAN port of A or B.
  void inject(bool to_a, const Bytes& payload, const session::Endpoint& from, const session::Endpoint& to);

  std::uint64_t now_ns = 1'000'000'000'000;
  Wire wire;
  End a;
  End b;

 private:
  bool carry(End& from, End& to);
};

}  // namespace support
