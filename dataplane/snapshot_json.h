// A snapshot and its parts as JSON objects: for the summary file and the control socket. Keys are the names
// of the fields of snapshot.h and control.h.
//
// Thread: any; pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "dataplane/event_log.h"
#include "dataplane/snapshot.h"

namespace dataplane {

using Json = nlohmann::ordered_json;  // for what we write: keys stay in the order a reader expects

Json snapshot_json(const Snapshot& snapshot);
Json service_json(const ServiceView& v);
Json session_json(const SessionView& session);
// An array, one object a path slot.
Json paths_json(const SessionView& session);
Json event_json(const Event& event);

}  // namespace dataplane
