#include "dataplane/adjacency.h"

#include <algorithm>
#include <cstring>

#include "dataplane/stats.h"

namespace dataplane {
namespace {

// Twice the entries, so that a miss ends soon.
constexpr std::size_t kBuckets = 2 * kMaxAdjacencies;

std::size_t hash(std::uint8_t port, std::uint8_t family, const std::uint8_t* address) {
  std::uint64_t a = port;
  if (family == 4) {
    std::uint32_t v;
    std::memcpy(&v, address, 4);
    a ^= std::uint64_t{v} << 8;
  } else {
    std::uint64_t high;
    std::uint64_t low;
    std::memcpy(&high, address, 8);
    std::memcpy(&low, address + 8, 8);
    a ^= (high * 0xc2b2ae3d27d4eb4fULL) ^ low;
  }
  return static_cast<std::size_t>((a * 0x9e3779b97f4a7c15ULL) >> 40);
}

bool same(const IpAddress& known, std::uint8_t family, const std::uint8_t* address) {
  return known.family == family && std::memcmp(known.bytes.data(), address, family == 4 ? 4 : 16) == 0;
}

}  // namespace

AdjacencyTable::AdjacencyTable(unsigned hold_packets)
    : hops_(kMaxAdjacencies),
      addresses_(kMaxAdjacencies),
      buckets_(kBuckets),
      holds_(kHolds),
      hold_packets_(std::clamp(hold_packets, 1U, kHoldPackets)) {}

std::uint32_t AdjacencyTable::find(std::uint8_t port, std::uint8_t family,
                                   const std::uint8_t* address) const {
  for (std::size_t b = hash(port, family, address) % kBuckets; buckets_[b] != 0; b = (b + 1) % kBuckets) {
    const std::uint32_t index = buckets_[b] - 1U;
    if (hops_[index].port == port && same(addresses_[index], family, address)) return index;
  }
  return session::kNone;
}

std::size_t AdjacencyTable::home(std::uint32_t index) const {
  const IpAddress& address = addresses_[index];
  return hash(hops_[index].port, address.family, address.bytes.data()) % kBuckets;
}

void AdjacencyTable::link(std::uint32_t index) {
  std::size_t b = home(index);
  while (buckets_[b] != 0) b = (b + 1) % kBuckets;
  buckets_[b] = static_cast<std::uint16_t>(index + 1);
}

// Backward shift, as long as the run of taken buckets is: a worker's packets wait meanwhile.
void AdjacencyTable::unlink(std::uint32_t index) {
  std::size_t hole = home(index);
  while (buckets_[hole] != index + 1) hole = (hole + 1) % kBuckets;
  for (std::size_t b = (hole + 1) % kBuckets; buckets_[b] != 0; b = (b + 1) % kBuckets) {
    const std::size_t distance = (b - home(buckets_[b] - 1U)) % kBuckets;
    if (distance < (b - hole) % kBuckets) continue;
    buckets_[hole] = buckets_[b];
    hole = b;
  }
  buckets_[hole] = 0;
}

bool AdjacencyTable::update(const NeighbourUpdate& update, const MacAddress& port_mac) {
  if (update.adjacency >= kMaxAdjacencies || update.port >= kMaxPorts) return false;
  NextHop& entry = hops_[update.adjacency];
  IpAddress& address = addresses_[update.adjacency];
  const bool was_linked = entry.state != NeighbourState::kFree;
  const bool moved = entry.port != update.port || !(address == update.address);
  const bool is_linked = update.state != NeighbourState::kFree;
  if (was_linked && (moved || !is_linked)) unlink(update.adjacency);
  address = update.address;
  entry.port = update.port;
  entry.state = update.state;
  std::copy(update.mac.begin(), update.mac.end(), entry.ether.begin());
  std::copy(port_mac.begin(), port_mac.end(), entry.ether.begin() + 6);
  if (is_linked && (moved || !was_linked)) link(update.adjacency);
  return true;
}

Hold* AdjacencyTable::find_hold(std::uint8_t port, const IpAddress& address) {
  if (holds_used_ == 0) return nullptr;
  for (Hold& hold : holds_) {
    if (hold.used && hold.port == port && hold.address == address) return &hold;
  }
  return nullptr;
}

Hold* AdjacencyTable::hold_for(std::uint8_t port, const IpAddress& address, std::uint32_t now_ms) {
  if (Hold* known = find_hold(port, address)) return known;
  if (holds_used_ == kHolds) return nullptr;
  for (Hold& hold : holds_) {
    if (hold.used) continue;
    hold.address = address;
    hold.port = port;
    hold.used = true;
    hold.count = 0;
    hold.since_ms = now_ms;
    hold.asked_ms = now_ms - kHoldRetryMs;  // ask at once
    ++holds_used_;
    return &hold;
  }
  return nullptr;
}

void AdjacencyTable::release(Hold& hold) {
  hold.used = false;
  hold.count = 0;
  --holds_used_;
}

}  // namespace dataplane
