#include "tools/testpmd/phantom_end.h"

#include <array>
#include <stdexcept>

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace testpmd {
namespace {

rte_ring* make_ring(const std::string& name) {
  rte_ring* ring = rte_ring_create(name.c_str(), kRingSize, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (ring == nullptr) {
    throw std::runtime_error(fmt::format("ring {} cannot be created ({}): give EAL more memory with -m", name,
                                         rte_strerror(rte_errno)));
  }
  return ring;
}

void empty(rte_ring* ring) {
  void* packet = nullptr;
  while (rte_ring_sc_dequeue(ring, &packet) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
}

}  // namespace

PhantomEnd::PhantomEnd(dataplane::GatewayConfig config, const std::string& tag,
                       const std::vector<dataplane::MacAddress>& macs)
    : store_(std::make_unique<dataplane::SqliteStore>(config.state_dir, config.name)) {
  const unsigned lanes = config.cores.workers;
  for (unsigned i = 0; i < config.ports.size(); ++i) {
    make_port(tag, i, lanes);
    config.ports[i].device = devices_[i];
  }
  topology_ = dataplane::build_topology(config);
  for (unsigned i = 0; i < macs.size(); ++i) topology_->ports[i].mac = macs[i];
  control_ = std::make_unique<dataplane::Control>(*topology_, *store_);
  for (unsigned lane = 0; lane < lanes; ++lane) {
    workers_.push_back(std::make_unique<dataplane::Worker>(*topology_, lane));
  }
}

void PhantomEnd::make_port(const std::string& tag, unsigned index, unsigned lanes) {
  const std::string base = fmt::format("end{}{}", tag, index);
  std::vector<rte_ring*> in;
  std::vector<rte_ring*> out;
  rings_.emplace_back();
  for (unsigned lane = 0; lane < lanes; ++lane) {
    in.push_back(make_ring(fmt::format("{}in{}", base, lane)));
    out.push_back(make_ring(fmt::format("{}out{}", base, lane)));
    rings_.back().push_back(RingPair{in.back(), out.back()});
  }
  const int ethdev = rte_eth_from_rings(base.c_str(), in.data(), lanes, out.data(), lanes, 0);
  std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
  if (ethdev < 0 || rte_eth_dev_get_name_by_port(static_cast<std::uint16_t>(ethdev), name.data()) != 0) {
    throw std::runtime_error(fmt::format("ring port {} cannot be made ({})", base, rte_strerror(rte_errno)));
  }
  devices_.emplace_back(name.data());
}

std::array<std::uint64_t, session::kDropReasons> PhantomEnd::drops() const {
  std::array<std::uint64_t, session::kDropReasons> sum = topology_->control_stats->drops;
  for (const dataplane::WorkerParts& worker : topology_->workers) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += worker.stats->drops[i];
  }
  return sum;
}

void PhantomEnd::empty_rings() {
  for (const auto& port : rings_) {
    for (const RingPair& pair : port) {
      empty(pair.in);
      empty(pair.out);
    }
  }
}

// The lanes have returned and drained their workers.
PhantomEnd::~PhantomEnd() {
  if (control_ != nullptr) control_->finish();
  workers_.clear();
  control_.reset();
  empty_rings();
  if (topology_ != nullptr) dataplane::tear_down(*topology_);
  for (const auto& port : rings_) {
    for (const RingPair& pair : port) {
      rte_ring_free(pair.in);
      rte_ring_free(pair.out);
    }
  }
}

}  // namespace testpmd
