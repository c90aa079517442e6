// From Phantom packets of our own sessions to inner packets: look up, choose keys, open, accept in order,
// act.
//
// Owner: the worker that owns the sessions. Nothing of a session moves before the tag of a packet verified.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// pkts: as steer left them; all are taken over. `inner` receives what was delivered, in packet order: data at
// the first plaintext byte, data_len = plaintext; meta.slot, flags, path, outer_ecn set. A COALESCED bundle
// is one entry with kFlagCoalesced in meta.flags. True when there is a bundle among them.
bool open_burst(Core& core, Packets& pkts, Packets& inner);

// Takes a bundle apart (protocol.md 3.8): each part becomes a packet of its own in `parts`, at most kMaxBurst
// at a time; `at` is where to go on, 2 at first. False when everything was taken out: the bundle was
// consumed.
bool next_parts(Core& core, rte_mbuf* bundle, std::uint32_t& at, unsigned& left, Packets& parts);

// Checks a bundle's framing; on failure it is dropped. `left` becomes the number of its parts.
bool check_bundle(Core& core, rte_mbuf* bundle, unsigned& left);

}  // namespace dataplane
