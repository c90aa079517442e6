#include "dataplane/stream_host.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/core.h>
#include <rte_hash.h>
#include <rte_jhash.h>

#include "dataplane/config_service.h"
#include "dataplane/core.h"
#include "dataplane/mailbox.h"
#include "dataplane/stream_connection.h"
#include "dataplane/tsc.h"

namespace dataplane {
namespace {

constexpr std::uint64_t kMillisecondNs = 1'000'000;
constexpr std::uint64_t kPublishNs = 100 * kMillisecondNs;
// Below this much room in a port's transmit buffer streams wait: what it cannot take would be lost, and
// repeated.
constexpr unsigned kTxReserve = kTxBuffer / 2;

// A record outlives its connection for a while: late packets of it are answered.
session::StreamMemory::Config memory_of(const GatewayConfig& config) {
  session::StreamMemory::Config memory;
  memory.streams = 2 * service_connections(config);
  memory.segments = config.pools.stream_segments;
  memory.blocks = config.pools.stream_blocks;
  return memory;
}

session::StreamLimits limits_of(const GatewayConfig& config) {
  session::StreamLimits limits;
  limits.streams = 2 * service_connections(config);
  limits.send_bytes = limits.receive_bytes = config.pools.stream_window_bytes;
  return limits;
}

session::Streams::Config streams_config(const SessionEntry& entry, const session::StreamLimits& limits,
                                        std::uint32_t window_bits, void* user) {
  session::Streams::Config config;
  config.limits = limits;
  config.initiator = entry.identity.role == session::Role::kInitiator;
  config.unmodified_peer = entry.policy.unmodified_peer;
  config.receive_window = window_bits;
  if (!config.unmodified_peer) config.span = session::hardened_span(window_bits);
  config.user = user;
  return config;
}

std::uint32_t segment_bytes(const session::SessionHot& hot) {
  return std::min<std::uint32_t>(hot.outer.inner_mtu, session::kMaxSegmentBytes);
}

rte_hash* make_hash(const std::string& name, std::uint32_t entries, int socket) {
  rte_hash_parameters p{};
  p.name = name.c_str();
  p.entries = std::max(entries * 2, 64U);
  p.key_len = sizeof(std::uint64_t);
  p.hash_func = rte_jhash;
  p.hash_func_init_val = static_cast<std::uint32_t>(tsc_to_ns(read_tsc()));  // peers choose stream ids
  p.socket_id = socket;
  rte_hash* hash = rte_hash_create(&p);
  if (hash == nullptr) throw std::runtime_error("services: no memory for the table of datagram streams");
  return hash;
}

}  // namespace

void PublishedBandwidth::set(const session::BandwidthSnapshot& s) {
  bottleneck_bw_bps.store(s.bottleneck_bw_bps, std::memory_order_relaxed);
  min_rtt_ns.store(s.min_rtt_ns, std::memory_order_relaxed);
  pacing_rate_bps.store(s.pacing_rate_bps, std::memory_order_relaxed);
  cwnd_bytes.store(s.cwnd_bytes, std::memory_order_relaxed);
  inflight_bytes.store(s.inflight_bytes, std::memory_order_relaxed);
}

session::BandwidthSnapshot PublishedBandwidth::get() const {
  session::BandwidthSnapshot s;
  s.bottleneck_bw_bps = bottleneck_bw_bps.load(std::memory_order_relaxed);
  s.min_rtt_ns = min_rtt_ns.load(std::memory_order_relaxed);
  s.pacing_rate_bps = pacing_rate_bps.load(std::memory_order_relaxed);
  s.cwnd_bytes = cwnd_bytes.load(std::memory_order_relaxed);
  s.inflight_bytes = inflight_bytes.load(std::memory_order_relaxed);
  return s;
}

StreamSession::StreamSession(StreamHost& host, const SessionEntry& entry, std::vector<ServiceRange> services,
                             std::uint32_t slot_of, std::uint32_t generation_of)
    : slot(slot_of),
      generation(generation_of),
      unmodified(entry.policy.unmodified_peer),
      ranges(std::move(services)),
      streams(streams_config(entry, host.limits_, host.shard_.limits().window_bits, this), host.memory_,
              host.wheel_, tsc_to_ns(read_tsc())),
      link(streams, host.shard_, slot_of) {}

StreamHost::StreamHost(const std::string& name, const GatewayConfig& config, session::Shard& shard,
                       int socket)
    : shard_(shard),
      link_(service_connections(config), config.pools.service_pipe_bytes),
      memory_(memory_of(config)),
      wheel_(tsc_to_ns(read_tsc())),
      limits_(limits_of(config)),
      sessions_(shard.limits().sessions, nullptr),
      connections_(link_.connections()),
      traffic_(config.services.size()),
      datagrams_(make_hash(name, link_.connections(), socket)) {
  for (const ServiceConfig& service : config.services) room_.push_back(service.connections);
  for (std::uint32_t i = link_.connections(); i-- > 0;) {
    connections_[i].next = free_;
    free_ = i;
  }
  again_.reserve(std::size_t{2} * link_.connections());
}

StreamHost::~StreamHost() {
  rte_hash_free(datagrams_);
}

void StreamHost::attach(StreamSession& s) {
  sessions_[s.slot] = &s;
  wake(s);
}

void StreamHost::set_hold(std::uint32_t slot, bool hold) {
  if (sessions_[slot] == nullptr) return;
  sessions_[slot]->hold = hold;
  wake(*sessions_[slot]);
}

void StreamHost::wake(StreamSession& s) {
  if (s.active) return;
  s.active = true;
  s.next = nullptr;
  (tail_ == nullptr ? head_ : tail_->next) = &s;
  tail_ = &s;
  ++active_;
}

StreamSession* StreamHost::pop_active() {
  StreamSession* s = head_;
  head_ = s->next;
  if (head_ == nullptr) tail_ = nullptr;
  s->active = false;
  --active_;
  return s;
}

// The peer learns that its streams are over, as far as a packet can tell it now.
void StreamHost::reset_all(Core& core, StreamSession& s) {
  for (std::uint32_t i = s.connections; i != session::kNone; i = connections_[i].next) {
    if (!connections_[i].datagrams) (void)s.streams.reset(connections_[i].stream);
  }
  s.wait_until_ns = 0;
  s.streams.set_hold(false);
  send(core, s, now_ns_);
  batch_.flush(core, now_ns_);
}

void StreamHost::detach(Core& core, std::uint32_t slot) {
  StreamSession* s = sessions_[slot];
  if (s == nullptr) return;
  reset_all(core, *s);
  abandon(*s);
  sessions_[slot] = nullptr;
  for (unsigned left = active_; left != 0; --left) {
    StreamSession* other = pop_active();
    if (other != s) wake(*other);
  }
}

// The session is closed or dead: nothing can be sent any more.
void StreamHost::abandon(StreamSession& s) {
  while (s.connections != session::kNone) close_connection(s.connections, true);
  s.streams.close();
}

void StreamHost::take(Core& core, StreamSession& s, const session::RxOutcome& outcome,
                      const session::RxFields& fields, std::span<const std::uint8_t> text) {
  s.link.take(outcome, fields, text, tsc_to_ns(core.now_tsc));
  s.wait_until_ns = 0;
  wake(s);
}

void StreamHost::run_timers(std::uint64_t now_ns) {
  if (now_ns - timers_ns_ < kMillisecondNs / 4) return;
  timers_ns_ = now_ns;
  while (session::Timer* timer = wheel_.next_expired(now_ns)) {
    auto& streams = *static_cast<session::Streams*>(timer->owner);
    streams.on_timer(*timer, now_ns);
    auto& s = *static_cast<StreamSession*>(streams.user());
    s.wait_until_ns = 0;
    wake(s);
  }
}

// An unmodified peer's rekeys wait for rest, here and with control.
void StreamHost::tell_rest(Core& core, StreamSession& s, bool rest) {
  if (!s.unmodified || rest == s.rest_told) return;
  Message message;
  message.kind = MessageKind::kStreamsAtRest;
  message.a = rest ? 1 : 0;
  message.slot = s.slot;
  message.generation = s.generation;
  if (rte_ring_free_count(core.to_control) > kAnswerRoom && push(core.to_control, message)) {
    s.rest_told = rest;
  } else {
    wake(s);
  }
}

// True: there is more, to be sent later.
bool StreamHost::send(Core& core, StreamSession& s, std::uint64_t now_ns) {
  const session::SessionHot& hot = shard_.hot(s.slot);
  if (hot.outer.length == 0) return false;  // a way to the peer wakes it
  const CorePort& port = core.ports[core.adjacencies.at(hot.outer.adjacency).port];
  session::StreamPacket packet;
  for (unsigned sent = 0; sent < kStreamTurnPkts; ++sent) {
    if (port.tx_count > kTxReserve) return true;
    s.streams.set_epoch(hot.current.epoch);
    if (!s.streams.next_packet(packet, now_ns)) {
      s.wait_until_ns = s.streams.paced_until_ns();
      return s.wait_until_ns != 0;
    }
    const StreamPush pushed = batch_.push(core, s, packet, now_ns);
    if (pushed == StreamPush::kTaken) continue;
    s.wait_until_ns = now_ns + kMillisecondNs;
    return true;
  }
  return true;
}

// True: something moved, or is to be moved at once.
bool StreamHost::serve(Core& core, StreamSession& s, std::uint64_t now_ns) {
  const session::SessionHot& hot = shard_.hot(s.slot);
  if (hot.state == session::LifeState::kClosed || hot.state == session::LifeState::kDead) {
    abandon(s);
    return false;
  }
  session::StreamEvent event;
  unsigned events = 0;
  while (events < kStreamTurnEvents && s.streams.next_event(event)) {
    on_event(s, event, now_ns);
    ++events;
  }
  if (now_ns < s.wait_until_ns) {
    wake(s);
    return events != 0;
  }
  const bool rest = s.link.follow(hot.outer.path_id, segment_bytes(hot), s.hold, now_ns);
  tell_rest(core, s, rest);
  if (now_ns - s.published_ns >= kPublishNs) {
    s.published_ns = now_ns;
    s.bandwidth.set(s.streams.bandwidth(hot.outer.path_id));
  }
  if (send(core, s, now_ns) || events == kStreamTurnEvents) wake(s);
  return true;
}

bool StreamHost::run(Core& core) {
  now_ns_ = tsc_to_ns(core.now_tsc);
  bool moved = take_messages(core, now_ns_) | drain_again(core);
  run_timers(now_ns_);
  for (unsigned left = active_; left != 0; --left) moved |= serve(core, *pop_active(), now_ns_);
  batch_.flush(core, now_ns_);
  return moved;
}

void StreamHost::end(Core& core) {
  for (StreamSession* s : sessions_) {
    if (s != nullptr) reset_all(core, *s);
  }
}

}  // namespace dataplane
