#include "dataplane/service_socket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "dataplane/socket_address.h"
#include "session/wire.h"

namespace dataplane {
namespace {

// The configuration made sure that it fits.
SocketAddress address_of(const std::string& path) {
  SocketAddress out;
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  std::memcpy(local.sun_path, path.data(), std::min(path.size(), sizeof(local.sun_path) - 1));
  std::memcpy(&out.storage, &local, sizeof local);
  out.bytes = sizeof local;
  return out;
}

ServiceEnd why_of(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT:
    case ENOTSOCK:
    case EPROTOTYPE:
      return ServiceEnd::kRefused;
    case ETIMEDOUT:
      return ServiceEnd::kTimedOut;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return ServiceEnd::kNoSocket;
    default:
      return ServiceEnd::kUnreachable;
  }
}

bool would_wait(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

SocketStart start_socket(const ServiceConfig& config, const session::Endpoint* named) {
  const bool local = config.target == ServiceTarget::kUnix || config.target == ServiceTarget::kUnixDatagram;
  const bool datagrams =
      config.target == ServiceTarget::kUdp || config.target == ServiceTarget::kUnixDatagram;
  const SocketAddress to =
      local ? address_of(config.path) : to_socket_address(named != nullptr ? *named : config.endpoint);
  SocketStart start;
  const int type = (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
  start.fd = socket(to.storage.ss_family, type, 0);
  if (start.fd < 0) {
    start.why = why_of(errno);
    return start;
  }
  if (!local && !datagrams) {  // segments came in one by one already; waiting for more only adds delay
    const int one = 1;
    setsockopt(start.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  start.connected = connect(start.fd, to.get(), to.bytes) == 0;
  if (start.connected || errno == EINPROGRESS) return start;
  // A local backend whose queue is full is as good as one that refuses: there is no event to wait for.
  start.why = errno == EAGAIN ? ServiceEnd::kRefused : why_of(errno);
  close(start.fd);
  start.fd = -1;
  return start;
}

std::optional<ServiceEnd> connect_error(int fd) {
  int error = 0;
  socklen_t bytes = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) error = errno;
  if (error == 0) return std::nullopt;
  return why_of(error);
}

void shut_sending(int fd) {
  shutdown(fd, SHUT_WR);
}

void reset_on_close(int fd) {
  const linger now{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

SocketMove send_bytes(int fd, BytePipe& from) {
  SocketMove move;
  const std::span<const std::uint8_t> bytes = from.data();
  const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) {
    move.blocked = would_wait(errno);
    move.failed = !move.blocked;
    return move;
  }
  move.bytes = static_cast<std::uint32_t>(n);
  move.blocked = move.bytes < bytes.size();
  from.consume(move.bytes);
  return move;
}

SocketMove receive_bytes(int fd, BytePipe& to) {
  SocketMove move;
  const std::span<std::uint8_t> space = to.space();
  if (space.empty()) {
    move.full = true;
    return move;
  }
  const ssize_t n = recv(fd, space.data(), space.size(), MSG_DONTWAIT);
  if (n < 0) {
    move.blocked = would_wait(errno);
    move.failed = !move.blocked;
    return move;
  }
  move.ended = n == 0;
  move.bytes = static_cast<std::uint32_t>(n);
  to.commit(move.bytes);
  return move;
}

// A backend that does not take a datagram now loses it, as on any network.
SocketMove send_datagram(int fd, BytePipe& from) {
  SocketMove move;
  std::uint8_t frame[2 + kMaxDatagramBytes];
  from.peek(frame, 2);
  const std::uint32_t bytes = session::load_be16(frame);
  from.peek(frame, 2 + bytes);
  from.consume(2 + bytes);
  move.dropped = send(fd, frame + 2, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) < 0;
  if (!move.dropped) move.bytes = bytes;
  return move;
}

SocketMove receive_datagram(int fd, BytePipe& to) {
  SocketMove move;
  std::uint8_t bytes[kMaxDatagramBytes + 1];
  if (to.room() < 2 + kMaxDatagramBytes) {
    move.full = true;
    return move;
  }
  const ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (n < 0) {  // an ICMP error of an earlier one is no end
    move.blocked = true;
    return move;
  }
  if (n > static_cast<ssize_t>(kMaxDatagramBytes)) {
    move.dropped = true;
    return move;
  }
  std::uint8_t length[2];
  session::store_be16(length, static_cast<std::uint16_t>(n));
  to.put(length, {bytes, static_cast<std::size_t>(n)});
  move.bytes = static_cast<std::uint32_t>(n);
  return move;
}

std::optional<session::Endpoint> named_target(std::string_view line, std::span<const ServiceAllow> allow) {
  constexpr std::string_view kWord = "CONNECT ";
  if (!line.starts_with(kWord)) return std::nullopt;
  line.remove_prefix(kWord.size());
  if (line.ends_with('\r')) line.remove_suffix(1);
  const auto endpoint = parse_endpoint(line);
  if (!endpoint) return std::nullopt;
  const IpAddress address{endpoint->address, endpoint->family};
  const auto allows = [&](const ServiceAllow& a) {
    return contains(a.prefix, address) && (a.port == 0 || a.port == endpoint->port);
  };
  if (std::none_of(allow.begin(), allow.end(), allows)) return std::nullopt;
  return endpoint;
}

}  // namespace dataplane
