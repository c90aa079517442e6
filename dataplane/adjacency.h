// A worker's view of next hops: index -> ready Ethernet header, address -> index, and the packets that wait
// for an answer.
//
// Owner: one worker. Control allocates indices and sends NeighbourUpdates; the same index means the same
// neighbour on every worker. Packets for a neighbour that is not reachable wait in a hold of that address:
// bounded in number and time, counted as held. Nothing allocates after construction.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/batch.h"
#include "dataplane/message.h"

namespace dataplane {

// Indices are 16 bits in messages and templates; a gateway's next hops are its own subnets' hosts.
inline constexpr std::uint32_t kMaxAdjacencies = 8192;
// Addresses for which packets may wait at one time, and the most packets that may wait for one of them.
inline constexpr unsigned kHolds = 128;
inline constexpr unsigned kHoldPackets = 64;
// A hold asks control again this often and gives up after this long (a lost hint is repaired by the first).
inline constexpr std::uint32_t kHoldRetryMs = 500;
inline constexpr std::uint32_t kHoldTimeoutMs = 4000;

// What every packet to a next hop needs, apart from the rest.
struct NextHop {
  std::array<std::uint8_t, 14> ether{};  // destination and source MAC; the type is the packet's
  std::uint8_t port = 0;
  NeighbourState state = NeighbourState::kFree;
};
static_assert(sizeof(NextHop) == 16);

// Packets waiting for one address on one port. They are complete but for the Ethernet header, data at the IP
// header.
struct Hold {
  IpAddress address;
  std::uint8_t port = 0;
  bool used = false;
  unsigned count = 0;
  std::uint32_t since_ms = 0;
  std::uint32_t asked_ms = 0;
  std::array<rte_mbuf*, kHoldPackets> packets{};
};

class AdjacencyTable {
 public:
  // `hold_packets`: most packets that wait for one neighbour, 1..kHoldPackets.
  explicit AdjacencyTable(unsigned hold_packets);

  // Index of a neighbour, or session::kNone. `address` in network order, 4 or 16 bytes by family.
  [[nodiscard]] std::uint32_t find(std::uint8_t port, std::uint8_t family, const std::uint8_t* address) const;
  [[nodiscard]] const NextHop& at(std::uint32_t index) const { return hops_[index]; }
  [[nodiscard]] const IpAddress& address(std::uint32_t index) const { return addresses_[index]; }
  // Takes over what control says; `mac` of the port is the source of its frames. False: index out of range.
  bool update(const NeighbourUpdate& update, const MacAddress& port_mac);

  // The hold of an address, made on demand; null when all are in use.
  Hold* hold_for(std::uint8_t port, const IpAddress& address, std::uint32_t now_ms);
  // The hold of an address if there is one.
  Hold* find_hold(std::uint8_t port, const IpAddress& address);
  [[nodiscard]] Hold& hold(unsigned i) { return holds_[i]; }
  [[nodiscard]] unsigned hold_limit() const { return hold_packets_; }
  [[nodiscard]] unsigned holds_used() const { return holds_used_; }
  void release(Hold& hold);

 private:
  void link(std::uint32_t index);
  void unlink(std::uint32_t index);
  [[nodiscard]] std::size_t home(std::uint32_t index) const;
  std::vector<NextHop> hops_;
  std::vector<IpAddress> addresses_;
  std::vector<std::uint16_t> buckets_;  // index + 1; 0: empty
  std::vector<Hold> holds_;
  unsigned hold_packets_;
  unsigned holds_used_ = 0;
};

}  // namespace dataplane
