// What a worker touches for every packet of a session: one SessionHot a slot, laid out by cache line.
//
// Owner: the worker that owns the shard is the only writer, from the moment the session was added until it
// was removed. Control and telemetry may read the counters without stopping it (plain 64-bit loads,
// monotonic). Everything that a packet does not need is control's (cold.h); stage files may not include that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "crypto/aead.h"
#include "session/drop_reason.h"  // before kNone below: g++ 12 takes DropReason::kNone for a shadow of it
#include "session/wire.h"

namespace session {

inline constexpr std::uint32_t kNone = 0xffffffffU;  // "no index", for keys, windows, slots

// Sending streams of a session that have their counters here: id 0 (control) and 1..31 (data). The tunnel
// profile uses 1..N, N <= 31, default 16; N <= 30 where the session has reliable streams as well.
inline constexpr unsigned kTxStreams = 32;
// Reliable streams with ids from here on: their counters are the owner's of the streams, a TxStream each, and
// tx[kDynamicFirst] is the reservation that all of them share: `limit` is what none of them may reach, `next`
// the highest that any of them has, `epoch_first` lies the longest span of any in this epoch below it. It is
// durable as every other (StoreRecord::seq_limit). A session uses that entry in one of the two ways, for
// good.
inline constexpr std::uint16_t kDynamicFirst = kTxStreams - 1;
// A shared reservation is never longer: numbers of any two streams compare as serial numbers.
inline constexpr std::uint32_t kDynamicNumbers = 1U << 31;
// Ways a session may send over at one time.
inline constexpr unsigned kTxPaths = 4;
inline constexpr std::uint16_t kNoPathSet = 0xffff;  // "sends over `outer` alone"
// Stream ids whose receive window is found without a search.
inline constexpr unsigned kDirectRxStreams = 20;

// The keys of one epoch, as pool indices: immutable once installed, copied as a whole, so a packet's key,
// nonce prefix and epoch always come from one consistent read (W-08). send_key is kNone in references that
// may only receive.
struct KeyRef {
  std::uint32_t send_key = kNone;
  std::uint32_t recv_key = kNone;
  std::array<std::uint8_t, 4> nonce_prefix{};
  std::uint8_t epoch = 0;
  bool valid = false;
  std::uint16_t reserved = 0;
};
static_assert(sizeof(KeyRef) == 16);

enum class LifeState : std::uint8_t { kFree = 0, kConnected, kMigrating, kClosing, kClosed, kDead };

// Things the worker owes control; a bit stays set until a message could be queued, so nothing is lost by a
// full ring.
enum PendingBits : std::uint8_t {
  kPendingAdvanced = 1 << 0,  // the epoch moved (own rekey, or an authentic packet of next)
  kPendingSeqLow = 1 << 1,    // a sequence reservation is more than half used
  kPendingHeard = 1 << 2,     // first authentic packet of this incarnation
  kPendingDead = 1 << 3,      // epoch 255 is used up
  kPendingPrevious = 1 << 4,  // `previous` (or older) was given up early; keys are in the retired list
  kPendingMoved = 1 << 5,     // traffic moves and control does not watch it yet (kWatched)
};

// One sending stream. Sequences only grow; the counter lives as long as the session (W-04, W-06).
struct TxStream {
  std::uint32_t next = 0;         // next sequence to use
  std::uint32_t limit = 0;        // first sequence that is not durably reserved; next == limit: fail closed
  std::uint32_t epoch_first = 0;  // first sequence used in epoch `epoch_tag`
  std::uint8_t epoch_tag = 0;
  bool used_in_epoch = false;  // epoch_first is meaningful
  bool low_reported = false;   // half of the reservation gone, control was told
  std::uint8_t low_shift = 0;  // log2 of what is left of the reservation when control is to be told
};
static_assert(sizeof(TxStream) == 16);

// Outer headers towards the peer, ready to copy: IPv4 or IPv6 header and UDP header with zero lengths. The
// IPv4 header checksum is stored as the partial sum over the template (host order, not complemented), so that
// only total length, identification and DSCP/ECN remain to be added.
struct OuterTemplate {
  std::array<std::uint8_t, 48> bytes{};  // IP header (20 or 40), then UDP (8)
  std::uint32_t ip_partial_sum = 0;      // IPv4 only
  std::uint32_t udp_pseudo_sum = 0;      // pseudo header without length: addresses and protocol
  std::uint16_t adjacency = 0;           // next hop, index into the worker's adjacency table
  std::uint16_t inner_mtu = 0;           // largest inner IP packet, bytes
  std::uint8_t length = 0;               // 28, 48, or 0: no endpoint known
  std::uint8_t path_id = 0;
  std::uint16_t ip_id = 0;  // next IPv4 identification
};
static_assert(sizeof(OuterTemplate) == 64);

struct alignas(64) SessionHot {
  // Line 0, both directions: read for every packet, written at a rekey.
  std::array<std::uint8_t, kSessionIdBytes> id{};
  KeyRef current;
  KeyRef next;  // valid once control prepared it

