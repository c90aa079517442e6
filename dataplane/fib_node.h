// A prefix in one of DPDK's route tables: put() and take(), which keep the library's own count out of it.
//
// Owner and thread: the writer of a Fib (fib.h), nobody else.
//
// Why not rte_fib_add() and rte_fib_delete() alone. For routes longer than /24 they keep a count of reserved
// second-level tables, and give back something else than they took: the count drifts, and once it is at the
// limit or below zero every further long route is refused, for ever. Measured with 22.11.11 and 256 routes
// configured, at most two of them in use: IPv6 refuses after 665 cycles of adding and removing one /64, 256
// of one /128, in any order and nesting; IPv4 refuses the next /32 once a /32 went that had the next hop of
// the /8 around it. Later versions drift on other orders (26.07 counts right), so no order of calls suits
// all.
//
// What never counts is a changed next hop. So a prefix is put into the library's RIB (its tree of routes,
// public as rte_fib_get_rib()) with the next hop that its destinations have anyway, which changes no table,
// and then gets the one it is meant to have; and the other way round when it goes. The count stays zero;
// Fib itself counts tables, exactly.
#pragma once

#include <cstdint>
#include <cstring>

#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_rib.h>
#include <rte_rib6.h>
#include <rte_version.h>

namespace dataplane {

// IPv4: `address` in host order, no bits behind `length`.
struct FibPlace4 {
  using Node = rte_rib_node;
  rte_fib* fib;
  std::uint32_t address;
  std::uint8_t length;

  [[nodiscard]] Node* find() const { return rte_rib_lookup_exact(rte_fib_get_rib(fib), address, length); }
  [[nodiscard]] Node* insert() const { return rte_rib_insert(rte_fib_get_rib(fib), address, length); }
  void remove() const { rte_rib_remove(rte_fib_get_rib(fib), address, length); }
  void write(std::uint64_t hop) const { rte_fib_add(fib, address, length, hop); }
  static Node* parent(Node* node) { return rte_rib_lookup_parent(node); }
  static void set_hop(Node* node, std::uint64_t hop) { rte_rib_set_nh(node, hop); }
  static std::uint64_t hop(const Node* node) {
    std::uint64_t found = 0;
    rte_rib_get_nh(node, &found);
    return found;
  }
};

#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
using FibAddress6 = rte_ipv6_addr;
#else
struct FibAddress6 {
  std::uint8_t a[16];
};
#endif

// IPv6: no bits behind `length`.
struct FibPlace6 {
  using Node = rte_rib6_node;
  rte_fib6* fib;
  FibAddress6 address;
  std::uint8_t length;

  FibPlace6(rte_fib6* of, const std::uint8_t* bytes, std::uint8_t prefix_length)
      : fib(of), length(prefix_length) {
    std::memcpy(address.a, bytes, sizeof(address.a));
  }
  // As the library takes an address: 22.11 the bytes, 24.11 its own struct.
  [[nodiscard]] auto key() const {
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
    return &address;
#else
    return static_cast<const std::uint8_t*>(address.a);
#endif
  }
  [[nodiscard]] Node* find() const {
    return rte_rib6_lookup_exact(rte_fib6_get_rib(fib), key(), length);
  }
  [[nodiscard]] Node* insert() const {
    return rte_rib6_insert(rte_fib6_get_rib(fib), key(), length);
  }
  void remove() const {
    rte_rib6_remove(rte_fib6_get_rib(fib), key(), length);
  }
  void write(std::uint64_t hop) const {
    rte_fib6_add(fib, key(), length, hop);
  }
  static Node* parent(Node* node) {
    return rte_rib6_lookup_parent(node);
  }
  static void set_hop(Node* node, std::uint64_t hop) {
    rte_rib6_set_nh(node, hop);
  }
  static std::uint64_t hop(const Node* node) {
    std::uint64_t found = 0;
    rte_rib6_get_nh(node, &found);
    return found;
  }
};

// What destinations of this prefix got if it were not there.
template <typename Place>
std::uint64_t covering_hop(typename Place::Node* node) {
  typename Place::Node* parent = Place::parent(node);
  return parent == nullptr ? 0 : Place::hop(parent);
}

// The prefix is in the tree, with the next hop its destinations have anyway if it was not; no table changes.
// Null: no memory.
template <typename Place>
typename Place::Node* plant(const Place& place) {
  typename Place::Node* node = place.find();
  if (node != nullptr) return node;
  node = place.insert();
  if (node != nullptr) Place::set_hop(node, covering_hop<Place>(node));
  return node;
}

// A new prefix or a new next hop. False: the library has no memory for it, and nothing changed but, when it
// is second-level tables that ran out, some destinations of the prefix.
template <typename Place>
bool put(const Place& place, std::uint64_t hop) {
  const bool fresh = place.find() == nullptr;
  typename Place::Node* node = plant(place);
  if (node == nullptr) return false;
  place.write(hop);
  if (Place::hop(node) == hop) return true;  // what write() returns says nothing in 22.11 and 24.11
  if (fresh) place.remove();
  return false;
}

template <typename Place>
bool take(const Place& place) {
  typename Place::Node* node = place.find();
  if (node == nullptr) return false;
  const std::uint64_t hop = covering_hop<Place>(node);
  place.write(hop);
  if (Place::hop(node) != hop) return false;
  place.remove();
  return true;
}

}  // namespace dataplane
