// Telemetry v2 commands /phantom/*, read with dpdk-telemetry.py -f PREFIX.
//
// Callbacks run on telemetry's thread. Counters are read without stopping anyone; sessions, neighbours and
// rekey take control's lock. One Telemetry at a time; after its destruction commands answer with an error.
#pragma once

#include <functional>

#include "dataplane/control.h"
#include "dataplane/topology.h"

namespace dataplane {

class Telemetry {
 public:
  // All outlive this object. `seconds` tells the time since launch and may be called on any thread.
  Telemetry(const Topology& topology, Control& control, std::function<double()> seconds);
  ~Telemetry();
  Telemetry(const Telemetry&) = delete;
  Telemetry& operator=(const Telemetry&) = delete;
};

}  // namespace dataplane
