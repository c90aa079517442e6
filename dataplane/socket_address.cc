#include "dataplane/socket_address.h"

#include <cstring>

#include <netinet/in.h>

namespace dataplane {

SocketAddress to_socket_address(const session::Endpoint& endpoint) {
  SocketAddress out;
  if (endpoint.family == 6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    std::memcpy(&v6.sin6_addr, endpoint.address.data(), 16);
    std::memcpy(&out.storage, &v6, sizeof v6);
    out.bytes = sizeof v6;
    return out;
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(endpoint.port);
  std::memcpy(&v4.sin_addr, endpoint.address.data(), 4);
  std::memcpy(&out.storage, &v4, sizeof v4);
  out.bytes = sizeof v4;
  return out;
}

std::optional<session::Endpoint> from_socket_address(const sockaddr* address) {
  session::Endpoint out;
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof v4);
    std::memcpy(out.address.data(), &v4.sin_addr, 4);
    out.port = ntohs(v4.sin_port);
    out.family = 4;
    return out;
  }
  if (address->sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, address, sizeof v6);
  std::memcpy(out.address.data(), &v6.sin6_addr, 16);
  out.port = ntohs(v6.sin6_port);
  out.family = 6;
  return out;
}

}  // namespace dataplane
