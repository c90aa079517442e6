// SessionControl: what control knows and decides about one session. Secrets, identity, epochs, restart rule,
// paths.
//
// Thread: control core only. Pure: events and `now_ns` in, commands out; never touches hot state. Anything
// that gives a worker a key or a sequence number waits inside until the record that covers it is durable:
//   event -> wants_store() -> (caller commits record(), one transaction for many sessions) -> stored() ->
//   next_command().
// Stage files may not include this header.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "session/epoch_store.h"
#include "session/hot.h"
#include "session/key_pool.h"
#include "session/path.h"
#include "session/shard_commands.h"

namespace session {

enum class Role : std::uint8_t { kInitiator, kResponder };

struct SessionPolicy {
  std::uint64_t rekey_soft_limit = REKEY_SOFT_LIMIT;
  std::uint32_t seq_rekey_watermark = SEQ_REKEY_WATERMARK;
  std::uint64_t rekey_interval_ns =
      0;  // 0: by limits alone; else an own rekey at least this often under traffic
  std::uint64_t grace_ns = 3'000'000'000;   // how long previous epochs stay receivable
  std::uint32_t sequence_block = 1U << 22;  // durable reservation per stream
  bool keep_previous_only = false;          // one previous epoch, as the vectors assume
  bool unmodified_peer = false;
  std::uint8_t tx_streams = 16;
  std::uint64_t probe_initial_ns = 200'000'000;  // announcement after a restart: first gap,
  std::uint64_t probe_max_ns = 10'000'000'000;   // doubled up to this
};

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
};  // on stream 0, sealed by the owner
struct CmdPathValidated {
  std::uint8_t path;
  bool validated;
};
struct CmdSetState {
  LifeState state;
};
using ControlCommand = std::variant<CmdInstallNext, CmdJump, CmdRetirePrevious, CmdGrantSequences, CmdRekey,
                                    CmdSendPathValidation, CmdPathValidated, CmdSetState>;

// What became of a packet 2..16 epochs ahead.
enum class AheadVerdict : std::uint8_t {
  kCatchUp,   // authentic: commands were queued; give the packet back to the worker behind them
  kNotAhead,  // the epoch moved meanwhile: give it back, the ordinary path decides
  kForged,    // trial open failed; nothing changed
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
};

struct StartError {
  std::string message;
};  // e.g. epochs used up: says what to do

class SessionControl {
 public:
  SessionControl(SessionIdentity identity, crypto::TrafficSecret shared_secret, SessionPolicy policy,
                 std::uint32_t slot, std::uint32_t generation, KeyPool& keys, const crypto::Aead& aead);
  ~SessionControl();
  SessionControl(const SessionControl&) = delete;
  SessionControl& operator=(const SessionControl&) = delete;

  // ---- start: decides the first epoch and sequences of this incarnation (restart rule); then wants_store()
  // is true, and after stored() initial() may be handed to the shard. An unknown session starts at epoch 0,
  // sequence 0; a known one at taken + 1, each stream at its recorded reservation.
  std::optional<StartError> start(const std::optional<StoreRecord>& record, std::uint64_t now_ns);
  [[nodiscard]] SessionInit initial() const;  // outer template left empty: the caller knows addresses

  // ---- what the owner reported
  void on_advanced(std::uint8_t current_epoch, std::uint64_t now_ns);
  void on_heard(std::uint8_t peer_epoch, std::uint64_t now_ns);
  void on_sequence_low(std::uint16_t stream, std::uint32_t next, std::uint64_t now_ns);
  void on_dead(std::uint64_t now_ns);
  AheadVerdict on_ahead_packet(std::span<const std::uint8_t> packet, std::uint64_t now_ns);
  void on_path_validation(std::uint8_t path, const PathChallenge& value, std::uint64_t now_ns);

  // ---- what an operator or the configuration asks
  void request_rekey(unsigned steps, std::uint64_t now_ns);  // 1: swap to next; 2..16: a local jump
  void note_validated_peer(const Endpoint& peer);            // kept in the record

  // ---- time
  void on_timer(std::uint64_t now_ns);
  [[nodiscard]] std::uint64_t next_deadline_ns() const;  // UINT64_MAX: none

  // ---- durability
  [[nodiscard]] bool wants_store() const;
  [[nodiscard]] StoreRecord record() const;
  void stored(std::uint64_t now_ns);

  // ---- output
  bool next_command(ControlCommand& out);
  bool next_event(SessionEvent& out);

  // ---- for show and metrics
  [[nodiscard]] const SessionIdentity& identity() const;
  [[nodiscard]] std::uint8_t current_epoch() const;
  [[nodiscard]] std::uint8_t taken_epoch() const;
  [[nodiscard]] LifeState state() const;
  [[nodiscard]] std::uint32_t slot() const;
  [[nodiscard]] std::uint32_t generation() const;
  [[nodiscard]] bool heard() const;
  [[nodiscard]] const PathTable& paths() const;
  // Seconds until epoch 255 is used up at the present rate of epochs; negative: no rate yet.
  [[nodiscard]] double epochs_left_seconds(std::uint64_t now_ns) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace session