  // Line 1, receive: read-mostly.
  std::array<std::uint64_t, 4> validated_paths{1, 0, 0,
                                               0};  // bit per path id; path 0 is valid from the start
  KeyRef previous;                                  // receive only, for the grace period
  std::uint32_t generation = 0;                     // tags handles; a message with another one is stale
  std::uint32_t older = kNone;           // block of further receive-only epochs after a jump (OlderEpochs)
  std::uint32_t previous_pkts_left = 0;  // packet budget of the grace
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
  LifeState state = LifeState::kFree;
  std::uint8_t tx_streams = 0;     // number of data streams N for flow hashing
  std::uint8_t session_flags = 0;  // SessionFlags

  // Line 2, receive: written for every packet.
  std::uint64_t rx_pkts = 0;
  std::uint64_t rx_bytes = 0;        // inner bytes
  std::uint64_t opens_in_epoch = 0;  // successful opens only (W-07)
  std::uint64_t last_rx_tsc = 0;
  std::uint32_t rx_auth_failed = 0;
  std::uint32_t rx_replayed = 0;
  std::uint32_t rx_other_drops = 0;
  std::uint32_t ahead_tokens = 0;    // packets 2..16 epochs ahead that may still go to control
  std::uint32_t handed_over = 0;     // packets that another worker received first
  std::uint32_t next_dirty = kNone;  // link of the shard's list of slots with pending bits
  std::uint8_t pending = 0;          // PendingBits
  bool in_dirty_list = false;
  bool heard = false;             // an authentic packet arrived in this incarnation
  std::uint8_t peer_epoch = 0;    // highest epoch of an authentic packet
  std::uint32_t last_source = 0;  // source_tag of the last packet if it is a known one; with several paths 0

  // Lines 3 and 4: where each receiving stream's window is, and where packets are expected from.
  std::array<std::uint32_t, kDirectRxStreams> window{};  // pool index or kNone, by stream id
  std::uint32_t extra_windows = kNone;                   // other streams' window used last (ring in the pool)
  std::uint32_t window_count = 0;
  std::uint32_t tombstones = kNone;  // streams whose window was given up (ring in the pool)
  std::uint32_t tombstone_count = 0;
  std::array<std::uint32_t, kTxPaths> known_source{};  // source_tag of each path; 0: none
  std::uint32_t hint_source = 0;                       // what control was told of last, and
  std::uint32_t hint_ms = 0;                           // when, worker clock
  std::uint32_t hint_due_ms = 0;                       // hints so far are paid for at this time, worker clock
  std::uint32_t source_alias = 0;  // hop word: inner sources that route there pass the source check; 0: none

  // Line 5, transmit: written for every packet.
  std::uint64_t tx_pkts = 0;
  std::uint64_t tx_bytes = 0;  // inner bytes
  std::uint64_t seals_in_epoch = 0;
  std::uint64_t rekey_soft_limit = REKEY_SOFT_LIMIT;
  std::uint32_t seq_rekey_watermark = SEQ_REKEY_WATERMARK;
  std::uint32_t tx_drops = 0;
  std::uint32_t seq_low_streams = 0;    // bit per sending stream, with kPendingSeqLow
  std::uint16_t path_set = kNoPathSet;  // index in the shard's pool: more than one path
  std::uint16_t rekeys = 0;             // epochs left by our own decision; there are 256 epochs in all
  std::uint16_t followed = 0;           // epochs entered because the peer did
  std::uint16_t catch_ups = 0;          // jumps of more than one
  std::uint32_t ahead_refill_ms = 0;    // of ahead_tokens, worker clock; here for want of room in line 2
  std::uint64_t grace_accepts = 0;      // new packets of previous or older epochs

  // Line 6, transmit: read-mostly. With several paths: that of stream 1, with the smallest MTU in use.
  OuterTemplate outer;

  // Lines 7..14, transmit: one quarter line a stream.
  std::array<TxStream, kTxStreams> tx{};
};

enum SessionFlags : std::uint8_t {
  // The worker's own: control was told that traffic moves, or nobody wants to know (an unmodified peer).
  kWatched = 1 << 0,
  kUnmodifiedPeer = 1 << 1,
  kMssClamp = 1 << 2,
  kKeepPreviousOnly = 1 << 3,  // keep one previous epoch even after a jump
  kSourceCheck = 1 << 4,       // inner source addresses must route back into the session
  kResumed = 1 << 5,  // until a packet was heard, older epochs than the first may tell where the peer is
  kDynamicStreams = 1 << 6,  // the worker's own: tx[kDynamicFirst] is the shared reservation
  kUnderWay = 1 << 7,        // the worker's own: reliable data is under way (Shard::set_under_way)
};

static_assert(sizeof(SessionHot) == 15 * 64);
static_assert(offsetof(SessionHot, validated_paths) == 64);
static_assert(offsetof(SessionHot, rx_pkts) == 128);
static_assert(offsetof(SessionHot, window) == 192);
static_assert(offsetof(SessionHot, tx_pkts) == 320);
static_assert(offsetof(SessionHot, outer) == 384);
static_assert(offsetof(SessionHot, tx) == 448);

}  // namespace session
