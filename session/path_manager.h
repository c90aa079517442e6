// Where a session's packets go: its paths, their validation, migration, round trips, and which stream is sent
// over which path (protocol.md 10, 16.6; W-05, W-16, W-17).
//
// Thread: control core (or a single-threaded Session). Pure: time is an argument, randomness a function; no
// sockets, no tables of next hops. Owned by SessionControl, which turns its actions into commands.
//
// Terms:
// - A path slot (0..kTxPaths-1) is a way between two UDP endpoints. Slot i carries data with path id i. Slot
//   0 exists always and is valid from the start (protocol.md 10.2); the others come from the configuration.
//   Towards an unmodified peer data carries path id 0 on every slot, and only one slot is in use.
// - A candidate is an address pair that wants to take a slot's place: an authentic, newest packet came from
//   it, or an operator asked. It is challenged on an id that no data uses, which an unmodified peer echoes as
//   well (10.5), and becomes the slot's address when the echo of its own challenge comes from that very
//   address. Until then the old address keeps the traffic, and at most three times the bytes that came from
//   the candidate go to it.
// - The fallback is the pair a slot left last. It stays validated and probed for a while: the way back needs
//   no new challenge.
// - A probe is a challenge whose echo proves nothing but life and gives a round trip: on id 255 - slot.
//
// Rules decided here, beyond the specification:
// - Our own values carry a mark (half of the 32 bytes is a keyed hash of the other half, the key is this
//   object's), so that however late an echo comes, it is never taken for a challenge and bounced.
// - A foreign value on an id we use is echoed once (W-17), on other ids every time, as an unmodified peer
// does;
//   all within one budget. Path 0 is never echoed (protocol.md 10.3).
// - A challenge on the id of a slot that a session with addresses does not have is not echoed: the echo would
// let
//   the peer send data there, for the path gate to drop.
// - Every send of an attempt has a fresh value, so that an echo names the send it answers. An attempt has
//   kAttemptSends of them, ends after attempt_timeout_ns, and a new one of the same address waits for a pause
//   that doubles. While the slot is down the attempt is short, longer with every failure, and the pause a
//   quarter of a second. After the pause it takes a new packet from the address (or the configuration) to
//   start it.
// - An address that only a peer's packets named gets less than three times the IP bytes that came from it.
// What
//   an operator or the configuration named is exempt: there the number of sends of an attempt is the bound.
// - The way back to the fallback needs no new challenge when a probe was answered from there since it was
// left;
//   otherwise a packet from there is a hint like any other. A source address alone never moves traffic.
// - Hints from the address that a slot left are ignored for max(2 srtt, 100 ms): they were on their way. A
// slot
//   moves at most every kMoveGapNs.
// - A candidate that only a challenge named (no data came from there) is validated and kept, and used when
// data
//   comes from it or the slot's own address goes down.
// - Candidates that do not answer give way to newcomers: failed ones at once, others after a probation of a
//   few round trips when the newcomer's packets outnumber theirs. Newcomers are paced; until its turn an
//   address is only counted, by the Misra-Gries rule with eight counters, and the one with the most packets
//   is next: whoever sends more than a ninth of the newest packets gets a turn, however many others there
//   are.
// - Detection: a probe is overdue after max(3 srtt, srtt + 4 rttvar, 100 ms), and then the next one follows
// at
//   once; probes_lost_down in a row are down, two echoes are up again. Where there is an alternative and
//   traffic flows, slots in use are probed every max(8 srtt, 200 ms), at most probe_interval_ns apart. A
//   session with one address is probed only while its traffic flows.
// - Shares of kWeighted that the configuration leaves open go by bandwidth as soon as each such slot has an
//   estimate and one of them was full within kCapacityMemoryNs; a slot that was not counts a quarter more
//   than it was seen to carry, or it would never be given more. Until then they go by quality, 1 / (srtt * (1
//   + loss)). Either way a share moves by at most kShareStep of the whole a second.
// - kWeighted moves whole streams, and only when a slot's share is off by two streams or a slot came or went:
//   inside a stream packets keep one way. Order and the peer's window see a difference of delay only at such
//   a move, of at most one delay difference's worth of one stream's packets.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "session/epoch_store.h"
#include "session/hot.h"
#include "session/path.h"

