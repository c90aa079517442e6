// Two real sessions with addresses, and the network between them: the World of the search over address
// changes.
//
// Each end is a host with two addresses of its own. The first sits behind a translator that gives it another
// outside address at a rebinding; the one before dies at once, or lives on for kOldLivesNs. The second is
// public and always there; an operator may have the session move to it. Packets lie in an inbox until an
// action delivers, loses or repeats them, or an attacker who sees them sends copies from his own address or
// under a former address of the sender. What is sent to the attacker ends there: one who also forwards it in
// both directions is a working way between the ends, which no challenge can tell from a translator.
//
// In every state reached:
//  1. data goes only where the peer really was at some time, and a slot moves only to an address pair over
//     which the echo of a challenge or probe came since the slot was last there;
//  2. an address from which no echo came gets at most three times the bytes that came from it;
//  3. nothing is sent to an address that neither the configuration nor an operator named and from which
//     nothing came;
//  4. no (key, nonce) was sealed with twice, no packet was delivered twice;
//  5. tables and queues are within their bounds, and no timer is due again at once for ever.
// settle() lets former addresses die and the network deliver, data flows both ways, and the attacker rests:
//  6. every attempt of an address ends, within kEndedNs;
//  7. when at least one end has a live address of the other, as a slot's own or as its fallback, both send
//     where the other is now within kFoundNs, and data passes both ways.
// Left out of 7, because no packet of the ends can cause it: both moved and neither has a live address of the
// other. An address that is only a candidate doesn't count: what may be sent there is bounded (2), and when
// all of it was lost nothing more may go there before a packet came from it.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "session/memory_store.h"
#include "session/session.h"
#include "tests/model/explorer.h"
#include "tests/support/seeded_random.h"
#include "tests/support/session_bench.h"

namespace model {

// Kinds of actions, as bits.
enum PathKinds : unsigned {
  kSend = 1 << 0,
  kReceive = 1 << 1,
  kReorder = 1 << 2,
  kLose = 1 << 3,
  kRepeat = 1 << 4,
  kRebind = 1 << 5,
  kRebindSoftly = 1 << 6,  // the old address lives on for a while
  kComeBack = 1 << 7,
  kOperator = 1 << 8,
  kAttackBefore = 1 << 9,
  kAttackAfter = 1 << 10,
  kSpoof = 1 << 11,
  kRekey = 1 << 12,
  kRestart = 1 << 13,
  kAllKinds = (1 << 14) - 1,
};

// Over all settled states of a search.
struct PathTally {
  std::uint64_t settled = 0;
  std::uint64_t apart = 0;     // no end had a live address of the other
  std::uint64_t found_ns = 0;  // the longest time until both sent where the other was
  std::uint64_t ended_ns = 0;  // ... and until every attempt had ended as well
};

struct PathStart {
  unsigned kinds = kAllKinds;
  unsigned slots = 1;  // 2: the hosts' second addresses are a slot of their own
  bool moved = false;  // A has rebound and B followed: there is a fallback
  session::PathScheduler scheduler = session::PathScheduler::kLowestLatency;
};

class PathWorld {
 public:
  static constexpr std::uint64_t kMs = 1'000'000;
  static constexpr std::uint64_t kOldLivesNs = 1'000 * kMs;
  static constexpr std::uint64_t kFoundNs = 6'000 * kMs;
  static constexpr std::uint64_t kEndedNs = 12'000 * kMs;
  static constexpr unsigned kKinds = 14;
  static constexpr unsigned kActions = 2 * kKinds + 2;

  static std::string name(unsigned action);

  // `engine` and `tally` outlive the world.
  PathWorld(const crypto::Aead& engine, const PathStart& start, PathTally& tally);

  bool enabled(unsigned action) const;
  void run(unsigned action);
  std::string key() const;
  void settle();

 private:
  using Bytes = std::vector<std::uint8_t>;
  using Pair = std::pair<std::uint16_t, std::uint16_t>;  // ports of local and remote address
  struct Parcel {
    Bytes bytes;
    std::uint64_t id = 0;  // the same in all schedules in which the sender saw the same before
    session::PathEnds to;  // as sent
    session::Endpoint source;
    std::uint64_t due_ns = 0;  // while the network is well
    bool data = false;
    bool repeated = false;  // one copy was delivered, this one comes again
  };
  struct Account {
    std::uint64_t in = 0;
    std::uint64_t out = 0;
  };
  struct End {
    support::BenchOptions options;
    session::MemoryStore store;
    std::unique_ptr<session::Session> session;
    std::array<session::Endpoint, 2> inside;
    session::Endpoint outside;                    // of inside[0], now
    session::Endpoint former;                     // and before; family 0: none
    std::map<std::uint16_t, std::uint64_t> open;  // what reaches inside[0], by port, until when
    std::set<std::uint16_t> held;                 // addresses of this end at any time, by port
    std::set<std::uint16_t> proven;        // of the peer, at any time: configured, or an echo came from there
    std::set<Pair> fresh;                  // configured, or an echo came over it since a slot left it
    std::vector<session::PathEnds> slots;  // where the slots were when last looked at,
    std::vector<session::PathEnds> left;   // and before that: the fallbacks that have to be kept
    std::set<std::uint16_t> named;         // of the peer: by an operator
    std::map<std::uint16_t, Account> accounts;  // of other addresses, IP bytes
    std::deque<Parcel> inbox;                   // on its way to this end
    Parcel last;                                // arrived last; no bytes: none
    std::set<std::uint64_t> delivered;          // data
    std::uint64_t history = 0;  // hash of all that this end was told, and when: what its state depends on
    std::uint64_t serial = 0;
    unsigned rebindings = 0;
    unsigned restarts = 0;
  };

  // ---- what happens
  void boot(unsigned at);
  void warm_up(bool moved);
  void rebind(unsigned at, bool old_lives);
  void come_back(unsigned at);
  void migrate(unsigned at);
  void send(unsigned at);
  void take(unsigned at, std::size_t index);
  void attack(unsigned at, const Parcel& parcel, const session::Endpoint& source);
  void pass(std::uint64_t ns);
  void tell(End& end, std::uint64_t what);

  // ---- network
  void emit(unsigned at, Bytes bytes, const session::PathEnds& to, bool data);
  void collect(unsigned at);
  const session::Endpoint* inside_of(unsigned at, const session::Endpoint& outside) const;
  void arrive(unsigned at, const Parcel& parcel, const session::Endpoint& source);
  void deliver_due();
  std::uint64_t next_event_ns() const;

  // ---- what must hold
  void check_sent(End& end, const End& peer, const Parcel& parcel);
  void note_echo(End& end, const session::Received& got, const session::PathEnds& from);
  void check_moves(unsigned at);
  void check_routes(unsigned at);
  bool reaches(unsigned at) const;
  bool knows_live(unsigned at) const;
  bool attempts_ended() const;
  void run_well(std::uint64_t until_ns);
  void data_passes();

  const crypto::Aead& engine_;
  crypto::TrafficSecret secret_;
  PathStart start_;
  PathTally& tally_;
  // Begun anew with every session: the ids it takes then depend on nothing else, and of the values drawn
  // later none is told from another.
  std::optional<support::SeededRandom> random_;
  std::array<End, 2> ends_;
  std::set<std::tuple<unsigned, unsigned, unsigned, unsigned, unsigned>> nonces_;
  bool well_ = true;  // the network delivers by itself
  std::uint64_t now_ns_ = 1'000 * kMs;
};

}  // namespace model
