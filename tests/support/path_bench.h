// A PathManager with a clock and a peer that answers or does not, by address: for tests of one side.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "session/path_manager.h"

namespace support {

inline constexpr std::uint64_t kMs = 1'000'000;
inline constexpr std::uint64_t kSecond = 1'000 * kMs;

inline session::Endpoint v4(std::uint8_t last, std::uint16_t port = 4000) {
  session::Endpoint e;
  e.address[0] = 192;
  e.address[2] = 2;
  e.address[3] = last;
  e.port = port;
  e.family = 4;
  return e;
}
inline session::Endpoint v6(std::uint8_t last, std::uint16_t port = 4000) {
  session::Endpoint e;
  e.address[0] = 0x20;
  e.address[1] = 1;
  e.address[15] = last;
  e.port = port;
  e.family = 6;
  return e;
}
// From our address 1 to the peer's address `last`.
inline session::PathEnds to(std::uint8_t last, std::uint16_t port = 4000) {
  return {v4(1), v4(last, port)};
}

// Seeded bytes: every run is the same.
inline session::PathManager::Random test_random(std::uint64_t seed) {
  return [state = seed * 2 + 1](std::span<std::uint8_t> out) mutable {
    for (std::uint8_t& byte : out) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      byte = static_cast<std::uint8_t>(state >> 56);
    }
  };
}

class PathBench {
 public:
  struct Wire {  // what went to, and came from, one remote address, as IP bytes
    std::uint64_t in = 0;
    std::uint64_t out = 0;
  };
  using Events = std::vector<session::PathEvent>;

  PathBench(const session::PathPolicy& policy, const std::vector<session::PathEnds>& ends)
      : pm(policy, ends, test_random(7), now) {}

  static std::uint64_t ip_bytes(const session::PathEnds& ends, std::uint64_t payload) {
    return payload + (ends.remote.family == 4 ? 28 : 48);
  }
  static std::pair<std::uint16_t, std::uint8_t> key(const session::PathEnds& ends) {
    return {ends.remote.port, ends.remote.family == 4 ? ends.remote.address[3] : ends.remote.address[15]};
  }

  // What the manager sends now; nothing is answered.
  std::vector<session::PathSend> sent() {
    std::vector<session::PathSend> out;
    session::PathSend one;
    while (pm.next_send(one)) {
      wire[key(one.ends)].out += ip_bytes(one.ends, session::PathManager::kChallengeBytes);
      out.push_back(one);
    }
    return out;
  }
  session::PathVerdict comes(std::uint8_t id, const session::PathChallenge& value,
                             const session::PathEnds& from) {
    wire[key(from)].in += ip_bytes(from, session::PathManager::kChallengeBytes);
    return pm.on_path_validation(id, value, from, now);
  }
  session::PathVerdict echo(const session::PathSend& send) {
    return comes(send.path_id, send.value, send.ends);
  }
  void source(const session::PathEnds& from, std::uint8_t path = 0, std::uint32_t bytes = 200) {
    wire[key(from)].in += ip_bytes(from, bytes);
    pm.on_source(path, from, bytes, now);
  }

  // Time passes, at the pace of the manager's deadlines; `answers` tells which sends come back, after
  // `rtt_ns`.
  void run(std::uint64_t for_ns, const std::function<bool(const session::PathSend&)>& answers = {},
           std::uint64_t rtt_ns = 20 * kMs) {
    const std::uint64_t end = now + for_ns;
    for (std::uint64_t steps = 0;; ++steps) {
      for (const session::PathSend& send : sent()) {
        log.push_back({now, send});
        if (answers && answers(send)) in_flight.emplace(now + rtt_ns, send);
      }
      // A deadline that stays in the past would have the caller spin.
      if (steps > 0) {
        EXPECT_GT(pm.next_deadline_ns(), now);
      }
      std::uint64_t next = std::max(pm.next_deadline_ns(), now + 1);
      if (!in_flight.empty()) next = std::min(next, in_flight.begin()->first);
      if (next > end || steps > 200'000) break;
      now = next;
      while (!in_flight.empty() && in_flight.begin()->first <= now) {
        const session::PathSend back = in_flight.begin()->second;
        in_flight.erase(in_flight.begin());
        (void)echo(back);
      }
      if (traffic) pm.on_traffic(rx_pkts += rx_grows, tx_pkts += 10, now);
      pm.on_timer(now);
    }
    now = end;
  }

  Events events() {
    Events out;
    session::PathNotice one;
    while (pm.next_notice(one)) {
      notices.push_back(one);
      out.push_back(one.event);
    }
    return out;
  }
  static bool has(const Events& events, session::PathEvent event) {
    return std::find(events.begin(), events.end(), event) != events.end();
  }
  const session::PathEnds& at(unsigned slot = 0) { return pm.schedule().slot[slot].ends; }

  std::uint64_t now = kSecond;
  bool traffic = false;  // the session has some: the counters grow with every timer
  std::uint64_t rx_grows = 10;
  std::uint64_t rx_pkts = 0;
  std::uint64_t tx_pkts = 0;
  session::PathManager pm;
  std::map<std::pair<std::uint16_t, std::uint8_t>, Wire> wire;
  std::multimap<std::uint64_t, session::PathSend> in_flight;
  struct Logged {
    std::uint64_t at_ns;
    session::PathSend send;
  };
  std::vector<Logged> log;
  std::vector<session::PathNotice> notices;
};

inline session::PathChallenge value_of(unsigned n) {
  session::PathChallenge v{};
  std::memcpy(v.data(), &n, sizeof(n));
  v[31] = 0x5a;
  return v;
}

}  // namespace support
