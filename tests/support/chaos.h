// A bad network and bad luck around two complete gateways (roaming.h), all of it from one seed.
//
// One round: loss, reordering, repeats, a translator in front of each end that rebinds, captured packets sent
// again from elsewhere, garbage, rekeys of 1..16 steps at both ends, operators that migrate between IPv4 and
// IPv6, probe, replace sessions, add and remove others and routes, stores that fail, gateways that crash and
// come back from their stores and configurations. settle_down() is a quiet phase, heal() ends it all. Every
// seal of every life of the gateways is checked for a (key, nonce) pair used before; every packet that leaves
// a tunnel for having gone in, once, with the same content. Time and all randomness come from the seed, so a
// seed repeats to the byte. Thread: one.
#pragma once

#include <deque>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/support/nonce_log.h"
#include "tests/support/roaming.h"
#include "tests/support/seeded_random.h"

namespace support {

struct ChaosCounts {
  std::uint64_t sent = 0, delivered = 0;
  std::uint64_t datagrams = 0, lost = 0, delayed = 0, repeated = 0, unreachable = 0;
  std::uint64_t rebinds = 0, spoofed = 0, garbage = 0, rekeys = 0, rekeys_refused = 0;
  std::uint64_t migrations = 0, probes = 0, store_failures = 0, restarts = 0, restarts_left_out = 0;
  std::uint64_t replacements = 0, added = 0, removed = 0, routes = 0, quiet = 0, seals = 0;
};

class Chaos {
 public:
  static constexpr unsigned kSessions = 4;  // that are there all the time
  static constexpr unsigned kOthers = 2;    // that come and go
  static constexpr unsigned kNumbers = 8;   // of routes, a round

  // Routes get numbers that no other round of the process has, below 16,384; sessions ids and secrets.
  Chaos(std::uint64_t seed, unsigned round);

  // One millisecond of it.
  void step();
  // No more trouble; time for everything to find its way. Then nothing may be lost. Trouble may go on after.
  void settle_down();
  // The same for good, and tables must hold what they held at start.
  void heal();
  // Of every datagram that left a gateway, and of the counts.
  [[nodiscard]] std::uint64_t digest() const;
  // What is wrong so far, empty: nothing.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] const ChaosCounts& counts() const { return counts_; }

 private:
  // Hosts behind a route, and the session that carries them: at an end only from its operator's word on.
  struct Line {
    unsigned wanted = 0;  // number of the session
    unsigned old = 0;     // the one that `wanted` replaces; 0: none
    unsigned at[2] = {0, 0};
    unsigned before[2] = {0, 0};
    bool present[2] = {false, false};  // of those that come and go
    bool wants_presence = false;
    std::uint64_t due_ns[2] = {0, 0};
  };
  struct Sent {
    std::uint16_t bytes = 0;
    std::uint16_t port = 0;
    bool to_a = false;
    bool arrived = false;
  };
  // In front of an end's IPv4 side.
  struct Translator {
    std::optional<session::Endpoint> outside;
    std::vector<session::Endpoint> mappings;  // that still lead inside
    bool all_lead = false;                    // so does every other that there ever was
  };
  struct AtStart {
    std::uint32_t keys = 0;
    std::uint32_t path_sets = 0;
    std::size_t neighbours = 0;
    std::size_t routes = 0;
  };
  struct Copy {
    std::uint64_t due_ns = 0;
    bool to_a = false;
    Bytes payload;
    session::Endpoint from;
    session::Endpoint to;
  };

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(unsigned per_mille) { return below(1000) < per_mille; }
  End& end(unsigned at) { return at == 0 ? net_.a : net_.b; }
  [[nodiscard]] std::string name(unsigned at, unsigned index) const {
    return std::string("s").append(std::to_string(lines_[index].at[at]));
  }
  [[nodiscard]] std::optional<dataplane::SessionView> view(unsigned at, unsigned index) const {
    return (at == 0 ? net_.a : net_.b).find(lines_[index].at[at]);
  }
  void wrong(const std::string& what);

  bool on_wire(Transit& t);
  void note(const Transit& t);
  bool translate(Transit& t);
  void keep(const Transit& t, std::uint64_t delay_ns);
  void deliver_due();

  void act();
  static session::Endpoint translated_host(unsigned at, std::uint64_t host, std::uint16_t port);
  void rebind();
  void spoof();
  void garbage();
  void rekey();
  void migrate();
  void replace();
  void come_and_go();
  void toggle_route();
  void toggle_route_at(unsigned at);
  void operate();
  void operate_replacement(unsigned at, Line& line);
  void operate_presence(unsigned at, unsigned index);
  void fail_store();
  void heal_stores(bool all);
  [[nodiscard]] bool peer_could_follow(unsigned at);
  void restart();

  void traffic(unsigned per_end);
  void send(unsigned at, unsigned index);
  void collect(unsigned at);
  [[nodiscard]] bool same_packet(const Bytes& frame, unsigned at, std::uint32_t number) const;
  void let_pass(unsigned steps, std::uint64_t step_ns, bool others);
  [[nodiscard]] bool operators_done() const;
  [[nodiscard]] bool in_one_epoch() const;
  [[nodiscard]] bool found_each_other() const;
  [[nodiscard]] std::string states() const;
  [[nodiscard]] AtStart tables(unsigned at);
  void check_books(const char* when);
  void check_passage();
  void check_tables();

  SeededRandom of_product_;
  NonceLog nonces_;
  std::mt19937_64 random_;
  unsigned first_;
  unsigned next_number_;
  GatewayOptions options_;
  Network net_;
  bool troubled_ = false;
  ChaosCounts counts_;
  std::string trouble_;
  std::uint64_t digest_ = 0xcbf29ce484222325;  // FNV-1a's
  std::vector<Line> lines_;
  std::vector<Sent> packets_;  // by number
  std::deque<Copy> under_way_;
  std::deque<Copy> captured_;
  Translator translators_[2];
  bool route_there_[2] = {false, false};
  std::uint64_t store_heals_ns_[2] = {0, 0};
  AtStart at_start_[2];
};

}  // namespace support