namespace session {

// Both ends of a way. A family of 0 in `remote`: not known yet.
struct PathEnds {
  Endpoint local;
  Endpoint remote;
  friend bool operator==(const PathEnds&, const PathEnds&) = default;
};

enum class MigrationPolicy : std::uint8_t { kOff, kValidated };
enum class PathScheduler : std::uint8_t { kLowestLatency, kWeighted, kDuplicate };

struct PathPolicy {
  MigrationPolicy migration = MigrationPolicy::kValidated;
  PathScheduler scheduler = PathScheduler::kLowestLatency;
  bool unmodified_peer = false;
  std::uint64_t probe_interval_ns = 1'000'000'000;  // of a slot that is in use or stands by
  // Set by SessionControl: the same where there is no other address, if more; and the first probe there.
  std::uint64_t lone_interval_ns = 0;
  std::uint64_t first_probe_ns = 0;                  // after the start
  unsigned probes_lost_down = 3;                     // unanswered in a row: the slot is down
  std::uint64_t attempt_timeout_ns = 3'000'000'000;  // of a candidate, with repeats inside it
  std::uint64_t attempt_pause_ns = 1'000'000'000;    // before the same candidate is tried again; doubles
  std::uint64_t fallback_ns = 30'000'000'000;        // how long the address that was left is kept
  std::array<std::uint32_t, kTxPaths> weight{};      // of slots, for kWeighted; 0: by measured capacity
  unsigned tx_streams = 16;
  std::uint32_t echo_burst = 32;         // echoes of foreign challenges: budget of this session ...
  std::uint32_t echoes_per_second = 64;  // ... and refill; above four slots' fastest probing
};

// What workers are to send by. `primary` and `second` are indices into `slot`, one a stream; kNoPath: none.
inline constexpr std::uint8_t kNoPath = 0xff;
struct PathSchedule {
  struct Slot {
    PathEnds ends;
    std::uint8_t path_id = 0;  // in the header
  };
  unsigned count = 0;
  std::array<Slot, kTxPaths> slot{};
  std::array<std::uint8_t, kTxStreams> primary{};
  std::array<std::uint8_t, kTxStreams> second{};  // the copy, for kDuplicate
};

enum class PathEvent : std::uint8_t {
  kCandidate,  // an address is being validated
  kMigrated,   // a slot's address changed
  kRejected,   // a candidate did not answer; traffic stays
  kReturned,   // back to the fallback
  kDown,
  kUp,
  kValidated,  // a further slot may carry data
};
struct PathNotice {
  PathEvent event{};
  std::uint8_t slot = 0;
  PathEnds ends;
};

// 32 bytes of PATH_VALIDATION to send; ends.remote.family 0: wherever the session sends now.
struct PathSend {
  std::uint8_t path_id = 0;
  PathChallenge value{};
  PathEnds ends;
};

struct PathSlotView {
  std::uint8_t slot = 0;
  PathEnds ends;
  PathState state = PathState::kUnknown;
  bool up = false;
  bool in_use = false;
  double srtt_ms = -1;  // negative: no sample yet
  double rttvar_ms = 0;
  double loss = 0;  // share of probes without an echo, 0..1, smoothed
  std::uint64_t probes_sent = 0;
  std::uint64_t probes_answered = 0;
  std::uint64_t migrations = 0;
  std::optional<PathEnds> candidate;
  std::optional<PathEnds> fallback;
};

class PathManager {
 public:
  using Random = std::function<void(std::span<std::uint8_t>)>;
  static constexpr unsigned kMaxCandidates = 4;  // of a session, all slots together
  static constexpr unsigned kAttemptSends = 5;
  static constexpr std::uint64_t kMoveGapNs = 100'000'000;
  // How long a full slot tells by how much others should carry: load comes in waves of minutes.
  static constexpr std::uint64_t kCapacityMemoryNs = 60'000'000'000;
  static constexpr double kShareStep = 1.0 / 8;  // two of sixteen streams a second
  // Ids of challenges to candidates, in turn; data and probes never use them.
  static constexpr std::uint8_t kFirstChallengeId = 128;
  static constexpr std::uint8_t kLastChallengeId = 250;
  static constexpr std::uint8_t kTopProbeId = 255;       // of slot 0; slot i: i less
  static constexpr std::uint32_t kChallengeBytes = 101;  // UDP payload of a PATH_VALIDATION packet

