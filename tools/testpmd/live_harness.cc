// Building the harness and taking it down; what it tells about itself.
#include "tools/testpmd/live_harness.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "crypto/secret.h"
#include "dataplane/address_text.h"
#include "dataplane/topology_pvt.h"
#include "session/table.h"

namespace testpmd {
namespace {

struct Launch {
  Lane* lane;
  const std::atomic<bool>* stop;
};

int run_lane(void* argument) {
  const std::unique_ptr<Launch> launch(static_cast<Launch*>(argument));
  launch->lane->run(*launch->stop);
  return 0;
}

std::uint16_t random_run() {
  std::array<std::uint8_t, 2> bytes{};
  crypto::random_bytes(bytes);
  return static_cast<std::uint16_t>(bytes[0] | (bytes[1] << 8));
}

}  // namespace

LiveHarness::LiveHarness(HarnessConfig config)
    : config_(std::move(config)), tsc_hz_(static_cast<double>(rte_get_tsc_hz())) {
  try {
    open_devices();
    make_ends();
    for (dataplane::Port& port : ports_) dataplane::start_port(port, config_.end.cores.workers, end_->pool());
    for (const dataplane::Port& port : ports_) hosts_.push_back(std::make_unique<LanHost>(port));
    make_wire();
    make_lanes();
    if (config_.end.sessions.empty()) mode_ = Mode::kGen;
    if (ports_.empty() || config_.wan.empty()) mode_ = self_ ? Mode::kSelf : Mode::kGen;
    plan_ = std::make_unique<Plan>();
    plan_->run = random_run();
    launch();
    end_->start();
    if (self_) self_->start();
    rest();
  } catch (...) {
    lanes_stop_.store(true);
    if (launched_) rte_eal_mp_wait_lcore();
    lanes_.clear();
    for (const dataplane::Port& port : ports_) dataplane::close_port(port, config_.end.cores.workers);
    throw;
  }
}

LiveHarness::~LiveHarness() {
  lanes_stop_.store(true);
  rte_eal_mp_wait_lcore();
  lanes_.clear();
  capture_.reset();
  attacker_.reset();
  relays_.clear();
  for (const dataplane::Port& port : ports_) dataplane::close_port(port, config_.end.cores.workers);
  self_.reset();
  end_.reset();
  for (const auto& row : between_) {
    for (rte_ring* ring : row) rte_ring_free(ring);
  }
}

void LiveHarness::open_devices() {
  std::vector<std::size_t> order;
  if (config_.lan) order.push_back(*config_.lan);
  order.insert(order.end(), config_.wan.begin(), config_.wan.end());
  for (const std::size_t i : order) {
    ports_.push_back(dataplane::find_port(config_.end.ports[i], static_cast<std::uint8_t>(ports_.size())));
  }
}

void LiveHarness::make_ends() {
  std::vector<dataplane::MacAddress> macs;
  macs.reserve(ports_.size() + 1);
  for (std::size_t i = config_.lan ? 1 : 0; i < ports_.size(); ++i) macs.push_back(ports_[i].mac);
  macs.push_back(inner_mac(0, 1));
  end_ = std::make_unique<PhantomEnd>(config_.end_config(), "a", macs);
  if (config_.self) self_ = std::make_unique<PhantomEnd>(config_.self_config(), "b", config_.self_macs());
}

// Attacks, relay and captures.
void LiveHarness::make_wire() {
  if (ports_.empty()) return;
  std::vector<std::string> names;
  names.reserve(ports_.size());
  for (const dataplane::Port& port : ports_) names.push_back(port.config.name);
  capture_ = std::make_unique<Capture>(names, config_.end.cores.workers);
  if (config_.wan.empty()) return;
  attacker_ = std::make_unique<Attacker>(end_->pool(), config_.seed);
  if (!config_.lan) return;
  for (unsigned lane = 0; lane < config_.end.cores.workers; ++lane) {
    const auto queue = static_cast<std::uint16_t>(lane);
    relays_.push_back(std::make_unique<RelayLane>(RelayLane::End{ports_[0].ethdev, queue},
                                                  RelayLane::End{ports_[1].ethdev, queue}, end_->pool(),
                                                  config_.seed + lane));
  }
}

void LiveHarness::make_lanes() {
  const unsigned lanes = config_.end.cores.workers;
  std::vector<unsigned> owners;
  owners.reserve(config_.end.sessions.size() + 1);
  for (const dataplane::SessionEntry& entry : config_.end.sessions) {
    owners.push_back(session::shard_of(entry.identity.id.data(), lanes));
  }
  if (owners.empty()) owners.push_back(0);  // mode gen without sessions: a pair of addresses
  map_ = SessionMap(owners, lanes);
  between_.assign(lanes, std::vector<rte_ring*>(lanes, nullptr));
  for (unsigned from = 0; from < lanes; ++from) {
    for (unsigned to = 0; to < lanes; ++to) {
      if (from == to) continue;
      between_[from][to] = rte_ring_create(fmt::format("lane{}to{}", from, to).c_str(), kRingSize,
                                           SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
      if (between_[from][to] == nullptr) throw std::runtime_error("no memory for rings between lanes");
    }
  }
  for (unsigned i = 0; i < lanes; ++i) lanes_.push_back(std::make_unique<Lane>(lane_setup(i)));
}

LaneSetup LiveHarness::lane_setup(unsigned index) {
  LaneSetup setup;
  setup.index = index;
  setup.map = &map_;
  setup.addresses = config_.plan;
  setup.end = end_.get();
  setup.end_lan = static_cast<unsigned>(config_.wan.size());
  for (unsigned i = 0; i < config_.wan.size(); ++i) setup.end_wan.push_back(i);
  setup.self = self_.get();
  for (unsigned i = 0; config_.self && i < config_.self->ports.size(); ++i) {
    if (config_.self->ports[i].lan) setup.self_lan = i;
    if (config_.self->ports[i].wan) setup.self_wan.push_back(i);
  }
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    setup.hosts.push_back(hosts_[i].get());
    if (i == 0 && config_.lan) {
      setup.lan = &ports_[i];
      setup.host = hosts_[i].get();
    } else {
      setup.wan.push_back(&ports_[i]);
    }
  }
  setup.attacker = index == 0 ? attacker_.get() : nullptr;
  setup.relay = index < relays_.size() ? relays_[index].get() : nullptr;
  setup.capture = capture_.get();
  setup.to_lanes = between_[index];
  for (unsigned from = 0; from < map_.lanes(); ++from) setup.from_lanes.push_back(between_[from][index]);
  setup.backoff = config_.end.cores.idle_backoff;
  setup.sleep_us = config_.end.cores.idle_sleep_us;
  return setup;
}

void LiveHarness::launch() {
  launched_ = true;
  for (unsigned i = 0; i < lanes_.size(); ++i) {
    auto argument = std::make_unique<Launch>(Launch{lanes_[i].get(), &lanes_stop_});
    const unsigned lcore = end_->topology().workers[i].lcore;
    if (rte_eal_remote_launch(run_lane, argument.get(), lcore) != 0) {
      throw std::runtime_error(fmt::format("lcore {} did not take lane {}", lcore, i));
    }
    (void)argument.release();  // run_lane deletes it
  }
}

std::string LiveHarness::session_name(std::size_t index) const {
  return index < session_count() ? config_.end.sessions[index].identity.name : std::string();
}

SessionCounters LiveHarness::session(std::size_t index) const {
  if (index >= session_count()) return {};
  const auto session = static_cast<std::uint32_t>(index);
  return lanes_[map_.owner(session)]->session(map_.local(session));
}

std::vector<std::pair<std::string, std::uint64_t>> LiveHarness::port_xstats(const std::string& port) const {
  std::vector<std::pair<std::string, std::uint64_t>> list;
  for (const dataplane::Port& p : ports_) {
    if (p.config.name != port) continue;
    const int n = rte_eth_xstats_get(p.ethdev, nullptr, 0);
    if (n <= 0) break;
    std::vector<rte_eth_xstat> values(static_cast<std::size_t>(n));
    std::vector<rte_eth_xstat_name> names(static_cast<std::size_t>(n));
    const auto count = static_cast<unsigned>(n);
    if (rte_eth_xstats_get(p.ethdev, values.data(), count) != n) break;
    if (rte_eth_xstats_get_names(p.ethdev, names.data(), count) != n) break;
    for (const rte_eth_xstat& value : values) {
      if (value.id < names.size()) list.emplace_back(names[value.id].name, value.value);
    }
  }
  return list;
}

std::string LiveHarness::describe() const {
  std::string text =
      fmt::format("mode {}, {} session(s), {} lane(s)\n", mode_name(mode_), session_count(), lanes_.size());
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const dataplane::Port& port = ports_[i];
    rte_eth_link link{};
    const bool known = rte_eth_link_get_nowait(port.ethdev, &link) == 0;
    text += fmt::format("port {} ({}): {}, MAC {}, mtu {}, link {}", port.config.name,
                        port.config.lan ? "lan" : "wan", port.config.device, dataplane::to_text(port.mac),
                        port.config.mtu, known && link.link_status == RTE_ETH_LINK_UP ? "up" : "down");
    for (const dataplane::IpPrefix& prefix : port.config.addresses)
      text += fmt::format(" {}", dataplane::to_text(prefix));
    text += "\n";
  }
  if (config_.lan && hosts_[0]->wanted()) {
    text += fmt::format("gateway {}: {}\n", dataplane::to_text(*hosts_[0]->gateway()),
                        hosts_[0]->known() ? dataplane::to_text(hosts_[0]->gateway_mac()) : "no answer yet");
  }
  for (unsigned i = 0; i < lanes_.size(); ++i) {
    text += fmt::format("lane {}: lcore {}\n", i, end_->topology().workers[i].lcore);
  }
  if (self_) text += fmt::format("mode self: the other end is {}\n", config_.self->name);
  return text;
}

}  // namespace testpmd
