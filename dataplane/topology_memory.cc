// Where a topology's memory comes from: NUMA placement, locked blocks, counters, packet buffers.
#include <algorithm>
#include <new>
#include <stdexcept>

#include <fmt/core.h>
#include <linux/mempolicy.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dataplane/batch.h"
#include "dataplane/pkt_meta.h"
#include "dataplane/topology_pvt.h"

namespace dataplane {
namespace {

// Buffers each lcore keeps for itself; the default of DPDK's own programs, below RTE_MEMPOOL_CACHE_MAX_SIZE.
constexpr unsigned kPoolCache = 256;
// Two lines: the adjacent-line prefetcher of Intel's cores fetches pairs.
constexpr unsigned kStatsAlignment = 128;

std::uint64_t needed_packets(const GatewayConfig& config) {
  std::uint64_t descriptors = 0;
  for (const PortConfig& port : config.ports) descriptors += port.rx_descriptors;
  return config.cores.workers * (descriptors + kMaxBurst);
}

}  // namespace

std::string eal_reason() {
  return rte_strerror(rte_errno);
}

NearMemory::NearMemory(int socket) {
  if (rte_socket_count() < 2 || socket < 0 || socket >= 64) return;
  const unsigned long nodes = 1UL << socket;
  // No library for one call; a refusal costs speed, not correctness.
  set_ = syscall(SYS_set_mempolicy, MPOL_PREFERRED, &nodes, 8 * sizeof(nodes) + 1) == 0;
}

NearMemory::~NearMemory() {
  if (set_) syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0);
}

std::unique_ptr<crypto::SecureBlock> secure_memory(std::size_t bytes, int socket,
                                                   const std::string& purpose) {
  try {
    const NearMemory near(socket);
    auto block = std::make_unique<crypto::SecureBlock>(bytes);
    if (!block->locked()) {
      spdlog::warn(
          "{}: {} KiB could not be locked into memory and may be swapped out; raise the limit (ulimit -l, "
          "LimitMEMLOCK= of the service)",
          purpose, bytes / 1024);
    }
    return block;
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(
        fmt::format("{}: {} MiB of memory are not available; lower limits.sessions, limits.windows, "
                    "limits.window_bits or "
                    "limits.keys, which every one of cores.workers has of its own",
                    purpose, bytes >> 20));
  }
}

CoreStats* make_stats(int socket) {
  void* memory = rte_zmalloc_socket("phantom_stats", sizeof(CoreStats), kStatsAlignment, socket);
  if (memory == nullptr) memory = rte_zmalloc("phantom_stats", sizeof(CoreStats), kStatsAlignment);
  if (memory == nullptr) {
    throw std::runtime_error(
        fmt::format("EAL has no {} bytes left for counters; give it more memory with -m", sizeof(CoreStats)));
  }
  return new (memory) CoreStats;
}

void free_stats(CoreStats* stats) {
  rte_free(stats);
}

rte_mempool* make_packet_pool(const GatewayConfig& config, unsigned instance) {
  const std::uint32_t packets = config.pools.packets;
  const std::uint64_t needed = needed_packets(config);
  if (packets < needed) {
    throw std::runtime_error(fmt::format(
        "pools.packets = {} is too small: the receive queues of {} port(s) and {} worker(s) alone "
        "hold {}; raise it to {} or lower rx_descriptors",
        packets, config.ports.size(), config.cores.workers, needed, 2 * needed));
  }
  const std::string name = fmt::format("p{}packets", instance);
  const unsigned cache = std::min(kPoolCache, packets * 2 / 3);
  rte_mempool* pool = rte_pktmbuf_pool_create(name.c_str(), packets, cache, sizeof(PktMeta),
                                              config.pools.data_room_bytes, SOCKET_ID_ANY);
  if (pool == nullptr) {
    const std::uint64_t bytes =
        std::uint64_t{packets} * (sizeof(rte_mbuf) + sizeof(PktMeta) + 64U + config.pools.data_room_bytes);
    const std::uint64_t pages = (bytes >> 21) + 1;
    throw std::runtime_error(fmt::format(
        "no memory for {} packets of {} bytes ({}): that is {} MiB, {} hugepages of 2 MiB; reserve them with "
        "tools/setup --hugepages {}, or give EAL --no-huge -m {}, or lower pools.packets",
        packets, config.pools.data_room_bytes, eal_reason(), bytes >> 20, pages, pages + 32,
        (bytes >> 20) + 128));
  }
  return pool;
}

}  // namespace dataplane
