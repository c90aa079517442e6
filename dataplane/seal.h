// Sealing for our own sessions: numbers granted in order, headers and nonces written in one pass, sealed in
// the next, then on their way to the peer.
//
// Owner: the worker that owns the sessions. Packets gather until a burst is full or the loop ends.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// Adds a packet: data at the plaintext (an inner IP packet, or a control payload), at least kSealHeadroom
// bytes in front of it and kSealTailroom behind. meta.outer_ecn is the DSCP/ECN byte of the outer header.
void seal_push(Core& core, const SealEntry& entry);

// Seals and sends one packet at once to an address of its own, under path id entry.path. Only IPv4
// identification of `outer` changes; nothing of it is used after the call.
void seal_over(Core& core, const SealEntry& entry, session::OuterTemplate& outer);

// Seals and sends everything that gathered. Called at the end of a loop and when a burst is full.
void seal_flush(Core& core);

// Ethernet, IPv6, UDP, Phantom header and length field.
inline constexpr unsigned kSealHeadroom = kEtherBytes + 48 + session::kPayloadOffset;
// Tag and the empty extensions' length.
inline constexpr unsigned kSealTailroom = session::kTagBytes + session::kLengthBytes;

}  // namespace dataplane
