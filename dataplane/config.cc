#include "dataplane/config.h"

#include <array>
#include <filesystem>

#include <fmt/core.h>
#include <sys/un.h>

#include "dataplane/address_text.h"
#include "dataplane/config_check.h"
#include "dataplane/config_reader.h"
#include "dataplane/config_service.h"
#include "dataplane/config_session.h"
#include "dataplane/stats.h"

namespace dataplane {
namespace {

constexpr std::uint64_t kMillisecondNs = 1'000'000;
// Hop::shard() has 6 bits and the EAL of Debian 128 lcores.
constexpr std::uint64_t kMaxWorkers = 64;
// A route names a session by its slot: Hop::value() has 22 bits (fib.h).
constexpr std::uint64_t kMaxSessions = 1U << 22;
// RFC 791 3.2 and RFC 8200 5: below these a link cannot carry the protocol; above, ethdevs end.
constexpr std::uint64_t kLeastMtu = 576;
constexpr std::uint64_t kMostMtu = 9600;
constexpr std::uint64_t kMaxRing = 1U << 15;
// Above it is the kernel's "no user".
constexpr std::uint64_t kMostUid = 0xfffffffe;
constexpr std::size_t kMostSocketPath = sizeof(sockaddr_un::sun_path) - 1;

constexpr std::array<Choice, 7> kLogLevels{
    {{"trace", 0}, {"debug", 1}, {"info", 2}, {"warn", 3}, {"error", 4}, {"critical", 5}, {"off", 6}}};
enum PortRole { kLan = 1, kWan = 2 };
constexpr std::array<Choice, 3> kPortRoles{{{"lan", kLan}, {"wan", kWan}, {"both", kLan | kWan}}};

void read_gateway(TableReader& r, GatewayConfig& c) {
  read_name(r, c.name);
  r.text("state_dir", c.state_dir);
  r.require("state_dir", "the folder of the state store",
            "name a folder on local disk, for example state_dir = \"/var/lib/phantom\"");
  r.text("run_dir", c.run_dir);
  if (r.choice("log_level", kLogLevels)) r.text("log_level", c.log_level);
  std::uint64_t period_ns = 0;
  r.duration_ns("stats_period", period_ns, 1000 * kMillisecondNs);
  c.stats_period_s = static_cast<std::uint32_t>(period_ns / (1000 * kMillisecondNs));
  r.flag("icmp_errors", c.icmp_errors);
  r.duration_ns("replace_timeout", c.replace_timeout_ns, 100 * kMillisecondNs);
}

void read_cores(TableReader& r, CoreConfig& c) {
  r.number("workers", c.workers, 1, kMaxWorkers);
  r.flag("idle_backoff", c.idle_backoff);
  r.number("idle_sleep_us", c.idle_sleep_us, 1, 10'000);
  r.number("burst", c.burst, 1, 64);
}

void read_pools(TableReader& r, PoolConfig& c) {
  r.number("packets", c.packets, 64, 1U << 26);
  r.number("data_room_bytes", c.data_room_bytes, 1024, 16'384);
  r.power_of_two("handoff_ring", c.handoff_ring, 64, kMaxRing);
  r.power_of_two("punt_ring", c.punt_ring, 64, kMaxRing);
  r.power_of_two("mailbox_ring", c.mailbox_ring, 64, kMaxRing);
  r.number("neighbour_packets", c.neighbour_packets, 1, 64);
  r.power_of_two("service_pipe_bytes", c.service_pipe_bytes, 4096, 1U << 24);
  r.number("stream_segments", c.stream_segments, 64, 1U << 24);
  r.number("stream_blocks", c.stream_blocks, 64, 1U << 24);
  r.number("stream_window_bytes", c.stream_window_bytes, kLeastStreamWindow, 1U << 30);
}

void read_limits(TableReader& r, session::ShardLimits& c) {
  r.number("sessions", c.sessions, 1, kMaxSessions);
  r.number("keys", c.keys, 8, 1U << 28);
  r.number("windows", c.windows, 1, 1U << 28);
  r.power_of_two("window_bits", c.window_bits, 1024, 65'536);
  r.number("streams_per_session", c.streams_per_session, 1, 65'535);
  r.number("older_blocks", c.older_blocks, 1, kMaxSessions);
  r.number("path_sets", c.path_sets, 1, session::kNoPathSet - 1);
  r.number("previous_pkts", c.previous_pkts, 1, 0xffffffffU);
  r.number("ahead_tokens", c.ahead_tokens, 1, 65'536);
  r.number("ahead_per_second", c.ahead_per_second, 1, 1'000'000);
}

void read_neighbour(TableReader& r, std::vector<StaticNeighbour>& out) {
  StaticNeighbour neighbour;
  r.parsed("address", neighbour.address, parse_address, "an IP address");
  r.parsed("mac", neighbour.mac, parse_mac, "a MAC address like 02:00:00:00:00:01");
  r.require("address", "the neighbour's IP address", "add it");
  r.require("mac", "the neighbour's MAC address", "add it");
  out.push_back(neighbour);
}

PortConfig read_port(TableReader& r) {
  PortConfig c;
  read_name(r, c.name);
  r.text("device", c.device);
  if (const auto role = r.choice("role", kPortRoles)) {
    c.lan = (*role & kLan) != 0;
    c.wan = (*role & kWan) != 0;
  }
  r.parsed_list("addresses", c.addresses, parse_prefix,
                "an address with prefix like 10.0.1.1/24 or fd00::1/64");
  r.parsed("gateway4", c.gateway4, parse_address, "an IPv4 address");
  r.parsed("gateway6", c.gateway6, parse_address, "an IPv6 address");
  r.number("mtu", c.mtu, kLeastMtu, kMostMtu);
  r.number("rx_descriptors", c.rx_descriptors, 32, 8192);
  r.number("tx_descriptors", c.tx_descriptors, 32, 8192);
  r.flag("promiscuous", c.promiscuous);
  r.tables("neighbours", [&](TableReader& n) { read_neighbour(n, c.neighbours); });
  r.require("name", "a name of the port", "for example name = \"lan\"");
  r.require("device", "an ethdev", "a PCI address like 0000:3b:00.0 or a virtual device's name");
  r.require("role", "\"lan\", \"wan\" or \"both\"", "say on which side of the tunnel the port is");
  r.require("addresses", "at least one address", "give the port an address, for example [\"10.0.1.1/24\"]");
  return c;
}

// Root and the gateway's own user may always.
void read_control(TableReader& r, ControlConfig& c) {
  r.text("socket", c.socket);
  r.numbers("allow_uids", c.allow_uids, 0, kMostUid);
}

void read_file(TableReader& r, GatewayConfig& c) {
  r.require("gateway", "a section [gateway]", "add it, with state_dir in it");
  r.table("gateway", [&](TableReader& t) { read_gateway(t, c); });
  r.table("cores", [&](TableReader& t) { read_cores(t, c.cores); });
  r.table("pools", [&](TableReader& t) { read_pools(t, c.pools); });
  r.table("limits", [&](TableReader& t) { read_limits(t, c.limits); });
  r.table("control", [&](TableReader& t) { read_control(t, c.control); });
  r.table("eal", [&](TableReader& t) { t.texts("args", c.eal_args); });
  r.tables("port", [&](TableReader& t) { c.ports.push_back(read_port(t)); });
  r.tables("session", [&](TableReader& t) { c.sessions.push_back(read_session(t)); });
  r.tables("route", [&](TableReader& t) { c.routes.push_back(read_route(t)); });
  r.tables("service", [&](TableReader& t) { c.services.push_back(read_service(t)); });
  r.finish();
}

// Relative names of files are meant beside the configuration, wherever the gateway is started from.
void beside_file(GatewayConfig& config, ConfigIssues& issues) {
  config.state_dir = beside(config, config.state_dir);
  for (SessionEntry& session : config.sessions) session.secret_file = beside(config, session.secret_file);
  if (config.control.socket.empty()) return;
  const std::filesystem::path folder(config.run_dir.empty() ? beside(config, "") : config.run_dir);
  config.control.socket = (std::filesystem::absolute(folder) / config.control.socket).lexically_normal();
  if (config.control.socket.size() <= kMostSocketPath) return;
  issues.add("control.socket",
             fmt::format("a path of at most {} characters, found \"{}\" with {}", kMostSocketPath,
                         config.control.socket, config.control.socket.size()),
             "choose a shorter path");
}

}  // namespace

std::string ConfigError::text() const {
  std::string where = line > 0 ? fmt::format("{}:{}", file, line) : file;
  if (!field.empty()) where += ": " + field;
  return fmt::format("{}: expected {}; {}", where, expected, advice);
}

std::optional<GatewayConfig> load_config(const std::string& path, std::vector<ConfigError>& errors,
                                         std::string_view foreign) {
  const std::size_t before = errors.size();
  ConfigIssues issues(path, errors);
  GatewayConfig config;
  config.file = path;
  try {
    toml::table file = toml::parse_file(path);
    if (!foreign.empty()) file.erase(foreign);
    TableReader reader(file, "", issues);
    read_file(reader, config);
    check_config(config, issues);
    check_services(config, issues);
    if (errors.size() == before) beside_file(config, issues);
  } catch (const toml::parse_error& error) {
    issues.add_at(static_cast<int>(error.source().begin.line), "",
                  fmt::format("TOML, found: {}", error.description()),
                  "correct the syntax there, or check that the file exists and may be read");
  }
  if (errors.size() != before) return {};
  return config;
}

}  // namespace dataplane
