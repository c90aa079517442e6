// Attacks on a gateway's WAN side: packets that an attacker without keys can make, out of what it saw pass
// or out of nothing.
//
// It watches the Phantom end's own frames on their way to the device (copies of the last kSeen of them) and
// puts frames of its own between them, at a rate, until a count is reached. Every attack has one drop
// reason at the gateway that must count its packets (see `attacks()`).
//
// Thread: one lane; set_up() and stop() come from the main lcore while the lane runs (atomic hand-over).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <rte_mbuf.h>

namespace testpmd {

struct AttackKind {
  std::string_view name;    // as typed: replay, forge-epoch, stripped-flag, truncation, wrong-tag,
                            // off-path-challenge, spoofed-source, unknown-session
  std::string_view reason;  // drop reason (session/drop_reason.h) that its packets must end as
  std::string_view help;
};
std::span<const AttackKind> attacks();

class Attacker {
 public:
  // `pool`: packets are made from it.
  Attacker(rte_mempool* pool, std::uint64_t seed);
  ~Attacker();
  Attacker(const Attacker&) = delete;
  Attacker& operator=(const Attacker&) = delete;

  // ---- main lcore. Empty: running; else what is wrong.
  std::string set_up(std::string_view name, double pps, std::uint64_t count);
  void stop();
  [[nodiscard]] std::uint64_t left() const;
  [[nodiscard]] std::uint64_t sent(unsigned kind) const;  // by position in attacks()

  // ---- the lane. False: nothing to watch for, seen() and make() need not be called.
  [[nodiscard]] bool active() const;
  // A frame (Ethernet, IP, UDP, Phantom) on its way out; copied, not kept. May hold the frame back by
  // returning false (spoofed-source sends it from elsewhere first): then it has been taken.
  bool seen(rte_mbuf* m);
  // At most `room` frames that are due now; the caller sends and so owns them.
  unsigned make(rte_mbuf** out, unsigned room, std::uint64_t now_tsc);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace testpmd
