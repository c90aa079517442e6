// All sessions of the gateway on control's side: slots, the state store, timers, commands to workers, packets
// that wait for a catch-up.
//
// Owner: control core. What a session wants to make durable is gathered and committed in one transaction a
// loop; only then do the commands that depend on it leave. While the store fails, nothing that depends on it
// is handed out, traffic goes on with the keys the workers have, and it is tried again with a growing gap.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dataplane/control.h"
#include "dataplane/control_io.h"
#include "dataplane/event_log.h"
#include "dataplane/flow_driver.h"
#include "dataplane/neighbour.h"
#include "dataplane/operator.h"
#include "dataplane/session_paths.h"
#include "dataplane/slot_pool.h"
#include "dataplane/token_bucket.h"
#include "session/cold.h"

namespace dataplane {

// Packets of one session, and of all, that may wait until the epoch they opened is durable and installed.
// All of them are authentic; a commit takes some milliseconds.
inline constexpr std::size_t kHeldPerSession = 4096;
inline constexpr std::size_t kHeldInAll = 8192;
// What the worker may send to control once a packet of a session opened: it would be a pity to lose the
// others to the budget that forged ones are held to.
inline constexpr std::uint32_t kAheadGrant = 65536;
// Trial opens of all sessions together (W-32): about 3 us each, so a flood costs control 1.5 % of its time.
inline constexpr std::uint32_t kTrialBurst = 256;
inline constexpr std::uint32_t kTrialsPerSecond = 4096;
// Gaps between attempts to write a store that failed.
inline constexpr std::uint64_t kStoreRetryNs = 100'000'000;
inline constexpr std::uint64_t kStoreRetryMaxNs = 5'000'000'000;

// Sessions whose traffic is looked at or remembered (session::PathReports, about 1.5 KB a path): those that
// move traffic at one time. Further ones wait for their turn; above the lower figure quiet ones are forgotten
// at once.
inline constexpr std::size_t kMaxFlows = 16384;
inline constexpr std::size_t kKeptFlows = 8192;
// Sessions looked at in one loop, so that many leave time for everything else; then each waits longer.
inline constexpr unsigned kLooksPerLoop = 256;
// What a session takes of control for packets of its own accord is one every so many nanoseconds a session
// there is: 10,000 packets a second in all, about a tenth of the core. Up to 2,000 sessions nothing waits.
inline constexpr std::uint64_t kPaceNs = 100'000;
// Sessions with something to store, to say or to time that a loop attends to.
inline constexpr unsigned kSessionsALoop = 512;

// Why a session cannot be: what() names it and says what to do.
class SessionRefusal : public std::runtime_error {
 public:
  SessionRefusal(OperatorStatus status, const std::string& what)
      : std::runtime_error(what), status_(status) {}
  [[nodiscard]] OperatorStatus status() const { return status_; }

 private:
  OperatorStatus status_;
};

// Bytes that the process has from its allocator.
std::size_t heap_bytes();

class SessionManager {
 public:
  SessionManager(Topology& topology, session::EpochStore& store, ControlIo& io, Neighbours& neighbours,
                 EventLog& events);
  ~SessionManager();
  SessionManager(const SessionManager&) = delete;
  SessionManager& operator=(const SessionManager&) = delete;

  // Before launch: secrets, restart rule in one transaction, shards filled. Throws std::runtime_error with
  // advice.
  void start(std::uint64_t now_ns);
  // Next hop of routes into a session; nothing when there is no such name.
  [[nodiscard]] std::optional<Hop> hop_of(const std::string& name) const;

  void on_message(unsigned worker, const Message& message, std::uint64_t now_ns);
  // A punted packet that is 2..16 epochs ahead; taken over.
  void on_ahead(unsigned worker, rte_mbuf* m, std::uint64_t now_ns);
  // Timers, store, commands. Returns the number of things done.
  unsigned service(std::uint64_t now_ns);
  // After the workers returned: frees what is held.
  void finish();

  std::string request_rekey(const std::string& name, unsigned steps, std::uint64_t now_ns);
  // GatewayOperator's calls of these names.
  OperatorResult path_migrate(const std::string& name, unsigned slot,
                              const std::optional<session::Endpoint>& local,
                              const std::optional<session::Endpoint>& remote, std::uint64_t now_ns);
  OperatorResult path_probe(const std::string& name, unsigned slot, std::uint64_t now_ns);
  [[nodiscard]] const SessionPaths& paths() const { return paths_; }
  [[nodiscard]] const SteeringCounters& steering() const { return steering_.counters(); }
  // At most so many, behind the first `from`.
  [[nodiscard]] std::vector<SessionView> view(std::size_t from, std::size_t most, std::uint64_t now_ns) const;
  [[nodiscard]] std::optional<SessionView> view(const std::string& name, std::uint64_t now_ns) const;
  [[nodiscard]] std::size_t count() const { return by_name_.size(); }
  [[nodiscard]] SessionMemory memory() const;
  [[nodiscard]] const StoreHealth& health() const { return health_; }
  [[nodiscard]] std::size_t held() const { return held_; }
  [[nodiscard]] const ReportTotals& report_totals() const { return report_totals_; }
  // Names of sessions that are idle and to be removed then; told once.
  std::vector<std::string> take_expired() { return std::exchange(expired_, {}); }

 private:
  friend class SessionLifecycle;  // adds and removes them while workers run
  struct Managed;
  using Deadline = std::pair<std::uint64_t, std::uint32_t>;  // time, index of the session

