// What a session that sends over several paths has beside its SessionHot: a piece of a bounded pool of its
// shard.
//
// Owner: the shard's worker. Others may read `traffic` and `owner` without stopping it: counters only grow
// until the set is given back, and start at 0 when it is taken.
#pragma once

#include <array>
#include <cstdint>

#include "session/hot.h"

namespace session {

// In `primary` and `second`: none.
inline constexpr std::uint8_t kNoPathSlot = 0xff;

struct PathTraffic {
  std::uint64_t tx_pkts = 0;
  std::uint64_t tx_bytes = 0;  // plaintext, as SessionHot counts
  std::uint64_t rx_pkts = 0;
  std::uint64_t rx_bytes = 0;
};

// What receiver reports are made of: by the path id of the header, without reports, challenges and probes.
struct PathFlowCounts {
  std::uint64_t sent_bytes = 0;  // plaintext
  std::uint64_t received_bytes = 0;
  std::uint64_t received_tsc = 0;  // when the last one arrived
  std::uint64_t sent_pkts = 0;
  std::uint64_t received_pkts = 0;  // that verified, whatever the window said then
};

struct alignas(64) PathSet {
  std::array<OuterTemplate, kTxPaths> outer{};
  std::array<PathTraffic, kTxPaths> traffic{};
  std::array<PathFlowCounts, kTxPaths> flow{};     // by path id
  std::array<std::uint8_t, kTxStreams> primary{};  // index into outer, by stream
  std::array<std::uint8_t, kTxStreams> second{};   // where a copy goes as well, or kNoPathSlot
  std::uint32_t count = 0;                         // of outer
  std::uint32_t owner = kNone;                     // slot of the session
  std::uint32_t next_free = kNone;
};
static_assert(sizeof(PathSet) == 10 * 64);

}  // namespace session
