// Routing of IP packets, from a LAN port or out of a tunnel: where each goes, and what a router and tunnel
// endpoint owes it on the way (source check, TTL, ECN, MTU, MSS).
//
// Owner: one worker. Packets leave into the seal stage, a sibling's ring, a transmit buffer or to control.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// Packets out of tunnels: data at the first plaintext byte, meta.slot and outer_ecn set. All are taken over.
void forward_inner(Core& core, Packets& pkts);

// Checked IP packets: data at the IP header, meta.family and l3_bytes set, meta.slot the session they came
// out of, or kNone. All are taken over.
void route(Core& core, Packets& pkts);

// The owner's part for a packet that a sibling routed into session meta.slot.
void enter_session(Core& core, rte_mbuf* m, std::uint32_t slot);

// An IP packet that control made (data at the IP header).
void inject(Core& core, rte_mbuf* m);

}  // namespace dataplane
