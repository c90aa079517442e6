// Inside of PathManager: state and steps, shared by path_manager*.cc alone.
#pragma once

#include <utility>
#include <vector>

#include "session/fifo.h"
#include "session/path_manager.h"
#include "session/token_bucket.h"

namespace session {

inline constexpr std::uint64_t kNeverNs = UINT64_MAX;
inline constexpr std::uint64_t kMs = 1'000'000;
inline constexpr std::uint64_t kPatienceNs = 100 * kMs;  // least time before a probe counts as unanswered
inline constexpr std::uint64_t kFirstPatienceNs = 1'000 * kMs;  // RFC 6298, 2.1: no sample yet
inline constexpr std::uint64_t kLeftNs = 100 * kMs;             // least time for stragglers of a left address
inline constexpr std::uint64_t kFastProbeNs = 200 * kMs;        // of a slot in use, with an alternative
inline constexpr std::uint64_t kProofNs = 10'000 * kMs;         // life of a validated candidate without data
inline constexpr std::uint64_t kDarkAttemptNs = 800 * kMs;      // least first attempt while the slot is down
inline constexpr std::uint64_t kDarkPauseNs = 250 * kMs;        // pause while the slot is down
inline constexpr std::uint64_t kMaxPauseNs = 60'000 * kMs;
inline constexpr std::uint64_t kForgetNs = 30'000 * kMs;  // a failed candidate after its pause
inline constexpr std::uint64_t kWatchNs = 3'000 * kMs;    // a watched address without packets
inline constexpr std::size_t kMaxWatched = 8;
inline constexpr std::uint32_t kNewcomerBurst = 8;
inline constexpr std::uint32_t kNewcomersPerSecond = 8;
inline constexpr std::uint64_t kSwitchNs = 1'000 * kMs;  // another slot is better for so long: hysteresis
inline constexpr unsigned kIdleShift = 4;  // checks of an idle session: 2^4 probe intervals apart
inline constexpr unsigned kDownShift = 2;  // probes of a slot that is down: 2^2 apart
inline constexpr unsigned kEchoesUp = 2;
inline constexpr std::size_t kSeenValues = 16;  // foreign values, each echoed once
inline constexpr std::size_t kMaxQueuedSends = 64;
inline constexpr std::size_t kMaxQueuedNotices = 64;

inline bool known(const PathEnds& ends) {
  return ends.remote.family != 0;
}
// A local endpoint that nobody told matches any.
inline bool same_pair(const PathEnds& a, const PathEnds& b) {
  return a.remote == b.remote && (a.local.family == 0 || b.local.family == 0 || a.local == b.local);
}
// Did this come from there? What has no origin may have come from anywhere.
inline bool came_from(const PathEnds& origin, const PathEnds& pair) {
  return !known(origin) || !known(pair) || same_pair(origin, pair);
}
inline std::uint64_t ip_bytes(const PathEnds& ends, std::uint64_t udp_payload_bytes) {
  return udp_payload_bytes + (ends.remote.family == 4 ? 28 : 48);
}

// Into a ring of at most `most`, in place of the oldest; `next` counts what was put in.
template <class T>
void put_newest(std::vector<T>& ring, unsigned& next, std::size_t most, T value) {
  if (ring.size() < most) {
    ring.push_back(std::move(value));
  } else {
    ring[next % most] = std::move(value);
  }
  ++next;
}

struct Challenge {
  PathChallenge value{};
  std::uint64_t sent_ns = 0;
  bool open = false;    // no echo yet
  bool counts = false;  // and when it stays out, that means something
};

// RFC 6298, section 2, without the clamp and the granularity.
struct RoundTrip {
  bool known = false;
  std::uint64_t srtt_ns = 0;
  std::uint64_t rttvar_ns = 0;
  void sample(std::uint64_t rtt_ns);
  [[nodiscard]] std::uint64_t patience_ns() const;
};

// Life of one address pair, by probes.
struct Pulse {
  RoundTrip rtt;
  bool up = true;
  double loss = 0;
  unsigned lost_in_row = 0;
  unsigned echoes_in_row = 0;
  unsigned down_probes = 0;
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  std::uint64_t next_ns = kNeverNs;
  std::uint64_t last_ns = 0;  // the last one was sent
  static constexpr std::size_t kRing = 4;
  std::vector<Challenge> ring;  // the last kRing; none while nothing was probed
  unsigned ring_next = 0;       // the oldest, once there are as many

