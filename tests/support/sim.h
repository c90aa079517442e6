// Two endpoints on an impaired link in virtual time: everything follows from the seed.
//
// The loop is the one of any program that carries sessions: receive what is due, run timers that are due,
// send what wants to be sent. Time jumps from one event to the next, so an hour of idling costs nothing.
// Thread: one.
#pragma once

#include <cstdint>
#include <functional>

#include "tests/support/impairment.h"
#include "tests/support/packets.h"

namespace support {

// What the loop needs of an end.
class SimEnd {
 public:
  virtual ~SimEnd() = default;
  virtual void receive(const Bytes& datagram, std::uint64_t now_ns) = 0;
  virtual void on_timer(std::uint64_t now_ns) = 0;
  // UINT64_MAX: none.
  [[nodiscard]] virtual std::uint64_t next_deadline_ns(std::uint64_t now_ns) const = 0;
  virtual bool next_datagram(Bytes& out, std::uint64_t now_ns) = 0;
};

class Simulator {
 public:
  // UDP, IPv4 and Ethernet around a datagram: what a rate in bits a second is spent on.
  static constexpr std::uint32_t kOuterBytes = 28;

  Simulator(SimEnd& a, SimEnd& b, std::uint64_t seed);

  // Of both directions, or of one.
  void set(const ImpairmentSettings& settings);
  void set(bool from_a, const ImpairmentSettings& settings);
  ImpairedLink<Bytes>& link(bool from_a) { return from_a ? to_b_ : to_a_; }

  // Until `done` says so (asked after every event), or `limit_ns` of virtual time passed: false. `work`: the
  // applications' turn, before `done`.
  bool run(std::uint64_t limit_ns, const std::function<bool()>& done);
  void pass(std::uint64_t ns) {
    (void)run(ns, [] { return false; });
  }

  std::uint64_t now_ns = 1'000'000'000;
  // The applications' turn: behind every event.
  std::function<void()> work;
  // Every datagram on its way; false: lost. For tests that choose what is lost.
  std::function<bool(bool from_a, const Bytes&)> tap;
  std::uint64_t events = 0;

 private:
  bool send(SimEnd& from, bool from_a);
  std::size_t deliver();
  void settle();
  [[nodiscard]] std::uint64_t next_event_ns() const;

  SimEnd& a_;
  SimEnd& b_;
  ImpairedLink<Bytes> to_b_;
  ImpairedLink<Bytes> to_a_;
};

}  // namespace support
