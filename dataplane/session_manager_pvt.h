// Inside of SessionManager, shared by its own files and those of SessionLifecycle alone.
#pragma once

#include "dataplane/fences.h"
#include "dataplane/outer_template.h"
#include "dataplane/session_manager.h"
#include "dataplane/stream_host.h"
#include "session/fifo.h"
#include "session/path_reports.h"

namespace dataplane {

// Where a session stands between control and its worker.
enum class Stage : std::uint8_t {
  kStarting,  // before the workers run
  kStoring,   // waits until its first record is durable; the worker knows nothing of it
  kAdding,    // kAddSession is on its way, commands go behind it
  kLive,
  kLeaving,   // its routes are gone; packets that took them are still under way
  kDraining,  // receives what the peer still sends
  kRemoving,  // kRemoveSession is on its way: nothing may be sent behind it
  kGone,      // the worker forgot it; the slot rests until no packet can name it
};

struct SessionManager::Managed {
  std::uint32_t index = 0;
  const SessionEntry* entry = nullptr;
  std::unique_ptr<const SessionEntry>
      own_entry;  // behind `entry` when it did not come with the configuration
  session::Fingerprint fingerprint{};
  Stage stage = Stage::kStarting;
  std::unique_ptr<session::SessionControl> control;
  unsigned worker = 0;
  session::Endpoint peer;                   // where path 0 leads
  std::optional<session::PathEnds> other;   // configured or stored, whichever path 0 did not begin at
  PathUses uses;                            // next hops and listening endpoints it holds
  bool paths_moved = false;                 // commands about paths went out since they were settled
  std::uint64_t scheduled_ns = UINT64_MAX;  // its live entry among the deadlines
  std::uint64_t welcomed_ns = 0;            // last time the worker was told that packets ahead are authentic
  bool dirty = false;
  session::OuterTemplate outer;            // at the start
  std::unique_ptr<StreamSession> streams;  // its worker's while it has the session; null: IP packets
  bool hold_told = false;                  // the worker knows that a rekey waits for rest

  // What its traffic tells, session_reports.cc. Made when traffic moved first.
  std::unique_ptr<session::PathReports> reports;
  std::uint64_t watch = 0;  // of its entry among the looks, 0: nobody looks
  std::array<std::uint64_t, session::kTxPaths> moves_seen{};

  // SessionLifecycle's.
  bool watched = false;     // on its list
  bool announced = false;   // there was an event that it exists
  std::string replaces;     // whose routes it will take over
  std::string replaced_by;  // who will take over, or took over, its routes
  std::uint64_t replace_until_ns = 0;
  std::uint64_t drain_ns = 0;
  std::uint64_t drain_until_ns = 0;
  std::uint64_t drain_quiet_ns = 0;  // when it was heard last, as far as was looked
  std::uint64_t drain_heard = 0;     // packets heard then
  Fences::Ticket ticket = 0;
  session::Fifo<rte_mbuf*> held;  // wait for durability and for their jump
};

// session_events.cc
std::string peer_text(const session::Endpoint& peer);

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace dataplane
