// The set of (address, UDP port) on which this gateway listens for Phantom packets, by an index that control
// gives out and that is the same on all workers.
//
// One copy a worker; control's word changes it at run time (kListen). Nothing allocates. Open addressing, at
// most half full, so a miss costs one or two probes; a removal lays the table out anew.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "session/epoch_store.h"
#include "session/wire.h"

namespace dataplane {

inline constexpr unsigned kMaxLocalEndpoints = 256;
inline constexpr std::uint16_t kNoEndpointIndex = 0xffff;

class LocalEndpoints {
 public:
  // What was at `index` goes. An endpoint without family, or an index out of range, is ignored.
  void add(std::uint16_t index, const session::Endpoint& endpoint);
  void remove(std::uint16_t index);
  // Index or kNoEndpointIndex. `address` in network order: 4 or 16 bytes by family; `port` in host order.
  [[nodiscard]] std::uint16_t find(std::uint8_t family, const std::uint8_t* address,
                                   std::uint16_t port) const {
    const std::uint64_t key = key_of(family, address, port);
    for (std::size_t at = bucket_of(key); buckets_[at].family != 0; at = (at + 1) % kBuckets) {
      const Bucket& b = buckets_[at];
      if (b.key != key || b.family != family) continue;
      if (family == 4 || std::memcmp(b.address.data(), address, b.address.size()) == 0) return b.index;
    }
    return kNoEndpointIndex;
  }
  // True when any endpoint lies on this address.
  [[nodiscard]] bool has_address(std::uint8_t family, const std::uint8_t* address) const;

 private:
  static constexpr unsigned kBuckets = 2 * kMaxLocalEndpoints;
  struct Bucket {
    std::uint64_t key = 0;  // all of an IPv4 endpoint; of IPv6 the address' last four bytes and the port
    std::array<std::uint8_t, 16> address{};
    std::uint16_t index = 0;
    std::uint8_t family = 0;  // 0: empty
  };
  static std::uint64_t key_of(std::uint8_t family, const std::uint8_t* address, std::uint16_t port) {
    const std::uint8_t* tail = address + (family == 4 ? 0 : 12);
    return (std::uint64_t{session::load_be32(tail)} << 16) | port;
  }
  static std::size_t bucket_of(std::uint64_t key) {
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15ULL) >> 32) % kBuckets;
  }
  void insert(std::uint16_t index);
  void lay_out();

  std::array<session::Endpoint, kMaxLocalEndpoints> endpoints_{};  // family 0: free
  std::array<Bucket, kBuckets> buckets_{};
};

}  // namespace dataplane
