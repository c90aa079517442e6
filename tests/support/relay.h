// A relay between two UDP endpoints, for several paths at once: each direction impaired on its own, each side
// able to change its address as a NAT or a roaming host does.
//
// A path has a side `a` and a side `b`. A side is a socket of ours (`local`) and who it talks to (`remote`).
// What comes in at one side leaves by the other side's socket, to the other side's remote:
//
//   gateway A  <->  [a.local | path | b.local]  <->  gateway B
//
// so each gateway sees the relay's address of its own side as its peer, in IPv4 on one side and IPv6 on the
// other if need be. `rebind` gives a side a new socket: a new port, another address, the other family. A
// remote of `any` is learned from the packet that came last; with a fixed one, packets from elsewhere are
// foreign and dropped.
//
// Thread: one. Owner: the program relay_main.cc, or a test. Time is CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace support {

class Relay {
 public:
  // Throws std::system_error when the kernel gives no epoll or timer.
  explicit Relay(std::uint64_t seed);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // One command, one answer, both one line without its end. "ok", "ok VALUES", a JSON object, or "error:
  // TEXT".
  //
  //   path NAME A-LOCAL A-REMOTE|any B-LOCAL B-REMOTE|any     both sides' addresses, e.g. 192.0.2.9:0
  //   set NAME ab|ba|both KEY=VALUE...                        what is left out stays (relay_text.h)
  //   rebind NAME a|b LOCAL [REMOTE|any] [keep=DURATION]      the socket that was left receives so long; 0
  //   cut NAME ab|ba|both [hard]                              hard: what is on its way is lost too
  //   restore NAME ab|ba|both
  //   stats [NAME]                                            JSON
  //   remove NAME
  std::string command(std::string_view line);

  // Readable (poll, epoll) whenever run_once() has something to do.
  [[nodiscard]] int fd() const;
  // Receives what is there, sends what is due. Does not wait.
  void run_once();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace support
