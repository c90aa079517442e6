#include "dataplane/tx.h"

#include <algorithm>
#include <cstring>

#include <rte_ethdev.h>

namespace dataplane {
namespace {

using session::DropReason;

// Buffered packets that are worth a call of the device before the loop ends.
constexpr unsigned kTxBurst = kMaxBurst;

void tx_port(Core& core, CorePort& port) {
  if (port.tx_count == 0) return;
  const std::uint16_t sent =
      rte_eth_tx_burst(port.ethdev, port.queue, port.tx.data(), static_cast<std::uint16_t>(port.tx_count));
  port.tx_count -= sent;
  std::uint64_t left_bytes = 0;
  for (unsigned i = 0; i < port.tx_count; ++i) {
    port.tx[i] = port.tx[i + sent];
    left_bytes += port.tx[i]->pkt_len;
  }
  PortStats& stats = core.stats.port[port.index];
  stats.tx_pkts += sent;
  stats.tx_bytes += port.tx_bytes - left_bytes;
  port.tx_bytes = left_bytes;
}

// Into the transmit buffer of a port that exists.
inline void buffer_frame(Core& core, CorePort& port, rte_mbuf* m) {
  if (port.tx_count == kTxBuffer) [[unlikely]] {
    tx_port(core, port);
    if (port.tx_count == kTxBuffer) return core.drop(m, DropReason::kTxRing);
  }
  port.tx_bytes += m->pkt_len;
  port.tx[port.tx_count++] = m;
  if (port.tx_count == kTxBurst) tx_port(core, port);
}

void ask(Core& core, Hold& hold) {
  Message message;
  message.kind = MessageKind::kNeighbourMiss;
  message.neighbour = NeighbourUpdate{};
  message.neighbour.address = hold.address;
  message.neighbour.port = hold.port;
  message.neighbour.state = NeighbourState::kPending;
  core.hint(message);
  hold.asked_ms = core.now_ms;
}

void wait_for(Core& core, rte_mbuf* m, std::uint8_t port, const IpAddress& address) {
  Hold* hold = core.adjacencies.hold_for(port, address, core.now_ms);
  if (hold == nullptr || hold->count == core.adjacencies.hold_limit()) {
    core.drop(m, DropReason::kNeighbourQueue);
    return;
  }
  hold->packets[hold->count++] = m;
  ++core.waiting;
  if (core.now_ms - hold->asked_ms >= kHoldRetryMs) ask(core, *hold);
}

// The Ethernet header as two words that overlap: bytes 0 to 7 and 6 to 13.
struct EtherWords {
  std::uint64_t front;
  std::uint64_t back;
};

EtherWords ether_words(const NextHop& to, std::uint8_t family) {
  std::uint8_t bytes[kEtherBytes];
  std::memcpy(bytes, to.ether.data(), 12);
  session::store_be16(bytes + 12, family == 4 ? 0x0800 : 0x86dd);
  EtherWords words;
  std::memcpy(&words.front, bytes, 8);
  std::memcpy(&words.back, bytes + 6, 8);
  return words;
}

inline void put_ether(rte_mbuf* m, const EtherWords& words) {
  m->data_off = static_cast<std::uint16_t>(m->data_off - kEtherBytes);
  m->data_len = static_cast<std::uint16_t>(m->data_len + kEtherBytes);
  m->pkt_len = m->data_len;  // one segment, as all that leave
  std::uint8_t* eth = data_of(m);
  std::memcpy(eth, &words.front, 8);
  std::memcpy(eth + 6, &words.back, 8);
}

void send_reachable(Core& core, rte_mbuf* const* packets, unsigned n, const NextHop& to,
                    std::uint8_t family) {
  const EtherWords words = ether_words(to, family);
  const bool known = to.port < core.port_count;
  CorePort& port = core.ports[known ? to.port : 0];
  for (unsigned i = 0; i < n; ++i) {
    rte_mbuf* m = packets[i];
    if (!known || m->data_off < kEtherBytes) [[unlikely]] {
      core.drop(m, known ? DropReason::kNoBuffer : DropReason::kTxRing);
      continue;
    }
    put_ether(m, words);
    buffer_frame(core, port, m);
  }
}

void empty_hold(Core& core, Hold& hold, const NextHop* to, DropReason reason) {
  for (unsigned i = 0; i < hold.count; ++i) {
    if (to != nullptr) {
      const std::uint8_t family = (data_of(hold.packets[i])[0] >> 4) == 6 ? 6 : 4;
      send_reachable(core, &hold.packets[i], 1, *to, family);
    } else {
      core.drop(hold.packets[i], reason);
    }
  }
  core.waiting -= hold.count;
  core.adjacencies.release(hold);
}

}  // namespace

void send_frame(Core& core, rte_mbuf* m, unsigned port_index) {
  if (port_index >= core.port_count) [[unlikely]]
    return core.drop(m, DropReason::kTxRing);
  buffer_frame(core, core.ports[port_index], m);
}

void send_run(Core& core, rte_mbuf* const* packets, unsigned n, std::uint32_t index, std::uint8_t family) {
  const bool known = index < kMaxAdjacencies;
  const NextHop& to = core.adjacencies.at(known ? index : 0);
  if (known && to.state == NeighbourState::kReachable) [[likely]]
    return send_reachable(core, packets, n, to, family);
  for (unsigned i = 0; i < n; ++i) {
    if (!known || to.state == NeighbourState::kFree) {
      core.drop(packets[i], DropReason::kNoEndpoint);
    } else {
      wait_for(core, packets[i], to.port, core.adjacencies.address(index));
    }
  }
}

void send_to(Core& core, rte_mbuf* m, std::uint32_t index, std::uint8_t family) {
  send_run(core, &m, 1, index, family);
}

void send_to_address(Core& core, rte_mbuf* m, std::uint8_t port, std::uint8_t family,
                     const std::uint8_t* address) {
  const std::uint32_t index = core.adjacencies.find(port, family, address);
  if (index != session::kNone && core.adjacencies.at(index).state == NeighbourState::kReachable) [[likely]] {
    return send_reachable(core, &m, 1, core.adjacencies.at(index), family);
  }
  IpAddress to;
  to.family = family;
  std::memcpy(to.bytes.data(), address, family == 4 ? 4 : 16);
  wait_for(core, m, port, to);
}

void tx_flush(Core& core) {
  for (unsigned i = 0; i < core.port_count; ++i) tx_port(core, core.ports[i]);
}

void on_neighbour(Core& core, const NeighbourUpdate& update) {
  if (update.port >= core.port_count) return;
  if (!core.adjacencies.update(update, core.ports[update.port].mac)) return;
  Hold* hold = core.adjacencies.find_hold(update.port, update.address);
  if (hold == nullptr) return;
  if (update.state == NeighbourState::kReachable) {
    empty_hold(core, *hold, &core.adjacencies.at(update.adjacency), DropReason::kNone);
  } else if (update.state != NeighbourState::kPending) {
    empty_hold(core, *hold, nullptr, DropReason::kNeighbourTimeout);
  }
}

void age_holds(Core& core) {
  if (core.adjacencies.holds_used() == 0) return;
  for (unsigned i = 0; i < kHolds; ++i) {
    Hold& hold = core.adjacencies.hold(i);
    if (!hold.used) continue;
    if (core.now_ms - hold.since_ms >= kHoldTimeoutMs) {
      empty_hold(core, hold, nullptr, DropReason::kNeighbourTimeout);
    } else if (core.now_ms - hold.asked_ms >= kHoldRetryMs) {
      ask(core, hold);
    }
  }
}

std::uint64_t held(const Core& core) {
  std::uint64_t packets = core.waiting;
  for (unsigned i = 0; i < core.port_count; ++i) packets += core.ports[i].tx_count;
  return packets;
}

void discard_held(Core& core) {
  for (unsigned i = 0; i < core.port_count; ++i) {
    CorePort& port = core.ports[i];
    for (unsigned k = 0; k < port.tx_count; ++k) core.drop(port.tx[k], DropReason::kDraining);
    port.tx_count = 0;
    port.tx_bytes = 0;
  }
  for (unsigned i = 0; i < kHolds; ++i) {
    Hold& hold = core.adjacencies.hold(i);
    if (hold.used) empty_hold(core, hold, nullptr, DropReason::kDraining);
  }
}

}  // namespace dataplane
