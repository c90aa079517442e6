#include "dataplane/listeners.h"

#include <algorithm>

#include "dataplane/ip.h"
#include "dataplane/outer_template.h"
#include "dataplane/prefix.h"

namespace dataplane {
namespace {

constexpr std::size_t kMaxImplied = kMaxLocalEndpoints / 2;

session::Endpoint endpoint_of(const IpAddress& address, std::uint16_t port) {
  session::Endpoint out;
  out.address = address.bytes;
  out.family = address.family;
  out.port = port;
  return out;
}

}  // namespace

// What the topology was built with is listened on already, and stays where it is.
Listeners::Listeners(Topology& topology, ControlIo& io) : topology_(topology), io_(io) {
  for (std::uint16_t i = 0; i < kMaxLocalEndpoints; ++i) {
    if (topology_.local_endpoints[i].family == 0) {
      free_.push_back(i);
    } else {
      ++used_;
    }
  }
}

bool Listeners::on_wan(const session::Endpoint& local) const {
  const IpAddress address{local.address, local.family};
  return local.family != 0 && local.port != 0 &&
         std::any_of(topology_.ports.begin(), topology_.ports.end(),
                     [&](const Port& port) { return port.config.wan && owns(port.config, address); });
}

std::optional<std::uint16_t> Listeners::find(const session::Endpoint& local) const {
  const auto& all = topology_.local_endpoints;
  const auto at = std::find(all.begin(), all.end(), local);
  if (at == all.end()) return std::nullopt;
  return static_cast<std::uint16_t>(at - all.begin());
}

const session::Endpoint* Listeners::at(std::uint16_t index) const {
  if (index >= kMaxLocalEndpoints || topology_.local_endpoints[index].family == 0) return nullptr;
  return &topology_.local_endpoints[index];
}

void Listeners::tell(std::uint16_t index, bool on) {
  Message message;
  message.kind = MessageKind::kListen;
  message.a = on ? 1 : 0;
  message.b = index;
  message.endpoint = topology_.local_endpoints[index];
  io_.broadcast(message);
}

void Listeners::close(std::uint16_t index) {
  tell(index, false);
  topology_.local_endpoints[index] = {};
  users_[index] = 0;
  free_.push_back(index);
  --used_;
}

// A free index; one that a session names may take that of an implied endpoint.
std::optional<std::uint16_t> Listeners::place(bool named) {
  if (!named && used_ >= kMaxImplied) return std::nullopt;
  if (free_.empty()) {
    const auto implied = std::find(users_.begin(), users_.end(), 0U);
    if (implied == users_.end()) return std::nullopt;
    close(static_cast<std::uint16_t>(implied - users_.begin()));
  }
  const std::uint16_t index = free_.front();
  free_.pop_front();
  return index;
}

bool Listeners::open(const session::Endpoint& local, bool named) {
  const auto index = place(named);
  if (!index) return false;
  topology_.local_endpoints[*index] = local;
  users_[*index] = 0;
  ++used_;
  tell(*index, true);
  return true;
}

void Listeners::open_everywhere(std::uint16_t port) {
  for (const Port& wan : topology_.ports) {
    if (!wan.config.wan) continue;
    for (const IpPrefix& ours : wan.config.addresses) {
      const session::Endpoint local = endpoint_of(ours.address, port);
      if (!find(local)) open(local, false);
    }
  }
}

bool Listeners::use(const session::Endpoint& local) {
  if (!on_wan(local)) return false;
  if (!find(local) && !open(local, true)) return false;
  ++users_[*find(local)];
  if (++port_users_[local.port] == 1) open_everywhere(local.port);
  return true;
}

void Listeners::release(const session::Endpoint& local) {
  const auto index = find(local);
  if (!index || users_[*index] == 0) return;
  --users_[*index];
  const auto port = port_users_.find(local.port);
  if (--port->second != 0) return;
  port_users_.erase(port);
  for (std::uint16_t i = 0; i < kMaxLocalEndpoints; ++i) {
    const session::Endpoint& one = topology_.local_endpoints[i];
    if (one.family != 0 && one.port == local.port) close(i);
  }
}

std::optional<session::Endpoint> Listeners::towards(const session::Endpoint& remote,
                                                    const session::Endpoint& like) const {
  if (remote.family == like.family) return like;
  std::optional<session::Endpoint> any;
  for (const Port& wan : topology_.ports) {
    if (!wan.config.wan) continue;
    for (const IpPrefix& ours : wan.config.addresses) {
      if (ours.address.family != remote.family || is_link_local6(ours.address.bytes.data())) continue;
      const session::Endpoint local = endpoint_of(ours.address, like.port);
      const auto hop = wan_hop(topology_.ports, local, remote);
      if (hop && hop->port == wan.index) return local;
      if (hop && !any) any = local;
    }
  }
  return any;
}

}  // namespace dataplane
