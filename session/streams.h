// Streams: the reliable streams of one session (protocol.md 9, W-04, W-06, W-10 to W-13, W-15, W-18 to W-26,
// W-30, W-31, W-34, W-36, W-38). Pure state machines: packets that opened go in, packets to be sealed come
// out; sealing, addresses and clocks are the caller's.
//
// Owner: one thread, that of the session's shard. Nothing here waits, allocates after construction, or
// throws; what has no room is refused to whoever offers it (back-pressure), and every table has a limit.
//
// What a hardened peer is told in fields that an unmodified one ignores (it authenticates them all the same):
// - `ack_delay` of a data packet: the distance in sequences to the stream's data packet before it, or
//   kPriorFirst, or kPriorAllAcked. Acknowledgements take numbers of the same counter, so without it a
//   receiver cannot tell a lost segment from a lost acknowledgement, and could give order only by waiting
//   (W-25). 0: not told, as the reference sends; then gaps that only data can fill are waited for, for a
//   bounded time.
// - FIN is RELIABLE: it is acknowledged, and repeated until it is, to a hardened peer as any segment and as
//   soon as all data was sent; to an unmodified one when all is acknowledged, each time with a new sequence
//   (it does not acknowledge twice).
// - FIN with CONTROL is a reset: both directions end, what is under way is given up. To an unmodified peer it
//   is a FIN.
// - `ack_delay` of a WINDOW_UPDATE: all credit of the incarnation so far in KiB, modulo 2^16; 0: not told. So
//   an update that was lost is made good by the next one, and one that is repeated grants nothing twice.
// - `ack_delay` of an ACK: microseconds from the segment's arrival, as the reference reads it.
//
// Incarnations: an id may be used again when both directions are finished and acknowledged. Its first data
// packet says kPriorFirst; its sequences go on (a forgotten id begins at the highest number that any
// forgotten one reached), so no (epoch, stream, sequence, path) comes twice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "session/hot.h"
#include "session/path_flow.h"
#include "session/stream_memory.h"
#include "session/timer_wheel.h"
#include "session/wire.h"

