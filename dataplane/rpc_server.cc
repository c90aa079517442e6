#include "dataplane/rpc_server.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fmt/core.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/clock.h"

namespace dataplane {
namespace {

// New clients and events of one look.
constexpr unsigned kAcceptsPerPoll = 4;
constexpr std::size_t kEventsPerPoll = 64;

// Tells a client that is not taken why. It may miss it, so nothing waits for that.
void turn_away(int fd, const Json& error) {
  const std::string line = rpc_line(error);
  (void)send(fd, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  close(fd);
}

}  // namespace

struct RpcServer::Client {
  Client(int socket, RpcDispatcher& dispatcher, RpcCaller caller) : fd(socket), line(dispatcher, caller) {}
  ~Client() { close(fd); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  int fd;
  RpcConnection line;
  bool deaf = false;  // reads no answers any more
};

RpcServer::RpcServer(const RpcSocket& socket, RpcDispatcher& dispatcher, const EventLog& events,
                     std::vector<std::uint32_t> allow_uids)
    : socket_(socket), dispatcher_(dispatcher), events_(events), allow_uids_(std::move(allow_uids)) {}

RpcServer::~RpcServer() = default;

unsigned RpcServer::poll(std::uint64_t now_ns) {
  if (now_ns < next_ns_) return 0;
  const std::uint64_t begin_ns = steady_ns();
  unsigned done = look();
  done += work();
  for (auto& client : clients_) {
    done += follow(*client);
    write_to(*client);
  }
  drop_finished();
  next_ns_ = now_ns + std::max(kRpcPollGapNs, kRpcRest * (steady_ns() - begin_ns));
  return done;
}

// Reads what came and accepts who waits.
unsigned RpcServer::look() {
  std::array<pollfd, kRpcMostClients + 1> fds{};
  fds[0] = {socket_.fd(), POLLIN, 0};
  const std::size_t n = clients_.size();
  for (std::size_t i = 0; i < n; ++i) {
    const short wanted = clients_[i]->line.wants_input() ? POLLIN : 0;
    fds[i + 1] = {clients_[i]->fd, wanted, 0};
  }
  if (::poll(fds.data(), n + 1, 0) <= 0) return 0;
  unsigned done = 0;
  for (std::size_t i = 0; i < n; ++i) {
    Client& client = *clients_[i];
    // Hung up: what it sent before is carried out all the same, for who wants no answer.
    if ((fds[i + 1].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) client.deaf = true;
    if ((fds[i + 1].revents & POLLIN) != 0) done += read_from(client);
  }
  if ((fds[0].revents & POLLIN) != 0) done += accept_some();
  return done;
}

unsigned RpcServer::accept_some() {
  unsigned done = 0;
  while (done < kAcceptsPerPoll) {
    const int fd = accept4(socket_.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) break;
    admit(fd);
    ++done;
  }
  return done;
}

bool RpcServer::allowed(std::uint32_t uid) const {
  return uid == 0 || uid == geteuid() ||
         std::find(allow_uids_.begin(), allow_uids_.end(), uid) != allow_uids_.end();
}

void RpcServer::admit(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || !allowed(peer.uid)) {
    ++counters_.refused_user;
    spdlog::warn("control socket: user {} (process {}) may not; control.allow_uids names who may", peer.uid,
                 peer.pid);
    return turn_away(fd, dispatcher_.error(kRpcNotAllowed, fmt::format("user {} may not; add it to "
                                                                       "control.allow_uids of the gateway",
                                                                       peer.uid)));
  }
  if (clients_.size() >= kRpcMostClients) {
    ++counters_.refused_full;
    return turn_away(fd, dispatcher_.error(kRpcTooManyClients,
                                           fmt::format("{} clients are connected already; try again later",
                                                       kRpcMostClients)));
  }
  ++counters_.accepted;
  clients_.push_back(std::make_unique<Client>(fd, dispatcher_, RpcCaller{peer.uid, peer.pid, false, 0}));
}

unsigned RpcServer::read_from(Client& client) const {
  std::array<char, kRpcReadBytes> bytes;  // not cleared: as much as was read is used
  const ssize_t n = recv(client.fd, bytes.data(), bytes.size(), 0);
  if (n > 0) {
    client.line.receive(std::string_view(bytes.data(), static_cast<std::size_t>(n)));
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    client.line.end_input();
  }
  return 1;
}

// One request of each client in turn, until the budget is used up.
unsigned RpcServer::work() {
  const std::uint64_t end_ns = steady_ns() + kRpcPollNs;
  unsigned done = 0;
  std::size_t idle = 0;
  while (idle < clients_.size() && done < kRpcRequestsPerPoll && (done == 0 || steady_ns() < end_ns)) {
    Client& client = *clients_[turn_++ % clients_.size()];
    if (!client.line.overflowed() && client.line.step()) {
      ++done;
      idle = 0;
    } else {
      ++idle;
    }
  }
  return done;
}

unsigned RpcServer::follow(Client& client) const {
  RpcCaller& caller = client.line.caller();
  if (!caller.following || caller.follow_after >= events_.last()) return 0;
  if (client.line.unsent().size() >= kRpcFollowBytes) return 0;
  if (events_.oldest() > caller.follow_after + 1) {
    const std::uint64_t missed = events_.oldest() - caller.follow_after - 1;
    client.line.push(rpc_notification("events.missed", {{"missed", missed}}));
    caller.follow_after += missed;
  }
  unsigned done = 0;
  for (const Event& event : events_.since(caller.follow_after, kEventsPerPoll)) {
    client.line.push(rpc_notification("event", event_json(event)));
    caller.follow_after = event.number;
    ++done;
  }
  return done;
}

void RpcServer::write_to(Client& client) {
  while (!client.deaf && !client.line.unsent().empty()) {
    const std::string_view unsent = client.line.unsent();
    const ssize_t n = send(client.fd, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (n > 0) {
      client.line.sent(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      client.deaf = true;
    }
  }
  if (client.deaf) client.line.sent(client.line.unsent().size());
}

void RpcServer::drop_finished() {
  const auto over = [&](const std::unique_ptr<Client>& client) {
    const RpcConnection& line = client->line;
    if (line.overflowed()) {
      ++counters_.dropped_slow;
      spdlog::warn("control socket: dropped a client (process {}) that left more than {} MiB unread",
                   line.caller().pid, kRpcMostUnsentBytes >> 20);
      return true;
    }
    return line.finished() && line.unsent().empty() && (client->deaf || !line.caller().following);
  };
  clients_.erase(std::remove_if(clients_.begin(), clients_.end(), over), clients_.end());
}

}  // namespace dataplane
