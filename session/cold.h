// SessionControl: what control knows and decides about one session. Secrets, identity, epochs, restart rule,
// paths.
//
// Thread: control core only. Pure: events and `now_ns` in, commands out; never touches hot state. Anything
// that gives a worker a key or a sequence number waits inside until the record that covers it is durable:
//   event -> wants_store() -> (caller commits record(), one transaction for many sessions) -> stored() ->
//   next_command().
//
// Rules decided here, beyond protocol.md:
// - Sequences of a restarted session go on at the recorded reservation, not at 0: the peer keeps its
//   anti-replay windows across epochs (protocol.md 8), so low numbers would be dropped as replays.
// - `next` is prepared (recorded as taken, then installed) at once on a session without a record. A resumed
//   one waits for a sign that the epoch gets used: the peer was heard, a rekey was asked for, or half of a
//   sequence reservation was sent. So restarts towards an unreachable peer cost one epoch each, not two.
// - No epoch more than 16 ahead of the peer's last known one is prepared: the peer could never follow
//   (MAX_REKEY_CATCHUP). Of these the last restart_reserve are left to restarts, each of which costs one: a
//   gateway that had used all 16 of its own accord and then crashed would be out of reach for good. Sending
//   goes on in the current epoch up to the hard limits; kPeerOutOfReach says so once, and the next packet of
//   the peer lifts it.
// - After a restart, and until the peer was heard, an authentic packet of the epochs it may still be in is a
//   hint of where it is, and nothing else: it may be a replay, so it is neither delivered nor counted as
//   heard. Without it a peer that moved while we were down could not be found: it has no newer key to tell.
// - While the peer was not heard at our current epoch, paced probes (PATH_VALIDATION on an unused path, which
//   an unmodified peer echoes, protocol.md 10.5) go out: after a start, and after an epoch of our own making,
//   so that a peer to which no data flows follows before its epoch's grace ends.
// - The grace of an epoch is prolonged, up to kMaxGraces times, while the peer was not heard at a newer one:
//   it may still be sending in it.
// - rekey_interval_ns: an own rekey when the epoch is that old, the peer was heard in it, and packets moved
//   (on_traffic; without any such report traffic is assumed).
// - Towards an unmodified peer an epoch of our own making waits until the streams are at rest (set_at_rest;
//   protocol.md 1.4 rule 7): requests and the interval here, soft limits in the shard (set_under_way). A hard
//   limit does not wait; kRekeyForced says so. The peer's own epochs are followed at once.
// - Life (cold_life.cc): a session is Connected, or Migrating while an address in use is being validated. A
//   graceful close makes it Closing: it receives and sends, and makes no epochs of its own, until end().
//   Closed is for good, by end() or because nothing authentic was heard for idle_timeout_ns although it was
//   probed from a quarter of that time on (W-28). Dead (no epochs left) stays dead until it is ended.
// - The budget is what this secret can still send: epochs, sequences of the busiest stream, seals. It is
//   forecast from the rates of about the last minute.
// Stage files may not include this header.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "session/epoch_store.h"
#include "session/hot.h"
#include "session/key_pool.h"
#include "session/path.h"
#include "session/path_manager.h"
#include "session/shard_commands.h"

