// Inside of SessionControl: state and steps, shared by cold.cc, cold_epochs.cc and cold_life.cc alone.
#pragma once

#include <vector>

#include "session/cold.h"
#include "session/epoch_chain.h"
#include "session/fifo.h"
#include "session/token_bucket.h"

namespace session {

inline constexpr std::uint64_t kNever = UINT64_MAX;
inline constexpr std::uint64_t kSecondNs = 1'000'000'000;
inline constexpr std::uint64_t kKeyRetryNs = 100'000'000;       // no expanded keys were free: try again after
inline constexpr std::uint64_t kAheadKeepNs = 5 * kSecondNs;    // idle time after which trial keys are wiped
inline constexpr std::uint64_t kPathTimeoutNs = 3 * kSecondNs;  // an unanswered challenge fails after
inline constexpr std::size_t kMaxQueuedPathCommands = 64;     // nobody fetches them: further ones are dropped
inline constexpr std::uint64_t kPeerNoteNs = 10 * kSecondNs;  // between two records of where the peer is
inline constexpr std::uint64_t kMinTraffic = 8;               // packets an epoch; probes alone are fewer
inline constexpr std::uint64_t kLifeGapNs = 5 * kSecondNs;    // between looks at traffic and budget ...
inline constexpr std::uint64_t kLifeMaxGapNs = 60 * kSecondNs;  // ... doubled up to this while nothing moves
inline constexpr unsigned kMinEpochMarks = 3;                   // steps from which a rate of epochs is told

struct SessionControl::Impl {
  Impl(SessionIdentity id, crypto::TrafficSecret secret, SessionPolicy rules, std::uint32_t at,
       std::uint32_t gen, KeyPool& pool, const crypto::Aead& engine);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // ---- output, cold.cc
  struct Held {
    Held(ControlCommand what, std::uint64_t of) : command(std::move(what)), version(of) {}
    ControlCommand command;
    std::uint64_t version;  // of the record that must be durable before it may leave
  };
  void push(ControlCommand command) { outbox.emplace_back(std::move(command), version); }
  // Where packets go hands out no key and no number: it need not wait for any record but the first, and must
  // not, or a store that fails would stop migration and make every path look dead.
  void push_path(ControlCommand command) { path_outbox.push_back(std::move(command)); }
  void event(SessionEvent e) { events.push_back(e); }
  bool durable() const { return durable_version >= version; }

  // ---- epochs, cold_epochs.cc
  bool make_keys(std::uint8_t epoch, KeyRef& out);      // send and receive; all or nothing
  bool make_recv_key(std::uint8_t epoch, KeyRef& out);  // receive only
  void drop_keys(KeyRef& ref);                          // never handed out: back to the pool
  void keep_before(unsigned epoch);
  void take(std::uint8_t epoch);  // record it as taken before anything uses it
  unsigned furthest() const;      // epoch of our own making that is within reach
  bool reachable(std::uint8_t epoch) const { return epoch <= furthest(); }
  void prepare_next(std::uint64_t now_ns);
  void pump_rekeys(std::uint64_t now_ns);
  bool jump_to(std::uint8_t target, bool by_peer, std::uint64_t now_ns);
  bool skipped_keys(JumpInit& jump, unsigned first, unsigned last);
  // Bookkeeping common to a swap and a jump; `waits_for`: record version before which it has not happened.
  void entered(std::uint8_t epoch, std::uint64_t waits_for, std::uint64_t now_ns);
  void start_graces(std::uint64_t now_ns);
  void retire_due(std::uint64_t now_ns);
  void out_of_reach();
  void heard_at(std::uint8_t epoch);
  void arm_interval(std::uint64_t now_ns, std::uint64_t in_ns) {
    interval_due_ns = policy.rekey_interval_ns == 0 ? kNever : now_ns + in_ns;
  }
  const KeyRef* undelivered(std::uint8_t epoch) const;  // keys of an epoch still in the outbox
  bool opens(std::span<const std::uint8_t> packet, const crypto::KeySlot& key,
             const std::array<std::uint8_t, 4>& nonce_prefix);
  AheadVerdict try_ahead(std::span<const std::uint8_t> packet, std::uint8_t epoch, std::uint64_t now_ns);
  AheadVerdict try_behind(std::span<const std::uint8_t> packet, std::uint8_t epoch, std::uint64_t now_ns);

  // ---- life and budget, cold_life.cc
  bool ended() const { return state == LifeState::kClosed || state == LifeState::kDead; }
  bool open() const { return state == LifeState::kConnected || state == LifeState::kMigrating; }
  void enter_state(LifeState next, SessionEvent said);
  void set_migrating(bool on);
  void heard_from(std::uint64_t at_ns);
  void stop_timers();
  void sample(const TrafficReport& report, std::uint64_t now_ns);
  void watch_budget(std::uint64_t now_ns);
  void watch_peer(std::uint64_t now_ns);
  void live(std::uint64_t now_ns);
  void note_epoch(std::uint64_t now_ns);
  double epoch_rate(std::uint64_t now_ns) const;  // a second; 0: not known
  BudgetForecast forecast(std::uint64_t now_ns) const;

  // ---- time, cold.cc
  void interval(std::uint64_t now_ns);