  void record(const PathChallenge& value, std::uint64_t now_ns, bool counts);
  bool answer(const PathChallenge& value, std::uint64_t now_ns);
  // Takes unanswered probes for lost, or for nothing when packets of the peer came after them (heard_ns).
  void expire(std::uint64_t now_ns, unsigned lost_down, std::uint64_t heard_ns);
  [[nodiscard]] std::uint64_t overdue_ns() const;
  // When the next probe forgets none that still waits for its echo: a forgotten one is never lost.
  [[nodiscard]] std::uint64_t room_ns() const;
};

// One validation of one address: sends, an end, a pause.
struct Attempt {
  enum class Phase : std::uint8_t { kIdle, kRunning, kPaused, kProven };
  Phase phase = Phase::kIdle;
  std::uint8_t id = 0;
  unsigned failures = 0;
  std::uint64_t started_ns = 0;
  std::uint64_t limit_ns = 0;  // its length
  std::uint64_t gap_ns = 0;
  std::uint64_t rtt_ns = 0;          // once proven
  std::uint64_t next_ns = kNeverNs;  // next send; end of the pause; end of the proof
  std::vector<Challenge> sent;       // at most kAttemptSends

  void start(std::uint8_t on_id, std::uint64_t now_ns, const RoundTrip& rtt, std::uint64_t for_ns);
  void record(const PathChallenge& value, std::uint64_t now_ns);
  // Round trip when the value is of this attempt and not answered before.
  std::optional<std::uint64_t> answer(std::uint8_t on_id, const PathChallenge& value, std::uint64_t now_ns);
  bool fail_if_over(std::uint64_t now_ns, std::uint64_t pause_ns);
  [[nodiscard]] bool wants_send(std::uint64_t now_ns) const;
  [[nodiscard]] std::uint64_t deadline_ns() const;
};

struct Candidate {
  std::uint8_t slot = 0;
  bool named = false;       // by an operator: no allowance, one attempt
  bool wants_move = false;  // data came from it, or an operator asked
  PathEnds ends;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t pkts = 0;     // newest packets from it
  std::uint64_t seen_ns = 0;  // the last of them
  Attempt attempt;
};

// An address that is not tried yet: only counted.
struct Watched {
  PathEnds ends;
  std::uint8_t slot = 0;
  bool data = false;  // and not challenges alone
  std::uint64_t pkts = 0;
  std::uint64_t bytes = 0;
  std::uint64_t seen_ns = 0;
};

struct Fallback {
  PathEnds ends;
  std::uint64_t until_ns = 0;
  bool proven = false;  // a probe was answered from there since it was left
  Pulse pulse;
};

struct Slot {
  PathEnds ends;
  PathState state = PathState::kUnvalidated;
  Pulse pulse;
  Attempt attempt;  // of the configured address of a further slot
  std::unique_ptr<Fallback> fallback;
  PathEnds left;
  std::uint64_t left_until_ns = 0;
  std::uint64_t moved_ns = 0;
  unsigned idle_checks = 0;
  std::uint64_t traffic_seen = 0;
  std::uint64_t probes_sent_before = 0;  // at addresses that were left
  std::uint64_t probes_answered_before = 0;
  std::uint64_t migrations = 0;
  std::uint64_t capacity_bps = 0;  // 0: no estimate
  std::uint64_t full_ns = 0;       // when it was last seen full; 0: never
};

struct PathManager::Impl {
  Impl(const PathPolicy& rules, std::span<const PathEnds> ends, Random source, std::uint64_t now_ns);

  // ---- path_manager.cc
  void draw_key();
  PathChallenge fresh_value();
  bool own(const PathChallenge& value) const;
  void send(std::uint8_t id, const PathChallenge& value, const PathEnds& ends);
  void notice(PathEvent event, std::uint8_t slot, const PathEnds& ends);
  bool uses(std::uint8_t id) const;
  bool has_pair(const PathEnds& ends) const;  // of a slot
  PathVerdict own_echo(std::uint8_t id, const PathChallenge& value, const PathEnds& ends,
                       std::uint64_t now_ns);
  PathVerdict foreign(std::uint8_t id, const PathChallenge& value, const PathEnds& ends,
                      std::uint64_t now_ns);
  bool seen_before(std::uint8_t id, const PathChallenge& value) const;
  void remember(std::uint8_t id, const PathChallenge& value);
  void validate_slot(std::uint8_t slot, std::uint64_t rtt_ns, std::uint64_t now_ns);
  void run_slot_attempt(std::uint8_t slot, std::uint64_t now_ns);

