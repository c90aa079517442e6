// A Phantom end inside the harness: the data plane of a gateway (topology, control, workers) whose ports are
// pairs of rings. What is put into a port's `in` ring arrives there; what it sends is found in `out`.
//
// Thread: built, polled (control) and ended by the main lcore; worker k by lane k alone. The rings of lane k
// are that lane's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rte_mempool.h>
#include <rte_ring.h>

#include "dataplane/config.h"
#include "dataplane/control.h"
#include "dataplane/operator.h"
#include "dataplane/store.h"
#include "dataplane/topology.h"
#include "dataplane/worker.h"

namespace testpmd {

// Entries of a ring between a lane and an end; a power of two, and less one packets.
inline constexpr unsigned kRingSize = 1024;

struct RingPair {
  rte_ring* in = nullptr;   // towards the end
  rte_ring* out = nullptr;  // from the end
};

class PhantomEnd {
 public:
  // `config`: complete, its devices are replaced by rings; `macs`: those of its ports, in order; `tag`: one
  // letter, other than that of another end. Opens the state store; throws StoreError, std::runtime_error.
  PhantomEnd(dataplane::GatewayConfig config, const std::string& tag,
             const std::vector<dataplane::MacAddress>& macs);
  ~PhantomEnd();
  PhantomEnd(const PhantomEnd&) = delete;
  PhantomEnd& operator=(const PhantomEnd&) = delete;

  // Sessions, keys, routes. Throws as the constructor.
  void start() { control_->start(); }
  void poll() { control_->poll(); }

  [[nodiscard]] const dataplane::Topology& topology() const { return *topology_; }
  [[nodiscard]] rte_mempool* pool() const { return topology_->packets; }
  [[nodiscard]] dataplane::Worker& worker(unsigned lane) { return *workers_[lane]; }
  [[nodiscard]] const dataplane::CoreStats& stats(unsigned lane) const {
    return *topology_->workers[lane].stats;
  }
  [[nodiscard]] const dataplane::Port& port(unsigned index) const { return topology_->ports[index]; }
  [[nodiscard]] RingPair rings(unsigned port, unsigned lane) const { return rings_[port][lane]; }
  [[nodiscard]] dataplane::Control& control() { return *control_; }
  [[nodiscard]] const dataplane::Control& control() const { return *control_; }
  // Drop reasons over all cores.
  [[nodiscard]] std::array<std::uint64_t, session::kDropReasons> drops() const;

 private:
  void make_port(const std::string& tag, unsigned index, unsigned lanes);
  void empty_rings();

  std::unique_ptr<dataplane::SqliteStore> store_;
  std::vector<std::vector<RingPair>> rings_;  // by port and lane
  std::vector<std::string> devices_;
  std::unique_ptr<dataplane::Topology> topology_;
  std::unique_ptr<dataplane::Control> control_;
  std::vector<std::unique_ptr<dataplane::Worker>> workers_;
};

}  // namespace testpmd
