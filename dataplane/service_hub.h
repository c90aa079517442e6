// The service thread: local sockets of stream services, joined to the workers' pipes.
//
// Thread: its own, no lcore; the only one that makes system calls for services. It sleeps in epoll_wait, for
// at most a millisecond while connections are open, since workers wake nobody. Descriptors, buffers and
// timers of a connection end with it; nothing grows with what a backend or a peer sends.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/service.h"

namespace dataplane {

// Of one service. The service thread writes, others read without stopping it.
struct ServiceCounters {
  std::uint64_t opened = 0;
  std::uint64_t connected = 0;
  std::uint64_t to_backends_bytes = 0;
  std::uint64_t from_backends_bytes = 0;
  std::uint64_t datagrams_dropped = 0;  // too long, or the backend took them not
  std::array<std::uint64_t, static_cast<std::size_t>(ServiceEnd::kCount)> ended{};
};

class ServiceHub {
 public:
  // `links`: one a worker; they outlive the hub. Throws std::runtime_error when epoll is not to be had.
  ServiceHub(std::vector<ServiceConfig> services, std::vector<ServiceLink*> links);
  ~ServiceHub();
  ServiceHub(const ServiceHub&) = delete;
  ServiceHub& operator=(const ServiceHub&) = delete;

  // Until `stop`; then every socket is closed.
  void run(const std::atomic<bool>& stop);
  // One round; waits for at most `wait_ms` when there is nothing to do. For tests.
  bool poll(int wait_ms);

  // As they are now; any thread.
  [[nodiscard]] ServiceCounters counters(std::size_t service) const;
  [[nodiscard]] std::uint32_t open() const { return open_.load(std::memory_order_relaxed); }

 private:
  struct Impl;
  std::vector<ServiceCounters> counters_;
  std::atomic<std::uint32_t> open_{0};
  std::unique_ptr<Impl> impl_;
};

}  // namespace dataplane
