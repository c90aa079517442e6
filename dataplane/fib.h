// Longest-prefix routes of both address families on DPDK's FIB library: what to do with an IP destination.
//
// Writer: control (or main before launch). Readers: all workers, in bulk, without locks. Entries are single
// words, so a reader sees the old or the new next hop.
//
// Memory: DIR24_8 and the TRIE each keep 2^24 first-level entries of 4 bytes (64 MiB), whatever the number of
// routes; second-level tables are 1 KiB each: up to one for an IPv4 route longer than /24, up to 13 for an
// IPv6 one. They are limited to kMaxTables4 and kMaxTables6 (64 MiB each), so a Fib takes 130 to 260 MiB of
// EAL's memory: with --no-huge, EAL needs -m 512.
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

// Most second-level tables; add() says false when they are used up.
inline constexpr std::uint32_t kMaxTables4 = 65536;
inline constexpr std::uint32_t kMaxTables6 = 65536;

// 31 bits, the library keeps one of a 4-byte entry: kind (3) | shard (6) | value (22): slot, port index or
// adjacency.
struct Hop {
  std::uint32_t word = 0;
  static Hop make(HopKind kind, unsigned shard, std::uint32_t value) {
    return Hop{(static_cast<std::uint32_t>(kind) << 28) | (shard << 22) | value};
  }
  [[nodiscard]] HopKind kind() const { return static_cast<HopKind>(word >> 28); }
  [[nodiscard]] unsigned shard() const { return (word >> 22) & 63; }
  [[nodiscard]] std::uint32_t value() const { return word & 0x3fffff; }
};

class Fib {
 public:
  // Throws std::runtime_error with advice when memory does not suffice.
  Fib(const std::string& name, std::uint32_t max_routes, int socket);
  ~Fib();
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;

  // False: no room, or not a prefix. A prefix that is there gets the new next hop. Bits behind the prefix
  // length are ignored.
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
