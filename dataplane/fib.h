// Longest-prefix routes of both address families on DPDK's FIB library: what to do with an IP destination.
//
// Writer: control (or main before launch). Readers: all workers, in bulk, without locks. Entries are single
// words, so a reader sees the old or the new next hop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/address.h"

struct rte_fib;
struct rte_fib6;

namespace dataplane {

enum class HopKind : std::uint8_t {
  kNone = 0,       // no route
  kSession = 1,    // shard and slot
  kConnected = 2,  // the destination itself is the neighbour, on this port
  kGateway = 3,    // a LAN next hop: adjacency id
  kLocal = 4,      // one of our addresses
};

// 32 bits: kind (3) | shard (6) | value (23): slot, port index or adjacency.
struct Hop {
  std::uint32_t word = 0;
  static Hop make(HopKind kind, unsigned shard, std::uint32_t value) {
    return Hop{(static_cast<std::uint32_t>(kind) << 29) | (shard << 23) | value};
  }
  [[nodiscard]] HopKind kind() const { return static_cast<HopKind>(word >> 29); }
  [[nodiscard]] unsigned shard() const { return (word >> 23) & 63; }
  [[nodiscard]] std::uint32_t value() const { return word & 0x7fffff; }
};

class Fib {
 public:
  // Throws std::runtime_error with advice when memory does not suffice.
  Fib(const std::string& name, std::uint32_t max_routes, int socket);
  ~Fib();
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;

  bool add(const IpPrefix& prefix, Hop hop);
  bool remove(const IpPrefix& prefix);
  // Host-order IPv4 destinations, as the library wants them; n <= 64.
  void lookup4(const std::uint32_t* destinations, unsigned n, Hop* out) const;
  void lookup6(const std::uint8_t (*destinations)[16], unsigned n, Hop* out) const;
  [[nodiscard]] Hop lookup(const IpAddress& address) const;

 private:
  rte_fib* v4_ = nullptr;
  rte_fib6* v6_ = nullptr;
};

}  // namespace dataplane
