// A control core without workers: the rings a worker would serve are read and filled by the test.
//
// Port 0 "lan": 10.1.0.1/24, 2001:db8:1::1/64. Port 1 "wan": 192.0.2.1/24, 2001:db8:f::1/64, gateways .254
// and
// ::fe. Sessions take their secrets from files below a directory of the bench's own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/control.h"
#include "session/memory_store.h"
#include "tests/support/pipeline.h"

namespace support {

class ControlBench {
 public:
  explicit ControlBench(unsigned workers = 1, std::uint32_t mailbox = 256);
  ~ControlBench();
  ControlBench(const ControlBench&) = delete;
  ControlBench& operator=(const ControlBench&) = delete;

  dataplane::SessionEntry& add_session(std::uint8_t seed, const std::string& peer = "192.0.2.2");
  void route(const std::string& to, const std::string& session, const std::string& lan_gateway = {});
  dataplane::Control& make();   // constructs control
  dataplane::Control& start();  // and starts it

  // Messages to a worker, all of them.
  std::vector<dataplane::Message> messages(unsigned worker = 0);
  // Those to all workers, of one kind; the others are freed.
  std::vector<dataplane::Message> messages_of(dataplane::MessageKind kind);
  void hint(const dataplane::Message& message, unsigned worker = 0);
  // A packet as a worker would punt it.
  rte_mbuf* packet(const Bytes& bytes, dataplane::PuntReason reason, std::uint8_t port = kLan);
  void punt(rte_mbuf* m, unsigned worker = 0);
  void punt(const Bytes& bytes, dataplane::PuntReason reason, std::uint8_t port = kLan) {
    punt(packet(bytes, reason, port));
  }
  [[nodiscard]] std::uint64_t drops(session::DropReason reason) const;
  [[nodiscard]] std::uint64_t consumed(session::ConsumedKind kind) const;

  dataplane::Topology topology;
  session::MemoryStore store;
  std::unique_ptr<dataplane::Control> control;
  dataplane::CoreStats stats;

 private:
  std::string directory_;
  std::vector<dataplane::CoreStats> worker_stats_;
};

}  // namespace support
