// Longest-prefix routes of both address families on DPDK's FIB library: what to do with an IP destination.
//
// Writer: control (or main before launch), while workers read. Readers: all workers, in bulk, without locks.
//
// Concurrency. The library has no rule for readers beside a writer (RCU came with 24.11 for IPv4 and later
// for IPv6, and makes the writer wait for workers). What is so in 22.11 and 24.11 alike: entries are single
// aligned words, and a second-level table is filled before it is linked, so writing alone is safe. But a
// table whose 256 entries became equal is unlinked, cleared and free for reuse in the same call, the TRIE
// even clears before it unlinks: a reader between its two loads would take "no route", or a route of whatever
// the table is used for next. So:
// - A change that may free a table happens inside a section that readers notice (a version, odd meanwhile):
//   they look the burst up again. Both tables stay mapped, so what they read meanwhile is wrong at worst.
// - Sections are short, a few microseconds: changes of short prefixes, which write up to 2^24 entries, happen
//   outside. Beforehand every /24 block with longer routes right below the prefix gets a guard, a route of
//   its own with the next hop it has anyway; so the change touches no second-level table, and frees none.
//   (A long IPv6 prefix with very many longer ones inside takes about a microsecond for each.)
//
// Room: add() never refuses a route while there are fewer than max_routes of its family and second-level
// tables suffice, however many came and went before. The library's own count drifts until it refuses
// everything, so fib_node.h goes round it, and Fib counts.
//
// Memory: DIR24_8 and the TRIE each keep 2^24 first-level entries of 4 bytes (64 MiB), whatever the number of
// routes; second-level tables are 1 KiB each: one for all IPv4 routes longer than /24 in a /24; for IPv6 one
// for every whole byte behind the 24th bit (/24, /32, ... /120) inside which there are longer routes, so up
// to 13 for a route alone (five for a /64) and few more for a thousand in one site. They are limited to
// kMaxTables4 and kMaxTables6 (64 MiB each), so a Fib takes 130 to 260 MiB of EAL's memory, and 408 bytes for
// every route there is room for: with --no-huge, EAL needs -m 512 for some thousand routes. 5,041 IPv6 routes
// fit whatever they are, more as far as they share tables.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

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

// Most routes of a family: what the library's memory is made for at most.
inline constexpr std::uint32_t kMaxRoutes = 1U << 22;
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
  // Room for so many routes of each family, 64 to kMaxRoutes. Throws std::runtime_error with advice when
  // memory does not suffice.
  Fib(const std::string& name, std::uint32_t routes4, std::uint32_t routes6, int socket);
  Fib(const std::string& name, std::uint32_t routes, int socket) : Fib(name, routes, routes, socket) {}
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
  // Sections so far: for tests.
  [[nodiscard]] std::uint64_t sections() const { return version_.load(std::memory_order_relaxed) / 2; }

 private:
  // Family, network bytes, length: what lies inside a prefix follows it.
  using Key = std::tuple<std::uint8_t, std::array<std::uint8_t, 16>, std::uint8_t>;
  class Section;
  [[noreturn]] void fail(const char* what) const;
  struct Room {
    std::uint32_t routes = 0;  // may be there
    std::uint32_t tables = 0;  // may be used
    std::uint32_t used_tables = 0;
    std::uint32_t used_routes = 0;
  };
  Room& room_of(const Key& key) { return std::get<0>(key) == 4 ? room4_ : room6_; }
  bool change(const Key& key, const Hop* hop);  // null: remove
  bool change_part(const Key& key, const Hop* hop);
  bool change_around(const Key& key, unsigned last, const Hop* hop);
  template <typename Do>
  auto at(const Key& key, const Do& what);
  bool write(const Key& key, const Hop* hop);  // the library's tables
  [[nodiscard]] bool quick(const Key& key) const;
  [[nodiscard]] std::vector<Key> guards(const Key& key) const;
  [[nodiscard]] Hop present_hop(const Key& key) const;
  [[nodiscard]] Hop covering_hop_of(const Key& key) const;
  [[nodiscard]] unsigned last_inside(const Key& key) const;
  [[nodiscard]] std::uint32_t own_tables(const Key& key) const;
  template <typename Look>
  void settled(const Look& look) const;

  std::map<Key, Hop> routes_;  // writer's, as the next two
  Room room4_;
  Room room6_;
  alignas(64) std::atomic<std::uint64_t> version_{0};
  rte_fib* v4_ = nullptr;
  rte_fib6* v6_ = nullptr;
};

}  // namespace dataplane
