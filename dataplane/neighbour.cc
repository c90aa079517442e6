#include "dataplane/neighbour.h"

#include <spdlog/spdlog.h>

#include "dataplane/prefix.h"

namespace dataplane {
namespace {

constexpr std::uint64_t kNeverNs = UINT64_MAX;

const char* name_of(NeighbourState state, bool fixed) {
  if (fixed) return "static";
  switch (state) {
    case NeighbourState::kPending:
      return "pending";
    case NeighbourState::kReachable:
      return "reachable";
    case NeighbourState::kFailed:
      return "failed";
    case NeighbourState::kFree:
      break;
  }
  return "free";
}

bool unspecified(const IpAddress& address) {
  return address.bytes == IpAddress{}.bytes;
}

}  // namespace

Neighbours::Neighbours(const std::vector<Port>& ports, ControlIo& io)
    : ports_(ports), io_(io), entries_(kMaxNeighbours) {
  for (std::uint32_t i = kMaxNeighbours; i > 0; --i) free_.push_back(static_cast<std::uint16_t>(i - 1));
}

bool Neighbours::on_link(std::uint8_t port, const IpAddress& address) const {
  if (port >= ports_.size() || unspecified(address)) return false;
  const PortConfig& config = ports_[port].config;
  return link_source(config, address) != nullptr && !owns(config, address);
}

Neighbours::Entry* Neighbours::find(std::uint8_t port, const IpAddress& address) {
  const auto at = index_.find(Key{port, address.family, address.bytes});
  return at == index_.end() ? nullptr : &entries_[at->second];
}

// The one that is missed least: what never answered, then what was confirmed longest ago.
Neighbours::Entry* Neighbours::evict() {
  Entry* worst = nullptr;
  for (Entry& entry : entries_) {
    if (entry.pins != 0 || entry.fixed || entry.state == NeighbourState::kFree) continue;
    const bool reachable = entry.state == NeighbourState::kReachable;
    const bool worst_reachable = worst != nullptr && worst->state == NeighbourState::kReachable;
    if (worst == nullptr || (worst_reachable && !reachable) ||
        (worst_reachable == reachable && entry.seen_ns < worst->seen_ns)) {
      worst = &entry;
    }
  }
  return worst;
}

void Neighbours::forget(Entry& entry) {
  const Key key{entry.port, entry.address.family, entry.address.bytes};
  const auto at = index_.find(key);
  free_.push_back(at->second);
  entry.state = NeighbourState::kFree;
  tell(entry);
  index_.erase(at);
  entry = Entry{};
}

Neighbours::Entry* Neighbours::make(std::uint8_t port, const IpAddress& address, std::uint64_t now_ns) {
  if (free_.empty()) {
    Entry* old = evict();
    if (old == nullptr) return nullptr;
    forget(*old);
  }
  const std::uint16_t id = free_.back();
  free_.pop_back();
  Entry& entry = entries_[id];
  entry.address = address;
  entry.port = port;
  entry.seen_ns = now_ns;
  entry.due_ns = kNeverNs;
  index_.emplace(Key{port, address.family, address.bytes}, id);
  return &entry;
}

void Neighbours::tell(const Entry& entry) {
  Message message;
  message.kind = MessageKind::kNeighbour;
  message.neighbour = NeighbourUpdate{entry.address, entry.mac, entry.port, entry.state,
                                      static_cast<std::uint16_t>(&entry - entries_.data())};
  io_.broadcast(message);
  spdlog::debug("neighbour {} on {}: {} {}", to_text(entry.address), ports_[entry.port].config.name,
                name_of(entry.state, entry.fixed), to_text(entry.mac));
}

void Neighbours::send(const DiscoveryFrame& frame, std::uint8_t port) {
  if (rte_mbuf* m = io_.make(frame.span())) io_.transmit(m, port);
}

void Neighbours::announce(const Port& port) {
  for (const IpPrefix& ours : port.config.addresses) {
    if (ours.address.family == 4) {
      send(arp_frame(true, kBroadcastMac, port.mac, ours.address, MacAddress{}, ours.address), port.index);
    } else {
      send(advertisement_frame(kBroadcastMac, IpAddress{}, port.mac, ours.address), port.index);
    }
  }
}

void Neighbours::start(std::uint64_t now_ns) {
  for (const Port& port : ports_) {
    for (const StaticNeighbour& known : port.config.neighbours) {
      Entry* entry = find(port.index, known.address);
      if (entry == nullptr) entry = make(port.index, known.address, now_ns);
      if (entry == nullptr) continue;
      entry->fixed = true;
      entry->mac = known.mac;
      entry->state = NeighbourState::kReachable;
      tell(*entry);
    }
    announce(port);
  }
}

std::uint32_t Neighbours::pin(std::uint8_t port, const IpAddress& address, std::uint64_t now_ns) {
  Entry* entry = find(port, address);
  if (entry == nullptr) {
    entry = make(port, address, now_ns);
    if (entry == nullptr) return session::kNone;
    resolve(*entry, now_ns);
  }
  ++entry->pins;
  return static_cast<std::uint32_t>(entry - entries_.data());
}

// Addresses that peers once had are not asked for until they fail: a million of them come and go.
void Neighbours::unpin(std::uint8_t port, const IpAddress& address) {
  Entry* entry = find(port, address);
  if (entry == nullptr || entry->pins == 0) return;
  if (--entry->pins == 0 && !entry->fixed && !entry->others) forget(*entry);
}

// The first request of an attempt goes out at once.
void Neighbours::resolve(Entry& entry, std::uint64_t now_ns) {
  entry.state = NeighbourState::kPending;
  entry.sent = 1;
  entry.due_ns = now_ns + kRequestGapsNs[0];
  tell(entry);
  ask(entry, false);
}

void Neighbours::ask(Entry& entry, bool unicast) {
  const Port& port = ports_[entry.port];
  const IpAddress* ours = link_source(port.config, entry.address);
  if (ours == nullptr) return;
  const MacAddress* to = unicast ? &entry.mac : nullptr;
  if (entry.address.family == 4) {
    send(arp_frame(true, unicast ? entry.mac : kBroadcastMac, port.mac, *ours, MacAddress{}, entry.address),
         port.index);
  } else {
    send(solicitation_frame(port.mac, *ours, entry.address, to), port.index);
  }
}

void Neighbours::on_miss(std::uint8_t port, const IpAddress& address, std::uint64_t now_ns) {
  if (!on_link(port, address)) return;
  Entry* entry = find(port, address);
  if (entry == nullptr) {
    entry = make(port, address, now_ns);
    if (entry == nullptr) return;
    entry->others = true;
    return resolve(*entry, now_ns);
  }
  if (entry->state == NeighbourState::kReachable) return tell(*entry);  // that worker's update was under way
  if (entry->state == NeighbourState::kFailed) resolve(*entry, now_ns);
}

void Neighbours::learn(Entry& entry, const MacAddress& mac, std::uint64_t now_ns) {
  if (entry.fixed) return;
  const bool news = entry.state != NeighbourState::kReachable || entry.mac != mac;
  entry.mac = mac;
  entry.state = NeighbourState::kReachable;
  entry.sent = 0;
  entry.seen_ns = now_ns;
  entry.due_ns = now_ns + kReachableNs;
  if (news) tell(entry);
}

// Who asks for us will get packets from us soon (RFC 826: "merge"). New ones only while there is plenty of
// room.
void Neighbours::heard_request(std::uint8_t port, const IpAddress& from, const MacAddress& mac,
                               std::uint64_t now_ns) {
  if (!on_link(port, from)) return;
  Entry* entry = find(port, from);
  if (entry == nullptr && free_.size() > kMaxNeighbours / 4) entry = make(port, from, now_ns);
  if (entry == nullptr) return;
  if (entry->pins == 0) entry->others = true;
  learn(*entry, mac, now_ns);
}

void Neighbours::on_arp(std::span<const std::uint8_t> frame, std::uint8_t port, std::uint64_t now_ns) {
  ArpMessage arp;
  if (port >= ports_.size() || !parse_arp(frame, arp)) return;
  const Port& at = ports_[port];
  if (arp.sender_mac == at.mac) return;  // our own, come back
  if (arp.request && owns(at.config, arp.target)) {
    heard_request(port, arp.sender, arp.sender_mac, now_ns);
    if (!unspecified(arp.sender) && !on_link(port, arp.sender)) return;
    send(arp_frame(false, arp.sender_mac, at.mac, arp.target, arp.sender_mac, arp.sender), port);
    return;
  }
  // A reply, or somebody's announcement: news about a neighbour we know.
  if (!on_link(port, arp.sender)) return;
  if (Entry* entry = find(port, arp.sender)) learn(*entry, arp.sender_mac, now_ns);
}

void Neighbours::on_nd(std::span<const std::uint8_t> frame, std::uint8_t port, std::uint64_t now_ns) {
  NdMessage nd;
  if (port >= ports_.size() || !parse_nd(frame, nd)) return;
  const Port& at = ports_[port];
  if (nd.has_mac && nd.mac == at.mac) return;
  if (!nd.solicitation) {
    if (!nd.has_mac || !on_link(port, nd.target)) return;
    Entry* entry = find(port, nd.target);
    if (entry == nullptr) return;
    // Without override a known address stays (RFC 4861 7.2.5).
    if (entry->state == NeighbourState::kReachable && entry->mac != nd.mac && !nd.override) return;
    return learn(*entry, nd.mac, now_ns);
  }
  if (!owns(at.config, nd.target)) return;
  if (!unspecified(nd.source) && !on_link(port, nd.source)) return;
  MacAddress to = nd.mac;
  if (nd.has_mac) {
    heard_request(port, nd.source, nd.mac, now_ns);
  } else {
    std::copy_n(frame.begin() + 6, to.size(), to.begin());
  }
  send(advertisement_frame(to, nd.source, at.mac, nd.target), port);
}

void Neighbours::failed(Entry& entry, std::uint64_t now_ns) {
  entry.state = NeighbourState::kFailed;
  entry.seen_ns = now_ns;
  entry.due_ns = now_ns + (entry.pins != 0 ? kRetryNs : kForgetNs);
  tell(entry);
}

void Neighbours::due(Entry& entry, std::uint64_t now_ns) {
  if (entry.state == NeighbourState::kFailed) return entry.pins != 0 ? resolve(entry, now_ns) : forget(entry);
  if (entry.state == NeighbourState::kReachable) {
    if (entry.sent == kProbes) return resolve(entry, now_ns);
    ++entry.sent;
    entry.due_ns = now_ns + kProbeGapNs;
    return ask(entry, true);
  }
  if (entry.sent == kRequestGapsNs.size()) return failed(entry, now_ns);
  entry.due_ns = now_ns + kRequestGapsNs[entry.sent];
  ++entry.sent;
  ask(entry, false);
}

unsigned Neighbours::tick(std::uint64_t now_ns) {
  if (now_ns < next_tick_ns_) return 0;
  next_tick_ns_ = now_ns + kNeighbourTickNs;
  unsigned done = 0;
  for (Entry& entry : entries_) {
    if (entry.state == NeighbourState::kFree || entry.fixed || entry.due_ns > now_ns) continue;
    due(entry, now_ns);
    ++done;
  }
  return done;
}

std::vector<NeighbourView> Neighbours::view() const {
  std::vector<NeighbourView> all;
  for (const Entry& entry : entries_) {
    if (entry.state == NeighbourState::kFree) continue;
    all.push_back({ports_[entry.port].config.name, to_text(entry.address), to_text(entry.mac),
                   name_of(entry.state, entry.fixed)});
  }
  return all;
}

}  // namespace dataplane
