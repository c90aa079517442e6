// Ways of sessions on control's side: which next hop and which listening endpoint each address pair needs,
// and the memory of the commands that name them.
//
// Owner: control core. A pair is used once however many slots, candidates and fallbacks of a session name it;
// its next hop is pinned and its local end listened on while any of them does, and a little longer, for
// packets that wait for the next hop's answer. A pair that leads nowhere is counted, and whoever wanted it
// fails; nothing waits for it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "dataplane/listeners.h"
#include "dataplane/neighbour.h"
#include "session/cold.h"

namespace dataplane {

// How long a pair that nobody uses any more keeps its next hop, and how many of them there may be.
inline constexpr std::uint64_t kLingerNs = 1'000'000'000;
inline constexpr std::size_t kMaxLingering = 1024;

struct SessionPathCounters {
  std::uint64_t plans = 0;         // kSetPaths sent
  std::uint64_t probes = 0;        // kSendProbe sent
  std::uint64_t no_way = 0;        // pairs without a next hop, or from an address that is not ours
  std::uint64_t tables_full = 0;   // no room for one more next hop or listening endpoint
  std::uint64_t no_path_sets = 0;  // plans whose further paths the worker had no room for
};

// A pair in use by one session. While nobody knows its remote end it is only listened for.
struct PathUse {
  session::PathEnds ends;
  session::OuterTemplate outer;
  std::uint8_t port = 0;  // index of the WAN port
  IpAddress next;         // pinned; family 0: none
};
// All of one session: slots, candidates, fallbacks.
using PathUses = std::vector<PathUse>;

// A host that packets can be sent to: not unspecified, loopback, multicast or broadcast.
[[nodiscard]] bool is_host(const session::Endpoint& remote);

class SessionPaths {
 public:
  SessionPaths(Topology& topology, ControlIo& io, Neighbours& neighbours);
  SessionPaths(const SessionPaths&) = delete;
  SessionPaths& operator=(const SessionPaths&) = delete;

  // The way of a pair, made when it is new. Null, and counted: it leads nowhere or there is no room.
  const PathUse* use(PathUses& uses, const session::PathEnds& ends, std::uint64_t now_ns);
  // Gives up all others, after a while. Commands that named them must have been sent before.
  void keep_only(PathUses& uses, std::span<const session::PathEnds> wanted, std::uint64_t now_ns);
  // Ends what lingered long enough. Returns how many.
  unsigned service(std::uint64_t now_ns);

  // kSetPaths of a schedule; slots that lead nowhere have an empty template.
  Message plan(PathUses& uses, const session::CmdSetPaths& command, std::uint64_t now_ns);
  // kSendProbe, or kSendPathValidation when the command names no address. Nothing: the address leads nowhere.
  std::optional<Message> probe(PathUses& uses, const session::CmdSendPathValidation& command,
                               std::uint64_t now_ns);
  // What workers hand back. The first is false when the plan could not be carried out as a whole.
  bool on_plan_done(session::PathPlan* plan);
  void on_probe_done(ProbeInit* probe);

  // Where an authentic packet came from; remote.family 0: not known.
  [[nodiscard]] session::PathEnds origin(const Message& message) const;

  [[nodiscard]] Listeners& listeners() { return listeners_; }
  [[nodiscard]] const Listeners& listeners() const { return listeners_; }
  [[nodiscard]] const SessionPathCounters& counters() const { return counters_; }
  // Commands that workers have not handed back yet.
  [[nodiscard]] std::size_t under_way() const { return plans_.size() + probes_.size(); }
  [[nodiscard]] std::size_t lingering() const { return lingering_.size(); }

 private:
  struct Lingering {
    std::uint64_t until_ns = 0;
    session::Endpoint local;
    IpAddress next;
    std::uint8_t port = 0;
  };
  bool make(PathUse& use, std::uint64_t now_ns);
  void end_oldest();

  Topology& topology_;
  Neighbours& neighbours_;
  Listeners listeners_;
  std::unordered_map<session::PathPlan*, std::unique_ptr<session::PathPlan>> plans_;
  std::unordered_map<ProbeInit*, std::unique_ptr<ProbeInit>> probes_;
  std::deque<Lingering> lingering_;  // oldest first
  SessionPathCounters counters_;
};

}  // namespace dataplane
