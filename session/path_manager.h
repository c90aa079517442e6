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
#pragma once

#include <array>
#include <cstdint>
#include <functional>
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
  std::uint64_t probe_interval_ns = 1'000'000'000;   // of a slot that is in use or stands by
  unsigned probes_lost_down = 3;                     // unanswered in a row: the slot is down
  std::uint64_t attempt_timeout_ns = 3'000'000'000;  // of a candidate, with repeats inside it
  std::uint64_t attempt_pause_ns = 1'000'000'000;    // before the same candidate is tried again; doubles
  std::uint64_t fallback_ns = 30'000'000'000;        // how long the address that was left is kept
  std::array<std::uint32_t, kTxPaths> weight{};      // of slots, for kWeighted; 0: by measured capacity
  unsigned tx_streams = 16;
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

  // `ends`: of the slots, as configured or stored; at least one.
  PathManager(const PathPolicy& policy, std::span<const PathEnds> ends, Random random, std::uint64_t now_ns);

  // ---- what the owner of the shard reported
  // An authentic packet, the newest of its stream, came over an address pair that no slot has. `bytes`: of
  // its UDP payload.
  void on_source(std::uint8_t path_id, const PathEnds& ends, std::uint32_t bytes, std::uint64_t now_ns);
  // 32 authentic bytes of PATH_VALIDATION and where they came from (family 0: not known).
  PathVerdict on_path_validation(std::uint8_t path_id, const PathChallenge& value, const PathEnds& ends,
                                 std::uint64_t now_ns);
  // Packets received and sent so far, all slots together; only growth matters.
  void on_traffic(std::uint64_t rx_pkts, std::uint64_t tx_pkts, std::uint64_t now_ns);

  // ---- what an operator asks
  // Validates `ends` for a slot and moves there. False: no such slot, or the same address already.
  bool migrate(std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns);
  bool probe(std::uint8_t slot, std::uint64_t now_ns);

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
  [[nodiscard]] bool migrating() const;  // a candidate of a slot in use is being validated
  [[nodiscard]] std::vector<PathSlotView> view() const;
  [[nodiscard]] std::uint64_t refused_total() const;  // challenges and sources that no budget was left for
};

}  // namespace session
