#include "dataplane/topology.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <stdexcept>

#include <fmt/core.h>
#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "crypto/secret.h"
#include "dataplane/config_service.h"
#include "dataplane/message.h"
#include "dataplane/ring_elem.h"
#include "dataplane/service_hub.h"
#include "dataplane/stream_host.h"
#include "dataplane/topology_pvt.h"

namespace dataplane {
namespace {

// Routes of each family that operators may add while it runs.
constexpr std::uint32_t kSpareRoutes = 1024;

// What a Fib must have room for in a family: routes of the file, of ports (a connected prefix and an own
// address for each address, default routes), and of operators.
std::uint32_t route_room(const GatewayConfig& config, std::uint8_t family) {
  const auto in_family = [&](const RouteConfig& route) { return route.prefix.address.family == family; };
  auto routes =
      static_cast<std::size_t>(std::count_if(config.routes.begin(), config.routes.end(), in_family));
  for (const PortConfig& port : config.ports) routes += 2 * port.addresses.size() + 2;
  return static_cast<std::uint32_t>(routes + kSpareRoutes);
}

// Names of EAL objects are unique in a process, which in tests holds more than one gateway.
unsigned next_instance() {
  static std::atomic<unsigned> count{0};
  return count.fetch_add(1);
}

rte_ring* make_ring(const std::string& name, unsigned element_bytes, unsigned count, int socket) {
  rte_ring* ring =
      phantom_ring_create_elem(name.c_str(), element_bytes, count, socket, RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (ring == nullptr) {
    throw std::runtime_error(fmt::format(
        "ring {} of {} entries cannot be created ({}); ring sizes under [pools] are powers of two, "
        "and EAL needs memory for them: tools/setup --hugepages N, or --no-huge with -m MB",
        name, count, eal_reason()));
  }
  return ring;
}

void make_rings(Topology& topology, WorkerParts& worker, unsigned instance) {
  const PoolConfig& pools = topology.config.pools;
  const std::string prefix = fmt::format("p{}w{}_", instance, worker.index);
  worker.to_worker = make_ring(prefix + "in", sizeof(Message), pools.mailbox_ring, worker.socket);
  worker.to_control = make_ring(prefix + "out", sizeof(Message), pools.mailbox_ring, worker.socket);
  worker.punt = make_ring(prefix + "punt", sizeof(void*), pools.punt_ring, worker.socket);
  worker.handoff_in.resize(topology.workers.size(), nullptr);
  for (unsigned from = 0; from < topology.workers.size(); ++from) {
    if (from == worker.index) continue;
    worker.handoff_in[from] =
        make_ring(prefix + fmt::format("from{}", from), sizeof(void*), pools.handoff_ring, worker.socket);
  }
}

std::uint64_t random_key() {
  std::array<std::uint8_t, 8> bytes{};
  crypto::random_bytes(bytes);
  std::uint64_t key = 0;
  std::memcpy(&key, bytes.data(), sizeof(key));
  return key;
}

void make_shard(const GatewayConfig& config, WorkerParts& worker) {
  session::ShardLimits limits = limits_with_services(config);
  limits.index_key = random_key();
  const std::string who = fmt::format("worker {}", worker.index);
  worker.shard_memory =
      secure_memory(session::Shard::bytes_needed(limits), worker.socket, who + ": sessions and windows");
  worker.key_memory =
      secure_memory(std::size_t{limits.keys} * sizeof(crypto::KeySlot), worker.socket, who + ": keys");
  const std::span<crypto::KeySlot> keys(reinterpret_cast<crypto::KeySlot*>(worker.key_memory->data()),
                                        limits.keys);
  worker.keys = std::make_unique<session::KeyPool>(keys);
  worker.shard = std::make_unique<session::Shard>(
      limits, keys, std::span(worker.shard_memory->data(), worker.shard_memory->bytes()));
}

void assign_lcores(Topology& topology) {
  unsigned lcore = rte_get_next_lcore(-1U, 1, 0);
  for (WorkerParts& worker : topology.workers) {
    if (lcore == RTE_MAX_LCORE) {
      throw std::runtime_error(fmt::format(
          "cores.workers = {} needs {} lcores (one for control), EAL was given {}: name more cores with -l "
          "or --lcores, or lower cores.workers",
          topology.workers.size(), topology.workers.size() + 1, rte_lcore_count()));
    }
    worker.lcore = lcore;
    worker.socket = static_cast<int>(rte_lcore_to_socket_id(lcore));
    lcore = rte_get_next_lcore(lcore, 1, 0);
  }
}

void make_workers(Topology& topology, unsigned instance) {
  topology.workers.resize(topology.config.cores.workers);
  for (unsigned i = 0; i < topology.workers.size(); ++i) topology.workers[i].index = i;
  assign_lcores(topology);
  for (WorkerParts& worker : topology.workers) {
    make_shard(topology.config, worker);
    make_rings(topology, worker, instance);
    worker.stats = make_stats(worker.socket);
  }
  make_services(topology, fmt::format("p{}", instance));
}

void make_ports(Topology& topology) {
  if (topology.config.ports.size() > kMaxPorts) {
    throw std::runtime_error(
        fmt::format("{} ports, at most {} are supported", topology.config.ports.size(), kMaxPorts));
  }
  for (const PortConfig& config : topology.config.ports) {
    topology.ports.push_back(find_port(config, static_cast<std::uint8_t>(topology.ports.size())));
  }
  for (Port& port : topology.ports) {
    start_port(port, static_cast<unsigned>(topology.workers.size()), topology.packets);
  }
}

// Room for one more endpoint: its place, or the first free one.
session::Endpoint& place_of(Topology& topology, const session::Endpoint& endpoint) {
  for (session::Endpoint& place : topology.local_endpoints) {
    if (place.family == 0 || place == endpoint) return place;
  }
  throw std::runtime_error(
      fmt::format("sessions have more than {} different local endpoints: let them share addresses and ports",
                  kMaxLocalEndpoints));
}

bool carries_packet(MessageKind kind) {
  return kind == MessageKind::kTransmit || kind == MessageKind::kInject || kind == MessageKind::kReturnPacket;
}

// Packets that nobody took out of the rings any more, so that they don't pass for a leak.
void empty_rings(const WorkerParts& worker) {
  Message message;
  while (worker.to_worker != nullptr && pop(worker.to_worker, &message, 1) == 1) {
    if (carries_packet(message.kind)) rte_pktmbuf_free(message.mbuf);
  }
  void* packet = nullptr;
  while (worker.punt != nullptr && rte_ring_sc_dequeue(worker.punt, &packet) == 0) {
    rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
  }
  for (rte_ring* ring : worker.handoff_in) {
    while (ring != nullptr && rte_ring_sc_dequeue(ring, &packet) == 0) {
      rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
    }
  }
}

void free_worker(WorkerParts& worker) {
  for (rte_ring* ring : worker.handoff_in) rte_ring_free(ring);
  worker.handoff_in.clear();
  for (rte_ring** ring : {&worker.to_worker, &worker.to_control, &worker.punt}) {
    rte_ring_free(*ring);
    *ring = nullptr;
  }
  free_stats(worker.stats);
  worker.stats = nullptr;
  worker.streams.reset();
  worker.shard.reset();
  worker.keys.reset();
  worker.key_memory.reset();
  worker.shard_memory.reset();
}

}  // namespace

WorkerParts::WorkerParts() = default;
WorkerParts::WorkerParts(WorkerParts&&) noexcept = default;
WorkerParts::~WorkerParts() = default;
Topology::Topology() = default;
Topology::~Topology() = default;

void make_services(Topology& topology, const std::string& name) {
  if (topology.config.services.empty()) return;
  std::vector<ServiceLink*> links;
  for (WorkerParts& worker : topology.workers) {
    worker.streams = std::make_unique<StreamHost>(fmt::format("{}w{}streams", name, worker.index),
                                                  topology.config, *worker.shard, worker.socket);
    links.push_back(&worker.streams->link());
  }
  topology.services = std::make_unique<ServiceHub>(topology.config.services, std::move(links));
}

void list_local_endpoints(Topology& topology) {
  for (const SessionEntry& session : topology.config.sessions) {
    if (session.local.family != 0) place_of(topology, session.local) = session.local;
  }
}

std::unique_ptr<Topology> build_topology(const GatewayConfig& config) {
  auto topology = std::make_unique<Topology>();
  topology->config = config;
  list_local_endpoints(*topology);
  const unsigned instance = next_instance();
  try {
    topology->packets = make_packet_pool(config, instance);
    make_workers(*topology, instance);
    const int socket = static_cast<int>(rte_socket_id());
    topology->control_stats = make_stats(socket);
    topology->fib = std::make_unique<Fib>(fmt::format("p{}fib", instance), route_room(config, 4),
                                          route_room(config, 6), socket);
    make_ports(*topology);
  } catch (...) {
    tear_down(*topology);
    throw;
  }
  return topology;
}

bool tear_down(Topology& topology) {
  unsigned kept = 0;
  for (const Port& port : topology.ports) {
    kept += close_port(port, static_cast<unsigned>(topology.workers.size()));
  }
  topology.ports.clear();
  for (const WorkerParts& worker : topology.workers) empty_rings(worker);
  bool full = true;
  if (topology.packets != nullptr) {
    full = rte_mempool_in_use_count(topology.packets) <= kept;
    rte_mempool_free(topology.packets);
    topology.packets = nullptr;
  }
  topology.services.reset();
  for (WorkerParts& worker : topology.workers) free_worker(worker);
  free_stats(topology.control_stats);
  topology.control_stats = nullptr;
  topology.fib.reset();
  return full;
}

}  // namespace dataplane