  // `ends`: of the slots, as configured or stored; at least one.
  PathManager(const PathPolicy& policy, std::span<const PathEnds> ends, Random random, std::uint64_t now_ns);
  ~PathManager();
  PathManager(PathManager&&) noexcept;
  PathManager& operator=(PathManager&&) noexcept;

  // ---- what the owner of the shard reported
  // An authentic packet, the newest of its stream, came over an address pair that no slot has. `bytes`: of
  // its UDP payload. Not for PATH_VALIDATION packets that opened in an epoch in use: on_path_validation tells
  // of those, and bytes that were counted twice would be answered twice. One from before a restart, which
  // nobody reads, may be all that still arrives of the peer: its id tells, and it counts as a challenge does.
  void on_source(std::uint8_t path_id, const PathEnds& ends, std::uint32_t bytes, std::uint64_t now_ns);
  // 32 authentic bytes of PATH_VALIDATION and where they came from (family 0: not known).
  PathVerdict on_path_validation(std::uint8_t path_id, const PathChallenge& value, const PathEnds& ends,
                                 std::uint64_t now_ns);
  // Packets received and sent so far, all slots together; only growth matters.
  void on_traffic(std::uint64_t rx_pkts, std::uint64_t tx_pkts, std::uint64_t now_ns);

  // What a slot's estimator says it carries, bytes a second. `full`: it carried all it can then; otherwise
  // the figure is what was sent, a lower bound.
  void on_capacity(std::uint8_t slot, std::uint64_t bps, bool full, std::uint64_t now_ns);

  // ---- what an operator asks
  // Validates `ends` for a slot and moves there. False: no such slot, or the same address already.
  bool migrate(std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns);
  bool probe(std::uint8_t slot, std::uint64_t now_ns);
  // A probe by whatever way the session sends now, to be heard by the peer; its loss means nothing.
  void announce(std::uint64_t now_ns);

  // PathPolicy::lone_interval_ns from now on.
  void set_lone_interval(std::uint64_t interval_ns);
  void on_timer(std::uint64_t now_ns);
  [[nodiscard]] std::uint64_t next_deadline_ns() const;

  // ---- output
  bool next_send(PathSend& out);
  bool next_notice(PathNotice& out);
  // Grows with every change of schedule().
  [[nodiscard]] std::uint64_t schedule_version() const;
  [[nodiscard]] const PathSchedule& schedule() const;
  // Data with this path id may be accepted: the bits of SessionHot::validated_paths.
  [[nodiscard]] bool validated(std::uint8_t path_id) const;
  // Last validated pair of slot 0, for the state store.
  [[nodiscard]] const PathEnds& primary() const;
  // Times that the slot's address changed.
  [[nodiscard]] std::uint64_t migrations(std::uint8_t slot) const;
  [[nodiscard]] bool migrating() const;  // a candidate of a slot in use is being validated
  [[nodiscard]] std::vector<PathSlotView> view() const;
  // Every pair that packets may be sent to or awaited from: of slots, fallbacks and candidates, into `out`.
  void pairs(std::vector<PathEnds>& out) const;
  [[nodiscard]] std::uint64_t refused_total() const;  // challenges and sources that no budget was left for
  // PATH_VALIDATION packets sent and received so far: not traffic.
  [[nodiscard]] std::uint64_t control_pkts_total() const;
  // True for 32 bytes that this object made.
  [[nodiscard]] bool own_value(const PathChallenge& value) const;
  [[nodiscard]] bool uses_id(std::uint8_t path_id) const;  // a slot, a probe or an attempt of ours has it

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace session
