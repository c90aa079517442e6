// What tests of several paths and moving peers need beside a Site: frames over any addresses, plans, and what
// was sent as values.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/support/site.h"

namespace support {

// Ours, the peer's.
using Ends = std::pair<session::Endpoint, session::Endpoint>;

// Those of one kind.
std::vector<dataplane::Message> only(const std::vector<dataplane::Message>& messages,
                                     dataplane::MessageKind kind);
// Remote and local endpoint of a hint or a challenge.
std::pair<session::Endpoint, session::Endpoint> origin_of(Gateway& gw, const dataplane::Message& message);

// A WAN frame around `phantom`, from one endpoint to another.
Bytes frame_from(const Site& site, const session::Endpoint& from, const session::Endpoint& to,
                 const Bytes& phantom);
// An outward UDP packet of flow `i`.
Bytes flow(const Site& site, unsigned i);
// Moves one sent frame to the other gateway's WAN port.
void bring(rte_mbuf* m, Gateway& to);

session::OuterTemplate template_for(const Site& site, const Ends& ends);
// Slot i over ends[i] with path id i; all streams over slot 0, no copies.
session::PathPlan plan_for(const Site& site, const std::vector<Ends>& ends);
// Through the mailbox; waits for the answer.
void set_paths(Site& site, session::PathPlan& plan);
// Tells every worker.
void listen(Gateway& gw, std::uint16_t index, const session::Endpoint& endpoint, bool on);

struct SentPacket {
  session::Endpoint from;
  session::Endpoint to;
  std::array<std::uint8_t, session::kSessionIdBytes> id{};
  std::uint16_t stream = 0;
  std::uint32_t sequence = 0;
  std::uint16_t flags = 0;
  std::uint8_t epoch = 0;
  std::uint8_t path = 0;
};
SentPacket read_sent(const Bytes& frame);

}  // namespace support