  // ---- announcement, cold_paths.cc
  void start_probing(std::uint64_t first_ns);
  // The policy's gap, or the pace; where silence ends the session, often enough before that.
  std::uint64_t paced(std::uint64_t gap_ns) const;
  std::uint64_t turn_ns() const;
  void probe(std::uint64_t now_ns);

  // ---- paths, cold_paths.cc
  PathManager make_manager(std::uint64_t now_ns);
  // Queues what the path manager wants: packets, a new schedule, the state.
  void pump_paths(std::uint64_t now_ns);
  void push_schedule();
  void push_state();
  void note_peer(std::uint64_t now_ns);
  bool outbox_full() const { return path_outbox.size() >= kMaxQueuedPathCommands; }
  bool peer_is_here() const { return is_heard && peer_epoch >= current; }

  SessionIdentity identity;
  SessionPolicy policy;
  std::uint32_t slot;
  std::uint32_t generation;
  KeyPool& keys;
  const crypto::Aead& aead;
  EpochChain chain;  // its base is `current`
  // Epochs from the peer's last known one up to the restart, while a resumed session has not heard it.
  std::unique_ptr<EpochChain> before;

  // Epochs as they will be once every queued command was carried out.
  std::uint8_t current = 0;
  std::uint8_t first_epoch = 0;
  bool started = false;
  bool next_ready = false;  // keys of current + 1 are with the owner, or on their way
  bool rekey_in_flight = false;
  bool wants_next = false;  // prepared as soon as keys are free and the peer could follow
  unsigned rekeys_wanted = 0;
  bool at_rest = true;  // of the streams, as reported
  bool must_rest_first() const { return policy.unmodified_peer && !at_rest; }
  std::uint64_t key_retry_ns = kNever;
  std::uint64_t started_ns = 0;
  std::uint64_t interval_due_ns = kNever;
  struct Grace {
    std::uint8_t epoch;
    std::uint64_t version;  // of the record that the step out of the epoch waits for: no clock before that
    std::uint64_t deadline_ns = kNever;
    std::uint64_t hard_deadline_ns = kNever;
  };
  std::vector<Grace> graces;

  bool is_heard = false;
  std::uint8_t peer_epoch = 0;
  LifeState state = LifeState::kConnected;
  bool said_low = false;
  bool said_out_of_reach = false;
  bool traffic_reported = false;
  std::uint64_t traffic = 0;
  std::uint64_t traffic_at_epoch = 0;
  std::uint64_t rx_pkts = 0;
  std::uint64_t tx_pkts = 0;

  // The record, and which version of it is on stable storage.
  StoreRecord stored_record;
  std::uint64_t version = 0;
  std::uint64_t durable_version = 0;
  mutable std::uint64_t written_version = 0;  // of the copy that record() handed out last

  KeyRef initial_keys;
  mutable bool initial_given = false;
  std::array<std::uint32_t, kTxStreams> seq_start{};
  std::uint32_t first_block() const;
  struct Reservation {
    std::uint64_t last_ns = 0;
    std::uint32_t block = 0;
    bool asked = false;
  };
  std::vector<Reservation> reservations;  // of streams, up to the last one that ran low
  Reservation& reservation(std::uint16_t stream) {
    if (reservations.size() <= stream) reservations.resize(stream + 1U, Reservation{0, first_block(), false});
    return reservations[stream];
  }

  TokenBucket trials;
  std::uint64_t ahead_expiry_ns = kNever;
  std::vector<std::uint8_t> scratch;

  PathTable paths;  // ids of begin_path_validation
  TokenBucket echoes;
  std::uint64_t path_expiry_ns = kNever;
  std::uint64_t probe_due_ns = kNever;
  std::uint64_t probe_gap_ns = 0;
  std::uint64_t pace_ns = 0;
  PathPolicy path_policy;
  std::vector<PathEnds> path_ends;
  bool has_paths = false;           // set_paths() was called: there are schedules to tell
  std::uint64_t schedule_told = 0;  // version of the last CmdSetPaths
  std::uint64_t peer_noted_ns = 0;
  std::uint64_t peer_due_ns = kNever;
  PathManager manager;  // behind what make_manager() reads

  struct Life {
    std::uint64_t heard_ns = 0;  // last new authentic packet, or the start
    bool heard_once = false;
    bool probing = false;  // for want of a sign of life
    std::uint64_t due_ns = kNever;
    std::uint64_t gap_ns = kLifeGapNs;
  } life;
  struct Budget {
    std::uint64_t sampled_ns = 0;  // 0: no sample yet
    std::uint64_t tx_pkts = 0;
    std::uint64_t seals = 0;  // in this epoch
    std::uint32_t span = 0;   // of the busiest stream in this epoch
    std::uint32_t next = 0;   // of that stream
    std::uint16_t busiest = 0;
    bool rated = false;
    bool low = false;
    double seal_rate = 0;      // a second
    double sequence_rate = 0;  // a second
    struct Mark {
      std::uint64_t at_ns = 0;
      std::uint8_t epoch = 0;
    };
    std::array<Mark, 8> marks{};  // entries into epochs, a ring
    unsigned mark_count = 0;
  } spent;
  bool next_needed = false;  // closing, but numbers run low

  Fifo<Held> outbox;
  Fifo<ControlCommand> path_outbox;
  Fifo<SessionEvent> events;
};

}  // namespace session
