#include "dataplane/config_session.h"

#include <array>
#include <cctype>
#include <filesystem>

#include <fmt/core.h>

#include "dataplane/address_text.h"
#include "dataplane/config_check.h"

namespace dataplane {
namespace {

constexpr std::uint64_t kMillisecondNs = 1'000'000;
// Probes go out from a quarter of the idle timeout on, the first two 200 ms apart.
constexpr std::uint64_t kLeastIdleNs = 1000 * kMillisecondNs;

constexpr std::array<Choice, 2> kSessionRoles{{{"initiator", static_cast<int>(session::Role::kInitiator)},
                                               {"responder", static_cast<int>(session::Role::kResponder)}}};
constexpr std::array<Choice, 2> kSuites{
    {{"aes-256-gcm", static_cast<int>(crypto::Suite::kAes256Gcm)},
     {"chacha20-poly1305", static_cast<int>(crypto::Suite::kChaCha20Poly1305)}}};
constexpr std::array<Choice, 2> kKdfs{{{"default", static_cast<int>(crypto::KdfVariant::kDefault)},
                                       {"fips", static_cast<int>(crypto::KdfVariant::kFips)}}};
constexpr std::array<Choice, 2> kMigrations{
    {{"validated", static_cast<int>(session::MigrationPolicy::kValidated)},
     {"off", static_cast<int>(session::MigrationPolicy::kOff)}}};
constexpr std::array<Choice, 3> kSchedulers{
    {{"lowest-latency", static_cast<int>(session::PathScheduler::kLowestLatency)},
     {"weighted", static_cast<int>(session::PathScheduler::kWeighted)},
     {"duplicate", static_cast<int>(session::PathScheduler::kDuplicate)}}};
// Enough for megabits per second of any link; only the ratio counts.
constexpr std::uint64_t kMostWeight = 1'000'000;
const std::string kEndpoint = "an endpoint like 192.0.2.1:4500 or [2001:db8::1]:4500";

// Used for files of EAL and in messages, so: short and plain.
bool plain_name(const std::string& name) {
  if (name.empty() || name.size() > 32) return false;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_' && c != '.') return false;
  }
  return name.front() != '.' && name.front() != '-';
}

void read_id(TableReader& r, session::SessionIdentity& identity) {
  std::string hex;
  r.text("id", hex);
  if (!hex.empty() && !parse_hex(hex, identity.id.data(), identity.id.size())) {
    r.issues().add(r.child("id"), fmt::format("64 hex digits, found {} characters", hex.size()),
                   "make one with: openssl rand -hex 32");
  }
}

void read_rekey(TableReader& r, session::SessionPolicy& policy) {
  r.number("soft_limit", policy.rekey_soft_limit, 1, session::REKEY_SOFT_LIMIT);
  r.number("watermark", policy.seq_rekey_watermark, 1, session::SEQ_REKEY_WATERMARK);
  r.duration_ns("interval", policy.rekey_interval_ns, 10 * kMillisecondNs);
  r.duration_ns("grace", policy.grace_ns, 10 * kMillisecondNs);
}

constexpr std::array<Choice, 2> kOnIdles{
    {{"close", static_cast<int>(OnIdle::kClose)}, {"remove", static_cast<int>(OnIdle::kRemove)}}};

void read_life(TableReader& r, SessionEntry& c) {
  r.duration_ns("idle_timeout", c.policy.idle_timeout_ns, 0);
  if (c.policy.idle_timeout_ns != 0 && c.policy.idle_timeout_ns < kLeastIdleNs) {
    r.issues().add(r.child("idle_timeout"), "at least 1 s, or \"0s\" for never", "choose a longer time");
  }
  if (const auto on_idle = r.choice("on_idle", kOnIdles)) c.on_idle = static_cast<OnIdle>(*on_idle);
  r.duration_ns("budget_warning", c.policy.budget_warning_ns, 0);
}

void read_policy(TableReader& r, session::SessionPolicy& policy) {
  r.table("rekey", [&](TableReader& t) { read_rekey(t, policy); });
  r.number("sequence_block", policy.sequence_block, 1024, session::kMaxSequenceBlock);
  r.flag("unmodified_peer", policy.unmodified_peer);
  r.flag("keep_previous_only", policy.keep_previous_only);
  r.number("restart_reserve", policy.restart_reserve, 0, session::MAX_REKEY_CATCHUP - 1);
  r.number("streams", policy.tx_streams, 1, session::kTxStreams - 1);
}

// A further way, for the next slot. Ways beyond the last slot are read for their mistakes and reported by
// check_config.
void read_path(TableReader& r, SessionEntry& c) {
  session::PathEnds ends;
  std::uint32_t weight = 0;
  r.parsed("local", ends.local, parse_endpoint, kEndpoint);
  r.parsed("peer", ends.remote, parse_endpoint, kEndpoint);
  r.number("weight", weight, 1, kMostWeight);
  r.require("local", kEndpoint, "an address of a WAN port of ours and a UDP port");
  c.more_paths.push_back(ends);
  if (c.more_paths.size() < session::kTxPaths) c.paths.weight[c.more_paths.size()] = weight;
}

void read_paths(TableReader& r, SessionEntry& c) {
  session::PathPolicy& policy = c.paths;
  if (const auto migration = r.choice("migration", kMigrations)) {
    policy.migration = static_cast<session::MigrationPolicy>(*migration);
  }
  if (const auto scheduler = r.choice("scheduler", kSchedulers)) {
    policy.scheduler = static_cast<session::PathScheduler>(*scheduler);
  }
  r.duration_ns("probe_interval", policy.probe_interval_ns, 10 * kMillisecondNs);
  r.duration_ns("fallback", policy.fallback_ns, 100 * kMillisecondNs);
  r.flag("prefer_stored_peer", c.prefer_stored_peer);
  r.number("weight", policy.weight[0], 1, kMostWeight);
  r.tables("path", [&](TableReader& t) { read_path(t, c); });
  policy.unmodified_peer = c.policy.unmodified_peer;
  policy.tx_streams = c.policy.tx_streams;
}

// Routes were read as one list of the session; the checks know each by itself.
void name_routes(std::vector<ConfigError>& errors, std::size_t first) {
  for (std::size_t i = first; i < errors.size(); ++i) {
    std::string& field = errors[i].field;
    const std::size_t end = field.find(']');
    if (field.starts_with("route[")) field = "session[0].routes" + field.substr(5, end - 4);
  }
}

// The parts of a configuration that a session and its routes depend on.
GatewayConfig surroundings(const GatewayConfig& config, const SessionText& session) {
  GatewayConfig out;
  out.cores = config.cores;
  out.pools = config.pools;
  out.limits = config.limits;
  out.ports = config.ports;
  out.sessions = {session.entry};
  out.routes = session.routes;
  return out;
}

void read_with_routes(TableReader& r, SessionText& out) {
  out.entry = read_session(r);
  std::vector<IpPrefix> prefixes;
  r.parsed_list("routes", prefixes, parse_prefix, "a prefix like 10.0.2.0/24 or fd00:2::/64");
  for (const IpPrefix& prefix : prefixes) {
    out.routes.push_back(RouteConfig{prefix, out.entry.identity.name, std::nullopt});
  }
  r.finish();
}

}  // namespace

