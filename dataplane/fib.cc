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
  Address6 copies[kLookupBatch];
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
  // The library takes a pointer to non-const and only reads.
  rte_fib6_lookup_bulk(fib, const_cast<std::uint8_t(*)[16]>(addresses), hops, static_cast<int>(n));
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

bool Fib::add(const IpPrefix& prefix, Hop hop) {
  const auto bytes = masked(prefix);
  if (prefix.address.family == 4 && prefix.length <= 32) {
    return rte_fib_add(v4_, session::load_be32(bytes.data()), prefix.length, hop.word) == 0;
  }
  if (prefix.address.family == 6 && prefix.length <= 128) {
    return add6(v6_, bytes.data(), prefix.length, hop.word) == 0;
  }
  return false;
}

bool Fib::remove(const IpPrefix& prefix) {
  const auto bytes = masked(prefix);
  if (prefix.address.family == 4 && prefix.length <= 32) {
    return rte_fib_delete(v4_, session::load_be32(bytes.data()), prefix.length) == 0;
  }
  if (prefix.address.family == 6 && prefix.length <= 128) {
    return delete6(v6_, bytes.data(), prefix.length) == 0;
  }
  return false;
}

void Fib::lookup4(const std::uint32_t* destinations, unsigned n, Hop* out) const {
  std::uint64_t hops[kLookupBatch];
  rte_fib_lookup_bulk(v4_, const_cast<std::uint32_t*>(destinations), hops, static_cast<int>(n));
  for (unsigned i = 0; i < n; ++i) out[i] = Hop{static_cast<std::uint32_t>(hops[i])};
}

void Fib::lookup6(const std::uint8_t (*destinations)[16], unsigned n, Hop* out) const {
  std::uint64_t hops[kLookupBatch];
  bulk6(v6_, destinations, n, hops);
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
