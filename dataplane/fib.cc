#include "dataplane/fib.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>

#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_pause.h>
#include <rte_version.h>

#include "session/wire.h"

namespace dataplane {
namespace {

constexpr unsigned kLookupBatch = 64;

#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
using Address6 = rte_ipv6_addr;
Address6 address6(const std::uint8_t* bytes) {
  Address6 a;
  std::memcpy(a.a, bytes, sizeof(a.a));
  return a;
}
int add6(rte_fib6* fib, const std::uint8_t* bytes, std::uint8_t depth, std::uint64_t hop) {
  const Address6 a = address6(bytes);
  return rte_fib6_add(fib, &a, depth, hop);
}
int delete6(rte_fib6* fib, const std::uint8_t* bytes, std::uint8_t depth) {
  const Address6 a = address6(bytes);
  return rte_fib6_delete(fib, &a, depth);
}
void bulk6(rte_fib6* fib, const std::uint8_t (*addresses)[16], unsigned n, std::uint64_t* hops) {
  Address6 copies[kLookupBatch + 1];  // as below
  std::memcpy(copies, addresses, std::size_t{n} * 16);
  rte_fib6_lookup_bulk(fib, copies, hops, static_cast<int>(n));
}
#else
int add6(rte_fib6* fib, const std::uint8_t* bytes, std::uint8_t depth, std::uint64_t hop) {
  return rte_fib6_add(fib, bytes, depth, hop);
}
int delete6(rte_fib6* fib, const std::uint8_t* bytes, std::uint8_t depth) {
  return rte_fib6_delete(fib, bytes, depth);
}
void bulk6(rte_fib6* fib, const std::uint8_t (*addresses)[16], unsigned n, std::uint64_t* hops) {
  // One more than needed: beside a writer a reader may follow tables deeper than an address is long.
  std::uint8_t copies[kLookupBatch + 1][16];
  std::memcpy(copies, addresses, std::size_t{n} * 16);
  rte_fib6_lookup_bulk(fib, copies, hops, static_cast<int>(n));
}
#endif

[[noreturn]] void fail(const char* what) {
  throw std::runtime_error(std::string("routes: ") + what + ": " + rte_strerror(rte_errno) +
                           " (the tables take up to 260 MiB: give EAL more memory, with --no-huge by -m 512, "
                           "otherwise by more hugepages)");
}

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

bool covers(const Key& outer, const Key& inner) {
  const auto& [family, bytes, length] = outer;
  const auto& [inner_family, inner_bytes, inner_length] = inner;
  return family == inner_family && inner_length >= length &&
         masked(IpPrefix{IpAddress{inner_bytes, inner_family}, length}) == bytes;
}

}  // namespace

Fib::Fib(const std::string& name, std::uint32_t max_routes, int socket) {
  const int routes = static_cast<int>(std::clamp<std::uint32_t>(max_routes, 64, 1U << 22));
  rte_fib_conf conf4{};
  conf4.type = RTE_FIB_DIR24_8;
  conf4.max_routes = routes;
  conf4.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
  conf4.dir24_8.num_tbl8 = std::min(static_cast<std::uint32_t>(routes) + 1, kMaxTables4);
  v4_ = rte_fib_create((name + "4").c_str(), socket, &conf4);
  if (v4_ == nullptr) fail("no memory for the IPv4 table");
  rte_fib6_conf conf6{};
  conf6.type = RTE_FIB6_TRIE;
  conf6.max_routes = routes;
  conf6.trie.nh_sz = RTE_FIB6_TRIE_4B;
  conf6.trie.num_tbl8 = std::min(static_cast<std::uint32_t>(routes) * 13 + 1, kMaxTables6);
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

bool Fib::write(const Key& key, const Hop* hop) {
  const auto& [family, bytes, length] = key;
  if (family == 4) {
    const std::uint32_t address = session::load_be32(bytes.data());
    return (hop != nullptr ? rte_fib_add(v4_, address, length, hop->word)
                           : rte_fib_delete(v4_, address, length)) == 0;
  }
  return (hop != nullptr ? add6(v6_, bytes.data(), length, hop->word) : delete6(v6_, bytes.data(), length)) ==
         0;
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

bool Fib::change(const Key& key, const Hop* hop) {
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
  bool done = false;
  if (all) {
    done = write(key, hop);
  } else {  // no room for guards: late packets rather than wrong ones
    const Section section(version_);
    done = write(key, hop);
  }
  for (const Key& block : guarded) {
    const Section section(version_);
    write(block, nullptr);
  }
  return done;
}

bool Fib::add(const IpPrefix& prefix, Hop hop) {
  if (!is_prefix(prefix)) return false;
  const Key key{prefix.address.family, masked(prefix), prefix.length};
  const auto known = routes_.find(key);
  if (known != routes_.end() && known->second.word == hop.word) return true;
  if (!change(key, &hop)) return false;
  routes_.insert_or_assign(key, hop);
  return true;
}

bool Fib::remove(const IpPrefix& prefix) {
  if (!is_prefix(prefix)) return false;
  const Key key{prefix.address.family, masked(prefix), prefix.length};
  if (!routes_.contains(key) || !change(key, nullptr)) return false;
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
