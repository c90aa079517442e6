// What moved over one path of a session, as receiver reports need it (receiver_report.h), and what a shard
// keeps so that a packet costs nothing more for it.
//
// A session with one path counts its packets in SessionHot anyway. What is no traffic of the path (reports,
// challenges, probes) is rare and counted apart (PathAside): the difference is the traffic. A session with
// several paths has PathFlowCounts in its PathSet.
//
// Owner: the shard's worker writes; anybody may read (Shard::path_counts).
#pragma once

#include <cstddef>
#include <cstdint>

#include "session/wire.h"

namespace session {

// Receiver reports (receiver_report.h) go with these flags on this stream, never to an unmodified peer.
inline constexpr std::uint16_t kReportFlags = kFlagEncrypted | kFlagControl;
inline constexpr std::uint16_t kReportStream = 0;
// Packets with one of these may be no traffic of their path: challenges go with the id of the path they are
// for, too.
inline constexpr std::uint16_t kAsideFlags = kFlagPathValidation | kFlagControl;
inline constexpr bool is_report(std::uint16_t flags, std::uint16_t stream) {
  return flags == kReportFlags && stream == kReportStream;
}
inline constexpr bool is_aside(std::uint16_t flags, std::uint16_t stream) {
  return (flags & kFlagPathValidation) != 0 || is_report(flags, stream);
}
// UDP payload of a packet beyond its plaintext: header and length fields before, tag and extension length
// behind (protocol.md 3.1).
inline constexpr std::uint64_t kPacketOverheadBytes = kPayloadOffset + kTagBytes + 4;

struct PathAside {
  std::uint64_t tx_pkts = 0;
  std::uint64_t tx_bytes = 0;  // plaintext
  std::uint64_t rx_pkts = 0;   // of those that SessionHot::rx_pkts has
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_refused = 0;  // of those that SessionHot has as replayed or otherwise dropped
};

struct PathCounts {
  std::uint32_t sent_pkts = 0;  // wrap
  std::uint32_t received_pkts = 0;
  std::uint64_t sent_bytes = 0;  // UDP payload
  std::uint64_t received_bytes = 0;
  std::uint64_t received_tsc = 0;  // of the last arrival, 0: none
  std::uint16_t origin = 0;        // another one than before: other counters, nothing to compare
};

}  // namespace session
