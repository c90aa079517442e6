// Whose Phantom packets are these: bounds and version checked, then mine (kept) or a sibling's (handed off).
//
// By session id, never by address: after an address change the NIC may deliver to the wrong core.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// pkts: data at the Phantom header. On return pkts holds, in order, what this worker owns, with framing
// checked: header, payload and extensions lie inside the packet.
void steer(Core& core, Packets& pkts);

}  // namespace dataplane
