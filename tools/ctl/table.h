// Answers of a gateway as tables for people: one header line, aligned columns.
//
// Pure; any thread.
#pragma once

#include <string>

#include "tools/ctl/client.h"

namespace ctl {

std::string sessions_table(const Json& sessions);
// One session, a line a value.
std::string session_text(const Json& session);
// `with_session`: of several sessions, named in the first column.
std::string paths_table(const Json& paths, bool with_session);
std::string routes_table(const Json& routes);
std::string services_table(const Json& services);
std::string stats_table(const Json& stats);
std::string methods_table(const Json& methods);
// One line, ended.
std::string event_line(const Json& event);

}  // namespace ctl
