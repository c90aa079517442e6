// Cores, ports, pools and rings of a running gateway, and who may touch what. Built once by main before
// launch.
//
//   Port        an ethdev; every worker has queue number = its index for rx and tx
//   WorkerPort  what a worker needs of a port, copied into the worker's own memory
//   Rings       control <-> worker mailboxes, punt rings (worker -> control), hand-off rings (worker ->
//   worker)
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rte_ether.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "crypto/aead.h"
#include "crypto/secret.h"
#include "dataplane/config.h"
#include "dataplane/fib.h"
#include "dataplane/local_endpoints.h"
#include "dataplane/mailbox.h"
#include "dataplane/stats.h"
#include "session/key_pool.h"
#include "session/shard.h"

namespace dataplane {

struct Port {
  PortConfig config;
  std::uint16_t ethdev = 0;
  std::uint8_t index = 0;  // position in Topology::ports
  MacAddress mac{};
  std::uint64_t rx_offloads = 0;  // as enabled
  std::uint64_t tx_offloads = 0;  // IPv4/UDP/TCP checksum bits that may be asked for per packet
  int socket = 0;
  bool started = false;
};

class Worker;
class StreamHost;
class ServiceHub;

// Memory and rings of one worker. Owner in comments.
struct WorkerParts {
  WorkerParts();
  WorkerParts(WorkerParts&&) noexcept;
  ~WorkerParts();

  unsigned index = 0;
  unsigned lcore = 0;
  int socket = 0;
  std::unique_ptr<crypto::SecureBlock> shard_memory;  // behind shard
  std::unique_ptr<crypto::SecureBlock> key_memory;    // behind keys
  std::unique_ptr<session::Shard> shard;              // worker
  std::unique_ptr<session::KeyPool> keys;             // control
  rte_ring* to_worker = nullptr;                      // Message elements: control -> worker
  rte_ring* to_control = nullptr;                     // Message elements: worker -> control
  rte_ring* punt = nullptr;                           // mbuf pointers: worker -> control
  std::unique_ptr<StreamHost> streams;                // worker; null without services
  std::vector<rte_ring*> handoff_in;                  // mbuf pointers, one per sibling, indexed by the sender
  CoreStats* stats = nullptr;                         // worker writes
};

struct Topology {
  Topology();
  ~Topology();
  GatewayConfig config;
  std::vector<Port> ports;
  rte_mempool* packets = nullptr;  // priv size sizeof(PktMeta)
  std::unique_ptr<Fib> fib;
  std::vector<WorkerParts> workers;
  CoreStats* control_stats = nullptr;
  std::unique_ptr<ServiceHub> services;  // service thread; null without services
  // Where Phantom packets are ours, by the index that messages name; family 0: free. Workers copy it when
  // they are made; afterwards it is control's, which tells them of every change (kListen).
  std::array<session::Endpoint, kMaxLocalEndpoints> local_endpoints{};
};

// Stream hosts of the workers and the hub that joins them to sockets, where services are configured. `name`:
// of EAL objects. Throws std::runtime_error when there is no memory.
void make_services(Topology& topology, const std::string& name);
// Puts the local endpoints of all sessions into the list, each once. Throws std::runtime_error with advice.
void list_local_endpoints(Topology& topology);

// Checks devices, queues and offloads and builds everything; throws std::runtime_error with advice. EAL is
// initialised.
std::unique_ptr<Topology> build_topology(const GatewayConfig& config);
// Stops ports and frees everything; all workers have returned. Reports false when a pool is not full again (a
// leak), but for the buffers in kernel rings that the AF_XDP driver never gives back.
bool tear_down(Topology& topology);

}  // namespace dataplane
