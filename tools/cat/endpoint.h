// One session on a kernel UDP socket: the endpoint loop around session::Session, without DPDK.
//
// Owner: one thread. Descriptors of applications share its epoll set; what they do with them is theirs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/epoll.h>

#include "crypto/aead.h"
#include "dataplane/socket_address.h"
#include "session/epoch_store.h"
#include "session/session.h"

namespace cat {

struct EndpointConfig {
  session::SessionConfig session;
  session::Endpoint local;  // port 0: any
  session::Endpoint peer;   // family 0: whoever proves to be it
};

// Monotonic.
std::uint64_t now_ns();

// What is told when a descriptor of the set is ready; it outlives its place in the set.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void on_ready(std::uint32_t events) = 0;
};

class Endpoint {
 public:
  // Throws std::runtime_error with advice: no socket, or a session that may not start.
  Endpoint(EndpointConfig config, crypto::TrafficSecret secret, session::EpochStore& store);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  [[nodiscard]] session::Session& session() { return *session_; }
  [[nodiscard]] session::Streams& streams() { return *session_->streams(); }
  [[nodiscard]] session::Endpoint local() const { return local_; }  // with its real port

  // `events` as of epoll; 0 takes the descriptor out. False: it cannot be watched (a regular file) and is
  // always ready.
  bool watch(int fd, std::uint32_t events, Watcher* watcher);

  // One round: waits for a packet, a timer, a descriptor or `until_ns`; then `work` has its turn; then what
  // wants to be sent is.
  void round(std::uint64_t until_ns, const std::function<void()>& work);

  [[nodiscard]] std::uint64_t rx_datagrams() const { return rx_; }
  [[nodiscard]] std::uint64_t tx_datagrams() const { return tx_; }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  struct Outgoing {
    std::vector<std::uint8_t> bytes;
    dataplane::SocketAddress to;
  };
  void receive();
  void flush();
  bool gather(std::uint64_t now);
  bool send_gathered();
  int wait(epoll_event* events, std::uint64_t wait_ns);

  crypto::Aead aead_;
  session::Endpoint local_;
  int socket_ = -1;
  int epoll_ = -1;
  std::unique_ptr<session::Session> session_;
  std::vector<Outgoing> out_;  // of these, first to count wait for the socket
  unsigned out_first_ = 0, out_count_ = 0;
  session::Endpoint out_remote_;  // of the one gathered last, and the same for the system
  dataplane::SocketAddress out_address_;
  bool blocked_ = false;
  bool exact_waits_ = true;
  std::uint64_t rx_ = 0, tx_ = 0, dropped_ = 0;
};

}  // namespace cat
