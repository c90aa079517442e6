#include "tests/support/pipeline.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>

#include "dataplane/checksum.h"
#include "dataplane/config_service.h"
#include "dataplane/eal_args.h"
#include "dataplane/mailbox.h"
#include "dataplane/ring_elem.h"
#include "dataplane/service_hub.h"
#include "dataplane/stream_host.h"
#include "session/shard_commands.h"
#include "session/table.h"

namespace support {
namespace {

using dataplane::Message;
using dataplane::MessageKind;
using session::store_be16;

constexpr unsigned kPoolPackets = 16383;
// Packets freed last are used first, as in a running gateway; without it every packet would be a cold one.
constexpr unsigned kPoolCache = 512;

void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s: %s\n", what, rte_strerror(rte_errno));
  std::abort();
}

rte_ring* make_ring(const std::string& name, unsigned size) {
  rte_ring* ring = rte_ring_create(name.c_str(), size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  check(ring != nullptr, "ring");
  return ring;
}

std::unique_ptr<crypto::SecureBlock> block(std::size_t bytes) {
  return std::make_unique<crypto::SecureBlock>(bytes);
}

void put_address(std::uint8_t* to, const std::string& text) {
  const dataplane::IpAddress address = ip(text);
  std::memcpy(to, address.bytes.data(), address.family == 4 ? 4 : 16);
}

unsigned in_rings(const dataplane::Topology& topology) {
  unsigned packets = 0;
  for (const dataplane::WorkerParts& parts : topology.workers) {
    packets += rte_ring_count(parts.punt);
    for (rte_ring* ring : parts.handoff_in) packets += ring == nullptr ? 0 : rte_ring_count(ring);
  }
  return packets;
}

// Making a FIB clears hundreds of megabytes, so gateways of one name use one, empty again, after the other.
std::map<std::string, std::unique_ptr<dataplane::Fib>>& spare_fibs() {
  static std::map<std::string, std::unique_ptr<dataplane::Fib>> fibs;
  return fibs;
}

std::unique_ptr<dataplane::Fib> take_fib(const std::string& name, std::uint32_t routes) {
  std::unique_ptr<dataplane::Fib>& spare = spare_fibs()[name];
  if (spare) return std::move(spare);
  return std::make_unique<dataplane::Fib>(name, routes, SOCKET_ID_ANY);
}

// Of 2 MiB pages.
unsigned free_hugepage_megabytes() {
  std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  unsigned pages = 0;
  file >> pages;
  return 2 * pages;
}

template <typename Array>
std::uint64_t sum(const Array& values) {
  std::uint64_t total = 0;
  for (std::uint64_t v : values) total += v;
  return total;
}

}  // namespace

void start_eal(const EalOptions& options) {
  spare_fibs();  // older than any gateway, so that a static one finds it when the program ends
  static const bool started = [&options] {
    // On whatever CPU is free: tests run beside each other.
    const std::string cores = fmt::format("0@({})", fmt::join(dataplane::usable_cpus(), ","));
    const std::string megabytes = std::to_string(options.megabytes);
    const bool huge = options.hugepages && free_hugepage_megabytes() >= options.megabytes;
    // --in-memory leaves no files behind; both say where memory comes from.
    const char* args[] = {"test",
                          huge ? "--in-memory" : "--no-huge",
                          "--no-pci",
                          "--no-telemetry",
                          "--no-shconf",
                          "-m",
                          megabytes.c_str(),
                          "--lcores",
                          cores.c_str(),
                          "--log-level",
                          "error"};
    check(rte_eal_init(static_cast<int>(std::size(args)), const_cast<char**>(args)) >= 0, "EAL");
    return true;
  }();
  (void)started;
}

rte_mempool* packet_pool() {
  static rte_mempool* pool = [] {
    start_eal();
    rte_mempool* made = rte_pktmbuf_pool_create("packets", kPoolPackets, kPoolCache,
                                                sizeof(dataplane::PktMeta), 2176, SOCKET_ID_ANY);
    check(made != nullptr, "packet pool");
    return made;
  }();
  return pool;
}

unsigned free_packets() {
  return rte_mempool_avail_count(packet_pool());
}

rte_mbuf* make_packet(const Bytes& bytes) {
  rte_mbuf* m = rte_pktmbuf_alloc(packet_pool());
  check(m != nullptr, "packet");
  char* to = rte_pktmbuf_append(m, static_cast<std::uint16_t>(bytes.size()));
  check(to != nullptr, "room in a packet");
  std::copy(bytes.begin(), bytes.end(), to);
  return m;
}

Bytes bytes_of(const rte_mbuf* m) {
  const std::uint8_t* p = rte_pktmbuf_mtod(m, const std::uint8_t*);
  return Bytes(p, p + m->data_len);
}

dataplane::IpAddress ip(const std::string& text) {
  dataplane::IpAddress address;
  address.family = text.find(':') == std::string::npos ? 4 : 6;
  if (inet_pton(address.family == 4 ? AF_INET : AF_INET6, text.c_str(), address.bytes.data()) != 1) {
    throw std::runtime_error("not an address: " + text);
  }
  return address;
}

dataplane::IpPrefix prefix(const std::string& text) {
  const std::size_t slash = text.find('/');
  return {ip(text.substr(0, slash)), static_cast<std::uint8_t>(std::stoi(text.substr(slash + 1)))};
}

session::Endpoint endpoint(const std::string& address, std::uint16_t port) {
  session::Endpoint e;
  const dataplane::IpAddress parsed = ip(address);
  e.address = parsed.bytes;
  e.family = parsed.family;
  e.port = port;
  return e;
}

dataplane::MacAddress mac(std::uint8_t last) {
  return {0x02, 0, 0, 0, 0, last};
}

Bytes ip_packet(const Ip& h, const Bytes& payload) {
  const bool six = ip(h.source).family == 6;
  const std::size_t header = six ? 40 : 20 + h.options.size();
  Bytes packet(header + payload.size());
  std::uint8_t* p = packet.data();
  std::copy(payload.begin(), payload.end(), p + header);
  if (six) {
    p[0] = static_cast<std::uint8_t>(0x60 | (h.traffic_class >> 4));
    p[1] = static_cast<std::uint8_t>(h.traffic_class << 4);
    store_be16(p + 4, static_cast<std::uint16_t>(payload.size()));
    p[6] = h.protocol;
    p[7] = h.ttl;
    put_address(p + 8, h.source);
    put_address(p + 24, h.destination);
    return packet;
  }
  p[0] = static_cast<std::uint8_t>(0x40 | (header / 4));
  p[1] = h.traffic_class;
  store_be16(p + 2, static_cast<std::uint16_t>(packet.size()));
  store_be16(p + 4, h.id);
  store_be16(p + 6, h.flags_offset);
  p[8] = h.ttl;
  p[9] = h.protocol;
  put_address(p + 12, h.source);
  put_address(p + 16, h.destination);
  std::copy(h.options.begin(), h.options.end(), p + 20);
  dataplane::ipv4_checksum_store(p, header);
  return packet;
}

Bytes udp(std::uint16_t source, std::uint16_t destination, const Bytes& payload) {
  Bytes datagram(8 + payload.size());
  store_be16(&datagram[0], source);
  store_be16(&datagram[2], destination);
  store_be16(&datagram[4], static_cast<std::uint16_t>(datagram.size()));
  std::copy(payload.begin(), payload.end(), datagram.begin() + 8);
  return datagram;
}

Bytes udp6(const Ip& h, std::uint16_t source, std::uint16_t destination, const Bytes& payload) {
  Bytes datagram = udp(source, destination, payload);
  std::uint8_t pseudo[32];
  put_address(pseudo, h.source);
  put_address(pseudo + 16, h.destination);
  store_be16(&datagram[6], dataplane::udp_checksum(dataplane::partial_sum(pseudo, 32) + 17, datagram.data(),
                                                   datagram.size()));
  return datagram;
}

Bytes tcp_syn(std::uint16_t mss) {
  Bytes segment(24);
  store_be16(&segment[0], 40000);
  store_be16(&segment[2], 80);
  segment[12] = 0x60;
  segment[13] = 0x02;
  segment[20] = 2;
  segment[21] = 4;
  store_be16(&segment[22], mss);
  return segment;
}

Bytes ether(const dataplane::MacAddress& to, const dataplane::MacAddress& from, const Bytes& packet) {
  Bytes frame(14 + packet.size());
  std::copy(to.begin(), to.end(), frame.begin());
  std::copy(from.begin(), from.end(), frame.begin() + 6);
  const bool six = !packet.empty() && (packet[0] >> 4) == 6;
  store_be16(&frame[12], six ? 0x86dd : 0x0800);
  std::copy(packet.begin(), packet.end(), frame.begin() + 14);
  return frame;
}

Bytes pattern(std::size_t bytes, unsigned seed) {
  Bytes out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::uint8_t>(seed * 31 + i * 7 + (i >> 8));
  return out;
}

std::array<std::uint8_t, session::kSessionIdBytes> session_id(std::uint8_t seed) {
  std::array<std::uint8_t, session::kSessionIdBytes> id{};
  for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(seed * 59 + i * 13 + 5);
  return id;
}

session::OuterTemplate outer_template(const SessionSpec& spec) {
  session::OuterTemplate t;
  t.adjacency = spec.adjacency;
  t.inner_mtu = spec.inner_mtu;
  if (spec.peer.family == 0) return t;
  const bool six = spec.peer.family == 6;
  std::uint8_t* p = t.bytes.data();
  const std::size_t address = six ? 16 : 4;
  if (six) {
    p[0] = 0x60;
    p[6] = 17;
    p[7] = 64;
  } else {
    p[0] = 0x45;
    p[6] = 0x40;
    p[8] = 64;
    p[9] = 17;
  }
  std::uint8_t* addresses = p + (six ? 8 : 12);
  std::memcpy(addresses, spec.local.address.data(), address);
  std::memcpy(addresses + address, spec.peer.address.data(), address);
  std::uint8_t* udp_header = p + (six ? 40 : 20);
  store_be16(udp_header, spec.local.port);
  store_be16(udp_header + 2, spec.peer.port);
  t.length = six ? 48 : 28;
  if (!six) t.ip_partial_sum = static_cast<std::uint32_t>(dataplane::partial_sum(p, 20) % 0xffff);
  t.udp_pseudo_sum =
      static_cast<std::uint32_t>((dataplane::partial_sum(addresses, 2 * address) + 17) % 0xffff);
  return t;
}

Gateway::Gateway(const std::string& name, const GatewayOptions& options)
    : topology_(std::make_unique<dataplane::Topology>()) {
  dataplane::Topology& t = *topology_;
  t.packets = packet_pool();
  t.config.name = name;
  t.config.services = options.services;
  t.fib = take_fib(name, options.routes);
  for (const session::Endpoint& e : options.endpoints) {
    dataplane::SessionEntry entry;
    entry.local = e;
    t.config.sessions.push_back(entry);
  }
  dataplane::list_local_endpoints(t);
  stats_.resize(options.workers);
  rx_.resize(2);
  tx_.resize(2);
  for (unsigned port : {kLan, kWan}) make_port(name, options, port);
  t.workers.resize(options.workers);
  for (unsigned w = 0; w < options.workers; ++w) make_worker(name, options, w);
  dataplane::make_services(t, name);
  for (unsigned w = 0; w < options.workers; ++w) {
    workers_.push_back(std::make_unique<dataplane::Worker>(t, w));
  }
}

void Gateway::make_port(const std::string& name, const GatewayOptions& options, unsigned index) {
  const std::string base = name + (index == kLan ? "l" : "w");
  for (unsigned w = 0; w < options.workers; ++w) {
    rx_[index].push_back(make_ring(base + "r" + std::to_string(w), options.ring_size));
    tx_[index].push_back(make_ring(base + "t" + std::to_string(w), options.ring_size));
  }
  const int ethdev = rte_eth_from_rings(base.c_str(), rx_[index].data(), options.workers, tx_[index].data(),
                                        options.workers, 0);
  check(ethdev >= 0, "ring port");
  const auto id = static_cast<std::uint16_t>(ethdev);
  const rte_eth_conf conf{};
  const auto queues = static_cast<std::uint16_t>(options.workers);
  check(rte_eth_dev_configure(id, queues, queues, &conf) == 0, "configure");
  for (std::uint16_t q = 0; q < queues; ++q) {
    check(rte_eth_rx_queue_setup(id, q, 64, 0, nullptr, packet_pool()) == 0, "rx queue");
    check(rte_eth_tx_queue_setup(id, q, 64, 0, nullptr) == 0, "tx queue");
  }
  check(rte_eth_dev_start(id) == 0, "start");
  dataplane::Port port;
  port.config.name = index == kLan ? "lan" : "wan";
  port.config.lan = index == kLan;
  port.config.wan = index == kWan || options.wan_on_lan_port;
  port.config.mtu = index == kLan ? options.lan_mtu : 1500;
  port.ethdev = id;
  port.index = static_cast<std::uint8_t>(index);
  port.mac = {0x02, 1, static_cast<std::uint8_t>(name.back()), 0, 0, static_cast<std::uint8_t>(index)};
  topology_->ports.push_back(std::move(port));
}

void Gateway::make_worker(const std::string& name, const GatewayOptions& options, unsigned index) {
  dataplane::WorkerParts& parts = topology_->workers[index];
  const std::string base = name + std::to_string(index);
  session::ShardLimits limits;
  limits.sessions = options.sessions;
  limits.keys = options.keys;
  limits.windows = options.sessions * options.windows_per_session;
  limits.window_bits = 1024;
  if (!options.services.empty()) {
    limits.window_bits = 8192;  // as a session expects of its peer
    topology_->config.limits = limits;
    limits = dataplane::limits_with_services(topology_->config);
  }
  parts.index = index;
  parts.shard_memory = block(session::Shard::bytes_needed(limits));
  parts.key_memory = block(options.keys * sizeof(crypto::KeySlot));
  const std::span<crypto::KeySlot> slots(reinterpret_cast<crypto::KeySlot*>(parts.key_memory->data()),
                                         options.keys);
  parts.keys = std::make_unique<session::KeyPool>(slots);
  parts.shard = std::make_unique<session::Shard>(
      limits, slots, std::span<std::byte>(parts.shard_memory->data(), parts.shard_memory->bytes()));
  const unsigned flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
  parts.to_worker =
      dataplane::phantom_ring_create_elem((base + "tw").c_str(), sizeof(Message), 256, SOCKET_ID_ANY, flags);
  parts.to_control =
      dataplane::phantom_ring_create_elem((base + "tc").c_str(), sizeof(Message), 256, SOCKET_ID_ANY, flags);
  check(parts.to_worker != nullptr && parts.to_control != nullptr, "mailbox");
  parts.punt = make_ring(base + "p", 256);
  for (unsigned from = 0; from < options.workers; ++from) {
    parts.handoff_in.push_back(
        from == index ? nullptr : make_ring(base + "h" + std::to_string(from), options.ring_size));
  }
  parts.stats = &stats_[index];
}

void clean_fib(const dataplane::Topology& topology) {
  dataplane::Fib& fib = *topology.fib;
  for (const char* all : {"0.0.0.0/0", "::/0"}) fib.remove(prefix(all));
  for (const dataplane::Port& port : topology.ports) {
    for (dataplane::IpPrefix ours : port.config.addresses) {
      fib.remove(ours);
      ours.length = ours.address.family == 4 ? 32 : 128;
      fib.remove(ours);
    }
  }
  for (const dataplane::RouteConfig& route : topology.config.routes) fib.remove(route.prefix);
}

Gateway::~Gateway() {
  workers_.clear();
  for (const dataplane::IpPrefix& route : routes_) topology_->fib->remove(route);
  spare_fibs()[topology_->config.name] = std::move(topology_->fib);
  for (dataplane::Port& port : topology_->ports) {
    rte_eth_dev_info info;
    check(rte_eth_dev_info_get(port.ethdev, &info) == 0, "port");
    rte_eth_dev_stop(port.ethdev);
    rte_eth_dev_close(port.ethdev);
    check(rte_dev_remove(info.device) == 0, "remove port");  // or its name stays taken
  }
  const auto empty = [](rte_ring* ring) {
    if (ring == nullptr) return;
    void* m = nullptr;
    while (rte_ring_dequeue(ring, &m) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(m));
    rte_ring_free(ring);
  };
  for (auto& queues : rx_) std::for_each(queues.begin(), queues.end(), empty);
  for (auto& queues : tx_) std::for_each(queues.begin(), queues.end(), empty);
  for (dataplane::WorkerParts& parts : topology_->workers) {
    empty(parts.punt);
    std::for_each(parts.handoff_in.begin(), parts.handoff_in.end(), empty);
    rte_ring_free(parts.to_worker);
    rte_ring_free(parts.to_control);
  }
}

session::KeyRef Gateway::keys(const SessionSpec& spec, unsigned shard, std::uint8_t epoch) {
  session::KeyPool& pool = *topology_->workers[shard].keys;
  const crypto::EpochKeys raw = keys_at(test_secret(spec.seed), epoch, spec.suite);
  session::KeyRef ref;
  ref.send_key = pool.allocate();
  ref.recv_key = pool.allocate();
  aead_.expand_key(spec.suite, spec.initiator ? raw.i2r.span() : raw.r2i.span(), pool.slot(ref.send_key));
  aead_.expand_key(spec.suite, spec.initiator ? raw.r2i.span() : raw.i2r.span(), pool.slot(ref.recv_key));
  ref.nonce_prefix = raw.nonce_prefix;
  ref.epoch = epoch;
  ref.valid = true;
  return ref;
}

Installed Gateway::add_session(const SessionSpec& spec) {
  Installed s;
  const bool own_id = std::any_of(spec.id.begin(), spec.id.end(), [](std::uint8_t b) { return b != 0; });
  s.id = own_id ? spec.id : session_id(spec.seed);
  s.shard = session::shard_of(s.id.data(), static_cast<unsigned>(topology_->workers.size()));
  s.slot = next_slot_++;
  s.generation = 1;
  session::SessionInit init;
  init.id = s.id;
  init.slot = s.slot;
  init.generation = s.generation;
  init.current = keys(spec, s.shard, 0);
  init.suite = spec.suite;
  init.tx_streams = spec.tx_streams;
  init.session_flags = spec.flags;
  init.rekey_soft_limit = spec.soft_limit;
  init.seq_limit.fill(0x7fffffff);
  init.outer = outer_template(spec);
  session::ShardCommands commands(*topology_->workers[s.shard].shard);
  if (!commands.add(init)) throw std::runtime_error("session was refused");
  commands.install_next(s.slot, s.generation, keys(spec, s.shard, 1));
  return s;
}

void Gateway::route(const std::string& to, dataplane::Hop hop) {
  if (!topology_->fib->add(prefix(to), hop)) throw std::runtime_error("route was refused: " + to);
  routes_.push_back(prefix(to));
}

void Gateway::command(unsigned worker, const Message& message) {
  check(dataplane::push(topology_->workers[worker].to_worker, message), "mailbox room");
}

std::vector<Message> Gateway::messages(unsigned worker) {
  std::vector<Message> out(256);
  out.resize(dataplane::pop(topology_->workers[worker].to_control, out.data(), 256));
  return out;
}

void Gateway::neighbour(std::uint16_t index, unsigned port, const std::string& address,
                        const dataplane::MacAddress& to, dataplane::NeighbourState state) {
  Message message;
  message.kind = MessageKind::kNeighbour;
  message.neighbour = dataplane::NeighbourUpdate{};
  message.neighbour.address = ip(address);
  message.neighbour.mac = to;
  message.neighbour.port = static_cast<std::uint8_t>(port);
  message.neighbour.state = state;
  message.neighbour.adjacency = index;
  for (unsigned w = 0; w < workers_.size(); ++w) command(w, message);
  run();
}

void Gateway::receive(unsigned port, rte_mbuf* m, unsigned worker) {
  check(rte_ring_enqueue(rx_[port][worker], m) == 0, "rx ring room");
}

void Gateway::receive(unsigned port, const Bytes& frame, unsigned worker) {
  receive(port, make_packet(frame), worker);
}

void Gateway::poll(unsigned worker) {
  workers_[worker]->poll();
}

void Gateway::run() {
  for (bool moved = true; moved;) {
    moved = false;
    for (auto& worker : workers_) moved |= worker->poll();
  }
}

std::vector<rte_mbuf*> Gateway::take_sent(unsigned port) {
  std::vector<rte_mbuf*> out;
  for (rte_ring* ring : tx_[port]) {
    void* m = nullptr;
    while (rte_ring_dequeue(ring, &m) == 0) out.push_back(static_cast<rte_mbuf*>(m));
  }
  return out;
}

std::vector<Bytes> Gateway::sent(unsigned port) {
  std::vector<Bytes> out;
  for (rte_mbuf* m : take_sent(port)) {
    out.push_back(bytes_of(m));
    rte_pktmbuf_free(m);
  }
  return out;
}

std::vector<rte_mbuf*> Gateway::punts(unsigned worker) {
  std::vector<rte_mbuf*> out;
  void* m = nullptr;
  while (rte_ring_dequeue(topology_->workers[worker].punt, &m) == 0) out.push_back(static_cast<rte_mbuf*>(m));
  punts_taken_ += out.size();
  return out;
}

std::uint64_t Gateway::drops(session::DropReason reason) const {
  std::uint64_t n = 0;
  for (const dataplane::CoreStats& s : stats_) n += s.drops[static_cast<std::size_t>(reason)];
  return n;
}

std::uint64_t Gateway::all_drops() const {
  std::uint64_t n = 0;
  for (const dataplane::CoreStats& s : stats_) n += sum(s.drops);
  return n;
}

std::uint64_t Gateway::consumed(session::ConsumedKind kind) const {
  std::uint64_t n = 0;
  for (const dataplane::CoreStats& s : stats_) n += s.consumed[static_cast<std::size_t>(kind)];
  return n;
}

std::int64_t Gateway::imbalance() const {
  std::uint64_t in = 0;
  std::uint64_t out = in_rings(*topology_) + punts_taken_;
  for (const dataplane::CoreStats& s : stats_) {
    in += s.originated;
    out += sum(s.drops) + sum(s.consumed) + s.held;
    for (const dataplane::PortStats& port : s.port) {
      in += port.rx_pkts;
      out += port.tx_pkts;
    }
  }
  return static_cast<std::int64_t>(in - out);
}

}  // namespace support