  // ---- path_manager_candidates.cc
  Candidate* find_candidate(const PathEnds& ends);
  Candidate* candidate_for(std::uint8_t slot, const PathEnds& ends, std::uint64_t payload_bytes, bool data,
                           std::uint64_t now_ns);
  void watch(std::uint8_t slot, const PathEnds& ends, std::uint64_t bytes, bool data, std::uint64_t now_ns);
  void spend_watched(const PathEnds& ends);
  Candidate* admit(std::uint64_t now_ns);
  Candidate* make_room(bool by_force, std::uint64_t pkts, std::uint64_t now_ns);
  bool gives_way(const Candidate& c, std::uint64_t now_ns) const;
  std::uint64_t rank(const Candidate& c, std::uint64_t now_ns) const;
  std::uint64_t probation_ns(std::uint8_t slot) const;
  bool dark(std::uint8_t slot) const;
  std::uint64_t attempt_ns(const Candidate& c) const;
  std::uint64_t doubled_pause_ns(const Attempt& attempt) const;
  std::uint64_t pause_ns(const Candidate& c) const;
  void hurry_candidates(std::uint8_t slot, std::uint64_t now_ns);
  std::uint8_t pick_id(std::uint8_t slot);
  void begin(Candidate& c, std::uint64_t now_ns);
  bool may_send(const Candidate& c) const;
  void step(Candidate& c, std::uint64_t now_ns);
  void run_candidates(std::uint64_t now_ns);
  void settle_proven(std::uint64_t now_ns);
  void erase(const Candidate* c);
  void hand_over(Candidate& c, std::uint8_t slot);
  std::optional<std::uint8_t> slot_of_hint(std::uint8_t path_id) const;
  bool from_left(const Slot& slot, const PathEnds& ends, std::uint64_t now_ns) const;
  void standby(std::uint8_t id, const PathEnds& ends, std::uint64_t payload_bytes, std::uint64_t now_ns,
               Candidate*& out);
  void move(std::uint8_t slot, const PathEnds& ends, const RoundTrip& rtt, std::uint64_t now_ns);
  bool may_move(const Slot& slot, std::uint64_t now_ns) const;
  bool return_to_fallback(std::uint8_t slot, std::uint64_t now_ns);

  // ---- path_manager_probes.cc
  void send_probe(Pulse& pulse, std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns, bool counts);
  PathVerdict probe_echo(std::uint8_t slot, const PathChallenge& value, const PathEnds& ends,
                         std::uint64_t now_ns);
  void run_probes(std::uint64_t now_ns);
  void run_slot_probes(std::uint8_t slot, std::uint64_t now_ns);
  void run_fallback(std::uint8_t slot, std::uint64_t now_ns);
  void judge(std::uint8_t slot, bool was_up, std::uint64_t now_ns);
  void went_down(std::uint8_t slot, std::uint64_t now_ns);
  bool alternatives(std::uint8_t slot) const;
  std::uint64_t heard_ns(std::uint8_t slot) const;
  std::uint64_t gap_ns(std::uint8_t slot, std::uint64_t now_ns) const;
  std::uint64_t usual_gap_ns(std::uint8_t slot) const;

  // ---- path_manager_schedule.cc
  bool usable(std::uint8_t slot) const;
  void choose_active(std::uint64_t now_ns);
  std::uint8_t best(std::uint8_t except) const;
  void spread(PathSchedule& out, std::uint64_t now_ns);
  bool capacities_tell(std::uint64_t now_ns) const;
  double quality(std::uint8_t slot, bool by_capacity, std::uint64_t now_ns) const;
  std::array<double, kTxPaths> wanted_shares(std::uint64_t now_ns) const;
  std::array<double, kTxPaths> shares(unsigned usable, std::uint64_t now_ns);
  void fill_quota(PathSchedule& out, const std::array<unsigned, kTxPaths>& quota) const;
  void rebuild(std::uint64_t now_ns);
  bool in_use(std::uint8_t slot) const;
  std::uint8_t slot_count() const { return static_cast<std::uint8_t>(slots.size()); }  // at most kTxPaths

  PathPolicy policy;
  Random random;
  std::array<std::uint8_t, 32> mark_key{};
  bool keyed = false;
  std::vector<Slot> slots;
  std::vector<Candidate> candidates;
  std::vector<Watched> watched;
  std::uint64_t watch_due_ns = kNeverNs;
  Fifo<PathSend> sends;
  Fifo<PathNotice> notices;
  TokenBucket echoes;
  TokenBucket newcomers;
  struct Seen {
    std::uint8_t id = 0;
    PathChallenge value{};
  };
  std::vector<Seen> seen;  // the last kSeenValues, a ring
  unsigned seen_next = 0;
  std::uint8_t next_id = kFirstChallengeId;
  std::uint64_t refused = 0;

  std::uint64_t control_pkts = 0;
  std::uint64_t traffic = 0;  // packets of the session, without ours
  std::uint64_t rx_traffic = 0;
  std::uint64_t control_rx_pkts = 0;
  std::uint64_t rx_moved_ns = 0;  // rx_traffic grew last
  std::uint64_t traffic_ns = 0;
  std::uint64_t hint_ns = 0;  // a packet came from somewhere else

  PathSchedule schedule;
  std::uint64_t version = 0;
  std::uint8_t active = 0;
  std::uint8_t better = kNoPath;
  std::uint64_t better_since_ns = 0;
  std::array<unsigned, kTxPaths> quota{};
  unsigned usable_bits = 0;
  std::array<double, kTxPaths> share{};
  std::uint64_t share_ns = 0;
};

}  // namespace session
