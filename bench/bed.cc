#include "bench/bed.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <stdexcept>

#include <rte_cycles.h>
#include <rte_ethdev.h>

#include "dataplane/checksum.h"
#include "dataplane/mailbox.h"
#include "session/shard_commands.h"
#include "tests/support/packet_job.h"

namespace bench {
namespace {

using dataplane::Hop;
using dataplane::HopKind;
using session::store_be16;
using session::store_be32;
using support::kLan;
using support::kWan;

constexpr std::uint32_t kNear = 0x0a400000;  // 10.64.0.0
constexpr std::uint32_t kFar = 0x0a800000;   // 10.128.0.0
constexpr std::size_t kEtherBytes = 14;
constexpr std::uint16_t kLanAdjacency = 1;  // of the site's host
constexpr std::size_t kZipfTurns = 1U << 20;
constexpr unsigned kWindowsPerSession = 2;  // a session's traffic here is one flow, so one stream
constexpr unsigned kKeysPerSession = 4;     // two epochs, two directions
constexpr std::uint32_t kSpareKeys = 256;   // the site's own session, and epochs that control makes ready

support::SiteOptions site_options(std::uint32_t room) {
  support::SiteOptions o;
  o.inner_mtu = 1500;
  o.flags = session::kSourceCheck;
  o.gateway.sessions = room + 1;
  o.gateway.keys = kKeysPerSession * (room + 1) + kSpareKeys;
  o.gateway.windows_per_session = kWindowsPerSession;
  o.gateway.routes = room + 64;
  o.gateway.ring_size = 1024;
  return o;
}

dataplane::IpPrefix prefix4(std::uint32_t address, std::uint8_t length) {
  dataplane::IpPrefix p;
  p.address.family = 4;
  store_be32(p.address.bytes.data(), address);
  p.length = length;
  return p;
}

std::vector<std::uint32_t> shuffled(std::uint32_t n) {
  std::vector<std::uint32_t> all(n);
  std::iota(all.begin(), all.end(), 0U);
  std::shuffle(all.begin(), all.end(), std::mt19937(7));
  return all;
}

// Draws by 1/k, the busiest sessions anywhere in the tables.
std::vector<std::uint32_t> zipf_turns(std::uint32_t n) {
  const std::vector<std::uint32_t> by_rank = shuffled(n);
  std::vector<double> up_to(n);
  double sum = 0;
  for (std::uint32_t k = 0; k < n; ++k) up_to[k] = sum += 1.0 / (k + 1);
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> draw(0, sum);
  std::vector<std::uint32_t> turns(kZipfTurns);
  for (std::uint32_t& turn : turns) {
    const auto at = std::upper_bound(up_to.begin(), up_to.end(), draw(random)) - up_to.begin();
    turn = by_rank[std::min<std::size_t>(static_cast<std::size_t>(at), n - 1U)];
  }
  return turns;
}

std::array<std::uint8_t, session::kSessionIdBytes> id_of(std::uint32_t i) {
  std::array<std::uint8_t, session::kSessionIdBytes> id;
  for (std::size_t b = 0; b < id.size(); ++b) id[b] = static_cast<std::uint8_t>(b * 7 + 1);
  store_be32(id.data(), i * 2654435761U);  // spread as hash output would be
  return id;
}

// IPv4 header at p for `bytes` in all, UDP inside.
void put_ip4(std::uint8_t* p, std::size_t bytes, const std::uint8_t* source,
             const std::uint8_t* destination) {
  std::memset(p, 0, 20);
  p[0] = 0x45;
  store_be16(p + 2, static_cast<std::uint16_t>(bytes));
  p[8] = 64;
  p[9] = 17;
  std::memcpy(p + 12, source, 4);
  std::memcpy(p + 16, destination, 4);
  dataplane::ipv4_checksum_store(p, 20);
}

void put_udp(std::uint8_t* p, std::uint16_t source, std::uint16_t destination, std::size_t bytes) {
  store_be16(p, source);
  store_be16(p + 2, destination);
  store_be16(p + 4, static_cast<std::uint16_t>(bytes));
  store_be16(p + 6, 0);
}

// An inner packet of `bytes` at p.
void put_inner(std::uint8_t* p, std::size_t bytes, std::uint32_t source, std::uint32_t destination) {
  std::uint8_t from[4];
  std::uint8_t to[4];
  store_be32(from, source);
  store_be32(to, destination);
  put_ip4(p, bytes, from, to);
  put_udp(p + 20, 1000, 2000, bytes - 20);
  std::memset(p + kInnerHeaders, 0x5a, bytes - kInnerHeaders);
}

void put_ether(std::uint8_t* p, const dataplane::MacAddress& to, const dataplane::MacAddress& from) {
  std::copy(to.begin(), to.end(), p);
  std::copy(from.begin(), from.end(), p + 6);
  store_be16(p + 12, 0x0800);
}

rte_mbuf* blank(std::size_t bytes, std::uint8_t*& data) {
  rte_mbuf* m = rte_pktmbuf_alloc(support::packet_pool());
  if (m == nullptr) throw std::runtime_error("the packet pool is empty");
  data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(m, static_cast<std::uint16_t>(bytes)));
  if (data == nullptr) throw std::runtime_error("a packet is larger than its buffer");
  return m;
}

}  // namespace

