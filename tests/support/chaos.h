// A bad network and bad luck around two complete gateways (roaming.h), all of it from one seed.
//
// One round: loss, reordering, repeats, a translator in front of A that rebinds, captured packets sent again
// from elsewhere, garbage, rekeys of 1..16 steps at both ends, operators that migrate and probe, stores that
// fail, gateways that crash and come back from their stores. heal() ends it. Every datagram that leaves a
// gateway is checked for a (key, nonce) pair used before, over all lives of the gateways; every packet that
// leaves a tunnel for having gone in, once. Thread: one.
#pragma once

#include <deque>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/roaming.h"

namespace support {

struct ChaosCounts {
  std::uint64_t sent = 0, delivered = 0;
  std::uint64_t datagrams = 0, lost = 0, delayed = 0, repeated = 0, unreachable = 0;
  std::uint64_t rebinds = 0, spoofed = 0, garbage = 0, rekeys = 0, rekeys_refused = 0;
  std::uint64_t migrations = 0, probes = 0, store_failures = 0, restarts = 0, restarts_left_out = 0;
};

class Chaos {
 public:
  static constexpr unsigned kSessions = 4;

  // Sessions get numbers, hence ids and secrets, that no other round of the process has.
  Chaos(std::uint64_t seed, unsigned round);

  // One millisecond of it.
  void step();
  // No more trouble; time for everything to find its way. Then nothing may be lost.
  void heal();
  // What is wrong so far, empty: nothing.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] const ChaosCounts& counts() const { return counts_; }

 private:
  using Pair = std::tuple<bool, std::uint32_t, std::uint8_t, std::uint16_t, std::uint32_t, std::uint8_t>;
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
  std::string name(unsigned index) const { return std::string("s").append(std::to_string(first_ + index)); }
  void wrong(const std::string& what);

  bool on_wire(Transit& t);
  void note(const Transit& t);
  bool translate(Transit& t);
  void keep(const Transit& t, std::uint64_t delay_ns);
  void deliver_due();

  void act();
  void rebind();
  void spoof();
  void garbage();
  void rekey();
  void migrate();
  void fail_store();
  [[nodiscard]] bool peer_could_follow(unsigned at);
  void restart();

  void traffic(unsigned per_end);
  void send(unsigned at, unsigned index);
  void collect(unsigned at);
  [[nodiscard]] bool in_one_epoch() const;
  [[nodiscard]] bool found_each_other() const;
  [[nodiscard]] std::string states() const;
  [[nodiscard]] std::uint32_t keys_in_use(const End& end) const;
  void check_books(const char* when);
  void check_passage();
  void check_tables();

  std::mt19937_64 random_;
  unsigned first_;
  GatewayOptions options_;
  Network net_;
  bool troubled_ = true;
  ChaosCounts counts_;
  std::string trouble_;
  std::set<Pair> pairs_;
  std::vector<bool> arrived_;  // by number of a packet
  std::vector<bool> towards_a_;
  std::deque<Copy> under_way_;
  std::deque<Copy> captured_;
  std::optional<session::Endpoint> outside_;  // of A, IPv4
  std::vector<session::Endpoint> mappings_;   // that still lead to A
  std::uint64_t store_heals_ns_[2] = {0, 0};
  std::uint32_t keys_at_start_[2] = {0, 0};
  std::size_t neighbours_at_start_[2] = {0, 0};
};

}  // namespace support
