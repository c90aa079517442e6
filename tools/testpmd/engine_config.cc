#include "tools/testpmd/engine_config.h"

#include <algorithm>

#include <fmt/core.h>
#include <toml++/toml.h>

#include "dataplane/address_text.h"
#include "dataplane/config_reader.h"
#include "dataplane/config_session.h"
#include "tools/testpmd/phantom_end.h"

namespace testpmd {
namespace {

using dataplane::ConfigIssues;
using dataplane::GatewayConfig;
using dataplane::IpAddress;
using dataplane::IpPrefix;
using dataplane::PortConfig;
using dataplane::RouteConfig;

constexpr std::uint64_t kMillisecondNs = 1'000'000;
// Between the harness and the LAN side of its own end; link-local (RFC 3927), so never a network under test.
constexpr const char* kInnerAddress = "169.254.77.1/30";
constexpr const char* kInnerRouter = "169.254.77.2";
constexpr const char* kNetwork = "an IPv4 network like 10.128.0.0/9";
constexpr std::uint64_t kMostSeed = (1ULL << 63) - 1;

struct HarnessTable {
  IpPrefix near = *dataplane::parse_prefix("10.128.0.0/9");
  IpPrefix far = *dataplane::parse_prefix("100.64.0.0/10");
  std::string self;
};

void read_harness(dataplane::TableReader& r, HarnessTable& table, HarnessConfig& out) {
  r.parsed("near", table.near, dataplane::parse_prefix, kNetwork);
  r.parsed("far", table.far, dataplane::parse_prefix, kNetwork);
  r.text("self", table.self);
  r.duration_ns("drain", out.drain_ns, kMillisecondNs);
  r.number("seed", out.seed, 0, kMostSeed);
  r.finish();
}

std::uint32_t first_of(const IpPrefix& prefix) {
  return session::load_be32(dataplane::network_of(prefix).address.bytes.data());
}

void check_network(const IpPrefix& prefix, const char* field, std::size_t sessions, ConfigIssues& issues) {
  if (prefix.address.family != 4 || prefix.length == 0) {
    issues.add(field, kNetwork, "the harness's packets are IPv4 inside; sessions may be IPv6 outside");
    return;
  }
  const std::uint64_t room = 1ULL << (32 - prefix.length);
  if (sessions <= room) return;
  issues.add(field,
             fmt::format("a network with an address for each of {} sessions, {} has {}", sessions,
                         dataplane::to_text(prefix), room),
             "choose a shorter prefix");
}

void check_networks(const HarnessTable& table, const GatewayConfig& end, ConfigIssues& issues) {
  check_network(table.near, "harness.near", end.sessions.size(), issues);
  check_network(table.far, "harness.far", end.sessions.size(), issues);
  if (dataplane::overlap(table.near, table.far)) {
    issues.add("harness.far", "a network of its own, found one that meets harness.near", "choose another");
  }
  for (const PortConfig& port : end.ports) {
    for (const IpPrefix& ours : port.addresses) {
      const bool near = dataplane::overlap(table.near, ours);
      if (!near && !dataplane::overlap(table.far, ours)) continue;
      issues.add(near ? "harness.near" : "harness.far",
                 fmt::format("a network of its own, found one that meets {} of port \"{}\"",
                             dataplane::to_text(ours), port.name),
                 "choose another one, or another address of the port");
    }
  }
}

void sort_ports(HarnessConfig& out, ConfigIssues& issues) {
  if (!out.end.routes.empty()) {
    issues.add("route[0]", "no [[route]]: each session has an address of harness.near", "remove it");
  }
  for (std::size_t i = 0; i < out.end.ports.size(); ++i) {
    const PortConfig& port = out.end.ports[i];
    const std::string field = fmt::format("port[{}].role", i);
    if (port.lan && port.wan) {
      issues.add(field, "\"lan\" or \"wan\": the harness keeps the two sides apart", "make two ports of it");
    } else if (port.wan) {
      out.wan.push_back(i);
    } else if (out.lan) {
      issues.add(field, "one LAN port at most", "remove one");
    } else {
      out.lan = i;
    }
  }
}

// A route for a host of each session.
void add_routes(GatewayConfig& config, std::uint32_t first) {
  for (std::size_t i = 0; i < config.sessions.size(); ++i) {
    RouteConfig route;
    route.prefix.length = 32;
    route.prefix.address.family = 4;
    session::store_be32(route.prefix.address.bytes.data(), first + static_cast<std::uint32_t>(i));
    route.session = config.sessions[i].identity.name;
    config.routes.push_back(std::move(route));
  }
}

PortConfig inner_port(std::uint16_t mtu) {
  PortConfig port;
  port.name = "inner";
  port.lan = true;
  port.mtu = mtu;
  port.addresses = {*dataplane::parse_prefix(kInnerAddress)};
  port.gateway4 = *dataplane::parse_address(kInnerRouter);
  port.neighbours = {{*port.gateway4, inner_mac(0, 2)}};
  return port;
}

// The harness's devices take their buffers from the end's pool as well.
void make_room(GatewayConfig& config) {
  std::uint32_t more = 0;
  for (const PortConfig& port : config.ports) {
    more += port.rx_descriptors + port.tx_descriptors + 2U * kRingSize;
  }
  config.pools.packets += more * config.cores.workers;
}

void load_self(const std::string& name, HarnessConfig& out, std::vector<dataplane::ConfigError>& errors) {
  auto self = dataplane::load_config(dataplane::beside(out.end, name), errors);
  if (!self) return;
  dataplane::check_secrets(*self, errors);
  self->cores.workers = out.end.cores.workers;
  out.self = std::move(self);
}

void read_table(const std::string& path, HarnessConfig& out, ConfigIssues& issues,
                std::vector<dataplane::ConfigError>& errors) {
  HarnessTable table;
  const toml::table file = toml::parse_file(path);
  dataplane::TableReader reader(file, "", issues);
  reader.table("harness", [&](dataplane::TableReader& r) { read_harness(r, table, out); });
  check_networks(table, out.end, issues);
  out.plan = AddressPlan{first_of(table.near), first_of(table.far)};
  if (!table.self.empty()) load_self(table.self, out, errors);
}

}  // namespace

dataplane::MacAddress inner_mac(std::uint8_t kind, std::uint8_t number) {
  return {0x02, 0x50, 0x54, 0, kind, number};
}

std::size_t inner_lan(const GatewayConfig& end_config) {
  return end_config.ports.size() - 1;
}

GatewayConfig HarnessConfig::end_config() const {
  GatewayConfig config = end;
  make_room(config);
  config.control.socket.clear();
  config.ports.clear();
  for (const std::size_t i : wan) config.ports.push_back(end.ports[i]);
  config.ports.push_back(inner_port(lan ? end.ports[*lan].mtu : 1500));
  add_routes(config, plan.near);
  return config;
}

// Whatever a route of the other end leads to is the harness.
GatewayConfig HarnessConfig::self_config() const {
  GatewayConfig config = *self;
  config.control.socket.clear();
  for (PortConfig& port : config.ports) {
    for (const RouteConfig& route : config.routes) {
      if (!route.lan_gateway || !port.lan) continue;
      const bool known = std::any_of(port.neighbours.begin(), port.neighbours.end(),
                                     [&](const auto& n) { return n.address == *route.lan_gateway; });
      if (!known) port.neighbours.push_back({*route.lan_gateway, inner_mac(1, 255)});
    }
  }
  return config;
}

std::vector<dataplane::MacAddress> HarnessConfig::self_macs() const {
  std::vector<dataplane::MacAddress> macs;
  macs.reserve(self->ports.size());
  for (std::size_t i = 0; i < self->ports.size(); ++i) {
    macs.push_back(inner_mac(1, static_cast<std::uint8_t>(i)));
  }
  return macs;
}

std::optional<HarnessConfig> load_harness(const std::string& path,
                                          std::vector<dataplane::ConfigError>& errors) {
  auto end = dataplane::load_config(path, errors, "harness");
  if (!end) return {};
  dataplane::check_secrets(*end, errors);
  HarnessConfig out;
  out.end = std::move(*end);
  ConfigIssues issues(path, errors);
  sort_ports(out, issues);
  read_table(path, out, issues, errors);
  if (!errors.empty()) return {};
  return out;
}

}  // namespace testpmd
