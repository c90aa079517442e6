// The set of (address, UDP port) on which this gateway listens for Phantom packets.
//
// Built at start from the sessions' local endpoints, then read-only; one copy a worker. Open addressing, at
// most half full, so a miss costs one or two probes.
#pragma once

#include <cstdint>
#include <vector>

#include "session/epoch_store.h"

namespace dataplane {

class LocalEndpoints {
 public:
  // Start only. Adding one twice changes nothing; an endpoint without family is ignored.
  void add(const session::Endpoint& endpoint);
  // `address` in network order: 4 or 16 bytes by family; `port` in host order.
  [[nodiscard]] bool has(std::uint8_t family, const std::uint8_t* address, std::uint16_t port) const;
  // True when any endpoint lies on this address.
  [[nodiscard]] bool has_address(std::uint8_t family, const std::uint8_t* address) const;

 private:
  void insert(const session::Endpoint& endpoint);
  std::vector<session::Endpoint> endpoints_;  // as added
  std::vector<session::Endpoint> buckets_;    // hashed by port; family 0: empty
};

}  // namespace dataplane
