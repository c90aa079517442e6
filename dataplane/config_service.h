// Reading and checking [[service]] tables.
//
// Thread: main lcore. Names of hosts are resolved here, once.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/config_reader.h"
#include "dataplane/service.h"

namespace dataplane {

ServiceConfig read_service(TableReader& r);
// What needs more than one table: names, sessions, streams of two services.
void check_services(const GatewayConfig& config, ConfigIssues& issues);
[[nodiscard]] bool is_datagram(ServiceTarget target);
// Connections at once on each worker, all services together.
[[nodiscard]] std::uint32_t service_connections(const GatewayConfig& config);
// Limits of a shard as configured, with windows and tombstones for as many streams as services may have.
[[nodiscard]] session::ShardLimits limits_with_services(const GatewayConfig& config);

}  // namespace dataplane
