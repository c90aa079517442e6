// Gateways for tests and benchmarks: real workers on ring ports inside one process, driven by poll().
//
// Thread: one. EAL is started once per process without hugepages or devices. A Gateway has two ports, kLan
// and kWan, each one ring per worker and direction; tests put frames into the rx rings and take them from the
// tx rings. Sessions are added directly to the shards, with keys from support::keys_at, so that a test plays
// the peer with support::seal_packet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "crypto/kdf.h"
#include "dataplane/message.h"
#include "dataplane/pkt_meta.h"
#include "dataplane/service.h"
#include "dataplane/topology.h"
#include "dataplane/worker.h"
#include "session/wire.h"
#include "tests/support/packets.h"

namespace support {

inline constexpr unsigned kLan = 0;
inline constexpr unsigned kWan = 1;

// Starts EAL (--no-pci) at the first call, whose options count; ends the process when that fails.
struct EalOptions {
  unsigned megabytes = 2048;
  bool hugepages = false;  // where so many are free; else, as without this, --no-huge
};
void start_eal(const EalOptions& options = {});

dataplane::IpAddress ip(const std::string& text);
dataplane::IpPrefix prefix(const std::string& text);
session::Endpoint endpoint(const std::string& address, std::uint16_t port);
dataplane::MacAddress mac(std::uint8_t last);

// ---- packets as bytes
struct Ip {
  std::string source;
  std::string destination;
  std::uint8_t protocol = 17;
  std::uint8_t ttl = 64;
  std::uint8_t traffic_class = 0;
  std::uint16_t id = 1;
  std::uint16_t flags_offset = 0;  // IPv4 only
  Bytes options;                   // IPv4 only, a multiple of four
};
// An IP packet of either family with a right header checksum.
Bytes ip_packet(const Ip& header, const Bytes& payload);
Bytes udp(std::uint16_t source, std::uint16_t destination, const Bytes& payload);
// The same with a right checksum for the given IPv6 addresses.
Bytes udp6(const Ip& header, std::uint16_t source, std::uint16_t destination, const Bytes& payload);
Bytes tcp_syn(std::uint16_t mss);
Bytes ether(const dataplane::MacAddress& to, const dataplane::MacAddress& from, const Bytes& packet);
Bytes pattern(std::size_t bytes, unsigned seed = 1);

// ---- sessions
struct SessionSpec {
  std::uint8_t seed = 0;
  bool initiator = true;
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
  session::Endpoint local;
  session::Endpoint peer;  // family 0: not known
  std::uint8_t flags = 0;  // session::SessionFlags
  std::uint8_t tx_streams = 4;
  std::uint16_t inner_mtu = 1400;
  std::uint16_t adjacency = 0;  // next hop towards the peer
  std::uint64_t soft_limit = session::REKEY_SOFT_LIMIT;
  std::array<std::uint8_t, session::kSessionIdBytes> id{};  // zeros: made from the seed
};

// A session as it was installed.
struct Installed {
  std::array<std::uint8_t, session::kSessionIdBytes> id{};
  unsigned shard = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

std::array<std::uint8_t, session::kSessionIdBytes> session_id(std::uint8_t seed);
session::OuterTemplate outer_template(const SessionSpec& spec);

struct GatewayOptions {
  unsigned workers = 1;
  std::uint32_t sessions = 64;
  std::uint32_t keys = 1024;
  std::uint32_t windows_per_session = 8;
  std::uint32_t ring_size = 512;
  std::uint16_t lan_mtu = 1500;
  std::uint32_t routes = 256;                // gateways of one name must agree on it
  bool wan_on_lan_port = false;              // one port for both sides: kLan
  std::vector<session::Endpoint> endpoints;  // ours on the WAN side
  std::vector<dataplane::ServiceConfig> services;
};

class Gateway {
 public:
  Gateway(const std::string& name, const GatewayOptions& options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  Installed add_session(const SessionSpec& spec);
  // Keys of one more epoch of a session, as control would prepare them.
  session::KeyRef keys(const SessionSpec& spec, unsigned shard, std::uint8_t epoch);
  void route(const std::string& to, dataplane::Hop hop);
  // Tells every worker about a neighbour, through its mailbox.
  void neighbour(std::uint16_t index, unsigned port, const std::string& address,
                 const dataplane::MacAddress& to,
                 dataplane::NeighbourState state = dataplane::NeighbourState::kReachable);
  void command(unsigned worker, const dataplane::Message& message);
  std::vector<dataplane::Message> messages(unsigned worker = 0);

  // A frame for a port's receive queue `worker`.
  void receive(unsigned port, const Bytes& frame, unsigned worker = 0);
  void receive(unsigned port, rte_mbuf* m, unsigned worker = 0);
  // Polls every worker until nothing moves any more.
  void run();
  void poll(unsigned worker);
  // What was sent on a port, in order of queues. The packets are freed, or given to the caller.
  std::vector<Bytes> sent(unsigned port);
  std::vector<rte_mbuf*> take_sent(unsigned port);
  // What went to control.
  std::vector<rte_mbuf*> punts(unsigned worker = 0);

  [[nodiscard]] dataplane::Topology& topology() { return *topology_; }
  [[nodiscard]] session::Shard& shard(unsigned worker = 0) { return *topology_->workers[worker].shard; }
  [[nodiscard]] const dataplane::CoreStats& stats(unsigned worker = 0) const {
    return *topology_->workers[worker].stats;
  }
  [[nodiscard]] std::uint64_t drops(session::DropReason reason) const;
  [[nodiscard]] std::uint64_t all_drops() const;
  [[nodiscard]] std::uint64_t consumed(session::ConsumedKind kind) const;
  // rx + originated - tx - drops - consumed - held - what is in rings or was taken by punts(): 0, always.
  [[nodiscard]] std::int64_t imbalance() const;
  [[nodiscard]] dataplane::MacAddress port_mac(unsigned port) const { return topology_->ports[port].mac; }
  [[nodiscard]] rte_ring* rx_ring(unsigned port, unsigned worker) { return rx_[port][worker]; }
  [[nodiscard]] rte_ring* tx_ring(unsigned port, unsigned worker) { return tx_[port][worker]; }
  [[nodiscard]] dataplane::Worker& worker(unsigned index) { return *workers_[index]; }

 private:
  void make_port(const std::string& name, const GatewayOptions& options, unsigned index);
  void make_worker(const std::string& name, const GatewayOptions& options, unsigned index);

  std::unique_ptr<dataplane::Topology> topology_;
  std::vector<std::unique_ptr<dataplane::Worker>> workers_;
  std::vector<dataplane::CoreStats> stats_;
  std::vector<std::vector<rte_ring*>> rx_;
  std::vector<std::vector<rte_ring*>> tx_;
  std::uint32_t next_slot_ = 0;
  std::uint64_t punts_taken_ = 0;
  std::vector<dataplane::IpPrefix> routes_;
  crypto::Aead aead_;
};

// The pool all gateways of the process share; its free count must return to where it was.
rte_mempool* packet_pool();
[[nodiscard]] unsigned free_packets();

// Takes out of a table that the next gateway will use what control put into it: ports, own addresses, routes
// of the configuration.
void clean_fib(const dataplane::Topology& topology);
rte_mbuf* make_packet(const Bytes& bytes);
Bytes bytes_of(const rte_mbuf* m);

}  // namespace support
