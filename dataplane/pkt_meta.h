// What the pipeline knows about a packet: the private area of its mbuf, one cache line.
//
// Writer: the core that holds the packet. Valid from rx until tx or drop; survives hand-off to a sibling or
// control.
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "dataplane/message.h"

namespace dataplane {

struct alignas(64) PktMeta {
  std::uint32_t slot;        // session slot in its owner's shard, session::kNone before look-up
  std::uint32_t generation;  // of that slot when the packet was punted to control
  std::uint32_t sequence;
  std::uint32_t adjacency;  // next hop index, or session::kNone
  std::uint32_t source;     // source_tag of the outer addresses of a Phantom packet, 0: not known
  std::uint16_t stream;
  std::uint16_t flags;
  std::uint16_t mtu;           // for kTooBig
  std::uint16_t l3_bytes;      // length of the IP packet at the data pointer
  std::uint16_t outer_offset;  // of a Phantom packet: its outer IP header, from the start of the buffer, and
  std::uint16_t local_index;   // the local endpoint it came to (LocalEndpoints)
  std::uint8_t epoch;
  std::uint8_t path;
  std::uint8_t port;       // gateway port it came in on or leaves by
  std::uint8_t branch;     // session::EpochBranch
  std::uint8_t outer_ecn;  // DSCP/ECN byte of the outer header on receive, of the inner on send
  std::uint8_t family;     // 4 or 6 of the IP packet at the data pointer
  PuntReason punt;
  session::DropReason drop;
  std::uint8_t handoff;  // HandoffKind: where the owner continues
  std::uint8_t reserved[19];
};
static_assert(sizeof(PktMeta) == 64);

enum HandoffKind : std::uint8_t { kHandoffOpen, kHandoffSeal };

inline PktMeta& meta(rte_mbuf* m) {
  return *static_cast<PktMeta*>(rte_mbuf_to_priv(m));
}

}  // namespace dataplane