namespace session {

inline constexpr std::uint16_t kPriorUntold = 0;         // `ack_delay` of data of the reference
inline constexpr std::uint16_t kPriorFirst = 0xffff;     // first data packet of an incarnation
inline constexpr std::uint16_t kPriorAllAcked = 0xfffe;  // everything before was acknowledged
inline constexpr std::uint16_t kPriorMax = 0xfffd;

// Largest plaintext of a segment: TRANSPORT_MTU towards an unmodified peer, else what the path takes.
inline constexpr std::uint32_t TRANSPORT_MTU = 1300;
inline constexpr std::uint32_t kMaxSegmentBytes = 1408;
// protocol.md 2.2.
inline constexpr std::uint32_t INITIAL_STREAM_WINDOW = 65'536;
inline constexpr std::uint32_t MAX_SEND_WINDOW = 524'288;
inline constexpr std::uint32_t kCreditThreshold = 32'768;
inline constexpr std::uint32_t MAX_PENDING_PACKETS = 1024;
// Newest sequence sent minus oldest unacknowledged one stays below 1,024 towards an unmodified peer (1.4 rule
// 4): data stops here, which is still twice MAX_SEND_WINDOW; the rest is for acknowledgements and questions
// (W-10).
inline constexpr std::uint32_t kUnmodifiedSpan = 800;
// Towards a hardened peer, whose window is 8,192 unless configured otherwise (Config::span).
inline constexpr std::uint32_t kHardenedSpan = 3000;
// The same for a window of any size (Config::span). Acknowledgements and credit go on to two and a half
// spans: all of it inside the peer's window (W-15).
constexpr std::uint32_t hardened_span(std::uint32_t window_bits) {
  const std::uint32_t fits = window_bits / 8 * 3;
  return fits < kHardenedSpan ? fits : kHardenedSpan;
}
// How long data is held back at a time so that rest comes (set_hold): a round trip of 600 ms, the pause
// behind it, and one loss on the way. A peer that never pauses costs a tenth of the time, not the stream.
inline constexpr std::uint64_t kMostHold_ns = 3'000'000'000;
inline constexpr std::uint64_t kHoldPause_ns = 27'000'000'000;
// Authentic duplicates that are acknowledged again: at once, more than may be under way between hardened
// peers; and a second, three of a hundred segments at 4 Gbit/s.
inline constexpr std::uint32_t kDuplicateBurst = 4096;
inline constexpr std::uint32_t kDuplicatesPerSecond = 10'000;
// Cap of accumulated credit between hardened peers; MAX_SEND_WINDOW is the unmodified one's.
inline constexpr std::uint32_t kHardenedSendWindow = 1U << 24;

struct StreamLimits {
  std::uint32_t streams = 64;             // at once, of one session
  std::uint32_t send_bytes = 1 << 22;     // accepted and not acknowledged, a stream
  std::uint32_t receive_bytes = 1 << 22;  // received and not consumed, a stream; at least the initial window
  std::uint32_t acks = 1024;              // acknowledgements that wait to be sent, a session
};

enum class StreamPriority : std::uint8_t { kLow, kNormal, kHigh };  // shares 1 : 4 : 16, none starves

struct StreamOptions {
  bool ordered = true;
  StreamPriority priority = StreamPriority::kNormal;
};

enum class StreamError : std::uint8_t {
  kOk,
  kUnknown,   // no such stream
  kExists,    // the id is in use
  kLimit,     // limits.streams, or no memory
  kNoIds,     // all 65,534 ids are in use
  kFinished,  // data behind a finish()
  kReset,
};

enum class StreamNews : std::uint8_t {
  kOpened,    // by the peer
  kReadable,  // there is something to receive(), after there was nothing
  kWritable,  // send() takes bytes again, after it took fewer than offered
  kFinished,  // everything the peer sent was consumed, and no more comes
  kReset,     // by the peer, or for a breach of the protocol: `reason`
  kClosed,    // both directions are done; the id is free
};
struct StreamEvent {
  std::uint16_t stream = 0;
  StreamNews news = StreamNews::kOpened;
  const char* reason = "";     // for kReset, a constant
  std::uint32_t user = kNone;  // set_user()
};

// A packet that wants to be sealed or sent. The way of each: next_packet(), then for kNew and kPlain a number
// of the stream's counter and numbered() at once (before the next next_packet()), then sealed(), also of
// kAgain, or not_sent(). Up to kMaxOutstanding may be on this way at a time.
struct StreamPacket {
  enum class Kind : std::uint8_t {
    kNew,     // take a number of the stream's counter, numbered(), seal, keep the image where `image` says
    kAgain,   // send the kept image as it is
    kReseal,  // the epoch moved: seal `text` with the number it has, keep the image
    kPlain,   // acknowledgement, credit: take a number, numbered(), seal, keep nothing
  };
  Kind kind = Kind::kPlain;
  std::uint8_t path = 0;
  std::uint16_t stream = 0;
  std::uint16_t flags = 0;                // with ENCRYPTED
  std::uint16_t ack_delay = 0;            // header field; of kNew set by numbered()
  std::uint32_t sequence = 0;             // of kAgain and kReseal; of others set by numbered()
  std::span<const std::uint8_t> text;     // until sealed() or not_sent()
  std::span<std::uint8_t> image;          // room for the whole packet; of kAgain the packet itself
  std::uint32_t handle = 0;               // Streams' own
  unsigned image_epoch = kMaxEpoch + 1U;  // what the kept image was sealed in last; above kMaxEpoch: none
};
inline constexpr std::uint32_t kMaxOutstanding = 256;  // of all sessions that share a StreamMemory

struct StreamCounters {
  std::uint64_t segments = 0, segments_again = 0, segments_resealed = 0;
  std::uint64_t acks = 0, acks_again = 0, credits = 0, credit_hints = 0, fins = 0, resets_sent = 0;
  std::uint64_t received_bytes = 0, sent_bytes = 0;  // plaintext, once each
  std::uint64_t opened = 0, closed = 0;
  // Breaches and refusals, by name.
  std::uint64_t ack_unknown = 0;      // of what was never sent
  std::uint64_t credit_overflow = 0;  // beyond MAX_SEND_WINDOW: capped
  std::uint64_t overrun = 0;          // data beyond the credit given
  std::uint64_t after_fin = 0;        // data behind a FIN: the stream is reset
  std::uint64_t no_room = 0;          // not recorded, the peer sends again
  std::uint64_t stream_limit = 0;     // a further stream of the peer
  std::uint64_t acks_dropped = 0;     // their queue was full; the peer's repetition is acknowledged
  std::uint64_t acks_withheld = 0;    // of duplicates beyond kDuplicatesPerSecond: replays, most likely
  std::uint64_t gaps_given_up = 0;    // order towards a reference peer: a gap that nothing filled in time
  std::uint64_t far_sequences = 0;    // further ahead of what is expected than any sender may be
  std::uint64_t order_broken = 0;     // data that contradicts the order told before: the stream is reset
  std::uint64_t no_stream = 0;        // data of a stream of ours that we do not know: answered with a reset
  std::uint64_t presumed = 0;  // towards a reference peer: taken as delivered after many retransmissions
  std::uint64_t retries_used_up = 0;  // the same where that may not be presumed: the stream is reset
  std::uint64_t probes = 0;           // segments beyond a window that stayed shut (W-13)
  std::uint64_t spurious = 0;         // retransmissions that were not needed
  std::uint64_t timeouts = 0;         // retransmission timeouts, one a back-off
  std::uint64_t held_acks = 0;        // acknowledgements that waited for the peer's window (W-15)
  std::uint64_t outrun = 0;           // times data waited because a reference peer's numbers ran ahead
  std::uint64_t no_memory = 0;        // bytes or a segment that the pools had no room for
};

class Streams {
 public:
  struct Config {
    StreamLimits limits;
    bool initiator = true;         // opens even ids, a responder odd ones: no id is opened from both ends
    bool unmodified_peer = false;  // ids from 2 on by one, and the rules of protocol.md 1.4
    std::uint32_t segment_bytes = TRANSPORT_MTU;
    std::uint32_t span = 0;  // newest number minus oldest unacknowledged; 0: kUnmodifiedSpan, kHardenedSpan
    // Order towards an unmodified peer: how long a gap that no control packet fills is waited for. It repeats
    // a lost segment after 200 ms or more.
    std::uint64_t gap_timeout_ns = 2'000'000'000;
    // Towards an unmodified peer, which never repeats an acknowledgement (W-10): after so many
    // retransmissions a segment counts as delivered if later ones were acknowledged, or else the stream is
    // reset.
    std::uint32_t unmodified_retries = 8;
    bool presume_delivered = true;
    // Numbers of the peer that the anti-replay window has room for. An unmodified peer's must not run further
    // than half of that ahead of what is missing: see kMarkBits.
    std::uint32_t receive_window = 8192;
    // A credit of 0 behind each batch of acknowledgements to it (1.4 rule 12); without, only to measure it.
    bool credit_hint = true;
    void* user = nullptr;  // the caller's, for timers
  };

