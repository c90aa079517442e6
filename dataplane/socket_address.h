// Endpoints as the kernel's sockets take and give them. Pure; any thread.
#pragma once

#include <optional>

#include <sys/socket.h>

#include "session/epoch_store.h"

namespace dataplane {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// Family 6, or else 4.
SocketAddress to_socket_address(const session::Endpoint& endpoint);
// Nothing: of another family than IPv4 and IPv6.
std::optional<session::Endpoint> from_socket_address(const sockaddr* address);

}  // namespace dataplane
