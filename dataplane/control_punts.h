// What control does with packets that workers gave it: ARP and ND, packets to our own addresses, ICMP errors,
// packets ahead of their epoch. Owner: control core.
#pragma once

#include "dataplane/control_io.h"
#include "dataplane/icmp.h"
#include "dataplane/neighbour.h"
#include "dataplane/session_manager.h"
#include "dataplane/token_bucket.h"

namespace dataplane {

// Answers a second, all sources together: errors as RFC 1812 4.3.2.8 and RFC 4443 2.4(f) ask for.
inline constexpr std::uint32_t kEchoBurst = 256;
inline constexpr std::uint32_t kEchoesPerSecond = 1000;
inline constexpr std::uint32_t kErrorBurst = 100;
inline constexpr std::uint32_t kErrorsPerSecond = 1000;

class PuntHandler {
 public:
  PuntHandler(Topology& topology, ControlIo& io, Neighbours& neighbours, SessionManager& sessions);
  // Takes `m` over.
  void handle(unsigned worker, rte_mbuf* m, std::uint64_t now_ns);

 private:
  void local(rte_mbuf* m, std::uint64_t now_ns);
  void local_frame(rte_mbuf* m, std::uint64_t now_ns);
  void error(rte_mbuf* m, IcmpError kind, session::DropReason otherwise, std::uint64_t now_ns);
  [[nodiscard]] const IpAddress* source_towards(const IpAddress& to) const;
  [[nodiscard]] const IpAddress* address_on(unsigned port, std::uint8_t family) const;

  Topology& topology_;
  ControlIo& io_;
  Neighbours& neighbours_;
  SessionManager& sessions_;
  TokenBucket echoes_{kEchoBurst, kEchoesPerSecond};
  TokenBucket errors_{kErrorBurst, kErrorsPerSecond};
};

}  // namespace dataplane