Order::Order(std::uint32_t sessions, Kind kind)
    : sessions_(sessions), turns_(kind == Kind::kUniform ? shuffled(sessions) : zipf_turns(sessions)) {}

Bed::Bed(const std::string& name, std::uint32_t room)
    : site(name, site_options(room)),
      room_(room),
      generation_(room),
      next_sequence_(room),
      first_(epoch_keys(0)),
      second_(epoch_keys(1)) {
  if (room > kMostSessions) throw std::invalid_argument("more sessions than there are addresses of hosts");
  session::ShardCommands(site.gw.shard()).remove(site.session.slot, site.session.generation);
  give_back_keys();
  site.gw.topology().fib->add(prefix4(kNear, 12), Hop::make(HopKind::kGateway, 0, kLanAdjacency));
}

std::size_t Bed::bytes_needed(std::uint32_t room) {
  const support::GatewayOptions o = site_options(room).gateway;
  session::ShardLimits limits;
  limits.sessions = o.sessions;
  limits.keys = o.keys;
  limits.windows = o.sessions * o.windows_per_session;
  limits.window_bits = 1024;
  constexpr std::size_t kRouteBytes = 320;  // in our tree of routes and in the library's
  constexpr std::size_t kOwnBytes = 24;     // generation and sequence here, slot and flags of the key pool
  return session::Shard::bytes_needed(limits) + std::size_t{o.keys} * sizeof(crypto::KeySlot) +
         std::size_t{room} * (kRouteBytes + kOwnBytes);
}

std::unique_ptr<EpochKeys> Bed::epoch_keys(std::uint8_t epoch) const {
  const crypto::EpochKeys raw = support::keys_at(support::test_secret(support::kSiteSeed), epoch);
  auto keys = std::make_unique<EpochKeys>();
  aead_.expand_key(crypto::Suite::kAes256Gcm, raw.i2r.span(), keys->send);
  aead_.expand_key(crypto::Suite::kAes256Gcm, raw.r2i.span(), keys->recv);
  keys->nonce_prefix = raw.nonce_prefix;
  keys->epoch = epoch;
  return keys;
}

session::KeyRef Bed::take_keys(const EpochKeys& keys) {
  session::KeyPool& pool = *site.gw.topology().workers[0].keys;
  session::KeyRef ref;
  ref.send_key = pool.allocate();
  ref.recv_key = pool.allocate();
  if (ref.recv_key == session::kNone) throw std::runtime_error("the key pool is empty");
  pool.slot(ref.send_key) = keys.send;
  pool.slot(ref.recv_key) = keys.recv;
  ref.nonce_prefix = keys.nonce_prefix;
  ref.epoch = keys.epoch;
  ref.valid = true;
  return ref;
}

