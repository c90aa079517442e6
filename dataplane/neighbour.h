// Next hops: who has which MAC address, learned by ARP and IPv6 neighbour discovery, told to all workers.
//
// Owner: control core. Time is an argument. An entry's index is its adjacency id, the same on every worker.
// Flood-safe: the table is bounded; entries are made for what workers or sessions ask for, inside connected
// prefixes only, and for hosts that ask for us while a quarter of the table is free; answers nobody waits for
// make no entry, and one that only sessions needed goes with the last of them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "dataplane/arp_nd.h"
#include "dataplane/control.h"
#include "dataplane/control_io.h"

namespace dataplane {

inline constexpr std::uint32_t kMaxNeighbours = 4096;
// Gaps after the requests of one attempt; the last one ends it (RFC 4861 10: 3 at 1 s; the first retries come
// faster, for a packet waits).
inline constexpr std::array<std::uint64_t, 4> kRequestGapsNs = {100'000'000, 300'000'000, 1'000'000'000,
                                                                1'000'000'000};
inline constexpr std::uint64_t kReachableNs = 30'000'000'000;  // RFC 4861 10, REACHABLE_TIME
inline constexpr std::uint64_t kProbeGapNs = 1'000'000'000;    // unicast probes after that: kProbes of them
inline constexpr unsigned kProbes = 3;
inline constexpr std::uint64_t kRetryNs = 5'000'000'000;    // a next hop of ours that failed: tried again
inline constexpr std::uint64_t kForgetNs = 60'000'000'000;  // any other that failed: forgotten
inline constexpr std::uint64_t kNeighbourTickNs = 10'000'000;

class Neighbours {
 public:
  Neighbours(const std::vector<Port>& ports, ControlIo& io);

  // Static neighbours of the configuration; our addresses are announced.
  void start(std::uint64_t now_ns);
  // Adjacency id of a next hop of sessions or routes, resolved from now on and never evicted until unpin()
  // was called as often. session::kNone: table full.
  std::uint32_t pin(std::uint8_t port, const IpAddress& address, std::uint64_t now_ns);
  // What only pins asked for goes with the last of them; messages that still name its adjacency must have
  // been sent before. An address without pins is ignored.
  void unpin(std::uint8_t port, const IpAddress& address);
  // A worker has packets for an address on a port.
  void on_miss(std::uint8_t port, const IpAddress& address, std::uint64_t now_ns);
  // Frames from the Ethernet header on.
  void on_arp(std::span<const std::uint8_t> frame, std::uint8_t port, std::uint64_t now_ns);
  void on_nd(std::span<const std::uint8_t> frame, std::uint8_t port, std::uint64_t now_ns);
  // Requests, probes and ends that are due. Returns how many.
  unsigned tick(std::uint64_t now_ns);

  [[nodiscard]] std::vector<NeighbourView> view() const;
  [[nodiscard]] std::size_t size() const { return index_.size(); }

 private:
  struct Entry {
    IpAddress address;
    MacAddress mac{};
    std::uint8_t port = 0;
    NeighbourState state = NeighbourState::kFree;
    std::uint32_t pins = 0;  // as the next hop of sessions and routes: never evicted
    bool fixed = false;      // from the configuration: never asked for
    bool others = false;     // asked for by workers or by the host itself before any pin: outlives them
    std::uint8_t sent = 0;   // requests of this attempt, or probes of a reachable one
    std::uint64_t due_ns = 0;
    std::uint64_t seen_ns = 0;  // last confirmation, or failure
  };
  using Key = std::tuple<std::uint8_t, std::uint8_t, std::array<std::uint8_t, 16>>;

  Entry* find(std::uint8_t port, const IpAddress& address);
  Entry* make(std::uint8_t port, const IpAddress& address, std::uint64_t now_ns);
  Entry* evict();
  void forget(Entry& entry);
  void resolve(Entry& entry, std::uint64_t now_ns);
  void ask(Entry& entry, bool unicast);
  void learn(Entry& entry, const MacAddress& mac, std::uint64_t now_ns);
  void heard_request(std::uint8_t port, const IpAddress& from, const MacAddress& mac, std::uint64_t now_ns);
  void due(Entry& entry, std::uint64_t now_ns);
  void failed(Entry& entry, std::uint64_t now_ns);
  void tell(const Entry& entry);
  void send(const DiscoveryFrame& frame, std::uint8_t port);
  void announce(const Port& port);
  [[nodiscard]] bool on_link(std::uint8_t port, const IpAddress& address) const;

  const std::vector<Port>& ports_;
  ControlIo& io_;
  std::vector<Entry> entries_;
  std::vector<std::uint16_t> free_;
  std::map<Key, std::uint16_t> index_;
  std::uint64_t next_tick_ns_ = 0;
};

}  // namespace dataplane
