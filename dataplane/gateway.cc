#include "dataplane/gateway.h"

#include <cstdio>
#include <stdexcept>

#include <fmt/core.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_pdump.h>
#include <rte_ring.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "dataplane/stream_host.h"

namespace dataplane {

std::atomic<bool> stop_requested{false};
std::atomic<bool> table_requested{false};

namespace {

using Clock = std::chrono::steady_clock;

// How long the control loop sleeps when there was nothing to do. A hint of a worker waits that long at most;
// on a machine with few cores the workers need the time more than control does.
constexpr unsigned kControlSleepUs = 50;
constexpr unsigned kControlBackoffUs = 500;

struct Launch {
  Worker* worker;
  const std::atomic<bool>* stop;
};

int run_worker(void* argument) {
  const auto* launch = static_cast<Launch*>(argument);
  launch->worker->run(*launch->stop);
  delete launch;
  return 0;
}

// A sibling that stopped later may have handed over what nobody takes any more.
void discard_handed_off(Topology& topology) {
  for (const WorkerParts& worker : topology.workers) {
    for (rte_ring* ring : worker.handoff_in) {
      void* packet = nullptr;
      while (ring != nullptr && rte_ring_sc_dequeue(ring, &packet) == 0) {
        rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
        ++topology.control_stats->drops[static_cast<std::size_t>(session::DropReason::kDraining)];
      }
    }
  }
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

Gateway::Gateway(const GatewayConfig& config, session::EpochStore& store, const RpcSocket* socket)
    : topology_(build_topology(config)), socket_(socket) {
  try {
    control_ = std::make_unique<Control>(*topology_, store);
    for (unsigned i = 0; i < topology_->workers.size(); ++i) {
      workers_.push_back(std::make_unique<Worker>(*topology_, i));
    }
  } catch (...) {
    workers_.clear();
    control_.reset();
    tear_down(*topology_);
    throw;
  }
}

Gateway::~Gateway() {
  if (topology_ == nullptr) return;
  drain();
}

void Gateway::start() {
  control_->start();
  pdump_ = rte_pdump_init() == 0;
  if (!pdump_) spdlog::info("dpdk-dumpcap cannot attach: this EAL setup has no secondary processes");
  telemetry_ = std::make_unique<Telemetry>(*topology_, *control_, [this] { return seconds(); });
  if (socket_ == nullptr) return;
  rpc_ = std::make_unique<RpcService>(*socket_, control_->operator_door(), topology_->config);
  control_->set_hook([this](std::uint64_t now_ns) { return rpc_->poll(now_ns); });
}

double Gateway::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

std::size_t Gateway::service_connections() const {
  std::size_t sum = 0;
  for (const WorkerParts& worker : topology_->workers) sum += worker.streams->link().connections();
  return sum;
}

void Gateway::launch() {
  begin_ = Clock::now();
  if (topology_->services != nullptr)
    services_ = std::make_unique<ServiceThread>(*topology_->services, service_connections());
  for (unsigned i = 0; i < workers_.size(); ++i) {
    const unsigned lcore = topology_->workers[i].lcore;
    auto argument = std::make_unique<Launch>(Launch{workers_[i].get(), &workers_stop_});
    launched_ = true;
    if (rte_eal_remote_launch(run_worker, argument.get(), lcore) != 0) {
      throw std::runtime_error(fmt::format("lcore {} did not take worker {}", lcore, i));
    }
    (void)argument.release();  // run_worker deletes it
  }
}

void Gateway::print_rates() {
  Snapshot now = take_counters(*topology_, seconds());
  print(rates_text(last_rates_, now));
  last_rates_ = std::move(now);
}

void Gateway::loop(const Options& options) {
  const std::uint32_t period_s = options.stats_period_s.value_or(topology_->config.stats_period_s);
  const auto period = std::chrono::seconds(period_s);
  const unsigned sleep_us = topology_->config.cores.idle_backoff ? kControlBackoffUs : kControlSleepUs;
  auto next_rates = Clock::now() + period;
  const auto end = options.run_seconds == 0 ? Clock::time_point::max()
                                            : Clock::now() + std::chrono::seconds(options.run_seconds);
  last_rates_ = take_counters(*topology_, seconds());
  while (!stop_requested.load(std::memory_order_relaxed) && Clock::now() < end) {
    if (control_->poll() == 0) usleep(sleep_us);
    if (table_requested.exchange(false)) print(table_text(take_snapshot(*topology_, *control_, seconds())));
    if (period_s != 0 && Clock::now() >= next_rates) {
      next_rates += period;
      print_rates();
    }
  }
}

Snapshot Gateway::drain() {
  telemetry_.reset();
  workers_stop_.store(true);
  if (launched_) rte_eal_mp_wait_lcore();
  services_.reset();
  if (control_ != nullptr) control_->finish();
  discard_handed_off(*topology_);
  Snapshot snapshot = take_snapshot(*topology_, *control_, seconds());
  workers_.clear();
  rpc_.reset();
  control_.reset();
  if (pdump_) rte_pdump_uninit();
  snapshot.pools_full = tear_down(*topology_);
  topology_.reset();
  return snapshot;
}

Snapshot Gateway::run(const Options& options) {
  launch();
  spdlog::info("gateway {} is running: {} port(s), {} worker(s), {} session(s)", topology_->config.name,
               topology_->ports.size(), workers_.size(), topology_->config.sessions.size());
  loop(options);
  return drain();
}

}  // namespace dataplane
