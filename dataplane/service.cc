#include "dataplane/service.h"

#include <bit>
#include <cstdlib>
#include <stdexcept>

#include <rte_ring.h>

#include "dataplane/ring_elem.h"

namespace dataplane {

const char* name_of(ServiceEnd end) {
  static constexpr const char* kNames[] = {"done",   "refused", "timed_out", "unreachable",
                                           "broken", "idle",    "forbidden", "no_socket"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(ServiceEnd::kCount));
  return kNames[static_cast<std::size_t>(end)];
}

// A ring on plain memory: it works before EAL is there, and in tests without it.
struct ServiceLink::RingMemory {
  explicit RingMemory(unsigned count) {
    const auto bytes = phantom_ring_memsize_elem(sizeof(ServiceMessage), count);
    const std::size_t whole = (static_cast<std::size_t>(bytes) + 63) / 64 * 64;
    ring = static_cast<rte_ring*>(std::aligned_alloc(64, whole));
    if (ring == nullptr || rte_ring_init(ring, "service", count, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
      std::free(ring);
      throw std::runtime_error("services: no memory for the rings");
    }
  }
  ~RingMemory() { std::free(ring); }
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;
  rte_ring* ring;
};

namespace {

bool put(rte_ring* ring, ServiceMessage message) {
  return rte_ring_sp_enqueue_elem(ring, &message, sizeof message) == 0;
}

unsigned take(rte_ring* ring, ServiceMessage* out, unsigned n) {
  return rte_ring_sc_dequeue_burst_elem(ring, out, sizeof *out, n, nullptr);
}

}  // namespace

ServiceLink::ServiceLink(std::uint32_t connections, std::uint32_t pipe_bytes)
    : connections_(connections),
      memory_(std::make_unique_for_overwrite<std::uint8_t[]>(std::size_t{connections} * 2 * pipe_bytes)),
      pipes_(std::make_unique<ServicePipes[]>(connections)) {
  const unsigned count = std::bit_ceil(connections * kServiceMessages + 1);
  to_hub_ = std::make_unique<RingMemory>(count);
  to_worker_ = std::make_unique<RingMemory>(count);
  for (std::uint32_t i = 0; i < connections; ++i) {
    std::uint8_t* at = memory_.get() + std::size_t{i} * 2 * pipe_bytes;
    pipes_[i].to_socket.init({at, pipe_bytes});
    pipes_[i].from_socket.init({at + pipe_bytes, pipe_bytes});
  }
}

ServiceLink::~ServiceLink() = default;

bool ServiceLink::tell_hub(const ServiceMessage& message) {
  return put(to_hub_->ring, message);
}
bool ServiceLink::tell_worker(const ServiceMessage& message) {
  return put(to_worker_->ring, message);
}
unsigned ServiceLink::worker_takes(ServiceMessage* out, unsigned n) {
  return take(to_worker_->ring, out, n);
}
unsigned ServiceLink::hub_takes(ServiceMessage* out, unsigned n) {
  return take(to_hub_->ring, out, n);
}

}  // namespace dataplane
