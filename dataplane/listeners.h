// Where Phantom packets are ours: the (address, UDP port) pairs workers listen on, by the index that messages
// name.
//
// Owner: control core. A UDP port that any session uses is listened on at every address of every WAN port, so
// that a peer may move to another address, or family, of ours without being told first; packets are judged by
// their tags alone. It is given up with its last user. Bounded: implied endpoints take at most half of the
// table, and give way to those that sessions name.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "dataplane/control_io.h"
#include "dataplane/topology.h"

namespace dataplane {

class Listeners {
 public:
  Listeners(Topology& topology, ControlIo& io);

  // One more user of this endpoint. False: not an address of a WAN port, or the table is full.
  bool use(const session::Endpoint& local);
  void release(const session::Endpoint& local);
  // The endpoint at an index, or null.
  [[nodiscard]] const session::Endpoint* at(std::uint16_t index) const;
  [[nodiscard]] bool on_wan(const session::Endpoint& local) const;
  // Our end towards `remote`: `like` itself if it is of that family, else an address of a WAN port of that
  // family with the same UDP port. Nothing: there is none.
  [[nodiscard]] std::optional<session::Endpoint> towards(const session::Endpoint& remote,
                                                         const session::Endpoint& like) const;
  [[nodiscard]] std::size_t size() const { return used_; }

 private:
  std::optional<std::uint16_t> find(const session::Endpoint& local) const;
  std::optional<std::uint16_t> place(bool named);
  bool open(const session::Endpoint& local, bool named);
  void close(std::uint16_t index);
  void open_everywhere(std::uint16_t port);
  void tell(std::uint16_t index, bool on);

  Topology& topology_;
  ControlIo& io_;
  std::array<std::uint32_t, kMaxLocalEndpoints> users_{};
  std::map<std::uint16_t, std::uint32_t> port_users_;  // UDP port -> users of any address
  // Longest free first: hints under way may still name an index that was given up.
  std::deque<std::uint16_t> free_;
  std::size_t used_ = 0;
};

}  // namespace dataplane
