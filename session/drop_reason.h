// Every reason for which a packet is dropped or ends here: one list gives enum, counter and name.
//
// A packet that came in leaves as exactly one of: transmitted, dropped (one reason below), consumed (a packet
// meant for the gateway itself), or held (waiting in a ring or for a neighbour). rx + originated = tx + drops
// + consumed + held.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace session {

// clang-format off
#define PHANTOM_DROP_REASONS(X)                                                                        \
  /* outer frame */                                                                                    \
  X(kEthTruncated,        "eth_truncated",        "frame shorter than its headers")                    \
  X(kVlanTagged,          "vlan_tagged",          "VLAN tag on a port that expects none")              \
  X(kNotForUs,            "not_for_us",           "destination MAC or address is not ours")            \
  X(kEtherType,           "ether_type",           "neither IPv4, IPv6 nor ARP")                        \
  X(kIpHeader,            "ip_header",            "IP header malformed or length fields lie")          \
  X(kIpChecksum,          "ip_checksum",          "IPv4 header checksum wrong")                        \
  X(kUdpChecksum,         "udp_checksum",         "UDP checksum wrong or missing where required")      \
  X(kOuterFragment,       "outer_fragment",       "fragment of an outer packet")                       \
  X(kNotPhantom,          "not_phantom",          "WAN packet that is not UDP to our endpoint")        \
  X(kMultiSegment,        "multi_segment",        "chained mbuf that does not fit one segment")        \
  /* Phantom packet, before authentication */                                                          \
  X(kTruncated,           "truncated",            "Phantom packet shorter than its framing says")      \
  X(kVersion,             "version",              "wire version is not 2")                             \
  X(kUnknownSession,      "unknown_session",      "no session with this id")                           \
  X(kUnencrypted,         "unencrypted",          "ENCRYPTED flag missing")                            \
  X(kEpochBehind,         "epoch_behind",         "epoch older than current and outside the grace")    \
  X(kEpochTooFar,         "epoch_too_far",        "epoch more than 16 ahead")                          \
  X(kEpochAheadBudget,    "epoch_ahead_budget",   "epoch 2..16 ahead, catch-up budget spent")          \
  X(kEpochAheadForged,    "epoch_ahead_forged",   "epoch 2..16 ahead, trial open failed")              \
  X(kAuth,                "auth",                 "tag did not verify")                                \
  X(kReplayDuplicate,     "replay_duplicate",     "sequence seen before")                              \
  X(kReplayTooOld,        "replay_too_old",       "sequence left of the anti-replay window")           \
  X(kStreamLimit,         "stream_limit",         "no room for one more stream of this session")       \
  /* Phantom packet, authenticated */                                                                  \
  X(kPathNotValidated,    "path_not_validated",   "data on a path that is not validated")              \
  X(kAckLength,           "ack_length",           "ACK plaintext is not 4 bytes")                      \
  X(kWindowUpdateLength,  "window_update_length", "WINDOW_UPDATE plaintext is not 4 bytes")            \
  X(kPathValidationLength,"path_validation_length","PATH_VALIDATION plaintext is not 32 bytes")        \
  X(kPathRate,            "path_rate",            "challenges and echoes beyond the rate of a session")  \
  X(kReportMalformed,     "report_malformed",     "receiver report of another form or about another path") \
  X(kReportRate,          "report_rate",          "receiver reports beyond the rate of a session")     \
  X(kStreamNoRoom,        "stream_no_room",       "reliable data that its stream has no room for now") \
  X(kCoalescedHeader,     "coalesced_header",     "bundle without a complete count")                   \
  X(kCoalescedPart,       "coalesced_part",       "bundle with fewer complete parts than announced")   \
  X(kNoService,           "no_service",           "message on a stream that no service of ours has")   \
  X(kNoConsumer,          "no_consumer",          "authentic packet kind that nothing here takes")     \
  X(kSessionClosed,       "session_closed",       "session is closed or dead")                \
  /* inner IP packet */                                                                                \
  X(kInnerHeader,         "inner_header",         "inner packet is not well-formed IP")                \
  X(kInnerSource,         "inner_source",         "inner source address not allowed for this session") \
  X(kInnerTtl,            "inner_ttl",            "TTL or hop limit exhausted")                        \
  X(kInnerEcn,            "inner_ecn",            "outer CE on a packet that is not ECN capable")      \
  X(kInnerTooBig,         "inner_too_big",        "larger than the path allows and must not be cut")   \
  X(kNoRoute,             "no_route",             "no route for the destination")                      \
  X(kMartian,             "martian",              "multicast, broadcast, loopback or unspecified")     \
  /* sending */                                                                                        \
  X(kNoSendKey,           "no_send_key",          "session has no key to send with yet")               \
  X(kSequenceUnreserved,  "sequence_unreserved",  "sequence reservation used up, control is behind")   \
  X(kResealRefused,       "reseal_refused",       "sequence never granted, or sealed in this epoch")   \
  X(kAeadLimit,           "aead_limit",           "2^48 seals or 2^31 sequences and no next epoch")    \
  X(kEpochExhausted,      "epoch_exhausted",      "epoch 255 is used up, session is dead")             \
  X(kNoEndpoint,          "no_endpoint",          "peer endpoint of the session is not known")         \
  X(kNeighbourQueue,      "neighbour_queue",      "too many packets wait for this neighbour")          \
  X(kNeighbourTimeout,    "neighbour_timeout",    "neighbour did not answer")                          \
  X(kTxRing,              "tx_ring",              "transmit ring full")                                \
  /* inside the gateway */                                                                             \
  X(kHandoffRing,         "handoff_ring",         "ring to the owning worker full")                    \
  X(kPuntRing,            "punt_ring",            "ring to the control core full")                     \
  X(kPuntRate,            "punt_rate",            "rate limit of packets for the control core")        \
  X(kNoBuffer,            "no_buffer",            "packet pool empty")                                 \
  X(kStaleHandle,         "stale_handle",         "session was removed while the packet waited")       \
  X(kDraining,            "draining",             "gateway is shutting down")

