// Fences: when a ticket has passed, no packet that any worker held or had routed when it was asked for is
// still under way to the session it was meant for.
//
// Owner: control core. A worker answers kFence at the end of a loop, when what siblings handed to it before
// has been worked off and what it had itself has been handed over. What one worker hands over just before its
// answer may reach a sibling that answered already; so a ticket is two rounds, one after the other, or one
// when there is a single worker. All that is asked for in the meantime shares the next rounds: the cost does
// not grow with the number of tickets.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/control_io.h"

namespace dataplane {

class Fences {
 public:
  Fences(ControlIo& io, unsigned workers) : io_(io), workers_(workers) {}

  using Ticket = std::uint32_t;
  Ticket request() {
    wanted_ = started_ + (workers_ > 1 ? 2 : 1);
    return wanted_;
  }
  [[nodiscard]] bool passed(Ticket ticket) const { return static_cast<std::int32_t>(done_ - ticket) >= 0; }
  // kFenceDone of a worker.
  void on_done(std::uint32_t round);
  // Begins the next round when one is wanted. Returns the number of things done.
  unsigned service();

 private:
  ControlIo& io_;
  unsigned workers_;
  unsigned answers_ = 0;
  std::uint32_t wanted_ = 0;   // rounds, all of them counted on
  std::uint32_t started_ = 0;  // one at a time
  std::uint32_t done_ = 0;
};

inline void Fences::on_done(std::uint32_t round) {
  if (round != started_ || started_ == done_) return;
  if (++answers_ == workers_) done_ = started_;
}

inline unsigned Fences::service() {
  if (started_ != done_ || static_cast<std::int32_t>(wanted_ - started_) <= 0) return 0;
  ++started_;
  answers_ = 0;
  Message message;
  message.kind = MessageKind::kFence;
  message.c = started_;
  io_.broadcast(message);
  return 1;
}

}  // namespace dataplane
