// [[service]]: what the reliable streams of a session are joined to.
#include "dataplane/config_service.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <numeric>

#include <fmt/core.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "dataplane/address_text.h"
#include "dataplane/config_session.h"
#include "dataplane/socket_address.h"

namespace dataplane {
namespace {

constexpr std::uint64_t kMillisecondNs = 1'000'000;
constexpr std::uint64_t kDatagramIdleNs = 60'000'000'000;
constexpr std::size_t kMostPath = sizeof(sockaddr_un::sun_path) - 1;
const std::string kTarget = "tcp:HOST:PORT, unix:PATH, udp:HOST:PORT, unixgram:PATH or forward (with allow)";

struct Streams {
  std::uint16_t first;
  std::uint16_t last;
};

std::optional<std::uint16_t> stream_number(std::string_view text) {
  std::uint16_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

// "7" or "2-100". Stream 0 is control's.
std::optional<Streams> parse_streams(const std::string& text) {
  const std::size_t dash = text.find('-');
  const auto first = stream_number(std::string_view(text).substr(0, dash));
  const auto last =
      dash == std::string::npos ? first : stream_number(std::string_view(text).substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return Streams{*first, *last};
}

// "10.0.0.0/24:80" or "[2001:db8::]/32:443"; "*" for any port.
std::optional<ServiceAllow> parse_allow(std::string text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  ServiceAllow allow;
  const std::string port = text.substr(colon + 1);
  if (port != "*") {
    const auto number = stream_number(port);
    if (!number) return std::nullopt;
    allow.port = *number;
  }
  text.resize(colon);
  std::erase_if(text, [](char c) { return c == '[' || c == ']'; });
  const auto prefix = parse_prefix(text);
  if (!prefix) return std::nullopt;
  allow.prefix = *prefix;
  return allow;
}

// A name, once, when the configuration is read: a worker's session never waits for a resolver.
std::optional<session::Endpoint> resolve(const std::string& text) {
  if (const auto literal = parse_endpoint(text)) return literal;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  const auto port = stream_number(std::string_view(text).substr(colon + 1));
  if (!port) return std::nullopt;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(text.substr(0, colon).c_str(), nullptr, &hints, &found) != 0) return std::nullopt;
  std::optional<session::Endpoint> out;
  for (const addrinfo* at = found; at != nullptr && !out; at = at->ai_next)
    out = from_socket_address(at->ai_addr);
  freeaddrinfo(found);
  if (out) out->port = *port;
  return out;
}

void read_address(TableReader& r, const std::string& text, ServiceConfig& c) {
  const auto endpoint = resolve(text);
  if (endpoint) {
    c.endpoint = *endpoint;
    return;
  }
  r.issues().add(r.child("target"),
                 fmt::format("a host that resolves and a port 1 to 65535, found \"{}\"", text),
                 "for example tcp:127.0.0.1:80 or tcp:[::1]:80");
}

void read_path(TableReader& r, std::string path, ServiceConfig& c) {
  if (path.empty() || path.size() > kMostPath) {
    r.issues().add(r.child("target"),
                   fmt::format("a path of 1 to {} characters, found {}", kMostPath, path.size()),
                   "choose another path for the socket");
  }
  c.path = std::move(path);
}

void read_target(TableReader& r, ServiceConfig& c) {
  std::string text;
  r.text("target", text);
  if (text.empty()) return;
  const auto rest = [&](std::string_view word) { return text.substr(word.size()); };
  if (text.starts_with("tcp:")) {
    c.target = ServiceTarget::kTcp;
    read_address(r, rest("tcp:"), c);
  } else if (text.starts_with("udp:")) {
    c.target = ServiceTarget::kUdp;
    read_address(r, rest("udp:"), c);
  } else if (text.starts_with("unix:")) {
    c.target = ServiceTarget::kUnix;
    read_path(r, rest("unix:"), c);
  } else if (text.starts_with("unixgram:")) {
    c.target = ServiceTarget::kUnixDatagram;
    read_path(r, rest("unixgram:"), c);
  } else if (text == "forward") {
    c.target = ServiceTarget::kForward;
  } else {
    r.issues().add(r.child("target"), fmt::format("{}, found \"{}\"", kTarget, text), "correct the value");
  }
}

bool serves(const ServiceConfig& service, const SessionEntry& session) {
  if (!service.session.empty()) return service.session == session.identity.name;
  return !service.group.empty() && service.group == session.group;
}

bool share_streams(const ServiceConfig& a, const ServiceConfig& b) {
  return a.first_stream <= b.last_stream && b.first_stream <= a.last_stream;
}

void check_sessions(const GatewayConfig& config, std::size_t i, ConfigIssues& issues) {
  const ServiceConfig& service = config.services[i];
  const bool any = std::any_of(config.sessions.begin(), config.sessions.end(),
                               [&](const SessionEntry& s) { return serves(service, s); });
  if (!service.session.empty() && !any) {
    issues.add(fmt::format("service[{}].session", i),
               fmt::format("a session of this file, found \"{}\"", service.session), "name one, or add it");
  }
  for (const SessionEntry& session : config.sessions) {
    if (!serves(service, session)) continue;
    const auto routed = [&](const RouteConfig& r) { return r.session == session.identity.name; };
    if (std::none_of(config.routes.begin(), config.routes.end(), routed)) continue;
    issues.add(fmt::format("service[{}]", i),
               fmt::format("sessions without routes, but routes lead into \"{}\"", session.identity.name),
               "a session carries either IP packets or streams: use one session for each");
  }
}

// protocol.md 1.4: an unmodified peer's sessions never mix reliable and unreliable data.
void check_mixed(const GatewayConfig& config, std::size_t i, ConfigIssues& issues) {
  const ServiceConfig& service = config.services[i];
  for (const SessionEntry& session : config.sessions) {
    if (!session.policy.unmodified_peer || !serves(service, session)) continue;
    const auto other_kind = [&](const ServiceConfig& other) {
      return serves(other, session) && is_datagram(other.target) != is_datagram(service.target);
    };
    if (std::none_of(config.services.begin(), config.services.begin() + static_cast<std::ptrdiff_t>(i),
                     other_kind))
      continue;
    issues.add(fmt::format("service[{}].target", i),
               fmt::format("streams or datagrams, but not both in \"{}\", whose peer is unmodified",
                           session.identity.name),
               "use one session for each");
  }
}

// Stream ids from kDynamicFirst on share a counter, which such a session needs for streams.
void check_counters(const GatewayConfig& config, std::size_t i, ConfigIssues& issues) {
  for (const SessionEntry& session : config.sessions) {
    if (!serves(config.services[i], session) || session.policy.tx_streams < session::kDynamicFirst) continue;
    issues.add(fmt::format("service[{}]", i),
               fmt::format("a session with streams of at most {}, \"{}\" has {}", session::kDynamicFirst - 1,
                           session.identity.name, session.policy.tx_streams),
               "lower the session's key streams");
  }
}

// One stream, one service.
void check_overlap(const GatewayConfig& config, std::size_t i, ConfigIssues& issues) {
  const ServiceConfig& service = config.services[i];
  for (std::size_t j = 0; j < i; ++j) {
    const ServiceConfig& other = config.services[j];
    if (!share_streams(service, other) || is_datagram(service.target) != is_datagram(other.target)) continue;
    const auto both = [&](const SessionEntry& s) { return serves(service, s) && serves(other, s); };
    if (std::none_of(config.sessions.begin(), config.sessions.end(), both)) continue;
    issues.add(fmt::format("service[{}].streams", i),
               fmt::format("streams of its own, but service[{}] has some of them in the same session", j),
               "divide the stream ids between the two");
  }
}

}  // namespace

bool is_datagram(ServiceTarget target) {
  return target == ServiceTarget::kUdp || target == ServiceTarget::kUnixDatagram;
}

std::uint32_t service_connections(const GatewayConfig& config) {
  const auto add = [](std::uint64_t sum, const ServiceConfig& s) { return sum + s.connections; };
  const std::uint64_t all =
      std::accumulate(config.services.begin(), config.services.end(), std::uint64_t{0}, add);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(all, kMaxServiceConnections));
}

session::ShardLimits limits_with_services(const GatewayConfig& config) {
  session::ShardLimits limits = config.limits;
  if (config.services.empty()) return limits;
  const std::uint32_t streams = service_connections(config);
  limits.windows += streams;
  limits.streams_per_session = std::max(limits.streams_per_session, streams + session::kTxStreams);
  // Ids are used one after the other: each leaves a tombstone, and a session has no more than these.
  constexpr std::uint32_t kIds = 1U << 16;
  limits.tombstones += kIds;
  limits.tombstones_per_session = kIds;
  return limits;
}

ServiceConfig read_service(TableReader& r) {
  ServiceConfig c;
  c.line = r.line();
  read_name(r, c.name);
  r.text("session", c.session);
  r.text("group", c.group);
  Streams streams{c.first_stream, c.last_stream};
  r.parsed("streams", streams, parse_streams, "a stream id like \"7\" or a range like \"2-100\"");
  c.first_stream = streams.first;
  c.last_stream = streams.last;
  read_target(r, c);
  r.parsed_list("allow", c.allow, parse_allow, "a prefix and a port like 10.0.0.0/24:80, or * for any port");
  r.number("connections", c.connections, 1, kMaxServiceConnections);
  r.duration_ns("connect_timeout", c.connect_timeout_ns, 10 * kMillisecondNs);
  if (is_datagram(c.target)) c.idle_timeout_ns = kDatagramIdleNs;  // nothing else ends it
  r.duration_ns("idle_timeout", c.idle_timeout_ns, is_datagram(c.target) ? kMillisecondNs : 0);
  r.require("name", "a name of the service", "for example name = \"web\"");
  r.require("target", kTarget, "say what the streams are joined to");
  if (r.has("session") == r.has("group")) {
    r.issues().add(r.path(), "either session or group", "keep one of the two keys");
  }
  if (r.has("target") && (c.target == ServiceTarget::kForward) != r.has("allow")) {
    r.issues().add(r.child("allow"), "targets that may be asked for, with target = \"forward\" alone",
                   "for example allow = [\"10.0.0.0/24:80\"], or leave it out");
  }
  return c;
}

void check_services(const GatewayConfig& config, ConfigIssues& issues) {
  for (std::size_t i = 0; i < config.services.size(); ++i) {
    check_sessions(config, i, issues);
    check_overlap(config, i, issues);
    check_mixed(config, i, issues);
    check_counters(config, i, issues);
    for (std::size_t j = 0; j < i; ++j) {
      if (config.services[i].name != config.services[j].name) continue;
      issues.add(fmt::format("service[{}].name", i), "a name of its own", "choose another one");
    }
  }
}

void check_service_targets(const GatewayConfig& config, std::vector<ConfigError>& errors) {
  for (std::size_t i = 0; i < config.services.size(); ++i) {
    const ServiceConfig& service = config.services[i];
    if (service.path.empty()) continue;
    struct stat found {};
    const bool there = stat(service.path.c_str(), &found) == 0;
    if (there && S_ISSOCK(found.st_mode)) continue;
    const char* what = there ? "something else" : "nothing";
    errors.push_back(ConfigError{config.file, service.line, fmt::format("service[{}].target", i),
                                 fmt::format("a socket at {}, found {}", service.path, what),
                                 "start the backend first, or correct the path"});
  }
}

std::vector<std::uint16_t> services_of(const GatewayConfig& config, const SessionEntry& session) {
  std::vector<std::uint16_t> out;
  for (std::size_t i = 0; i < config.services.size(); ++i) {
    if (serves(config.services[i], session)) out.push_back(static_cast<std::uint16_t>(i));
  }
  return out;
}

}  // namespace dataplane
