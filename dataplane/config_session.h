// Reading one [[session]] or [[route]] table: from the configuration file, and at run time.
//
// Thread: main lcore. Only config*.cc and what turns requests into sessions include this.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/config_reader.h"

namespace dataplane {

// A name that can be part of a file's name: 1 to 32 letters, digits, '-', '_' or '.'.
void read_name(TableReader& r, std::string& out);
SessionEntry read_session(TableReader& r);
RouteConfig read_route(TableReader& r);

// `name` as meant beside the configuration file, wherever the gateway was started from.
std::string beside(const GatewayConfig& config, const std::string& name);

// load_session_text() of a table that is there already.
std::optional<SessionText> load_session(const toml::table& table, const GatewayConfig& config,
                                        std::vector<ConfigError>& errors);

}  // namespace dataplane