namespace session {

enum class Role : std::uint8_t { kInitiator, kResponder };

// Epochs of the peer's catch-up that only restarts may use: so many crashes in a row, with a peer that hears
// none of them in between, leave a session that finds together again.
inline constexpr std::uint8_t kRestartReserve = 4;

struct SessionPolicy {
  std::uint64_t rekey_soft_limit = REKEY_SOFT_LIMIT;
  std::uint32_t seq_rekey_watermark = SEQ_REKEY_WATERMARK;
  std::uint64_t rekey_interval_ns =
      0;  // 0: by limits alone; else an own rekey at least this often under traffic
  std::uint64_t grace_ns = 3'000'000'000;   // how long previous epochs stay receivable
  std::uint32_t sequence_block = 1U << 22;  // durable reservation per stream
  std::uint8_t restart_reserve = kRestartReserve;
  bool keep_previous_only = false;  // one previous epoch, as the vectors assume
  bool unmodified_peer = false;
  std::uint8_t tx_streams = 16;
  std::uint64_t probe_initial_ns = 200'000'000;  // announcement after a restart: first gap,
  std::uint64_t probe_max_ns = 10'000'000'000;   // doubled up to this
  std::uint32_t trial_burst = 64;                // trial opens of packets ahead: budget of this session ...
  std::uint32_t trials_per_second = 256;         // ... and refill; as the shard's (ShardLimits)
  std::uint32_t echo_burst = 32;                 // path echoes: the same
  std::uint32_t echoes_per_second = 64;
  std::uint64_t idle_timeout_ns = 0;  // nothing heard for so long closes the session; 0: never
  std::uint64_t budget_warning_ns = 86'400'000'000'000;  // kBudgetLow below a forecast of so long; 0: off
};

// Time constant of the rates that the budget is forecast with, and the least time between two samples.
inline constexpr std::uint64_t kBudgetWindowNs = 60'000'000'000;
inline constexpr std::uint64_t kBudgetSampleNs = 1'000'000'000;

// Longest life of a previous epoch, in graces, while the peer is not heard at a newer one.
inline constexpr unsigned kMaxGraces = 8;
// An event tells when this many epochs or fewer are left.
inline constexpr unsigned kEpochsLowMark = 16;
// Largest durable reservation of sequences at a time (2^26 is 4.5 s of one stream at 14.88 Mpps).
inline constexpr std::uint32_t kMaxSequenceBlock = 1U << 26;

struct SessionIdentity {
  std::string name;  // for people: logs and counters
  std::array<std::uint8_t, kSessionIdBytes> id{};
  Role role = Role::kInitiator;
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
  crypto::KdfVariant variant = crypto::KdfVariant::kDefault;
};

// Commands for the owner of the session's shard, to be carried out in order.
struct CmdInstallNext {
  KeyRef next;
};
struct CmdJump {
  std::shared_ptr<JumpInit> jump;
};
struct CmdRetirePrevious {
  std::uint8_t epoch;
};
struct CmdGrantSequences {
  std::uint16_t stream;
  std::uint32_t limit;
};
struct CmdRekey {};  // swap to next now
struct CmdSendPathValidation {
  std::uint8_t path;
  PathChallenge value;
  PathEnds ends{};  // remote.family 0: by the way the session sends now
};                  // on stream 0, sealed by the owner
// From now on packets go by this schedule, and data may come with these path ids (a bit each).
struct CmdSetPaths {
  std::shared_ptr<const PathSchedule> schedule;
  std::array<std::uint64_t, 4> validated{1, 0, 0, 0};
};
struct CmdPathValidated {
  std::uint8_t path;
  bool validated;
};
struct CmdSetState {
  LifeState state;
};
using ControlCommand = std::variant<CmdInstallNext, CmdJump, CmdRetirePrevious, CmdGrantSequences, CmdRekey,
                                    CmdSendPathValidation, CmdPathValidated, CmdSetState, CmdSetPaths>;

// What became of a packet that the owner has no key for: 2..16 epochs ahead, or from before a restart.
enum class AheadVerdict : std::uint8_t {
  kCatchUp,   // authentic: commands were queued; give the packet back to the worker behind them
  kNotAhead,  // the epoch moved meanwhile: give it back, the ordinary path decides
  kForged,    // trial open failed; nothing changed
  kBehind,    // authentic, from before the restart, perhaps a replay: tell on_source() where it came from
  kBudget,    // not tried: budget of this session spent, or no keys free
};

// Events for people and metrics; typed, no secrets.
enum class SessionEvent : std::uint8_t {
  kStarted,
  kResumed,
  kPeerHeard,
  kRekeyed,
  kFollowed,
  kCaughtUp,
  kPreviousRetired,
  kEpochsLow,
  kDead,
  kPeerOutOfReach,
  kMigrating,  // an address in use is being validated ...
  kSettled,    // ... no more
  kClosing,
  kIdle,  // nothing was heard for idle_timeout_ns; kClosed follows
  kClosed,
  kRekeyForced,  // towards an unmodified peer, by a hard limit, while reliable data was under way
  kBudgetLow,    // the forecast fell below budget_warning_ns; again only after it had recovered
};

// The owner's counters, read without stopping it.
struct TrafficReport {
  std::uint64_t rx_pkts = 0;
  std::uint64_t tx_pkts = 0;
  std::uint64_t seals_in_epoch = 0;
  std::uint64_t heard_ns = 0;                    // last new authentic packet, control's clock; 0: none yet
  std::array<std::uint32_t, kTxStreams> next{};  // next sequence
  std::array<std::uint32_t, kTxStreams> span{};  // sequences used in this epoch
};

// Everything of a report but heard_ns, which needs the owner's clock. Any thread.
TrafficReport read_traffic(const SessionHot& hot);

// How long the session can go on at the present rates, and what ends it.
struct BudgetForecast {
  double seconds = -1;               // negative: no rate yet
  const char* limit = "";            // "epochs", "sequences" or "seals"
  std::uint32_t epochs_left = 0;     // after the current one
  std::uint32_t sequences_left = 0;  // of the busiest stream, in this epoch
  std::uint64_t seals_left = 0;      // in this epoch
};

struct StartError {
  std::string message;
};  // e.g. epochs used up: says what to do

class SessionControl {
 public:
  // `fingerprint`: of the secret and role, from a caller that has it already.
  SessionControl(SessionIdentity identity, crypto::TrafficSecret shared_secret, SessionPolicy policy,
                 std::uint32_t slot, std::uint32_t generation, KeyPool& keys, const crypto::Aead& aead,
                 const std::optional<Fingerprint>& fingerprint = std::nullopt);
  ~SessionControl();
  SessionControl(const SessionControl&) = delete;
  SessionControl& operator=(const SessionControl&) = delete;