session::SessionInit Bed::init_of(std::uint32_t i, std::uint64_t soft_limit) {
  session::SessionInit init;
  init.id = id_of(i);
  init.slot = slot(i);
  init.generation = ++generation_[i];
  init.current = take_keys(*first_);
  init.tx_streams = site.spec.tx_streams;
  init.session_flags = site.spec.flags;
  init.rekey_soft_limit = soft_limit;
  init.seq_limit.fill(0x7fffffff);
  init.outer = support::outer_template(site.spec);
  return init;
}

void Bed::add(std::uint32_t i, std::uint64_t soft_limit) {
  session::ShardCommands commands(site.gw.shard());
  if (!commands.add(init_of(i, soft_limit))) throw std::runtime_error("a session was refused");
  commands.install_next(slot(i), generation_[i], take_keys(*second_));
  next_sequence_[i] = 0;
  route(i);
}

void Bed::remove(std::uint32_t i) {
  session::ShardCommands(site.gw.shard()).remove(slot(i), generation_[i]);
  give_back_keys();
}

void Bed::give_back_keys() {
  for (std::uint32_t key = session::kNone; site.gw.shard().retired_front(key);) {
    site.gw.poll(0);
    control();
  }
  control();
}

void Bed::route(std::uint32_t i) {
  const Hop hop = Hop::make(HopKind::kSession, 0, slot(i));
  if (!site.gw.topology().fib->add(prefix4(kFar + i, 32), hop))
    throw std::runtime_error("a route was refused");
}

void Bed::install(std::uint32_t n) {
  if (n > room_) throw std::invalid_argument("more sessions than the bed has room for");
  for (; installed_ < n; ++installed_) add(installed_);
}

void Bed::warm(std::uint32_t n) {
  install(n);
  for (; warmed_ < n; warmed_ += std::min(kBurst, n - warmed_)) {
    const std::uint32_t end = std::min(n, warmed_ + kBurst);
    for (std::uint32_t i = warmed_; i < end; ++i) {
      site.gw.receive(kLan, plain(i, kInnerHeaders));
      site.gw.receive(kWan, sealed(i, kInnerHeaders));
    }
    seal();
    // What the worker has to tell control of so many sessions takes it some loops.
    for (unsigned loop = 0; loop < 6; ++loop) {
      site.gw.poll(0);
      control();
    }
    discard_sent(site.gw, kLan);
    discard_sent(site.gw, kWan);
  }
}

void Bed::control() {
  session::KeyPool& pool = *site.gw.topology().workers[0].keys;
  rte_ring* ring = site.gw.topology().workers[0].to_control;
  dataplane::Message messages[kBurst];
  while (const unsigned n = dataplane::pop(ring, messages, kBurst)) {
    for (const dataplane::Message& m : std::span(messages, n)) {
      if (m.kind == dataplane::MessageKind::kKeyRetired) pool.release(m.c);
      if (m.kind == dataplane::MessageKind::kAdvanced) ++advances_;
    }
  }
}

rte_mbuf* Bed::plain(std::uint32_t i, std::size_t bytes) {
  std::uint8_t* p = nullptr;
  rte_mbuf* m = blank(kEtherBytes + bytes, p);
  put_ether(p, site.gw.port_mac(kLan), support::mac(9));
  put_inner(p + kEtherBytes, bytes, kNear + i, kFar + i);
  return m;
}

