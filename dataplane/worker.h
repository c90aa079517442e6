// A poll-mode worker: owns a shard, one rx and one tx queue of every port, its ends of the rings. Run to
// completion.
//
// Thread: constructed by main; run() on the worker's lcore until stop is requested; drain() afterwards, same
// lcore.
#pragma once

#include <atomic>
#include <memory>

#include "dataplane/topology.h"

namespace dataplane {

class Worker {
 public:
  Worker(Topology& topology, unsigned index);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The loop. Returns after `stop` became true and everything the worker held was sent, or freed and counted.
  void run(const std::atomic<bool>& stop);
  // One iteration: rx of every port, sibling rings, mailbox, tx. For tests and benchmarks. True if a packet
  // moved.
  bool poll();
  // For tests that are the clock: the worker's milliseconds, which its budgets and time limits go by, stand
  // at this from now on. Cycle counts go on.
  void set_clock(std::uint32_t now_ms);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dataplane