  // ---- before start(): the addresses and their rules. Without: one slot whose addresses are the caller's
  // own business; nothing is probed, and CmdSetPaths never comes. `policy.unmodified_peer` and the echo
  // budget are the session's. A remote of family 0 in slot 0 is filled from the record.
  void set_paths(PathPolicy policy, std::span<const PathEnds> ends);

  // ---- start: decides the first epoch and sequences of this incarnation (restart rule); then wants_store()
  // is true, and after stored() initial() may be handed to the shard. An unknown session starts at epoch 0,
  // sequence 0; a known one at taken + 1, each stream at its recorded reservation.
  std::optional<StartError> start(const std::optional<StoreRecord>& record, std::uint64_t now_ns);
  // Outer template left empty: the caller knows addresses. Slot kNone while not yet durable. The keys in it
  // are handed out with the first call.
  [[nodiscard]] SessionInit initial() const;

  // ---- what the owner reported
  void on_advanced(std::uint8_t current_epoch, std::uint64_t now_ns);
  // First authentic packet of this incarnation, and again whenever the peer's epoch was seen to grow.
  void on_heard(std::uint8_t peer_epoch, std::uint64_t now_ns);
  void on_sequence_low(std::uint16_t stream, std::uint32_t next, std::uint64_t now_ns);
  void on_dead(std::uint64_t now_ns);
  AheadVerdict on_ahead_packet(std::span<const std::uint8_t> packet, std::uint64_t now_ns);
  // What became of 32 bytes of PATH_VALIDATION; commands were queued for an echo or a validated path. `ends`:
  // where they came from, remote.family 0 when nobody knows.
  PathVerdict on_path_validation(std::uint8_t path, const PathChallenge& value, const PathEnds& ends,
                                 std::uint64_t now_ns);
  PathVerdict on_path_validation(std::uint8_t path, const PathChallenge& value, std::uint64_t now_ns) {
    return on_path_validation(path, value, PathEnds{}, now_ns);
  }
  // An authentic packet, the newest of its stream and no PATH_VALIDATION, came from an address pair that no
  // slot has (PathManager::on_source).
  void on_source(std::uint8_t path, const PathEnds& ends, std::uint32_t bytes, std::uint64_t now_ns);
  // What the peer's receiver reports say of a path (PathManager::on_capacity).
  void on_capacity(std::uint8_t path, std::uint64_t bps, bool full, std::uint64_t now_ns);
  void on_unvalidated_path(std::uint8_t path);  // authentic data was dropped by the path gate
  // Packets received and sent so far, from the owner's counters; only growth matters (rekey_interval_ns,
  // probes of paths). Call it before on_timer().
  void on_traffic(std::uint64_t rx_pkts, std::uint64_t tx_pkts);
  // The same with all that life and budget need; to be called before on_timer().
  void on_traffic(const TrafficReport& report, std::uint64_t now_ns);