std::uint8_t* Bed::outer(std::uint8_t* frame, std::size_t udp_payload) const {
  put_ether(frame, site.gw.port_mac(kWan), support::mac(0x22));
  put_ip4(frame + 14, 28 + udp_payload, site.spec.peer.address.data(), site.spec.local.address.data());
  put_udp(frame + 34, site.spec.peer.port, site.spec.local.port, 8 + udp_payload);
  return frame + kPhantomAt;
}

rte_mbuf* Bed::sealed(std::uint32_t i, std::size_t bytes) {
  return sealed(i, bytes, next_sequence_[i]++, *first_);
}

rte_mbuf* Bed::sealed(std::uint32_t i, std::size_t bytes, std::uint32_t sequence, const EpochKeys& keys) {
  const std::size_t phantom_bytes = session::kPacketOverhead + bytes;
  std::uint8_t* p = nullptr;
  rte_mbuf* m = blank(kPhantomAt + phantom_bytes, p);
  p = outer(p, phantom_bytes);
  session::Header header;
  header.session_id = id_of(i);
  header.stream_id = 1;
  header.sequence = sequence;
  header.flags = session::kTunnelFlags;
  header.epoch = keys.epoch;
  session::encode_header(header, std::span<std::uint8_t, session::kHeaderBytes>(p, session::kHeaderBytes));
  store_be32(p + session::kHeaderBytes, static_cast<std::uint32_t>(bytes + session::kTagBytes));
  std::uint8_t* text = p + session::kPayloadOffset;
  put_inner(text, bytes, kFar + i, kNear + i);
  store_be32(text + bytes + session::kTagBytes, 0);
  to_seal_.push_back(support::packet_job(p, session::load_fields(p), static_cast<std::uint32_t>(bytes),
                                         keys.recv, keys.nonce_prefix));
  return m;
}

void Bed::seal() {
  for (std::size_t at = 0; at < to_seal_.size(); at += crypto::kMaxBatch) {
    const std::size_t n = std::min<std::size_t>(crypto::kMaxBatch, to_seal_.size() - at);
    aead_.seal_batch(&to_seal_[at], static_cast<unsigned>(n));
  }
  to_seal_.clear();
}

void Bed::feed_plain(Order& order, std::size_t bytes, unsigned n) {
  for (unsigned i = 0; i < n; ++i) site.gw.receive(kLan, plain(order.next(), bytes));
}

void Bed::feed_sealed(Order& order, std::size_t bytes, unsigned n) {
  for (unsigned i = 0; i < n; ++i) site.gw.receive(kWan, sealed(order.next(), bytes));
  seal();
}

double poll_sample(support::Gateway& gw, unsigned packets) {
  dataplane::Worker& worker = gw.worker(0);
  const std::uint64_t begin = stamp();
  for (unsigned at = 0; at < packets; at += kBurst) worker.poll();
  return static_cast<double>(stamp() - begin) / packets;
}

double port_sample(support::Gateway& gw, unsigned in, unsigned out) {
  const std::vector<dataplane::Port>& ports = gw.topology().ports;
  const std::uint64_t begin = stamp();
  for (unsigned i = 0; i < kSample / kBurst; ++i) {
    rte_mbuf* packets[kBurst];
    const std::uint16_t n = rte_eth_rx_burst(ports[in].ethdev, 0, packets, kBurst);
    rte_mbuf* none[kBurst];
    rte_eth_rx_burst(ports[out].ethdev, 0, none, kBurst);
    rte_eth_tx_burst(ports[out].ethdev, 0, packets, n);
  }
  return static_cast<double>(stamp() - begin) / kSample;
}

unsigned discard_sent(support::Gateway& gw, unsigned port) {
  unsigned total = 0;
  void* packets[kBurst];
  rte_ring* ring = gw.tx_ring(port, 0);
  while (const unsigned n = rte_ring_dequeue_burst(ring, packets, kBurst, nullptr)) {
    rte_pktmbuf_free_bulk(reinterpret_cast<rte_mbuf**>(packets), n);
    total += n;
  }
  return total;
}

}  // namespace bench
