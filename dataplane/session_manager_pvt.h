// Inside of SessionManager, shared by its two files alone.
#pragma once

#include "dataplane/session_manager.h"

namespace dataplane {

struct SessionManager::Managed {
  std::uint32_t index = 0;
  const SessionEntry* entry = nullptr;
  std::unique_ptr<session::SessionControl> control;
  unsigned worker = 0;
  session::Endpoint peer;                   // of the configuration, else as last stored
  std::uint64_t scheduled_ns = UINT64_MAX;  // its live entry among the deadlines
  std::uint64_t welcomed_ns = 0;            // last time the worker was told that packets ahead are authentic
  bool dirty = false;
  std::deque<rte_mbuf*> held;  // wait for durability and for their jump
};

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace dataplane
