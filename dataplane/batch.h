// A capped list of packets: what one stage hands to the next.
//
// Plain data on the stack or inside the worker; the holder owns the packets in it. Order is order of arrival.
#pragma once

#include "crypto/aead.h"

struct rte_mbuf;

namespace dataplane {

// One batch call of the AEAD engine takes at most this many, so no stage ever holds more.
inline constexpr unsigned kMaxBurst = crypto::kMaxBatch;

struct Packets {
  rte_mbuf* at[kMaxBurst];
  unsigned count = 0;

  void push(rte_mbuf* m) { at[count++] = m; }
  [[nodiscard]] bool full() const { return count == kMaxBurst; }
  [[nodiscard]] rte_mbuf** begin() { return at; }
  [[nodiscard]] rte_mbuf** end() { return at + count; }
};

}  // namespace dataplane
