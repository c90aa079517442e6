// IPv4 fragmentation by copy (RFC 791 3.2): every fragment is one contiguous packet of its own, ready to be
// sealed.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// An IPv4 packet of 65,535 bytes over the smallest legal link (68 bytes) makes 1,365 pieces; ours come from
// one mbuf, so a burst is enough for any sensible MTU, and a packet that needs more is refused.
inline constexpr unsigned kMaxFragments = kMaxBurst;

// Cuts `m` (data at an IPv4 header that check_ip accepted, DF clear) into packets of at most `mtu` bytes.
// Works for packets that are fragments already; options are copied as their copy bit says. Takes `m` over:
// consumed as transformed when it worked, dropped (and nothing in `out`) when there are no buffers or `mtu`
// is absurd. Metadata is copied, l3_bytes set.
void fragment4(Core& core, rte_mbuf* m, unsigned mtu, Packets& out);

}  // namespace dataplane
