// Parts of building and tearing down a topology; only topology*.cc and its test use this.
#pragma once

#include <memory>
#include <string>

#include "dataplane/topology.h"

namespace dataplane {

// Memory of a running gateway is placed near the core that works on it: while this object lives, pages that
// this thread touches first come from `socket`'s node, where the machine has more than one.
class NearMemory {
 public:
  explicit NearMemory(int socket);
  ~NearMemory();
  NearMemory(const NearMemory&) = delete;
  NearMemory& operator=(const NearMemory&) = delete;

 private:
  bool set_ = false;
};

// Zeroed secret memory on `socket`. Throws std::runtime_error that says what `purpose` needs it.
std::unique_ptr<crypto::SecureBlock> secure_memory(std::size_t bytes, int socket, const std::string& purpose);

// Counters on lines that no other core writes to. Throws std::runtime_error.
CoreStats* make_stats(int socket);
void free_stats(CoreStats* stats);

// Packet buffers for everything the configuration may have in flight. Throws std::runtime_error.
rte_mempool* make_packet_pool(const GatewayConfig& config, unsigned instance);

// Finds the device of a port and reads what is needed to configure it. Throws std::runtime_error that lists
// what is there.
Port find_port(const PortConfig& config, std::uint8_t index);
// Queues, offloads, RSS, MTU, multicast; leaves the port started. Throws std::runtime_error with advice.
void start_port(Port& port, unsigned workers, rte_mempool* pool);
// Takes what still waits in the device, stops and closes it. Returns how many buffers the driver may keep for
// good.
unsigned close_port(const Port& port, unsigned workers);

// What EAL knows of the last failure of a call that sets rte_errno.
std::string eal_reason();

}  // namespace dataplane