// Packets that ended here because they were meant for the gateway itself.
#define PHANTOM_CONSUMED_KINDS(X)                                                                      \
  X(kConsumedArp,            "arp",            "ARP handled by the control core")                      \
  X(kConsumedNd,             "nd",             "IPv6 neighbour discovery")                             \
  X(kConsumedIcmp,           "icmp",           "ICMP to our own addresses")                            \
  X(kConsumedOther,          "other",          "other packets to our own addresses")                   \
  X(kConsumedPathValidation, "path_validation","path challenges and echoes")                           \
  X(kConsumedAck,            "ack",            "acknowledgements")                                     \
  X(kConsumedWindowUpdate,   "window_update",  "flow-control credit")                                  \
  X(kConsumedReport,         "receiver_report","receiver reports of hardened peers")                  \
  X(kConsumedStream,         "stream",         "reliable data of streams that end here")               \
  X(kConsumedDatagram,       "datagram",       "unreliable messages for services")                     \
  X(kConsumedEmpty,          "empty",          "authentic packets without payload")                    \
  X(kConsumedTransformed,    "transformed",    "replaced by fragments or by an ICMP answer")
// clang-format on

enum class DropReason : std::uint8_t {
  kNone = 0,
#define X(id, name, text) id,
  PHANTOM_DROP_REASONS(X)
#undef X
      kCount
};

enum class ConsumedKind : std::uint8_t {
#define X(id, name, text) id,
  PHANTOM_CONSUMED_KINDS(X)
#undef X
      kCount
};

inline constexpr std::size_t kDropReasons = static_cast<std::size_t>(DropReason::kCount);
inline constexpr std::size_t kConsumedKinds = static_cast<std::size_t>(ConsumedKind::kCount);

inline constexpr std::array<std::string_view, kDropReasons> kDropReasonNames = {"none",
#define X(id, name, text) name,
                                                                                PHANTOM_DROP_REASONS(X)
#undef X
};

inline constexpr std::array<std::string_view, kDropReasons> kDropReasonTexts = {"not dropped",
#define X(id, name, text) text,
                                                                                PHANTOM_DROP_REASONS(X)
#undef X
};

inline constexpr std::array<std::string_view, kConsumedKinds> kConsumedKindNames = {
#define X(id, name, text) name,
    PHANTOM_CONSUMED_KINDS(X)
#undef X
};

}  // namespace session
