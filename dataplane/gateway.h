// A running gateway: EAL is up, the store is open; from building the topology to taking it down.
//
// Thread: main lcore. Signals only set flags of this object.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/control.h"
#include "dataplane/options.h"
#include "dataplane/rpc_service.h"
#include "dataplane/service_thread.h"
#include "dataplane/snapshot.h"
#include "dataplane/telemetry.h"
#include "dataplane/topology.h"
#include "dataplane/worker.h"

namespace dataplane {

// Set by signal handlers: end the gateway; print the table.
extern std::atomic<bool> stop_requested;
extern std::atomic<bool> table_requested;

class Gateway {
 public:
  // Builds topology, control and workers and starts the ports. Throws std::runtime_error with advice.
  // `socket`: null: none; both outlive the gateway.
  Gateway(const GatewayConfig& config, session::EpochStore& store, const RpcSocket* socket);
  // Everything that was not yet taken down is.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Sessions, keys, routes. Throws StoreError and std::runtime_error.
  void start();
  // Launches the workers and is the control loop until stop_requested or `options.run_seconds` are over;
  // then drains and takes everything down. The final snapshot: books exact, pools checked.
  Snapshot run(const Options& options);

 private:
  void launch();
  [[nodiscard]] std::size_t service_connections() const;
  void loop(const Options& options);
  void print_rates();
  // Ends the workers, empties the rings, checks the books.
  Snapshot drain();
  [[nodiscard]] double seconds() const;

  std::unique_ptr<Topology> topology_;
  std::unique_ptr<Control> control_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<ServiceThread> services_;  // null without services
  std::unique_ptr<Telemetry> telemetry_;
  const RpcSocket* socket_;
  std::unique_ptr<RpcService> rpc_;
  std::atomic<bool> workers_stop_{false};
  bool launched_ = false;
  bool pdump_ = false;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  Snapshot last_rates_;
};

}  // namespace dataplane
