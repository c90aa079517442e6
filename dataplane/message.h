// Messages between control and one worker: 64 bytes, copied by value through single-producer single-consumer
// rings.
//
// Commands (control -> worker) are idempotent and carry slot and generation; control retries when a ring is
// full. Hints (worker -> control) may be dropped and counted; what is owed (session::PendingBits, retired
// keys) stays in the shard until there is room. Pointers inside a message hand over ownership.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "dataplane/address.h"
#include "session/epoch_store.h"
#include "session/hot.h"
#include "session/receiver_report.h"
#include "session/shard_commands.h"

struct rte_mbuf;

namespace dataplane {

struct StreamSession;

enum class MessageKind : std::uint8_t {
  // control -> worker
  kAddSession,      // init; worker answers kInitDone with the same pointer
  kRemoveSession,   // worker answers kSessionRemoved
  kInstallNext,     // key
  kJump,            // jump; worker answers kJumpDone with the same pointer
  kRetirePrevious,  // epoch in `a`
  kGrantSequences,  // stream in `b`, limit in `c`
  kRekey,
  kSetPaths,       // plan; worker answers kPathsDone with the same pointer, accepted_count filled in
  kAttachStreams,  // streams: the session carries streams instead of IP packets from now on, until it is
                   // removed
  kHoldStreams,    // yes/no in `a`: a rekey waits until the streams are at rest
  kSetAlias,       // hop word in `c`: inner sources that route into it pass the source check as well; 0: none
  kSendProbe,      // probe; worker answers kProbeDone with the same pointer, sent or not
  kListen,  // endpoint with index `b`: Phantom packets to it are ours from now on (`a` 1) or no longer (0)
  kFence,   // answered by kFenceDone with the same `c` once every packet that siblings handed over before it
            // has been worked off, and everything this worker handed over before is in its sibling's ring
  kPathValidated,       // path in `a`, yes/no in `b`
  kSetState,            // LifeState in `a`
  kAheadBudget,         // packets in `c` that may still go to control: one of that session was authentic
  kSendPathValidation,  // path in `a`, bytes
  kSendReport,          // path in `a`, number in `c`, report: sealed; answered by kReportSent
  kUnwatch,             // the session's traffic need not be looked at until it moves again (kMoved)
  kNeighbour,           // neighbour: the adjacency's new state
  kTransmit,            // mbuf: a complete frame for port `b`
  kInject,              // mbuf: an IP packet (data at the IP header) to route as if it came from a LAN port
  kReturnPacket,        // mbuf: a Phantom packet (data at the Phantom header) that control looked at; open it
                        // normally
  // worker -> control
  kInitDone,
  kJumpDone,
  kPathsDone,
  kProbeDone,
  kFenceDone,
  kSessionRemoved,
  kAdvanced,     // epoch in `a`
  kHeard,        // peer epoch in `a`
  kSequenceLow,  // stream in `b`, next in `c`
  kDead,
  kStreamsAtRest,   // yes/no in `a`
  kKeyRetired,      // key index in `c`
  kPathValidation,  // path in `a`, origin: an authentic PATH_VALIDATION packet and where it came from
  kMoved,           // traffic moves that nobody watches
  kReport,  // path in `a`, heard: an authentic receiver report. Received on that path before it: packets in
            // `c`, of the counters with PathCounts::origin `b`
  kReportSent,     // path in `a`, number in `c`, sealed: what was sent on that path before
  kNewSource,      // path in `a`, origin: an authentic packet, the newest of its stream, came over an unknown
                   // address pair; first 4 bytes of origin.value: its UDP payload bytes, host order
  kNeighbourMiss,  // neighbour.address, port: packets wait for it
};

// State of a next hop as workers see it. Index = adjacency id, allocated by control, the same on all workers.
enum class NeighbourState : std::uint8_t { kFree, kPending, kReachable, kFailed };

struct NeighbourUpdate {
  IpAddress address;  // 17 bytes
  MacAddress mac{};
  std::uint8_t port = 0;  // index of the gateway's port, not the ethdev id
  NeighbourState state = NeighbourState::kFree;
  std::uint16_t adjacency = 0;
};

// 32 bytes on stream 0 to an address that the session need not send to otherwise. Control's memory, read by
// the worker, handed back.
struct ProbeInit {
  session::OuterTemplate outer;  // outer.path_id: in the header; length 0: over the session's own paths
  std::array<std::uint8_t, session::kPathChallengeBytes> value{};
};

// Where an authentic packet came from: remote address here, its port in the message's `b`; `c` is
// origin_word(): family and index of the local endpoint (kListen). Family 0: not known.
struct Origin {
  std::array<std::uint8_t, session::kPathChallengeBytes> value;
  std::array<std::uint8_t, 16> address;
};
inline std::uint32_t origin_word(std::uint8_t family, std::uint16_t local_index) {
  return (std::uint32_t{local_index} << 8) | family;
}

// A receiver report (session/receiver_report.h) and when it was opened.
struct HeardReport {
  std::uint64_t arrived_tsc = 0;
  std::uint64_t received_packets = 0;
  std::uint64_t interval_bytes = 0;
  std::uint32_t number = 0;
  std::uint32_t echo_number = 0;
  std::uint32_t echo_delay_us = 0;
  std::uint32_t interval_packets = 0;
  std::uint32_t interval_us = 0;
  std::uint32_t received_bytes = 0;  // PathCounts of that moment, low half
};
struct SealedReport {
  std::uint64_t sent_tsc = 0;
  std::uint64_t sent_bytes = 0;  // PathCounts of that moment
  std::uint32_t sent_pkts = 0;
  std::uint16_t origin = 0;
};

struct alignas(64) Message {
  MessageKind kind{};
  std::uint8_t a = 0;
  std::uint16_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t slot = session::kNone;
  std::uint32_t generation = 0;
  union {
    session::KeyRef key;
    session::SessionInit* init;
    session::JumpInit* jump;
    rte_mbuf* mbuf;
    session::PathPlan* plan;
    ProbeInit* probe;
    StreamSession* streams;
    session::Endpoint endpoint;
    Origin origin;
    NeighbourUpdate neighbour;
    std::array<std::uint8_t, 32> bytes;
    std::array<std::uint8_t, session::kReportBytes> report;
    HeardReport heard;
    SealedReport sealed;
  };
  Message() : bytes{} {}
};
static_assert(sizeof(Message) == 64);
static_assert(std::is_trivially_copyable_v<Message>);

// Why a packet went to control, kept in its metadata.
enum class PuntReason : std::uint8_t {
  kArp,    // ARP on any port; data at the Ethernet header
  kNd,     // ICMPv6 neighbour discovery; data at the Ethernet header
  kLocal,  // IP packet to one of our addresses that is not Phantom traffic; data at the Ethernet header,
           // or, out of a tunnel (meta.slot is its session, not session::kNone), at the IP header
  kTtlExceeded,  // inner packet, data at the IP header: answer "time exceeded" to its source
  kTooBig,      // inner packet, data at the IP header; mtu in meta: answer "fragmentation needed" / "too big"
  kNoRoute,     // inner packet, data at the IP header: answer "unreachable"
  kEpochAhead,  // Phantom packet, data at the Phantom header, slot and generation in meta: trial open
};

}  // namespace dataplane
