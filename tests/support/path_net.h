// Two PathManagers, their data and a network between them that delays, drops, repeats and re-addresses.
//
// Side 0 may sit behind address translation: what it sends from a local address comes from `mapped` of it,
// and what is sent to a mapped address reaches it while that address is open. Data goes by the schedules, one
// packet of a stream at a time; a packet that is the newest of its stream and comes from no slot's addresses
// is reported as a worker would.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <vector>

#include "tests/support/path_bench.h"

namespace support {

class PathNet {
 public:
  struct Packet {
    unsigned from = 0;
    bool data = false;
    std::uint8_t path_id = 0;
    session::PathChallenge value{};
    std::uint16_t stream = 0;
    std::uint32_t sequence = 0;
    session::PathEnds ends;  // as the receiver sees them
    session::PathEnds as_sent;
    std::uint64_t sent_ns = 0;
  };
  struct Side {
    std::unique_ptr<session::PathManager> pm;
    std::map<std::uint16_t, std::uint32_t> next;     // sequences sent
    std::map<std::uint16_t, std::uint32_t> highest;  // and received
    std::set<std::pair<std::uint16_t, std::uint32_t>> received;
    std::uint64_t rx_pkts = 0;
    std::uint64_t tx_pkts = 0;
    std::uint64_t data_in = 0;
    std::uint64_t data_sent = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t echoes_out = 0;
    std::vector<session::PathNotice> notices;
  };
  using Key = std::pair<std::uint16_t, std::array<std::uint8_t, 16>>;
  static Key key(const session::Endpoint& e) { return {e.port, e.address}; }

  PathNet(const session::PathPolicy& policy, const std::vector<session::PathEnds>& first,
          const std::vector<session::PathEnds>& second, std::uint64_t seed = 1)
      : random_(test_random(seed)) {
    side[0].pm = std::make_unique<session::PathManager>(policy, first, test_random(seed + 100), now);
    side[1].pm = std::make_unique<session::PathManager>(policy, second, test_random(seed + 200), now);
  }

  // ---- the network
  // What side 0 sends from `local` comes from `outside` from now on; the address before is closed or stays.
  void remap(const session::Endpoint& local, const session::Endpoint& outside, bool close_old = true) {
    const auto at = mapped.find(key(local));
    const session::Endpoint old = at == mapped.end() ? local : at->second;
    if (close_old) closed.insert(key(old));
    inside[key(old)] = local;
    mapped[key(local)] = outside;
    inside[key(outside)] = local;
    closed.erase(key(outside));
  }
  session::PathEnds seen_by_peer(unsigned from, session::PathEnds ends) const {
    if (from == 0) {
      const auto at = mapped.find(key(ends.local));
      if (at != mapped.end()) ends.local = at->second;
      return {ends.remote, ends.local};
    }
    const auto at = inside.find(key(ends.remote));
    const session::Endpoint local = at == inside.end() ? ends.remote : at->second;
    return {local, ends.local};
  }
  bool lost(const Packet& p) {
    const session::Endpoint source = p.from == 0 ? seen_by_peer(0, p.as_sent).remote : p.as_sent.local;
    if (closed.contains(key(source)) || closed.contains(key(p.as_sent.remote))) return true;
    if (nowhere && nowhere(p)) return true;
    if (cut && cut(p)) return true;
    return loss_per_mille != 0 && random(1000) < loss_per_mille;
  }
  std::uint64_t random(std::uint64_t below) {
    std::array<std::uint8_t, 4> raw;
    random_(raw);
    std::uint32_t word;
    std::memcpy(&word, raw.data(), sizeof(word));
    return word % below;
  }

  void put(Packet p) {
    p.sent_ns = now;
    if (tap) tap(p);
    if (lost(p)) return;
    p.ends = seen_by_peer(p.from, p.as_sent);
    const std::uint64_t copies = repeat_per_mille != 0 && random(1000) < repeat_per_mille ? 2 : 1;
    for (std::uint64_t i = 0; i < copies; ++i) {
      const std::uint64_t delay = delay_of ? delay_of(p) : delay_ns;
      in_flight.emplace(now + delay + (jitter_ns != 0 ? random(jitter_ns) : 0), p);
    }
  }

  void send_data(unsigned from, std::uint16_t stream) {
    Side& s = side[from];
    const session::PathSchedule& plan = s.pm->schedule();
    Packet p;
    p.from = from;
    p.data = true;
    p.stream = stream;
    p.sequence = s.next[stream]++;
    ++s.data_sent;
    ++s.tx_pkts;
    send_copy(p, plan.slot[plan.primary[stream]]);
    if (plan.second[stream] != session::kNoPath) send_copy(p, plan.slot[plan.second[stream]]);
  }
  void send_copy(Packet p, const session::PathSchedule::Slot& by) {
    p.path_id = by.path_id;
    p.as_sent = by.ends;
    if (by.ends.remote.family != 0) put(p);
  }