  Streams(const Config& config, StreamMemory& memory, TimerWheel& wheel, std::uint64_t now_ns);
  ~Streams();
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  // ---- the application's side
  // A free id, or the one asked for.
  std::optional<std::uint16_t> open(const StreamOptions& options, StreamError& error);
  StreamError open_as(std::uint16_t stream, const StreamOptions& options);
  // Options of a stream that the peer opens; before that they are `accept_options`.
  void set_accept_options(const StreamOptions& options);
  StreamError set_options(std::uint16_t stream, const StreamOptions& options);
  // How many of the bytes were taken; fewer than offered: kWritable follows.
  std::size_t send(std::uint16_t stream, std::span<const std::uint8_t> bytes, StreamError& error);
  StreamError finish(std::uint16_t stream);  // no more of ours; what was taken arrives first (W-20)
  StreamError reset(std::uint16_t stream);
  // Bytes to read without copying, and how many of them are done with: only then the peer gets credit.
  [[nodiscard]] std::span<const std::uint8_t> readable(std::uint16_t stream) const;
  void consume(std::uint16_t stream, std::size_t bytes, std::uint64_t now_ns);
  bool next_event(StreamEvent& out);
  [[nodiscard]] std::size_t count() const;
  // A word of the application's that events of the stream bring along; kNone at first.
  void set_user(std::uint16_t stream, std::uint32_t user);
  [[nodiscard]] void* user() const;  // of the configuration
  // Everything is given up and all shared memory given back; nobody is told. Afterwards another thread may
  // destroy the object.
  void close();