void read_name(TableReader& r, std::string& out) {
  r.text("name", out);
  if (r.has("name") && !out.empty() && !plain_name(out)) {
    r.issues().add(r.child("name"),
                   fmt::format("1 to 32 letters, digits, '-', '_' or '.', found \"{}\"", out),
                   "choose another name");
  }
}

SessionEntry read_session(TableReader& r) {
  SessionEntry c;
  c.line = r.line();
  read_name(r, c.identity.name);
  read_id(r, c.identity);
  r.text("secret_file", c.secret_file);
  if (const auto role = r.choice("role", kSessionRoles)) c.identity.role = static_cast<session::Role>(*role);
  if (const auto suite = r.choice("suite", kSuites)) c.identity.suite = static_cast<crypto::Suite>(*suite);
  if (const auto kdf = r.choice("kdf", kKdfs)) c.identity.variant = static_cast<crypto::KdfVariant>(*kdf);
  r.parsed("local", c.local, parse_endpoint, kEndpoint);
  r.parsed("peer", c.peer, parse_endpoint, kEndpoint);
  r.flag("mss_clamp", c.mss_clamp);
  r.text("group", c.group);
  r.flag("source_check", c.source_check);
  read_policy(r, c.policy);
  read_life(r, c);
  read_paths(r, c);
  r.require("name", "a name of the session", "for example name = \"branch-7\"");
  r.require("id", "64 hex digits that both ends share", "make them with: openssl rand -hex 32");
  r.require("secret_file", "the file with the shared secret",
            "make one with: openssl rand -hex 32 (mode 0600)");
  r.require("role", "\"initiator\" or \"responder\"",
            "one end of a session is initiator, the other responder");
  r.require("local", kEndpoint, "an address of a WAN port of ours and a UDP port");
  return c;
}

RouteConfig read_route(TableReader& r) {
  RouteConfig c;
  r.parsed("prefix", c.prefix, parse_prefix, "a prefix like 10.0.2.0/24 or fd00:2::/64");
  r.text("session", c.session);
  r.parsed("lan_gateway", c.lan_gateway, parse_address, "an IP address");
  r.require("prefix", "a prefix like 10.0.2.0/24", "say which destinations take this route");
  if (r.has("session") == r.has("lan_gateway")) {
    r.issues().add(r.path(), "either session or lan_gateway", "keep one of the two keys");
  }
  return c;
}

std::string beside(const GatewayConfig& config, const std::string& name) {
  return (std::filesystem::absolute(config.file).parent_path() / name).lexically_normal();
}

std::optional<SessionText> load_session(const toml::table& table, const GatewayConfig& config,
                                        std::vector<ConfigError>& errors) {
  const std::size_t before = errors.size();
  ConfigIssues issues("", errors);
  TableReader reader(table, "session[0]", issues);
  SessionText session;
  read_with_routes(reader, session);
  if (errors.size() == before) check_config(surroundings(config, session), issues);
  name_routes(errors, before);
  if (errors.size() != before) return {};
  session.entry.secret_file = beside(config, session.entry.secret_file);
  crypto::TrafficSecret secret;
  if (auto error = load_secret(session.entry, secret)) {
    errors.push_back(ConfigError{"", 0, "session[0].secret_file", error->expected, error->advice});
    return {};
  }
  return session;
}

std::optional<SessionText> load_session_text(const std::string& text, const GatewayConfig& config,
                                             std::vector<ConfigError>& errors) {
  try {
    return load_session(toml::parse(text), config, errors);
  } catch (const toml::parse_error& error) {
    errors.push_back(ConfigError{"", static_cast<int>(error.source().begin.line), "",
                                 fmt::format("TOML, found: {}", error.description()),
                                 "correct the syntax there"});
    return {};
  }
}

}  // namespace dataplane
