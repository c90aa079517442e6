// Sealing for our own sessions: numbers granted in order, headers and nonces written in one pass, sealed in
// the next, then on their way to the peer.
//
// Owner: the worker that owns the sessions. Packets gather until a burst is full or the loop ends.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// Where a packet leaves and under which path id.
struct Way {
  session::OuterTemplate* outer;
  session::PathTraffic* traffic;  // null: the session's own counters say it all
  std::uint8_t path;
};
// The way of what carries path id `path`; when no way has it any more, that of the stream.
[[nodiscard]] Way way_over_path(Core& core, std::uint32_t slot, std::uint16_t stream, std::uint8_t path);
// A sealed packet, data at its Phantom header: outer headers, then on its way. DSCP and ECN are 0.
void send_packet(Core& core, rte_mbuf* m, session::OuterTemplate& outer);

// Adds a packet: data at the plaintext (an inner IP packet, or a control payload), at least kSealHeadroom
// bytes in front of it and kSealTailroom behind. meta.outer_ecn is the DSCP/ECN byte of the outer header.
void seal_push(Core& core, const SealEntry& entry);

// Seals and sends one packet at once to an address of its own, under path id entry.path. Only IPv4
// identification of `outer` changes; nothing of it is used after the call.
void seal_over(Core& core, const SealEntry& entry, session::OuterTemplate& outer);

// Seals and sends everything that gathered. Called at the end of a loop and when a burst is full.
void seal_flush(Core& core);

inline void seal_push(Core& core, const SealEntry& entry) {
  if (core.seal_count == kMaxBurst) [[unlikely]]
    seal_flush(core);
  core.seal[core.seal_count++] = entry;
}

// Ethernet, IPv6, UDP, Phantom header and length field.
inline constexpr unsigned kSealHeadroom = kEtherBytes + 48 + session::kPayloadOffset;
// Tag and the empty extensions' length.
inline constexpr unsigned kSealTailroom = session::kTagBytes + session::kLengthBytes;

}  // namespace dataplane
