// Stream services as they are shown: what the service thread and the workers count, put together.
//
// Thread: any; counters are read without stopping their writers.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "session/streams.h"

namespace dataplane {

struct Topology;
struct ServiceConfig;

struct ServiceView {
  std::string name;
  std::string sessions;  // of a session's name, or of a group's
  std::string target;
  std::uint64_t opened = 0;     // connections begun by streams
  std::uint64_t connected = 0;  // that reached their backend
  std::uint64_t refused = 0;    // streams without room for a connection
  std::uint64_t open = 0;       // now
  std::uint64_t to_backend_bytes = 0, from_backend_bytes = 0;
  std::uint64_t datagrams_in = 0, datagrams_out = 0, datagrams_dropped = 0;
  std::vector<std::pair<const char*, std::uint64_t>> ended;  // by reason
};

std::vector<ServiceView> view_services(const Topology& topology);
// Streams and messages of service sessions on ids that no service has.
std::uint64_t without_service(const Topology& topology);
std::string target_text(const ServiceConfig& service);

using NamedCounters = std::vector<std::pair<const char*, std::uint64_t>>;
NamedCounters view_streams(const session::StreamCounters& counters);

}  // namespace dataplane
