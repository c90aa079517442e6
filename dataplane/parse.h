// First look at received frames: Ethernet, IP and UDP checks in one pass, then one list a kind.
//
// Owner: the worker that received them. Packets that are neither Phantom nor IP to forward leave here: to
// control or dropped.
//
// Checksums. The IPv4 header's is verified, by the device where it says so. UDP's is verified by the device,
// or in software for IPv6 when it is not zero (RFC 8200 8.1; a zero is accepted for our own endpoint, RFC
// 6935 5). For IPv4 it is not verified in software: the AEAD tag covers every byte that is used of the
// packet, and RFC 768 makes it optional.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

struct Parsed {
  Packets phantom;  // data at the Phantom header, length of the UDP payload; meta.outer_ecn is set
  Packets ip;       // data at the IP header, padding removed; meta.family and l3_bytes are set
};

// Sorts in[0, count) of one port. Every packet is taken over.
void parse_burst(Core& core, const CorePort& port, Packets& in, Parsed& out);

// Puts the Ethernet header back in front of an IP packet that parse_burst moved away from it.
void restore_ethernet(rte_mbuf* m);

}  // namespace dataplane