  // Identity checked, slot taken, started, nothing stored yet. Throws SessionRefusal.
  Managed& add(const SessionEntry& entry, std::uint64_t now_ns);
  void refuse_twin(const SessionEntry& entry, const session::Fingerprint& fingerprint) const;
  Managed& enter(std::unique_ptr<Managed> s);
  // Takes it out of all tables; its slot is free afterwards.
  void forget(Managed& s);
  Managed* named(const std::string& name);
  [[nodiscard]] const Managed* named(const std::string& name) const;
  [[nodiscard]] SessionView view_session(const Managed& s, std::uint64_t now_ns) const;
  // The way to its peer, as far as that is known. Throws SessionRefusal.
  void find_way(Managed& s, std::uint64_t now_ns);
  session::SessionInit init_of(Managed& s);
  void install(Managed& s, std::uint64_t now_ns);
  // ---- session_streams.cc: sessions that services name
  void make_streams(Managed& s);
  // Behind kAddSession, or once the shard has it.
  void attach_streams(const Managed& s);
  void tell_hold(Managed& s);
  static void view_streams_of(const Managed& s, SessionView& v);
  void commit_first(std::uint64_t now_ns);
  Managed* find(unsigned worker, std::uint32_t slot, std::uint32_t generation);
  void mark(Managed& s);
  unsigned run_timers(std::uint64_t now_ns);
  [[nodiscard]] std::uint64_t pace_ns() const;
  void report_traffic(Managed& s, std::uint64_t now_ns);
  unsigned save(std::span<const std::uint32_t> sessions, std::uint64_t now_ns);
  void store_failed(const char* why, std::uint64_t now_ns);
  void welcome_ahead(Managed& s, std::uint64_t now_ns);
  bool drain(Managed& s, unsigned& done);
  bool release_held(Managed& s);
  void schedule(Managed& s);
  void log_events(Managed& s);
  void log_event(const Managed& s, session::SessionEvent event);
  // Nothing: it went to an address that leads nowhere.
  std::optional<Message> message_of(Managed& s, const session::ControlCommand& command);

  // ---- session_reports.cc
  struct Look {
    std::uint64_t due_ns = 0;
    std::uint32_t index = 0;
    std::uint64_t watch = 0;
  };
  void on_moved(Managed& s, std::uint64_t now_ns);
  void on_report(Managed& s, const Message& message, std::uint64_t now_ns);
  void on_report_sent(Managed& s, const Message& message, std::uint64_t now_ns);
  unsigned look_around(std::uint64_t now_ns);
  Managed* watched(const Look& look);
  void begin_looks(Managed& s, std::uint64_t now_ns);
  void look_at(Managed& s, std::uint64_t now_ns);
  void look_at_path(Managed& s, std::uint8_t path, std::uint64_t now_ns);
  void send_report(Managed& s, const session::ReceiverReport& report);
  void end_looks(Managed& s, std::uint64_t now_ns);
  void forget_traffic(Managed& s, std::uint64_t now_ns);
  void view_bandwidth(const Managed& s, SessionView& v) const;

  // ---- session_migrate.cc
  static std::uint64_t steering_key(const Managed& s);
  void give_paths(Managed& s, const std::optional<session::StoreRecord>& record);
  void try_other_peer(Managed& s, std::uint64_t now_ns);
  void on_source(Managed& s, const Message& message, std::uint64_t now_ns);
  void hint_of(Managed& s, rte_mbuf* m, std::uint64_t now_ns);
  void on_plan_done(unsigned worker, const Message& message);
  void settle_paths(Managed& s, std::uint64_t now_ns);
  void release_paths(Managed& s, std::uint64_t now_ns);
  void log_path_notices(Managed& s);
  void view_paths(const Managed& s, const session::Shard& shard, SessionView& v) const;
  [[nodiscard]] OperatorResult check_ends(const session::PathEnds& ends) const;

  Topology& topology_;
  session::EpochStore& store_;
  ControlIo& io_;
  Neighbours& neighbours_;
  EventLog& events_;
  SessionPaths paths_;
  RteFlowDriver flow_driver_;
  FlowSteering steering_;
  crypto::Aead aead_;
  std::vector<std::unique_ptr<Managed>> sessions_;  // with holes: null
  std::vector<std::uint32_t> holes_;
  std::vector<std::vector<std::uint32_t>> by_slot_;  // worker, slot -> index or session::kNone
  std::vector<SlotPool> slots_;                      // one a worker
  std::unordered_map<std::string, std::uint32_t> by_name_;
  std::map<session::Fingerprint, std::uint32_t> fingerprints_;
  std::map<std::array<std::uint8_t, session::kSessionIdBytes>, std::uint32_t> ids_;
  std::deque<std::uint32_t> dirty_;  // sessions with something to store or to say
  std::set<Deadline> deadlines_;     // at most one a session
  // Jumps that a worker may still read, kept until it said kJumpDone.
  std::unordered_map<session::JumpInit*, std::shared_ptr<session::JumpInit>> jumps_;
  TokenBucket trials_{kTrialBurst, kTrialsPerSecond};
  StoreHealth health_;
  std::uint64_t store_retry_ns_ = 0;
  std::uint64_t store_gap_ns_ = kStoreRetryNs;
  std::size_t held_ = 0;
  std::vector<std::string> expired_;
  std::deque<Look> looks_;    // earliest first
  std::deque<Look> waiting_;  // for room
  std::size_t flows_ = 0;
  std::uint64_t next_watch_ = 0;
  ReportTotals report_totals_;
  std::uint64_t now_ns_ = 0;                      // of the last service(), for words of events
  std::size_t heap_before_bytes_ = heap_bytes();  // without any session
};

}  // namespace dataplane
