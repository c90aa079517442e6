// Checks that need more than one field: names, addresses, routes, limits. Only config*.cc include this.
#pragma once

#include "dataplane/config_reader.h"

namespace dataplane {

// Reports everything that does not fit together.
void check_config(const GatewayConfig& config, ConfigIssues& issues);

}  // namespace dataplane
