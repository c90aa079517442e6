// The thread that runs a ServiceHub: one of EAL's control threads, so it stays off the workers' CPUs where
// there are others.
//
// Thread: start and stop by main.
#pragma once

#include <atomic>

#include <rte_thread.h>

#include "dataplane/service_hub.h"

namespace dataplane {

class ServiceThread {
 public:
  // Raises the process's limit of open files to what is allowed, and warns when that is less than the
  // `connections` need. The hub outlives the thread. Throws std::runtime_error when there is no thread to be
  // had.
  ServiceThread(ServiceHub& hub, std::size_t connections);
  // Ends it; sockets stay open until the hub goes.
  ~ServiceThread();
  ServiceThread(const ServiceThread&) = delete;
  ServiceThread& operator=(const ServiceThread&) = delete;

 private:
  ServiceHub& hub_;
  std::atomic<bool> stop_{false};
  rte_thread_t thread_{};
};

}  // namespace dataplane