  // ---- packets that opened, in order of arrival
  // Asked before a RELIABLE packet is recorded in the window: no room, and it must look as if it was lost.
  // False is counted by name.
  [[nodiscard]] bool has_room(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags,
                              std::uint16_t prior, std::uint32_t bytes);
  // New data or FIN, recorded; acknowledged if RELIABLE. `prior`: its `ack_delay` field.
  void on_data(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags, std::uint16_t prior,
               std::uint8_t path, std::span<const std::uint8_t> text, std::uint64_t now_ns);
  // An authentic duplicate of RELIABLE data: acknowledged again (W-10), within a budget, for anyone can
  // replay it.
  void on_duplicate(std::uint16_t stream, std::uint32_t sequence, std::uint8_t path, std::uint64_t now_ns);
  // The same of one that the window is too young to know: a sender that waits 200 ms and longer to repeat
  // what it has no acknowledgement of (W-22) finds many thousand numbers passed. Acknowledged only when
  // everything up to it is known to have arrived; what may be missing must not be.
  void on_old(std::uint16_t stream, std::uint32_t sequence, std::uint8_t path, std::uint64_t now_ns);
  void on_ack(std::uint16_t stream, std::uint32_t acked, std::uint16_t ack_delay_us, bool fin,
              std::uint64_t now_ns);
  // `told`: the packet's `ack_delay` field.
  void on_credit(std::uint16_t stream, std::uint32_t credit, std::uint16_t told, std::uint64_t now_ns);
  // Acknowledgements, credit and echoes of the peer fill gaps of its counter (order towards a reference
  // peer).
  void on_control(std::uint16_t stream, std::uint32_t sequence, std::uint64_t now_ns);

  // ---- packets to send; called until it says no, after every burst, event of the application and timer
  bool next_packet(StreamPacket& out, std::uint64_t now_ns);
  // When next_packet() said no because of the pacer alone: when it may say yes. 0: it waits for something
  // else. The wheel has a timer for it, too, which is up to a tick late.
  [[nodiscard]] std::uint64_t paced_until_ns() const;
  // The number that a kNew or kPlain packet takes: fixes its `sequence` and `ack_delay`. A kNew packet keeps
  // the number, also over not_sent(); it is sealed with it later, as kReseal.
  void numbered(StreamPacket& packet, std::uint32_t sequence);
  void sealed(const StreamPacket& packet, std::uint8_t epoch, std::uint32_t sequence,
              std::uint32_t image_bytes, std::uint64_t now_ns);
  // Nothing left; asked for again later.
  void not_sent(const StreamPacket& packet, std::uint64_t now_ns);
  // Counter of a stream from kDynamicFirst on, also of one that is forgotten or was never known (they share
  // one: sequences go on, W-04, W-06); null for ids below.
  TxStream* counter(std::uint16_t stream);
  // The reservation that all of them share: numbers below `first` are used up, those from `limit` on not
  // ours. The first call says where they begin, later ones may only go forward.
  void set_dynamic_limit(std::uint32_t first, std::uint32_t limit);
  // The epoch that packets are sealed in from now on: images of another one are resealed when repeated.
  void set_epoch(std::uint8_t epoch);
  // Where data goes; towards an unmodified peer always 0.
  void set_path(std::uint8_t path, std::uint32_t segment_bytes);

  // ---- time: timers of the wheel whose owner is this object
  void on_timer(Timer& timer, std::uint64_t now_ns);

  // Nothing of ours unacknowledged, nothing of the peer's arriving: an epoch may be left (1.4 rule 7).
  [[nodiscard]] bool at_rest(std::uint64_t now_ns) const;
  // No new segments while set, so that rest comes; what is under way is still seen through. For kMostHold_ns
  // at a time: what wants to be sent then goes for kHoldPause_ns, whether rest came or not. While set a timer
  // is due at the moment of rest, traffic or none.
  void set_hold(bool hold);
  [[nodiscard]] const StreamCounters& counters() const;
  [[nodiscard]] BandwidthSnapshot bandwidth(std::uint8_t path) const;
  PathFlow& flow(std::uint8_t path);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace session
