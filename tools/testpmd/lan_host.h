// The harness as a host of the gateway's LAN: answers for its addresses and learns the gateway's MAC address.
//
// Thread: lanes; the main lcore reads the MAC address.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include <rte_mbuf.h>

#include "dataplane/arp_nd.h"
#include "dataplane/topology.h"

namespace testpmd {

class LanHost {
 public:
  // Of a port as it was opened. Without gateway4 nobody is looked for.
  explicit LanHost(const dataplane::Port& port);

  // True: it was a question to us and `m` now holds the answer, to be sent where it came from. False: `m`
  // is as it was; what it tells of the gateway has been noted. `discovery`: it was ARP or neighbour
  // discovery.
  bool answer(rte_mbuf* m, bool& discovery);
  // A question for the gateway's MAC address, into an empty `m`; false: none is needed.
  bool ask(rte_mbuf* m) const;
  // All zeros: not known yet.
  [[nodiscard]] dataplane::MacAddress gateway_mac() const;
  [[nodiscard]] bool known() const { return gateway_mac_.load(std::memory_order_relaxed) != 0; }
  [[nodiscard]] bool wanted() const { return gateway_.has_value(); }
  [[nodiscard]] const std::optional<dataplane::IpAddress>& gateway() const { return gateway_; }
  [[nodiscard]] const dataplane::MacAddress& mac() const { return mac_; }

 private:
  [[nodiscard]] bool ours(const dataplane::IpAddress& address) const;
  void learn(const dataplane::IpAddress& sender, const dataplane::MacAddress& mac);
  bool answer_arp(rte_mbuf* m);
  bool answer_nd(rte_mbuf* m);

  dataplane::MacAddress mac_;
  std::vector<dataplane::IpAddress> addresses_;
  std::optional<dataplane::IpAddress> gateway_;
  bool fixed_ = false;
  std::atomic<std::uint64_t> gateway_mac_{0};  // packed; 0: unknown
};

// Ethernet source and destination exchanged, and those of IP and UDP, where the frame has them.
void reflect(rte_mbuf* m);

}  // namespace testpmd
