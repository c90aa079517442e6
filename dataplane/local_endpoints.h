// The set of (address, UDP port) on which this gateway listens for Phantom packets, by an index that control
// gives out and that is the same on all workers.
//
// One copy a worker; control's word changes it at run time (kListen). Nothing allocates. Open addressing, at
// most half full, so a miss costs one or two probes; a removal lays the table out anew.
#pragma once

#include <array>
#include <cstdint>

#include "session/epoch_store.h"

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
                                   std::uint16_t port) const;
  // True when any endpoint lies on this address.
  [[nodiscard]] bool has_address(std::uint8_t family, const std::uint8_t* address) const;

 private:
  static constexpr unsigned kBuckets = 2 * kMaxLocalEndpoints;
  struct Bucket {
    session::Endpoint endpoint;  // family 0: empty
    std::uint16_t index = 0;
  };
  void insert(std::uint16_t index);
  void lay_out();

  std::array<session::Endpoint, kMaxLocalEndpoints> endpoints_{};  // family 0: free
  std::array<Bucket, kBuckets> buckets_{};
};

}  // namespace dataplane
