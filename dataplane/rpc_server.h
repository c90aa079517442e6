// The control socket: accepts local clients and carries their requests out, a bounded share of the control
// core's time.
//
// Thread: the control core's, from its own loop; nothing here blocks, sleeps or locks. Clients beyond
// kRpcMostClients and users that may not are told so and closed. A client that leaves more answers unread
// than kRpcMostUnsentBytes is dropped and counted; one that follows events and reads too slowly misses some
// and is told how many.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/event_log.h"
#include "dataplane/rpc_connection.h"
#include "dataplane/rpc_socket.h"

namespace dataplane {

inline constexpr std::size_t kRpcMostClients = 16;
// Sockets are looked at that often at most: between requests of people it goes unnoticed, and a loop of
// control costs no system call.
inline constexpr std::uint64_t kRpcPollGapNs = 1'000'000;
// Of one look: bytes read from a client, requests of all clients, and time after which no further one begins.
inline constexpr std::size_t kRpcReadBytes = 1U << 16;
inline constexpr unsigned kRpcRequestsPerPoll = 16;
inline constexpr std::uint64_t kRpcPollNs = 500'000;
// After a look that took long the next waits this many times as long: clients get a fifth of control's time.
inline constexpr std::uint64_t kRpcRest = 4;
// Events wait in the log, not in the client's buffer, while that much of it is unread.
inline constexpr std::size_t kRpcFollowBytes = 1U << 16;

struct RpcServerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t refused_user = 0;
  std::uint64_t refused_full = 0;
  std::uint64_t dropped_slow = 0;
};

class RpcServer {
 public:
  // `socket`, `dispatcher` and `events` outlive the server.
  RpcServer(const RpcSocket& socket, RpcDispatcher& dispatcher, const EventLog& events,
            std::vector<std::uint32_t> allow_uids);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Returns the number of things done.
  unsigned poll(std::uint64_t now_ns);
  [[nodiscard]] std::size_t clients() const { return clients_.size(); }
  [[nodiscard]] const RpcServerCounters& counters() const { return counters_; }

 private:
  struct Client;

  unsigned look();
  unsigned accept_some();
  void admit(int fd);
  [[nodiscard]] bool allowed(std::uint32_t uid) const;
  unsigned read_from(Client& client) const;
  unsigned work();
  unsigned follow(Client& client) const;
  static void write_to(Client& client);
  void drop_finished();

  const RpcSocket& socket_;
  RpcDispatcher& dispatcher_;
  const EventLog& events_;
  std::vector<std::uint32_t> allow_uids_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::size_t turn_ = 0;  // whose request is next
  std::uint64_t next_ns_ = 0;
  RpcServerCounters counters_;
};

}  // namespace dataplane
