#include "dataplane/forward.h"

#include <cstring>

#include "dataplane/fragment.h"
#include "dataplane/ip.h"
#include "dataplane/parse.h"
#include "dataplane/seal.h"
#include "dataplane/tx.h"

namespace dataplane {
namespace {

using session::DropReason;

bool has_martian(rte_mbuf* m) {
  const std::uint8_t family = meta(m).family;
  const std::uint8_t* p = data_of(m);
  return is_martian(source_of(p, family), family) || is_martian(destination_of(p, family), family);
}

// Sources of a batch in which all packets are IPv4. False: they are not.
bool gather_sources4(const Packets& pkts, std::uint32_t* sources) {
  for (unsigned i = 0; i < pkts.count; ++i) {
    if (meta(pkts.at[i]).family != 4) [[unlikely]]
      return false;
    sources[i] = session::load_be32(source_of(data_of(pkts.at[i]), 4));
  }
  return true;
}

// Destinations of a batch in which all packets are IPv4, and none has an address that no router forwards from
// or to: nearly every batch. False: it is not so.
bool gather_destinations4(const Packets& pkts, std::uint32_t* destinations) {
  for (unsigned i = 0; i < pkts.count; ++i) {
    rte_mbuf* m = pkts.at[i];
    if (meta(m).family != 4 || has_martian(m)) [[unlikely]]
      return false;
    destinations[i] = session::load_be32(destination_of(data_of(m), 4));
  }
  return true;
}

// Routes of a whole batch, by source or destination address: one bulk look-up a family.
void look_up_mixed(const Core& core, const Packets& pkts, bool by_source, Hop* hops) {
  std::uint32_t v4[kMaxBurst];
  std::uint8_t v6[kMaxBurst][16];
  std::uint8_t at4[kMaxBurst];
  std::uint8_t at6[kMaxBurst];
  unsigned n4 = 0;
  unsigned n6 = 0;
  for (unsigned i = 0; i < pkts.count; ++i) {
    const std::uint8_t family = meta(pkts.at[i]).family;
    const std::uint8_t* p = data_of(pkts.at[i]);
    const std::uint8_t* address = by_source ? source_of(p, family) : destination_of(p, family);
    if (family == 4) {
      at4[n4] = static_cast<std::uint8_t>(i);
      v4[n4++] = session::load_be32(address);
    } else {
      at6[n6] = static_cast<std::uint8_t>(i);
      std::memcpy(v6[n6++], address, 16);
    }
  }
  Hop found[kMaxBurst];
  if (n4 != 0) core.fib.lookup4(v4, n4, found);
  for (unsigned i = 0; i < n4; ++i) hops[at4[i]] = found[i];
  if (n6 != 0) core.fib.lookup6(v6, n6, found);
  for (unsigned i = 0; i < n6; ++i) hops[at6[i]] = found[i];
}

// What came out of a tunnel must be an IP packet, and ECN of the outer header moves into it.
DropReason check_inner(Core& core, rte_mbuf* m) {
  PktMeta& md = meta(m);
  IpInfo ip;
  if (check_ip(data_of(m), m->data_len, false, ip) != IpCheck::kOk) return DropReason::kInnerHeader;
  m->data_len = ip.bytes;  // of one segment: cuts off what lies behind
  m->pkt_len = ip.bytes;
  md.family = ip.family;
  md.l3_bytes = ip.bytes;
  if (!decapsulate_ecn(data_of(m), ip.family, md.outer_ecn)) return DropReason::kInnerEcn;
  const session::SessionHot& hot = core.shard.hot(md.slot);
  if ((hot.session_flags & session::kMssClamp) != 0 && hot.outer.inner_mtu != 0) {
    clamp_mss(data_of(m), ip.family, ip.bytes, hot.outer.inner_mtu);
  }
  return DropReason::kNone;
}

// From where no route leads into the session: where it doesn't ask, or from the one that is its alias while
// one takes over from the other.
bool may_come_from(const session::SessionHot& hot, Hop hop) {
  if ((hot.session_flags & session::kSourceCheck) == 0) return true;
  // The routes of one that is closing are gone before what its peer still sends has come.
  if (hot.state == session::LifeState::kClosing) return true;
  return hot.source_alias != 0 && hop.word == hot.source_alias;
}

// Drops packets whose source does not route back into the session they came out of, where it asks for that.
void check_sources(Core& core, Packets& pkts) {
  bool wanted = false;
  for (rte_mbuf* m : pkts) {
    wanted |= (core.shard.hot(meta(m).slot).session_flags & session::kSourceCheck) != 0;
  }
  if (!wanted) return;
  Hop hops[kMaxBurst];
  std::uint32_t sources[kMaxBurst];
  if (gather_sources4(pkts, sources)) [[likely]] {
    core.fib.lookup4(sources, pkts.count, hops);
  } else {
    look_up_mixed(core, pkts, true, hops);
  }
  unsigned kept = 0;
  for (unsigned i = 0; i < pkts.count; ++i) {
    rte_mbuf* m = pkts.at[i];
    const std::uint32_t slot = meta(m).slot;
    const bool own = hops[i].word == Hop::make(HopKind::kSession, core.index, slot).word;
    if (own || may_come_from(core.shard.hot(slot), hops[i])) [[likely]] {
      pkts.at[kept++] = m;
    } else {
      core.drop(m, DropReason::kInnerSource);
    }
  }
  pkts.count = kept;
}

// Addresses no router forwards from or to.
void drop_martians(Core& core, Packets& pkts) {
  unsigned kept = 0;
  for (rte_mbuf* m : pkts) {
    if (has_martian(m)) [[unlikely]] {
      core.drop(m, DropReason::kMartian);
    } else {
      pkts.at[kept++] = m;
    }
  }
  pkts.count = kept;
}

// Meant for the gateway itself. From a LAN port control wants the frame; out of a tunnel there is none.
void punt_to_us(Core& core, rte_mbuf* m) {
  if (meta(m).slot == session::kNone) restore_ethernet(m);
  core.punt_local(m, PuntReason::kLocal);
}

// Larger than the way it has to go: cut if it may be, else control tells the sender. False: `m` is gone.
bool cut(Core& core, rte_mbuf* m, std::uint16_t mtu, Packets& pieces) {
  PktMeta& md = meta(m);
  if (md.family == 4 && !dont_fragment4(data_of(m))) {
    fragment4(core, m, mtu, pieces);
    return pieces.count != 0;
  }
  md.mtu = mtu;
  core.punt_error(m, PuntReason::kTooBig, DropReason::kInnerTooBig);
  return false;
}

bool ttl_left(Core& core, rte_mbuf* m) {
  if (ttl_of(data_of(m), meta(m).family) > 1) [[likely]]
    return true;
  core.punt_error(m, PuntReason::kTtlExceeded, DropReason::kInnerTtl);
  return false;
}

// One that fits, TTL checked.
void send_on_lan(Core& core, rte_mbuf* m, unsigned port, std::uint32_t adjacency) {
  const std::uint8_t family = meta(m).family;
  std::uint8_t* p = data_of(m);
  decrement_ttl(p, family);
  m->ol_flags = 0;
  if (adjacency != session::kNone) return send_to(core, m, adjacency, family);
  send_to_address(core, m, static_cast<std::uint8_t>(port), family, destination_of(p, family));
}

// Out of a LAN port, to a neighbour of a connected prefix or to a gateway.
void leave_lan(Core& core, rte_mbuf* m, unsigned port, std::uint32_t adjacency) {
  if (port >= core.port_count || !core.ports[port].lan) [[unlikely]] {
    core.punt_error(m, PuntReason::kNoRoute, DropReason::kNoRoute);
    return;
  }
  if (!ttl_left(core, m)) return;
  if (meta(m).l3_bytes <= core.ports[port].mtu) [[likely]]
    return send_on_lan(core, m, port, adjacency);
  Packets pieces;
  if (!cut(core, m, core.ports[port].mtu, pieces)) return;
  for (rte_mbuf* piece : pieces) send_on_lan(core, piece, port, adjacency);
}

// Up to `n` packets that all have this hop, in one go where they are IPv4 to a gateway and nothing is special
// about them. Returns how many; the one behind them is leave_lan()'s.
unsigned leave_lan_run(Core& core, rte_mbuf* const* packets, const Hop* hops, unsigned n) {
  const Hop hop = hops[0];
  if (hop.kind() != HopKind::kGateway || hop.value() >= kMaxAdjacencies) return 0;
  const unsigned port = core.adjacencies.at(hop.value()).port;
  if (port >= core.port_count || !core.ports[port].lan) return 0;
  const unsigned mtu = core.ports[port].mtu;
  unsigned i = 0;
  for (; i < n && hops[i].word == hop.word; ++i) {
    rte_mbuf* m = packets[i];
    const PktMeta& md = meta(m);
    std::uint8_t* p = data_of(m);
    if (md.family != 4 || p[8] <= 1 || md.l3_bytes > mtu) [[unlikely]]
      break;
    decrement_ttl(p, 4);
    m->ol_flags = 0;
  }
  send_run(core, packets, i, hop.value(), 4);
  return i;
}

// An IPv4 packet into a session of ours about which nothing is special. False: it is enter_session()'s.
inline bool enter_usual4(Core& core, rte_mbuf* m, std::uint32_t slot) {
  if (slot >= core.shard.limits().sessions) [[unlikely]]
    return false;
  const session::SessionHot& hot = core.shard.hot(slot);
  PktMeta& md = meta(m);
  std::uint8_t* p = data_of(m);
  const bool usual = md.family == 4 && hot.state != session::LifeState::kFree && hot.outer.length != 0 &&
                     (hot.session_flags & session::kMssClamp) == 0 && p[8] > 1 &&
                     md.l3_bytes <= hot.outer.inner_mtu;
  if (!usual) [[unlikely]]
    return false;
  decrement_ttl(p, 4);
  md.outer_ecn = p[1];
  const std::uint64_t streams = hot.tx_streams;
  const std::uint64_t flow = flow_hash4(p, md.l3_bytes);
  const auto stream = static_cast<std::uint16_t>(1 + ((flow * streams) >> 32));
  core.shard.prefetch_send_stream(slot, stream);
  seal_push(core, SealEntry{m, slot, stream, session::kTunnelFlags, 0, Via::kStream});
  return true;
}

// The sessions of a burst before they are used. Inline by order: g++ takes a function that only asks for
// lines for one without effect, and leaves the calls of it out (12, -O3; bench_scale, 100,000 sessions,
// sealing).
[[gnu::always_inline]] inline void prefetch(const Core& core, const Hop* hops, unsigned n) {
  for (unsigned i = 0; i < n; ++i) {
    const bool own = hops[i].kind() == HopKind::kSession && hops[i].shard() == core.index;
    if (own && hops[i].value() < core.shard.limits().sessions) core.shard.prefetch_send(hops[i].value());
  }
}

// Fits, TTL checked: onto a stream of its flow.
void queue_for_seal(Core& core, rte_mbuf* m, std::uint32_t slot, const session::SessionHot& hot) {
  PktMeta& md = meta(m);
  std::uint8_t* p = data_of(m);
  decrement_ttl(p, md.family);
  if ((hot.session_flags & session::kMssClamp) != 0) {
    clamp_mss(p, md.family, md.l3_bytes, hot.outer.inner_mtu);
  }
  md.outer_ecn = traffic_class_of(p, md.family);
  const std::uint64_t streams = hot.tx_streams;
  const std::uint64_t flow = flow_hash(p, md.family, md.l3_bytes);
  const auto stream = static_cast<std::uint16_t>(1 + ((flow * streams) >> 32));
  seal_push(core, SealEntry{m, slot, stream, session::kTunnelFlags, 0, Via::kStream});
}

void to_session(Core& core, rte_mbuf* m, Hop hop) {
  if (hop.shard() == core.index) [[likely]]
    return enter_session(core, m, hop.value());
  if (hop.shard() >= core.workers) [[unlikely]]
    return core.drop(m, DropReason::kNoRoute);
  meta(m).slot = hop.value();
  core.hand_off(m, hop.shard(), kHandoffSeal);
}

void dispatch(Core& core, rte_mbuf* m, Hop hop) {
  if (hop.kind() == HopKind::kLocal) return punt_to_us(core, m);
  const PktMeta& md = meta(m);
  const std::uint8_t* p = data_of(m);
  if (md.family == 6 && (is_link_local6(source_of(p, 6)) || is_link_local6(destination_of(p, 6)))) {
    return core.drop(m, DropReason::kMartian);
  }
  switch (hop.kind()) {
    case HopKind::kSession:
      return to_session(core, m, hop);
    case HopKind::kConnected:
      return leave_lan(core, m, hop.value(), session::kNone);
    case HopKind::kGateway:
      if (hop.value() >= kMaxAdjacencies) break;
      return leave_lan(core, m, core.adjacencies.at(hop.value()).port, hop.value());
    default:
      break;
  }
  core.punt_error(m, PuntReason::kNoRoute, DropReason::kNoRoute);
}

}  // namespace

void enter_session(Core& core, rte_mbuf* m, std::uint32_t slot) {
  if (slot >= core.shard.limits().sessions) [[unlikely]]
    return core.drop(m, DropReason::kStaleHandle);
  const session::SessionHot& hot = core.shard.hot(slot);
  if (hot.state == session::LifeState::kFree) [[unlikely]]
    return core.drop(m, DropReason::kStaleHandle);
  if (hot.outer.length == 0) [[unlikely]]
    return core.drop(m, DropReason::kNoEndpoint);
  if (!ttl_left(core, m)) return;
  if (meta(m).l3_bytes <= hot.outer.inner_mtu) [[likely]]
    return queue_for_seal(core, m, slot, hot);
  Packets pieces;
  if (!cut(core, m, hot.outer.inner_mtu, pieces)) return;
  for (rte_mbuf* piece : pieces) queue_for_seal(core, piece, slot, hot);
}

void route(Core& core, Packets& pkts) {
  if (pkts.count == 0) return;
  Hop hops[kMaxBurst];
  std::uint32_t destinations[kMaxBurst];
  if (gather_destinations4(pkts, destinations)) [[likely]] {
    core.fib.lookup4(destinations, pkts.count, hops);
  } else {
    drop_martians(core, pkts);
    if (pkts.count == 0) return;
    look_up_mixed(core, pkts, false, hops);
  }
  if (core.shard.has_many()) prefetch(core, hops, pkts.count);
  for (unsigned i = 0; i < pkts.count;) {
    const Hop hop = hops[i];
    const bool own = hop.kind() == HopKind::kSession && hop.shard() == core.index;
    if (own && enter_usual4(core, pkts.at[i], hop.value())) {
      ++i;
    } else if (const unsigned left = own ? 0 : leave_lan_run(core, pkts.at + i, hops + i, pkts.count - i)) {
      i += left;
    } else {
      dispatch(core, pkts.at[i], hop);
      ++i;
    }
  }
  pkts.count = 0;
}

void forward_inner(Core& core, Packets& pkts) {
  unsigned kept = 0;
  for (rte_mbuf* m : pkts) {
    const DropReason bad = check_inner(core, m);
    if (bad != DropReason::kNone) [[unlikely]] {
      core.drop(m, bad);
    } else {
      pkts.at[kept++] = m;
    }
  }
  pkts.count = kept;
  if (kept == 0) return;
  check_sources(core, pkts);
  route(core, pkts);
}

void inject(Core& core, rte_mbuf* m) {
  PktMeta& md = meta(m);
  md.slot = session::kNone;
  IpInfo ip;
  if (check_ip(data_of(m), m->data_len, false, ip) != IpCheck::kOk) {
    return core.drop(m, DropReason::kInnerHeader);
  }
  rte_pktmbuf_trim(m, static_cast<std::uint16_t>(m->data_len - ip.bytes));
  md.family = ip.family;
  md.l3_bytes = ip.bytes;
  Packets one;
  one.push(m);
  route(core, one);
}

}  // namespace dataplane
