// Two standard sites for pipeline tests: a gateway with a LAN host behind it and a session to the other side.
//
//   side 1: LAN 10.1.0.0/24 and 2001:db8:1::/64, WAN 192.0.2.1 and 2001:db8:f::1, initiator
//   side 2: LAN 10.2.0.0/24 and 2001:db8:2::/64, WAN 192.0.2.2 and 2001:db8:f::2, responder
// The host of a side is .9 with MAC mac(9), the gateway's LAN address .1. Phantom packets use UDP port 4500.
#pragma once

#include "tests/support/pipeline.h"

namespace support {

inline constexpr std::uint16_t kPhantomPort = 4500;
inline constexpr std::uint8_t kSiteSeed = 7;
inline constexpr std::uint16_t kPeerAdjacency = 0;

struct SiteOptions {
  unsigned side = 1;
  bool outer6 = false;
  std::uint8_t flags = 0;
  std::uint16_t inner_mtu = 1400;
  std::uint8_t seed = kSiteSeed;
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
  std::uint64_t soft_limit = session::REKEY_SOFT_LIMIT;
  GatewayOptions gateway;
};

// With two workers, and a session that lives on worker 1.
SiteOptions two_workers();

class Site {
 public:
  Site(const std::string& name, SiteOptions options);

  Gateway gw;
  SiteOptions options;
  SessionSpec spec;
  Installed session;

  // Addresses of a side.
  static std::string host4(unsigned side) { return "10." + std::to_string(side) + ".0.9"; }
  static std::string host6(unsigned side) { return "2001:db8:" + std::to_string(side) + "::9"; }
  static std::string wan4(unsigned side) { return "192.0.2." + std::to_string(side); }
  static std::string wan6(unsigned side) { return "2001:db8:f::" + std::to_string(side); }
  [[nodiscard]] unsigned other() const { return 3 - options.side; }

  // A frame from the site's host to the gateway.
  [[nodiscard]] Bytes from_host(const Bytes& packet) const;
  // A UDP packet from the other side's host to ours, as it comes out of the tunnel, and the other way round.
  [[nodiscard]] Bytes inward(std::size_t payload = 64, std::uint8_t traffic_class = 0) const;
  [[nodiscard]] Bytes outward(std::size_t payload = 64, std::uint8_t traffic_class = 0) const;
  // What the peer would send: `text` sealed with `header` (session id filled in).
  [[nodiscard]] Bytes peer_packet(session::Header header, const Bytes& text) const;
  // A complete WAN frame from the peer around UDP payload `phantom`.
  [[nodiscard]] Bytes from_peer(const Bytes& phantom, std::uint8_t outer_class = 0) const;
  // Header of the next tunnel packet of the peer on stream 1.
  session::Header next_header();

 private:
  std::uint32_t next_sequence_ = 0;
  crypto::Aead aead_;
};

// About one session, for the mailbox of its worker.
dataplane::Message command(dataplane::MessageKind kind, const Installed& s);
// Moves everything that `from` sent on its WAN port into the WAN port of `to`; returns how many.
unsigned carry(Gateway& from, Gateway& to);

}  // namespace support