  // ---- what an operator or the configuration asks
  void request_rekey(unsigned steps, std::uint64_t now_ns);  // 1: swap to next; 2..16: a local jump
  // Whether the session's reliable streams are at rest, nothing under way in either direction; so without
  // streams. What waited for rest goes on.
  void set_at_rest(bool at_rest, std::uint64_t now_ns);
  // A rekey was asked for and waits for rest: time to hold back new data.
  [[nodiscard]] bool rekey_waits() const;
  // Challenges a path with `fresh` random bytes, or repeats the outstanding challenge; returns what was sent.
  // Nothing: validated already, or no room.
  std::optional<PathChallenge> begin_path_validation(std::uint8_t path, const PathChallenge& fresh,
                                                     std::uint64_t now_ns);
  void note_validated_peer(const Endpoint& peer);  // kept in the record; slot 0's is noted by itself
  // Validates `ends` for a slot and moves there; a probe of a slot's address. False: no such slot, or nothing
  // to do (PathManager).
  bool migrate(std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns);
  bool probe(std::uint8_t slot, std::uint64_t now_ns);
  // For callers without set_paths(); else the path manager says it.
  void set_migrating(bool on);
  // Graceful: Closing until end(). False: it is closing, closed or dead already.
  bool close();
  // Closed at once, for good; idempotent.
  void end();

  // ---- time
  // How far apart packets that control sends of its own accord are at least while nothing hangs on them: what
  // a session among very many may take of control. 0: as the policy says. Before start() and at any time.
  void set_pace(std::uint64_t gap_ns);
  void on_timer(std::uint64_t now_ns);
  [[nodiscard]] std::uint64_t next_deadline_ns() const;  // UINT64_MAX: none

  // ---- durability
  [[nodiscard]] bool wants_store() const;
  [[nodiscard]] StoreRecord record() const;
  void stored(std::uint64_t now_ns);

  // ---- output
  bool next_command(ControlCommand& out);
  bool next_event(SessionEvent& out);
  bool next_path_notice(PathNotice& out);

  // ---- for show and metrics
  [[nodiscard]] const SessionIdentity& identity() const;
  [[nodiscard]] std::uint8_t current_epoch() const;
  [[nodiscard]] std::uint8_t taken_epoch() const;
  [[nodiscard]] LifeState state() const;
  [[nodiscard]] std::uint32_t slot() const;
  [[nodiscard]] std::uint32_t generation() const;
  [[nodiscard]] bool heard() const;
  [[nodiscard]] std::uint8_t peer_epoch() const;
  // Furthest epoch that is entered without hearing more of the peer.
  [[nodiscard]] unsigned furthest_epoch() const;
  [[nodiscard]] std::uint32_t incarnations() const;
  [[nodiscard]] std::uint64_t derivations() const;  // chain steps and key derivations so far
  [[nodiscard]] const PathTable& paths() const;     // ids of begin_path_validation
  [[nodiscard]] const PathManager& path_manager() const;
  [[nodiscard]] std::vector<PathSlotView> path_views() const;
  // Seconds until epoch 255 is used up at the present rate of epochs; negative: no rate yet.
  [[nodiscard]] double epochs_left_seconds(std::uint64_t now_ns) const;
  [[nodiscard]] BudgetForecast budget(std::uint64_t now_ns) const;
  // Since the last new authentic packet, as far as reported; negative: none in this incarnation.
  [[nodiscard]] double idle_seconds(std::uint64_t now_ns) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace session
