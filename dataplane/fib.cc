#include "dataplane/fib.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_pause.h>

#include "dataplane/fib_node.h"
#include "session/wire.h"

namespace dataplane {
namespace {

constexpr unsigned kLookupBatch = 64;

void bulk6(rte_fib6* fib, const std::uint8_t (*addresses)[16], unsigned n, std::uint64_t* hops) {
  // One more than needed: beside a writer a reader may follow tables deeper than an address is long.
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
  FibAddress6 copies[kLookupBatch + 1];
#else
  std::uint8_t copies[kLookupBatch + 1][16];
#endif
  std::memcpy(copies, addresses, std::size_t{n} * 16);
  rte_fib6_lookup_bulk(fib, copies, hops, static_cast<int>(n));
}

// Of the library: first level, each second-level table, each route there is room for (two nodes of its tree).
// Measured with 22.11.
constexpr std::uint64_t kFirstLevelBytes = 64ULL << 20U;
constexpr std::uint64_t kTableBytes = 1024;
constexpr std::uint64_t kRouteBytes = 408;

std::array<std::uint8_t, 16> masked(const IpPrefix& prefix) {
  std::array<std::uint8_t, 16> bytes = prefix.address.bytes;
  for (unsigned i = 0; i < 16; ++i) {
    const int bits = std::clamp(static_cast<int>(prefix.length) - static_cast<int>(i) * 8, 0, 8);
    bytes[i] = static_cast<std::uint8_t>(bytes[i] & (0xff00U >> bits));
  }
  return bytes;
}

// First-level tables are indexed by 24 bits. Shorter prefixes than kQuickLength write more than 2^12 of their
// entries; kQuickRoutes inside cut one into as many pieces.
constexpr unsigned kBlockLength = 24;
constexpr unsigned kQuickLength = 12;
constexpr unsigned kQuickRoutes = 32;
// Most that a write has beside those of own_tables(): DIR24_8 wants two free ones for a piece's ends, the
// TRIE fills one for a piece that turns out to be a whole block.
constexpr std::uint32_t kPassingTables = 8;
// Most prefixes that are in the library's tree for the time of a write; guards are fewer when it is full.
constexpr int kPassingRoutes = 4;
// The bytes of an IPv6 address behind the first 24 bits.
constexpr std::uint32_t kTablesOfRoute6 = 13;

bool is_prefix(const IpPrefix& prefix) {
  return (prefix.address.family == 4 && prefix.length <= 32) ||
         (prefix.address.family == 6 && prefix.length <= 128);
}

std::uint32_t block_of(const std::array<std::uint8_t, 16>& bytes) {
  return (std::uint32_t{bytes[0]} << 16) | (std::uint32_t{bytes[1]} << 8) | bytes[2];
}

using Key = std::tuple<std::uint8_t, std::array<std::uint8_t, 16>, std::uint8_t>;

Key block_key(std::uint8_t family, std::uint32_t block) {
  std::array<std::uint8_t, 16> bytes{};
  bytes[0] = static_cast<std::uint8_t>(block >> 16);
  bytes[1] = static_cast<std::uint8_t>(block >> 8);
  bytes[2] = static_cast<std::uint8_t>(block);
  return Key{family, bytes, static_cast<std::uint8_t>(kBlockLength)};
}

// The prefix of that length with the last address, and the one before it.
Key end_key(std::uint8_t family, unsigned length) {
  IpPrefix end;
  end.address.bytes.fill(0xff);
  end.address.family = family;
  end.length = static_cast<std::uint8_t>(length);
  return Key{family, masked(end), end.length};
}

Key beside_end(std::uint8_t family, unsigned length) {
  Key key = end_key(family, length);
  std::get<1>(key)[(length - 1) / 8] ^= static_cast<std::uint8_t>(0x80U >> (length - 1) % 8);
  return key;
}

bool covers(const Key& outer, const Key& inner) {
  const auto& [family, bytes, length] = outer;
  const auto& [inner_family, inner_bytes, inner_length] = inner;
  return family == inner_family && inner_length >= length &&
         masked(IpPrefix{IpAddress{inner_bytes, inner_family}, length}) == bytes;
}

}  // namespace

void Fib::fail(const char* what) const {
  const std::uint64_t bytes = 2 * kFirstLevelBytes + (room4_.tables + room6_.tables) * kTableBytes +
                              (std::uint64_t{room4_.routes} + room6_.routes) * kRouteBytes;
  throw std::runtime_error(
      fmt::format("routes: {}: {} (the tables of {} IPv4 and {} IPv6 routes take up to {} MiB: give EAL more "
                  "memory, with --no-huge by -m, otherwise by more hugepages)",
                  what, rte_strerror(rte_errno), room4_.routes, room6_.routes, (bytes >> 20U) + 1));
}

Fib::Fib(const std::string& name, std::uint32_t routes4, std::uint32_t routes6, int socket) {
  room4_.routes = std::clamp<std::uint32_t>(routes4, 64, kMaxRoutes);
  room6_.routes = std::clamp<std::uint32_t>(routes6, 64, kMaxRoutes);
  room4_.tables = std::min(room4_.routes, kMaxTables4);
  room6_.tables = std::min(room6_.routes * kTablesOfRoute6, kMaxTables6);
  rte_fib_conf conf4{};
  conf4.type = RTE_FIB_DIR24_8;
  conf4.max_routes = static_cast<int>(room4_.routes) + kPassingRoutes;
  conf4.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
  conf4.dir24_8.num_tbl8 = room4_.tables + kPassingTables;
  v4_ = rte_fib_create((name + "4").c_str(), socket, &conf4);
  if (v4_ == nullptr) fail("no memory for the IPv4 table");
  rte_fib6_conf conf6{};
  conf6.type = RTE_FIB6_TRIE;
  conf6.max_routes = static_cast<int>(room6_.routes) + kPassingRoutes;
  conf6.trie.nh_sz = RTE_FIB6_TRIE_4B;
  conf6.trie.num_tbl8 = room6_.tables + kPassingTables;
  v6_ = rte_fib6_create((name + "6").c_str(), socket, &conf6);
  if (v6_ == nullptr) {
    rte_fib_free(v4_);
    v4_ = nullptr;
    fail("no memory for the IPv6 table");
  }
}

Fib::~Fib() {
  rte_fib_free(v4_);
  rte_fib6_free(v6_);
}

// While it lives, readers look again.
class Fib::Section {
 public:
  explicit Section(std::atomic<std::uint64_t>& version) : version_(version) {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  ~Section() { version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

 private:
  std::atomic<std::uint64_t>& version_;
};

template <typename Look>
void Fib::settled(const Look& look) const {
  for (;;) {
    const std::uint64_t before = version_.load(std::memory_order_acquire);
    if ((before & 1) == 0) [[likely]] {
      look();
      std::atomic_thread_fence(std::memory_order_acquire);
      if (version_.load(std::memory_order_relaxed) == before) [[likely]]
        return;
    }
    rte_pause();
  }
}

// The prefix in its library table.
template <typename Do>
auto Fib::at(const Key& key, const Do& what) {
  const auto& [family, bytes, length] = key;
  if (family == 4) return what(FibPlace4{v4_, session::load_be32(bytes.data()), length});
  return what(FibPlace6(v6_, bytes.data(), length));
}

bool Fib::write(const Key& key, const Hop* hop) {
  return at(key, [&](const auto& place) { return hop != nullptr ? put(place, hop->word) : take(place); });
}

// What destinations of this prefix get when it goes.
Hop Fib::covering_hop_of(const Key& key) const {
  const auto& [family, bytes, length] = key;
  if (length == 0) return Hop{};
  const auto shorter = static_cast<std::uint8_t>(length - 1);
  return present_hop(Key{family, masked(IpPrefix{IpAddress{bytes, family}, shorter}), shorter});
}

// What destinations of this prefix get that have no longer route.
Hop Fib::present_hop(const Key& key) const {
  auto [family, bytes, length] = key;
  for (int at = length; at >= 0; --at) {
    const IpPrefix shorter{IpAddress{bytes, family}, static_cast<std::uint8_t>(at)};
    const auto found = routes_.find(Key{family, masked(shorter), shorter.length});
    if (found != routes_.end()) return found->second;
  }
  return Hop{};
}

// Few entries to write, in few pieces.
bool Fib::quick(const Key& key) const {
  if (std::get<2>(key) > kBlockLength) return true;
  if (std::get<2>(key) < kQuickLength) return false;
  auto at = routes_.upper_bound(key);
  for (unsigned inside = 0; at != routes_.end() && covers(key, at->first); ++at) {
    if (++inside > kQuickRoutes) return false;
  }
  return true;
}

// The /24 blocks right below `key` that have longer routes, and those that would be left over alone between
// two others: the TRIE takes a second-level table to write a single block.
std::vector<Fib::Key> Fib::guards(const Key& key) const {
  std::vector<Key> out;
  const std::uint8_t family = std::get<0>(key);
  const std::uint8_t length = std::get<2>(key);
  const auto& bytes = std::get<1>(key);
  std::uint32_t next = block_of(bytes);  // first block that is not known to be somebody else's
  const auto lone = [&](std::uint32_t until) {
    if (until == next + 1) out.push_back(block_key(family, next));
  };
  for (auto at = routes_.upper_bound(key); at != routes_.end() && covers(key, at->first); ++at) {
    const std::uint32_t block = block_of(std::get<1>(at->first));
    if (block < next) continue;  // inside the one before
    lone(block);
    const std::uint8_t inner = std::get<2>(at->first);
    if (inner > kBlockLength) out.push_back(block_key(family, block));
    next = block + (inner >= kBlockLength ? 1 : 1U << (kBlockLength - inner));
  }
  lone(block_of(bytes) + (1U << (kBlockLength - length)));
  return out;
}

// Length of the shortest route inside the prefix that ends where the address space ends; 0: none.
unsigned Fib::last_inside(const Key& key) const {
  const auto& [family, bytes, length] = key;
  const Key end = end_key(family, family == 4 ? 32 : 128);
  if (!covers(key, end)) return 0;
  for (unsigned at = length + 1U; at <= std::get<2>(end); ++at) {
    if (routes_.contains(end_key(family, at))) return at;
  }
  return 0;
}

// The library writes what lies between the routes inside a prefix. When the last of them ends with the
// address space and starts where the one before ends (0.0.0.0/1 and 128.0.0.0/1), it wraps around and
// overwrites the whole table, in 22.11 and 24.11. So such a prefix is written in parts, those that leave out
// the last route; the prefix itself changes in the tree alone.
bool Fib::change_around(const Key& key, unsigned last, const Hop* hop) {
  const auto planted = [](const auto& place) { return plant(place) != nullptr; };
  if (hop != nullptr && !at(key, planted)) return false;
  const Hop to = hop != nullptr ? *hop : covering_hop_of(key);
  bool done = true;
  for (unsigned length = std::get<2>(key) + 1U; length <= last; ++length) {
    const Key part = beside_end(std::get<0>(key), length);
    if (routes_.contains(part)) continue;
    done = change_part(part, &to) && done;
    at(part, [](const auto& place) { place.remove(); });
  }
  if (done && hop != nullptr) {
    at(key, [&](const auto& place) { place.set_hop(place.find(), hop->word); });
  } else if (done || !routes_.contains(key)) {
    at(key, [](const auto& place) { place.remove(); });
  }
  return done;
}

bool Fib::change(const Key& key, const Hop* hop) {
  const unsigned last = last_inside(key);
  return last == 0 ? change_part(key, hop) : change_around(key, last, hop);
}

// No route inside the prefix ends with the address space.
bool Fib::change_part(const Key& key, const Hop* hop) {
  if (quick(key)) {
    const Section section(version_);
    return write(key, hop);
  }
  const Hop present = present_hop(key);
  std::vector<Key> guarded;
  bool all = true;
  for (const Key& block : guards(key)) {
    const Section section(version_);
    all = all && write(block, &present);
    if (!all) break;
    guarded.push_back(block);
  }
  bool done = all && write(key, hop);
  for (const Key& block : guarded) {
    const Section section(version_);
    write(block, nullptr);
  }
  if (all) return done;
  const Section section(version_);  // no room for guards: late packets rather than wrong ones
  return write(key, hop);
}

// Second-level tables that the prefix has to itself: one a whole byte behind the 24th bit that no other route
// goes beyond. The library has those tables, fewer where next hops are equal, and kPassingTables while it
// writes.
std::uint32_t Fib::own_tables(const Key& key) const {
  const auto& [family, bytes, length] = key;
  std::uint32_t own = 0;
  for (int at = (length - 1) / 8 * 8; at >= static_cast<int>(kBlockLength); at -= 8, ++own) {
    const auto depth = static_cast<std::uint8_t>(at);
    const Key table{family, masked(IpPrefix{IpAddress{bytes, family}, depth}), depth};
    auto inside = routes_.upper_bound(table);
    if (inside != routes_.end() && inside->first == key) ++inside;
    if (inside != routes_.end() && covers(table, inside->first)) break;
  }
  return own;
}

bool Fib::add(const IpPrefix& prefix, Hop hop) {
  if (!is_prefix(prefix)) return false;
  const Key key{prefix.address.family, masked(prefix), prefix.length};
  const auto known = routes_.find(key);
  if (known != routes_.end()) {
    if (known->second.word == hop.word) return true;
    if (!change(key, &hop)) return false;
    known->second = hop;
    return true;
  }
  Room& room = room_of(key);
  const std::uint32_t tables = own_tables(key);
  if (room.used_routes >= room.routes || room.used_tables + tables > room.tables) return false;
  if (!change(key, &hop)) return false;
  routes_.emplace(key, hop);
  ++room.used_routes;
  room.used_tables += tables;
  return true;
}

bool Fib::remove(const IpPrefix& prefix) {
  if (!is_prefix(prefix)) return false;
  const Key key{prefix.address.family, masked(prefix), prefix.length};
  if (!routes_.contains(key) || !change(key, nullptr)) return false;
  Room& room = room_of(key);
  --room.used_routes;
  room.used_tables -= own_tables(key);
  routes_.erase(key);
  return true;
}

void Fib::lookup4(const std::uint32_t* destinations, unsigned n, Hop* out) const {
  std::uint64_t hops[kLookupBatch];
  settled(
      [&] { rte_fib_lookup_bulk(v4_, const_cast<std::uint32_t*>(destinations), hops, static_cast<int>(n)); });
  for (unsigned i = 0; i < n; ++i) out[i] = Hop{static_cast<std::uint32_t>(hops[i])};
}

void Fib::lookup6(const std::uint8_t (*destinations)[16], unsigned n, Hop* out) const {
  std::uint64_t hops[kLookupBatch];
  settled([&] { bulk6(v6_, destinations, n, hops); });
  for (unsigned i = 0; i < n; ++i) out[i] = Hop{static_cast<std::uint32_t>(hops[i])};
}

Hop Fib::lookup(const IpAddress& address) const {
  Hop hop;
  if (address.family == 4) {
    const std::uint32_t host = session::load_be32(address.bytes.data());
    lookup4(&host, 1, &hop);
  } else if (address.family == 6) {
    std::uint8_t bytes[1][16];
    std::memcpy(bytes[0], address.bytes.data(), 16);
    lookup6(bytes, 1, &hop);
  }
  return hop;
}

}  // namespace dataplane