  void arrive(const Packet& p) {
    Side& s = side[1 - p.from];
    ++s.rx_pkts;
    if (!p.data) {
      (void)s.pm->on_path_validation(p.path_id, p.value, p.ends, now);
      return flush();
    }
    if (!s.pm->validated(p.path_id)) return;
    if (!s.received.emplace(p.stream, p.sequence).second) {
      ++s.duplicates;
      return;
    }
    ++s.data_in;
    auto [highest, first] = s.highest.try_emplace(p.stream, p.sequence);
    const bool newest = first || p.sequence > highest->second;
    highest->second = std::max(highest->second, p.sequence);
    if (newest && !has(*s.pm, p.ends)) s.pm->on_source(p.path_id, p.ends, 200, now);
    flush();
  }
  static bool has(const session::PathManager& pm, const session::PathEnds& ends) {
    for (unsigned i = 0; i < pm.schedule().count; ++i) {
      if (pm.schedule().slot[i].ends == ends) return true;
    }
    return false;
  }

  void flush() {
    for (unsigned i = 0; i < 2; ++i) {
      session::PathSend out;
      while (side[i].pm->next_send(out)) {
        Packet p;
        p.from = i;
        p.path_id = out.path_id;
        p.value = out.value;
        p.as_sent = out.ends.remote.family != 0 ? out.ends : side[i].pm->schedule().slot[0].ends;
        ++side[i].tx_pkts;
        if (!side[i].pm->own_value(out.value)) ++side[i].echoes_out;
        if (p.as_sent.remote.family != 0) put(p);
      }
      session::PathNotice notice;
      while (side[i].pm->next_notice(notice)) side[i].notices.push_back(notice);
    }
  }

  // Time passes; each side that `data_gap_ns` is given for sends a packet so often, on its streams in turn.
  void run(std::uint64_t for_ns) {
    const std::uint64_t end = now + for_ns;
    flush();
    while (now < end) {
      std::uint64_t next = end;
      if (!in_flight.empty()) next = std::min(next, in_flight.begin()->first);
      for (unsigned i = 0; i < 2; ++i) {
        next = std::min(next, std::max(side[i].pm->next_deadline_ns(), now + 1));
        if (data_gap_ns[i] != 0) next = std::min(next, std::max(data_due_ns[i], now + 1));
      }
      now = std::max(next, now);
      step();
    }
  }
  void step() {
    while (!in_flight.empty() && in_flight.begin()->first <= now) {
      const Packet p = in_flight.begin()->second;
      in_flight.erase(in_flight.begin());
      arrive(p);
    }
    for (unsigned i = 0; i < 2; ++i) {
      if (data_gap_ns[i] != 0 && data_due_ns[i] <= now) {
        data_due_ns[i] = now + data_gap_ns[i];
        send_data(i, static_cast<std::uint16_t>(1 + turn_++ % streams));
      }
      if (side[i].pm->next_deadline_ns() > now) continue;
      side[i].pm->on_traffic(side[i].rx_pkts, side[i].tx_pkts, now);
      side[i].pm->on_timer(now);
      EXPECT_GT(side[i].pm->next_deadline_ns(), now);
    }
    flush();
  }

  std::size_t count(unsigned of, session::PathEvent event) const {
    return static_cast<std::size_t>(
        std::count_if(side[of].notices.begin(), side[of].notices.end(),
                      [&](const session::PathNotice& n) { return n.event == event; }));
  }

  std::uint64_t now = kSecond;
  std::array<Side, 2> side;
  std::multimap<std::uint64_t, Packet> in_flight;
  std::uint64_t delay_ns = 10 * kMs;
  std::uint64_t jitter_ns = 0;
  std::uint64_t loss_per_mille = 0;
  std::uint64_t repeat_per_mille = 0;
  std::uint16_t streams = 4;
  std::array<std::uint64_t, 2> data_gap_ns{};
  std::array<std::uint64_t, 2> data_due_ns{};
  std::function<bool(const Packet&)> cut;
  std::function<bool(const Packet&)> nowhere;  // sent to an address where none of the two is
  std::function<std::uint64_t(const Packet&)> delay_of;
  std::function<void(const Packet&)> tap;
  std::map<Key, session::Endpoint> mapped;  // inside -> outside
  std::map<Key, session::Endpoint> inside;  // outside -> inside
  std::set<Key> closed;

 private:
  session::PathManager::Random random_;
  std::uint64_t turn_ = 0;
};

}  // namespace support
