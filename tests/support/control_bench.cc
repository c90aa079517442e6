#include "tests/support/control_bench.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <sys/stat.h>

#include "dataplane/mailbox.h"
#include "dataplane/ring_elem.h"

namespace support {
namespace {

using dataplane::Message;
using dataplane::MessageKind;

dataplane::Port port_of(unsigned index) {
  const bool lan = index == kLan;
  dataplane::Port port;
  port.index = static_cast<std::uint8_t>(index);
  port.mac = mac(static_cast<std::uint8_t>(0xa0 + index));
  port.config.name = lan ? "lan" : "wan";
  port.config.lan = lan;
  port.config.wan = !lan;
  port.config.addresses = {prefix(lan ? "10.1.0.1/24" : "192.0.2.1/24"),
                           prefix(lan ? "2001:db8:1::1/64" : "2001:db8:f::1/64")};
  if (!lan) {
    port.config.gateway4 = ip("192.0.2.254");
    port.config.gateway6 = ip("2001:db8:f::fe");
  }
  return port;
}

rte_ring* ring(const std::string& name, unsigned element, unsigned size) {
  rte_ring* made = dataplane::phantom_ring_create_elem(name.c_str(), element, size, SOCKET_ID_ANY,
                                                       RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (made == nullptr) throw std::runtime_error("ring " + name);
  return made;
}

// Clearing the tables takes long: one pair of them serves all tests, emptied in between.
std::unique_ptr<dataplane::Fib>& spare_fib() {
  static std::unique_ptr<dataplane::Fib> fib;
  return fib;
}

}  // namespace

ControlBench::ControlBench(unsigned workers, std::uint32_t mailbox) {
  char name[] = "/tmp/phantom-control-XXXXXX";
  directory_ = mkdtemp(name);
  topology.packets = packet_pool();
  topology.control_stats = &stats;
  if (!spare_fib()) spare_fib() = std::make_unique<dataplane::Fib>("control", 256, SOCKET_ID_ANY);
  topology.fib = std::move(spare_fib());
  for (unsigned i : {kLan, kWan}) topology.ports.push_back(port_of(i));
  session::ShardLimits limits;
  limits.sessions = 64;
  limits.keys = 512;
  limits.windows = 64;
  limits.window_bits = 1024;
  topology.config.limits = limits;
  topology.workers.resize(workers);
  worker_stats_.resize(workers);
  for (unsigned w = 0; w < workers; ++w) {
    dataplane::WorkerParts& parts = topology.workers[w];
    const std::string base = std::string("cb").append(std::to_string(w));
    parts.index = w;
    parts.shard_memory = std::make_unique<crypto::SecureBlock>(session::Shard::bytes_needed(limits));
    parts.key_memory = std::make_unique<crypto::SecureBlock>(limits.keys * sizeof(crypto::KeySlot));
    const std::span<crypto::KeySlot> slots(reinterpret_cast<crypto::KeySlot*>(parts.key_memory->data()),
                                           limits.keys);
    parts.keys = std::make_unique<session::KeyPool>(slots);
    parts.shard = std::make_unique<session::Shard>(
        limits, slots, std::span<std::byte>(parts.shard_memory->data(), parts.shard_memory->bytes()));
    parts.to_worker = ring(base + "in", sizeof(Message), mailbox);
    parts.to_control = ring(base + "out", sizeof(Message), 256);
    parts.punt = ring(base + "punt", sizeof(void*), 256);
    parts.stats = &worker_stats_[w];
  }
}

ControlBench::~ControlBench() {
  if (control) control->finish();
  control.reset();
  clean_fib(topology);
  spare_fib() = std::move(topology.fib);
  for (dataplane::WorkerParts& parts : topology.workers) {
    for (rte_ring* r : {parts.to_worker, parts.to_control, parts.punt}) rte_ring_free(r);
  }
  std::filesystem::remove_all(directory_);
}

dataplane::SessionEntry& ControlBench::add_session(std::uint8_t seed, const std::string& peer) {
  dataplane::SessionEntry entry;
  entry.identity.name = std::string("s").append(std::to_string(seed));
  entry.identity.id = session_id(seed);
  entry.secret_file = directory_ + "/" + entry.identity.name;
  entry.local = endpoint(peer.find(':') == std::string::npos ? "192.0.2.1" : "2001:db8:f::1", 4500);
  entry.peer = endpoint(peer, 4500);
  const crypto::TrafficSecret secret = test_secret(seed);
  std::ofstream(entry.secret_file, std::ios::binary)
      .write(reinterpret_cast<const char*>(secret.data()), static_cast<std::streamsize>(secret.size()));
  chmod(entry.secret_file.c_str(), 0600);
  topology.config.sessions.push_back(entry);
  return topology.config.sessions.back();
}

void ControlBench::route(const std::string& to, const std::string& session, const std::string& lan_gateway) {
  dataplane::RouteConfig route;
  route.prefix = prefix(to);
  route.session = session;
  if (!lan_gateway.empty()) route.lan_gateway = ip(lan_gateway);
  topology.config.routes.push_back(route);
}

dataplane::Control& ControlBench::make() {
  control = std::make_unique<dataplane::Control>(topology, store);
  return *control;
}

dataplane::Control& ControlBench::start() {
  make().start();
  return *control;
}

std::vector<Message> ControlBench::messages(unsigned worker) {
  std::vector<Message> out(4096);
  out.resize(dataplane::pop(topology.workers[worker].to_worker, out.data(), 4096));
  return out;
}

std::vector<Message> ControlBench::messages_of(MessageKind kind) {
  std::vector<Message> found;
  for (unsigned w = 0; w < topology.workers.size(); ++w) {
    for (const Message& m : messages(w)) {
      const bool packet = m.kind == MessageKind::kTransmit || m.kind == MessageKind::kInject ||
                          m.kind == MessageKind::kReturnPacket;
      if (m.kind == kind) {
        found.push_back(m);
      } else if (packet) {
        rte_pktmbuf_free(m.mbuf);
      }
    }
  }
  return found;
}

void ControlBench::hint(const Message& message, unsigned worker) {
  if (!dataplane::push(topology.workers[worker].to_control, message)) throw std::runtime_error("ring full");
}

rte_mbuf* ControlBench::packet(const Bytes& bytes, dataplane::PuntReason reason, std::uint8_t port) {
  rte_mbuf* m = make_packet(bytes);
  dataplane::meta(m) = dataplane::PktMeta{};
  dataplane::meta(m).slot = session::kNone;
  dataplane::meta(m).punt = reason;
  dataplane::meta(m).port = port;
  return m;
}

void ControlBench::punt(rte_mbuf* m, unsigned worker) {
  if (rte_ring_enqueue(topology.workers[worker].punt, m) != 0) throw std::runtime_error("punt ring full");
}

std::uint64_t ControlBench::drops(session::DropReason reason) const {
  return stats.drops[static_cast<std::size_t>(reason)];
}

std::uint64_t ControlBench::consumed(session::ConsumedKind kind) const {
  return stats.consumed[static_cast<std::size_t>(kind)];
}

}  // namespace support
