// The last stage: Ethernet header by next hop, transmit buffer of the port, and packets that wait for a
// neighbour.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// Sends an IP packet (data at the IP header, of `family`) to adjacency `index`, or lets it wait there.
void send_to(Core& core, rte_mbuf* m, std::uint32_t index, std::uint8_t family);
// The same for packets[0, n) of one family to one next hop.
void send_run(Core& core, rte_mbuf* const* packets, unsigned n, std::uint32_t index, std::uint8_t family);
// Sends it to an address on a port whose link it is on.
void send_to_address(Core& core, rte_mbuf* m, std::uint8_t port, std::uint8_t family,
                     const std::uint8_t* address);
// A complete frame.
void send_frame(Core& core, rte_mbuf* m, unsigned port);

// Offers every buffered packet to the devices. What they do not take stays, in order.
void tx_flush(Core& core);

// Control's word on a neighbour: sends or drops what waited for it.
void on_neighbour(Core& core, const NeighbourUpdate& update);
// Asks control again about neighbours that packets wait for, and gives up on those that never came.
void age_holds(Core& core);

// Packets in transmit buffers and holds.
[[nodiscard]] std::uint64_t held(const Core& core);
// Frees and counts everything that is still held, as kDraining.
void discard_held(Core& core);

}  // namespace dataplane
