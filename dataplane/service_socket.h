// Sockets of stream services: made without waiting, moved from and to pipes.
//
// Thread: the service thread. Nothing here keeps state.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "dataplane/service.h"

namespace dataplane {

struct SocketStart {
  int fd = -1;
  bool connected = false;              // else it is on its way
  ServiceEnd why = ServiceEnd::kDone;  // of fd -1
};
// `named`: the target of a forwarding service; else the configuration's.
SocketStart start_socket(const ServiceConfig& config, const session::Endpoint* named);
// What became of it; nothing: all is well.
std::optional<ServiceEnd> connect_error(int fd);
void shut_sending(int fd);
void reset_on_close(int fd);

struct SocketMove {
  std::uint32_t bytes = 0;
  bool blocked = false;  // the socket would wait
  bool full = false;     // the pipe is
  bool ended = false;    // the backend sends nothing more
  bool failed = false;
  bool dropped = false;  // a datagram that could not go, or did not fit
};
SocketMove send_bytes(int fd, BytePipe& from);
SocketMove receive_bytes(int fd, BytePipe& to);
// Datagrams lie in a pipe behind 2 bytes of length, network order.
inline constexpr std::uint32_t kMaxDatagramBytes = 1408;
SocketMove send_datagram(int fd, BytePipe& from);
SocketMove receive_datagram(int fd, BytePipe& to);

// "CONNECT 10.0.0.5:80" or "CONNECT [2001:db8::5]:80", with or without a carriage return; nothing when it is
// none, or not among those allowed.
std::optional<session::Endpoint> named_target(std::string_view line, std::span<const ServiceAllow> allow);

}  // namespace dataplane
