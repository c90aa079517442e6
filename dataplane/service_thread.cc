#include "dataplane/service_thread.h"

#include <cstdint>
#include <stdexcept>

#include <pthread.h>
#include <rte_lcore.h>
#include <rte_version.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

namespace dataplane {
namespace {

constexpr const char* kName = "phantom-svc";

struct Start {
  ServiceHub* hub;
  const std::atomic<bool>* stop;
};

void serve(void* argument) {
  const Start start = *static_cast<Start*>(argument);
  delete static_cast<Start*>(argument);
  start.hub->run(*start.stop);
}

// The function that makes such a thread has another name and shape since DPDK 23.07.
#if RTE_VERSION >= RTE_VERSION_NUM(23, 7, 0, 0)
std::uint32_t body(void* argument) {
  serve(argument);
  return 0;
}
int create(rte_thread_t& thread, Start* start) {
  return rte_thread_create_control(&thread, kName, body, start);
}
#else
void* body(void* argument) {
  serve(argument);
  return nullptr;
}
int create(rte_thread_t& thread, Start* start) {
  pthread_t id{};
  const int failed = rte_ctrl_thread_create(&id, kName, nullptr, body, start);
  thread.opaque_id = static_cast<std::uintptr_t>(id);
  return failed;
}
#endif

// EAL, the store, control sockets, logs.
constexpr std::size_t kOtherFiles = 256;

void raise_file_limit(std::size_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max >= connections + kOtherFiles) return;
  spdlog::warn(
      "services: {} connections need as many open files, the limit is {}: raise it (ulimit -Hn), or "
      "lower service.connections",
      connections, limit.rlim_max);
}

}  // namespace

ServiceThread::ServiceThread(ServiceHub& hub, std::size_t connections) : hub_(hub) {
  raise_file_limit(connections);
  auto* start = new Start{&hub_, &stop_};
  if (create(thread_, start) == 0) return;
  delete start;
  throw std::runtime_error("services: the thread for their sockets cannot be started");
}

ServiceThread::~ServiceThread() {
  stop_.store(true);
  pthread_join(static_cast<pthread_t>(thread_.opaque_id), nullptr);
}

}  // namespace dataplane
