// The harness's configuration: that of a gateway, and a table [harness].
//
// Thread: main lcore before anything is started.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/config.h"
#include "tools/testpmd/packet.h"

namespace testpmd {

struct HarnessConfig {
  dataplane::GatewayConfig end;                  // as in the file: its devices are the harness's own
  std::optional<dataplane::GatewayConfig> self;  // the other end for mode self
  std::optional<std::size_t> lan;                // position of the LAN port in end.ports
  std::vector<std::size_t> wan;                  // positions of the WAN ports
  AddressPlan plan;
  std::uint64_t drain_ns = 1'000'000'000;  // most that is waited for packets after sending ended
  std::uint64_t seed = 1;                  // of the relay's and the attacks' chance

  // What the Phantom ends are made of: rings in place of devices, and a route for each session.
  [[nodiscard]] dataplane::GatewayConfig end_config() const;
  [[nodiscard]] dataplane::GatewayConfig self_config() const;
  // MAC addresses of the self end's ports, of the LAN port of the first end, and of the router behind it.
  [[nodiscard]] std::vector<dataplane::MacAddress> self_macs() const;
};

// MAC addresses inside the harness: locally administered, 02:50:54:00:KIND:NUMBER.
dataplane::MacAddress inner_mac(std::uint8_t kind, std::uint8_t number);
// Position of the LAN port in end_config().ports: it is the last one.
std::size_t inner_lan(const dataplane::GatewayConfig& end_config);

// Reads and checks the file and what it names. Nothing when there is an error.
std::optional<HarnessConfig> load_harness(const std::string& path,
                                          std::vector<dataplane::ConfigError>& errors);

}  // namespace testpmd
