// What an operator configures: plain values, checked by load_config (TOML), read by topology and control at
// start.
//
// Thread: main lcore before launch. Secrets are not in here: only the names of the files that hold them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/address.h"
#include "dataplane/service.h"
#include "session/cold.h"
#include "session/path_manager.h"
#include "session/shard.h"

namespace dataplane {

struct StaticNeighbour {
  IpAddress address;
  MacAddress mac{};
};

// One ethdev. A port may be LAN (plain IP), WAN (Phantom over UDP) or both.
struct PortConfig {
  std::string name;    // for people, e.g. "lan"
  std::string device;  // ethdev name or PCI address, e.g. "net_af_packet0" or "0000:3b:00.0"
  bool lan = false;
  bool wan = false;
  std::vector<IpPrefix> addresses;    // ours, with the connected prefix
  std::optional<IpAddress> gateway4;  // next hop for everything that is not connected
  std::optional<IpAddress> gateway6;
  std::vector<StaticNeighbour> neighbours;
  std::uint16_t mtu = 1500;  // of the IP packet on this link
  std::uint16_t rx_descriptors = 1024;
  std::uint16_t tx_descriptors = 1024;
  bool promiscuous = false;
};

// A prefix behind a LAN gateway, or one that goes into a session.
struct RouteConfig {
  IpPrefix prefix;
  std::string session;                   // into this session, or
  std::optional<IpAddress> lan_gateway;  // to this next hop on a LAN port
};

// What becomes of a session whose peer was silent for its idle timeout.
enum class OnIdle : std::uint8_t { kClose, kRemove };

struct SessionEntry {
  session::SessionIdentity identity;  // name, id, role, suite, variant
  std::string secret_file;            // 32 bytes raw, or 64 hex digits
  session::SessionPolicy policy;
  session::Endpoint local;  // family, address and UDP port we send from and listen on
  session::Endpoint peer;   // family 0: unknown until the store or the peer tells
  // Slot 0 is local and peer from above; these are 1, 2, 3. Weights and all else about paths: `paths`.
  std::vector<session::PathEnds> more_paths;
  session::PathPolicy paths;
  bool prefer_stored_peer = false;  // the last validated address first, the configured one as a candidate
  OnIdle on_idle = OnIdle::kClose;
  std::string group;  // by which services name several sessions
  bool mss_clamp = false;
  bool source_check = true;  // inner source must route back into the same session
  int line = 0;              // where it stands in the file, for messages
};

struct CoreConfig {
  std::uint16_t workers = 1;  // lcores beside the main one
  bool idle_backoff = false;  // pause, then short sleeps when no packet comes
  std::uint32_t idle_sleep_us = 50;
  std::uint16_t burst = 32;  // 1..64
};

// protocol.md 2.2, INITIAL_STREAM_WINDOW: what a peer may send without being told.
inline constexpr std::uint32_t kLeastStreamWindow = 65'536;

struct PoolConfig {
  std::uint32_t packets = 16384;  // mbufs per pool
  std::uint16_t data_room_bytes = 2176;
  std::uint16_t handoff_ring = 1024;     // per pair of workers, power of two
  std::uint16_t punt_ring = 2048;        // per worker to control
  std::uint16_t mailbox_ring = 1024;     // per direction
  std::uint16_t neighbour_packets = 16;  // held for one unresolved neighbour
  // Between a worker and the service thread, one direction of a connection; power of two.
  std::uint32_t service_pipe_bytes = 65'536;
  // Of a worker, for reliable streams: segments to send (3 KiB each) and blocks received (1.5 KiB); memory
  // that was never used is not touched. What one stream may have under way in one direction.
  std::uint32_t stream_segments = 65'536;
  std::uint32_t stream_blocks = 65'536;
  std::uint32_t stream_window_bytes = 1U << 22;
};

// The local socket by which a running gateway is asked and told (rpc_server.h).
struct ControlConfig {
  std::string socket;                     // empty: none
  std::vector<std::uint32_t> allow_uids;  // beside root and our own user
};

struct GatewayConfig {
  std::string file;              // where it was read from, for messages
  std::string name = "phantom";  // identity of this gateway in the state store
  std::string state_dir;         // state store
  std::string run_dir;           // folder of EAL's runtime data; empty: EAL's choice
  ControlConfig control;
  std::vector<std::string> eal_args;  // as after --eal
  CoreConfig cores;
  PoolConfig pools;
  session::ShardLimits limits;  // per worker
  std::vector<PortConfig> ports;
  std::vector<SessionEntry> sessions;
  std::vector<RouteConfig> routes;
  std::vector<ServiceConfig> services;
  std::string log_level = "info";
  std::uint32_t stats_period_s = 0;                    // 0: only at the end
  std::uint64_t replace_timeout_ns = 600'000'000'000;  // a replacement waits so long for its peer
  bool icmp_errors = true;                             // answer with "too big" and "time exceeded"
};

struct ConfigError {
  std::string file;
  int line = 0;       // 0: the file as a whole
  std::string field;  // e.g. session[2].secret_file
  std::string expected;
  std::string advice;
  [[nodiscard]] std::string text() const;
};

// Reads and checks a TOML file completely: unknown keys are errors; all errors are reported, not just the
// first. Returns nothing when there is at least one error. `foreign`: a table of the same file that is
// another program's, passed over.
std::optional<GatewayConfig> load_config(const std::string& path, std::vector<ConfigError>& errors,
                                         std::string_view foreign = {});

// One session by itself, with the routes that go into it.
struct SessionText {
  SessionEntry entry;
  std::vector<RouteConfig> routes;
};

// Reads the keys of a [[session]] table, and `routes`, a list of prefixes; checks them against ports and
// limits of `config`, and that the secret can be read. Names and ids that are in use already are the
// caller's to find. Errors name fields as those of the first session of a file, e.g. session[0].local.
std::optional<SessionText> load_session_text(const std::string& text, const GatewayConfig& config,
                                             std::vector<ConfigError>& errors);

// Reads the secrets of all sessions and throws them away again: each readable, and no two sessions with one
// secret and role, which would use the same keys (protocol.md 6). For --check and before anything is started.
void check_secrets(const GatewayConfig& config, std::vector<ConfigError>& errors);

// Targets that must be there before anything is started: sockets at paths.
void check_service_targets(const GatewayConfig& config, std::vector<ConfigError>& errors);

// Services that the streams of this session may reach, as indices of `config.services`; none: a session of
// IP packets.
std::vector<std::uint16_t> services_of(const GatewayConfig& config, const SessionEntry& session);

// Reads a secret: a regular file owned by us or root that no one else can read, 32 raw bytes or 64 hex
// digits.
std::optional<ConfigError> load_secret(const SessionEntry& entry, crypto::TrafficSecret& out);

}  // namespace dataplane
