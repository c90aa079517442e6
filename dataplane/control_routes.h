// Fills the FIB from the configuration, before launch.
//
// Later entries replace earlier ones of the same prefix: connected prefixes and our addresses; the default
// route of a LAN port's gateway (ports that are WAN too lead no plain traffic to their gateway, which is for
// Phantom packets); then the routes of the file.
#pragma once

#include "dataplane/neighbour.h"
#include "dataplane/session_manager.h"

namespace dataplane {

// Throws std::runtime_error with advice.
void fill_routes(Topology& topology, const SessionManager& sessions, Neighbours& neighbours,
                 std::uint64_t now_ns);

}  // namespace dataplane
