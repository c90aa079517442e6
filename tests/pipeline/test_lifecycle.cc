// Sessions that come and go under traffic: no packet of others lost, memory constant, slots that rest,
// replacements from both sides, and what is refused.
#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include "tests/support/live.h"

namespace {

using namespace support;
using dataplane::OperatorResult;
using dataplane::OperatorStatus;
using session::DropReason;
using session::LifeState;

constexpr std::uint64_t kMs = 1'000'000;

GatewayOptions small(unsigned workers = 1, std::uint32_t sessions = 128) {
  GatewayOptions options;
  options.workers = workers;
  options.sessions = sessions;
  options.keys = sessions * 8;
  options.routes = 1024;
  return options;
}

class Quiet : public ::testing::Test {
 protected:
  Quiet() { spdlog::set_level(spdlog::level::off); }
  ~Quiet() override { spdlog::set_level(spdlog::level::info); }
};

// Two gateways, a WAN between them, and a count of every packet that was sent through.
class Pair {
 public:
  explicit Pair(unsigned workers = 1, std::uint32_t sessions = 128)
      : one("m", 1, small(workers, sessions)), two("n", 2, small(workers, sessions)) {}

  void connect(const std::string& name, std::uint32_t number) {
    ASSERT_TRUE(one.add(name, number, {"10.2.0.0/16"}).ok());
    ASSERT_TRUE(two.add(name, number, {"10.1.0.0/16"}).ok());
    ASSERT_TRUE(until([&] { return one.view(name)->heard && two.view(name)->heard; }));
  }
  // One loop of everything, with so many packets each way.
  void loop(unsigned packets) {
    const auto workers = static_cast<unsigned>(one.gw.topology().workers.size());
    for (unsigned i = 0; i < packets; ++i) {
      one.from_host(sent, sent % workers);
      two.from_host(sent, sent % workers);
      ++sent;
    }
    one.poll();
    two.poll();
    carry_wan(one, two);
    carry_wan(two, one);
    one.poll();
    two.poll();
    at_two += two.to_host().size();
    at_one += one.to_host().size();
  }
  template <typename Done>
  bool until(const Done& done, unsigned packets = 0, unsigned ms = 5000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      loop(packets);
    }
    return true;
  }
  void settle() {
    for (int i = 0; i < 10; ++i) loop(0);
  }
  [[nodiscard]] std::string lost() {
    return fmt::format("sent {}, arrived {} and {}; drops at 1: {}, at 2: {}", sent, at_two, at_one,
                       one.drop_list(), two.drop_list());
  }

  Live one;
  Live two;
  std::uint32_t sent = 0;
  std::uint64_t at_one = 0;
  std::uint64_t at_two = 0;
};

// ---- add and remove

TEST(Lifecycle, AddedWhileRunningCarriesTraffic) {
  Pair pair;
  pair.connect("a", 1);
  EXPECT_TRUE(pair.one.said("a", "added"));
  for (int i = 0; i < 100; ++i) pair.loop(4);
  pair.settle();
  EXPECT_EQ(pair.at_two, pair.sent) << pair.lost();
  EXPECT_EQ(pair.at_one, pair.sent) << pair.lost();
  EXPECT_EQ(pair.one.drops() + pair.two.drops(), 0U) << pair.lost();
}

TEST(Lifecycle, RemovedAfterADrainAndForgotten) {
  Pair pair;
  pair.connect("a", 1);
  const std::uint32_t free_keys = pair.one.gw.topology().workers[0].keys->free_count();
  ASSERT_TRUE(pair.one.door().session_remove("a", 20 * kMs).ok());
  EXPECT_FALSE(pair.one.door().session_remove("a", 0).ok()) << "it is on its way";
  EXPECT_EQ(pair.one.gw.topology().fib->lookup(ip("10.2.0.9")).kind(), dataplane::HopKind::kNone);
  ASSERT_TRUE(pair.until([&] { return pair.one.view("a")->state == LifeState::kClosing; }));
  // What the peer sends meanwhile still arrives.
  for (std::uint32_t i = 0; i < 10; ++i) pair.two.from_host(i);
  pair.loop(0);
  EXPECT_EQ(pair.at_one, 10U) << pair.lost();
  ASSERT_TRUE(pair.until([&] { return !pair.one.view("a"); }));
  EXPECT_TRUE(pair.one.said("a", "removed"));
  EXPECT_GT(pair.one.gw.topology().workers[0].keys->free_count(), free_keys);
  EXPECT_EQ(pair.one.gw.shard().find(pair.one.entry("a", 1).identity.id.data()), session::kNone);
  for (std::uint32_t i = 0; i < 3; ++i) pair.two.from_host(i);
  pair.loop(0);
  EXPECT_EQ(pair.one.gw.drops(DropReason::kUnknownSession), 3U);
}

TEST(Lifecycle, ADrainEndsThoughThePeerGoesOn) {
  Pair pair;
  pair.connect("a", 1);
  ASSERT_TRUE(pair.one.door().session_remove("a", 20 * kMs).ok());
  const auto begin = std::chrono::steady_clock::now();
  std::uint32_t n = 0;
  EXPECT_TRUE(pair.until([&] {
    pair.two.from_host(n++);
    return !pair.one.view("a");
  }));
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, std::chrono::milliseconds(60)) << "three times, while packets come";
  EXPECT_LT(took, std::chrono::milliseconds(1000));
}

TEST(Lifecycle, WhatIsRefused) {
  Pair pair;
  Live& one = pair.one;
  pair.connect("a", 1);
  const auto status = [](const OperatorResult& r) { return r.status; };
  const auto expect = [&](const OperatorResult& r, OperatorStatus s, const std::string& text) {
    EXPECT_EQ(status(r), s) << r.message;
    EXPECT_NE(r.message.find(text), std::string::npos) << r.message;
  };
  expect(one.add("a", 2), OperatorStatus::kExists, "named \"a\"");
  expect(one.add("b", 1), OperatorStatus::kExists, "\"a\" and \"b\" have the same secret");
  dataplane::SessionEntry twin = one.entry("b", 2);
  twin.identity.id = one.entry("x", 1).identity.id;
  one.entry("x", 2);
  expect(one.door().session_add(twin, {}), OperatorStatus::kExists, "same id");
  dataplane::SessionEntry missing = one.entry("b", 2);
  missing.secret_file += ".not";
  expect(one.door().session_add(missing, {}), OperatorStatus::kInvalid, missing.secret_file);
  dataplane::SessionEntry lost = one.entry("b", 2);
  lost.peer = endpoint("203.0.113.1", 4500);
  expect(one.door().session_add(lost, {}), OperatorStatus::kInvalid, "no way to 203.0.113.1");
  expect(one.add("b", 2, {"10.2.0.0/16"}), OperatorStatus::kExists, "into session \"a\"");
  expect(one.add("b", 2, {"10.7.0.0/16", "10.7.0.0/16"}), OperatorStatus::kExists, "twice");
  expect(one.add("b", 2, {"10.1.0.1/32"}), OperatorStatus::kExists, "our own address");
  expect(one.door().session_remove("nobody", 0), OperatorStatus::kNotFound, "nobody");
  expect(one.replace("nobody", "b", 2, 0), OperatorStatus::kNotFound, "nobody");
  expect(one.door().session_rekey("nobody", 1), OperatorStatus::kNotFound, "nobody");
  expect(one.door().session_rekey("a", 17), OperatorStatus::kInvalid, "1 to 16");
  expect(one.door().route_add(Live::route("10.8.0.0/16", "nobody")), OperatorStatus::kNotFound, "nobody");
  expect(one.door().route_add(Live::route("10.2.0.0/16", "a")), OperatorStatus::kExists, "10.2.0.0/16");
  expect(one.door().route_remove(prefix("10.8.0.0/16")), OperatorStatus::kNotFound, "10.8.0.0/16");
  expect(one.door().route_remove(prefix("10.1.0.0/16")), OperatorStatus::kRefused, "port lan");
  dataplane::RouteConfig over = Live::route("10.8.0.0/16", "");
  over.lan_gateway = ip("10.77.0.1");
  expect(one.door().route_add(over), OperatorStatus::kInvalid, "10.77.0.1");
  EXPECT_EQ(one.control->sessions().size(), 1U) << "nothing was left behind";
  pair.loop(4);
  pair.settle();
  EXPECT_EQ(pair.at_two, pair.sent) << pair.lost();
}

TEST(Lifecycle, RoutesAtRunTime) {
  Pair pair;
  pair.connect("a", 1);
  const auto kind = [&](const char* to) { return pair.one.gw.topology().fib->lookup(ip(to)).kind(); };
  EXPECT_TRUE(pair.one.door().route_add(Live::route("10.8.0.0/16", "a")).ok());
  EXPECT_EQ(kind("10.8.1.1"), dataplane::HopKind::kSession);
  dataplane::RouteConfig over = Live::route("10.8.3.0/24", "");
  over.lan_gateway = ip("10.1.0.77");
  EXPECT_TRUE(pair.one.door().route_add(over).ok());
  EXPECT_EQ(kind("10.8.3.1"), dataplane::HopKind::kGateway);
  EXPECT_TRUE(pair.one.door().route_add(Live::route("10.1.0.0/16", "a")).ok()) << "stands over the port's";
  EXPECT_EQ(kind("10.1.0.9"), dataplane::HopKind::kSession);
  EXPECT_EQ(kind("10.1.0.1"), dataplane::HopKind::kLocal);
  EXPECT_EQ(pair.one.door().routes().size(), 3U + 3U)
      << "of the ports: two prefixes of the LAN, one of the WAN";
  EXPECT_TRUE(pair.one.door().route_remove(prefix("10.1.0.0/16")).ok());
  EXPECT_EQ(kind("10.1.0.9"), dataplane::HopKind::kConnected) << "and gives it back";
  EXPECT_TRUE(pair.one.door().route_remove(prefix("10.8.3.0/24")).ok());
  EXPECT_EQ(kind("10.8.3.1"), dataplane::HopKind::kSession);
  EXPECT_TRUE(pair.one.door().route_remove(prefix("10.8.0.0/16")).ok());
  EXPECT_EQ(kind("10.8.3.1"), dataplane::HopKind::kNone);
}

TEST(Lifecycle, AFailingStoreAddsNothing) {
  Pair pair;
  pair.one.store.fail(true);
  ASSERT_TRUE(pair.one.add("a", 1, {"10.2.0.0/16"}).ok()) << "begun";
  EXPECT_TRUE(pair.until([&] { return !pair.one.view("a"); }));
  EXPECT_TRUE(pair.one.said("a", "add_failed"));
  EXPECT_FALSE(pair.one.said("a", "added"));
  EXPECT_EQ(pair.one.add("b", 2).status, OperatorStatus::kStore);
  pair.one.store.fail(false);
  EXPECT_EQ(pair.one.gw.topology().fib->lookup(ip("10.2.0.9")).kind(), dataplane::HopKind::kNone);
}

TEST(Lifecycle, IdleSessionsCloseOrGo) {
  Live one("m", 1, small());
  dataplane::SessionEntry stays = one.entry("stays", 1);
  stays.policy.idle_timeout_ns = 50 * kMs;
  ASSERT_TRUE(one.door().session_add(stays, {}).ok());
  dataplane::SessionEntry goes = one.entry("goes", 2);
  goes.policy.idle_timeout_ns = 50 * kMs;
  goes.on_idle = dataplane::OnIdle::kRemove;
  ASSERT_TRUE(one.door().session_add(goes, {}).ok());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (one.view("goes") && std::chrono::steady_clock::now() < end) {
    one.poll();
    for (rte_mbuf* m : one.gw.take_sent(kWan)) rte_pktmbuf_free(m);
  }
  EXPECT_FALSE(one.view("goes"));
  EXPECT_TRUE(one.said("goes", "idle"));
  ASSERT_TRUE(one.view("stays"));
  EXPECT_EQ(one.view("stays")->state, LifeState::kClosed);
  EXPECT_EQ(one.gw.shard().hot(0).state, LifeState::kClosed);
}

// ---- slots rest

// By construction: worker 1 stands still, so no fence passes, so no slot of any worker is used again.
TEST(Lifecycle, ASlotRestsUntilAllWorkersAnswered) {
  Live one("m", 1, small(2, 4));
  const auto spin = [&](bool both) {
    for (int i = 0; i < 30; ++i) {
      one.control->poll();
      one.gw.poll(0);
      if (both) one.gw.poll(1);
      for (rte_mbuf* m : one.gw.take_sent(kWan)) rte_pktmbuf_free(m);
    }
  };
  std::vector<std::string> first;  // of worker 0
  std::uint32_t number = 1;
  const auto fill = [&] {
    OperatorResult result;
    while (first.size() < 4) {
      const std::string name = fmt::format("s{}", number);
      result = one.add(name, number++);
      spin(true);
      if (result.ok() && one.view(name)->worker == 0) first.push_back(name);
    }
  };
  fill();
  const std::uint32_t slot = one.view(first[0])->slot;
  ASSERT_TRUE(one.door().session_remove(first[0], 0).ok());
  spin(false);
  ASSERT_TRUE(one.view(first[0])) << "worker 1 may have packets for it";
  EXPECT_NE(one.gw.shard(0).hot(slot).state, LifeState::kFree) << "nor was the worker told to remove it";
  OperatorResult result;
  for (int i = 0; i < 8; ++i) {  // some of these belong to worker 0
    result = one.add(fmt::format("t{}", i), number++);
    if (!result.ok()) break;
  }
  EXPECT_EQ(result.status, OperatorStatus::kNoRoom) << result.message;
  EXPECT_NE(result.message.find("limits.sessions"), std::string::npos);
  spin(true);
  EXPECT_FALSE(one.view(first[0]));
}

// Packets in the ring between two workers when their session goes: none of them is sent into a session that
// comes to its slot.
TEST(Lifecycle, HandedOverPacketsNeverReachTheNextSession) {
  Live one("m", 1, small(2, 1));
  std::uint32_t number = 1;
  const auto spin = [&](unsigned loops) {
    for (unsigned i = 0; i < loops; ++i) one.poll();
  };
  // The only slot of worker 1.
  std::string name;
  for (; name.empty(); ++number) {
    const std::string candidate = fmt::format("s{}", number);
    if (!one.add(candidate, number, {"10.2.0.0/16"}).ok()) continue;
    spin(20);
    if (one.view(candidate)->worker == 1) {
      name = candidate;
    } else {
      ASSERT_TRUE(one.door().session_remove(candidate, 0).ok());
      spin(30);
    }
  }
  const std::uint32_t slot = one.view(name)->slot;
  for (std::uint32_t i = 0; i < 20; ++i) one.from_host(i, 0);
  one.gw.poll(0);  // routed by worker 0, in the ring to worker 1
  ASSERT_EQ(rte_ring_count(one.gw.topology().workers[1].handoff_in[0]), 20U);
  for (rte_mbuf* m : one.gw.take_sent(kWan)) rte_pktmbuf_free(m);
  ASSERT_TRUE(one.door().session_remove(name, 0).ok());
  std::string next;
  for (int i = 0; i < 2000 && next.empty(); ++i) {
    const std::string candidate = fmt::format("n{}", number);
    const OperatorResult result = one.add(candidate, number);
    if (result.ok()) {
      spin(10);
      const auto view = one.view(candidate);
      if (view && view->worker == 1 && view->slot == slot) next = candidate;
    }
    ++number;
    one.poll();
  }
  ASSERT_FALSE(next.empty()) << "the slot came back";
  spin(20);
  const auto view = one.view(next);
  EXPECT_EQ(one.gw.shard(1).hot(slot).tx_pkts, view->tx_pkts);
  EXPECT_LE(view->tx_bytes, view->tx_pkts * 32) << "nothing but probes";
  for (rte_mbuf* m : one.gw.take_sent(kWan)) rte_pktmbuf_free(m);
}

// ---- replacement

void replaced_under_traffic(Pair& pair, bool two_first, unsigned apart) {
  Live& first = two_first ? pair.two : pair.one;
  Live& second = two_first ? pair.one : pair.two;
  ASSERT_TRUE(first.replace("a", "b", 2, 50 * kMs).ok());
  EXPECT_EQ(first.view("a")->replaced_by, "b");
  for (unsigned i = 0; i < apart; ++i) pair.loop(2);
  EXPECT_TRUE(first.view("a")) << "no peer in the new session yet";
  ASSERT_TRUE(second.replace("a", "b", 2, 50 * kMs).ok());
  ASSERT_TRUE(pair.until([&] { return !pair.one.view("a") && !pair.two.view("a"); }, 2)) << pair.lost();
  pair.settle();
  EXPECT_EQ(pair.at_two, pair.sent) << pair.lost();
  EXPECT_EQ(pair.at_one, pair.sent) << pair.lost();
  EXPECT_TRUE(first.said("a", "replaced"));
  EXPECT_TRUE(second.said("a", "replaced"));
  EXPECT_GT(first.view("b")->tx_pkts, 4U);
}

TEST(Replace, BothSidesUnderTrafficLoseNothing) {
  Pair pair;
  pair.connect("a", 1);
  for (int i = 0; i < 20; ++i) pair.loop(4);
  replaced_under_traffic(pair, false, 20);
}

TEST(Replace, TheOtherSideFirstWithTwoWorkers) {
  Pair pair(2);
  pair.connect("a", 1);
  for (int i = 0; i < 20; ++i) pair.loop(4);
  replaced_under_traffic(pair, true, 3);
}

TEST(Replace, WithoutAPeerTheOldOneStays) {
  Pair pair;
  pair.connect("a", 1);
  ASSERT_TRUE(pair.one.replace("a", "b", 2, 0).ok());
  EXPECT_EQ(pair.one.replace("a", "c", 3, 0).status, OperatorStatus::kRefused) << "one at a time";
  EXPECT_EQ(pair.one.door().session_remove("a", 0).status, OperatorStatus::kRefused);
  ASSERT_TRUE(pair.until([&] { return !pair.one.view("b"); }, 2)) << "gone after its time";
  pair.settle();
  EXPECT_TRUE(pair.one.said("a", "replace_failed"));
  EXPECT_EQ(pair.one.view("a")->replaced_by, "");
  EXPECT_EQ(pair.at_two, pair.sent) << pair.lost();
  EXPECT_EQ(pair.at_one, pair.sent) << pair.lost();
  ASSERT_TRUE(pair.one.replace("a", "b", 2, 0).ok()) << "and it can be tried again";
}

TEST(Replace, RemovingTheNewOneKeepsTheOldOne) {
  Pair pair;
  pair.connect("a", 1);
  ASSERT_TRUE(pair.one.replace("a", "b", 2, 0).ok());
  pair.loop(2);
  ASSERT_TRUE(pair.one.door().session_remove("b", 0).ok());
  ASSERT_TRUE(pair.until([&] { return !pair.one.view("b"); }, 2));
  pair.settle();
  EXPECT_EQ(pair.at_two, pair.sent) << pair.lost();
  EXPECT_EQ(pair.one.view("a")->replaced_by, "");
}

// ---- very many

std::size_t heap_bytes() {
  return mallinfo2().uordblks;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr std::uint32_t kCycles = 4'000;
#else
constexpr std::uint32_t kCycles = 100'000;
#endif
constexpr std::uint32_t kWave = 50;

std::string host_route(std::uint32_t number) {
  return fmt::format("10.9.{}.{}/32", number / 250 % 4, number % 250);
}

std::string host(std::uint32_t number) {
  const std::string route = host_route(number);
  return route.substr(0, route.find('/'));
}

// A wave of sessions comes, is there, and goes, while packets of another one flow.
void wave(Pair& pair, std::uint32_t first) {
  std::vector<std::string> names;
  for (std::uint32_t i = first; i < first + kWave; ++i) {
    names.push_back(fmt::format("c{}", 1'000'000 + i));
    const std::string six = fmt::format("2001:db8:9:{}::{}/128", i % 8, i % 250);
    ASSERT_TRUE(pair.one.add(names.back(), 100 + i, {host_route(i), six}).ok());
    if (i % 10 == 0) pair.loop(4);
  }
  const auto live = [&] {
    return pair.one.gw.topology().fib->lookup(ip(host(first + kWave - 1))).kind() ==
           dataplane::HopKind::kSession;
  };
  ASSERT_TRUE(pair.until(live, 4));
  for (std::size_t i = 0; i < names.size(); ++i) {
    ASSERT_TRUE(pair.one.door().session_remove(names[i], 0).ok());
    if (i % 10 == 0) pair.loop(4);
  }
}

TEST_F(Quiet, HundredThousandCyclesUnderTraffic) {
  const unsigned packets_before = free_packets();
  {
    Pair pair(1, kWave * 3 + 1);
    pair.connect("steady", 1);
    const auto waves = [&](std::uint32_t from, std::uint32_t until) {
      for (std::uint32_t at = from; at < until; at += kWave) {
        wave(pair, at);
        if (::testing::Test::HasFatalFailure()) return;
      }
      ASSERT_TRUE(pair.until([&] { return pair.one.control->sessions().size() == 1; }, 4));
      pair.settle();
    };
    waves(0, kCycles / 10);
    const std::size_t heap = heap_bytes();
    dataplane::WorkerParts& worker = pair.one.gw.topology().workers[0];
    const std::uint32_t keys = worker.keys->free_count();
    const std::size_t routes = pair.one.door().routes().size();
    waves(kCycles / 10, kCycles);
    EXPECT_EQ(pair.at_two, pair.sent) << pair.lost();
    EXPECT_EQ(pair.at_one, pair.sent) << pair.lost();
    EXPECT_EQ(pair.one.drops(), 0U) << pair.lost();
    // The probes of the others, whom nobody knows there.
    EXPECT_EQ(pair.two.drops(), pair.two.gw.drops(DropReason::kUnknownSession)) << pair.lost();
    EXPECT_EQ(worker.keys->free_count(), keys);
    EXPECT_EQ(pair.one.door().routes().size(), routes);
    EXPECT_EQ(pair.one.control->neighbours().size(), 2U);
    EXPECT_LT(heap_bytes(), heap + 256 * 1024) << "memory grows with cycles";
    EXPECT_LT(pair.one.store.commits(), kCycles) << "many records a transaction";
    pair.loop(0);
  }
  EXPECT_EQ(free_packets(), packets_before);
}

// Idle sessions: what each takes is reported, the listing goes by the page, and what is removed is given
// back.
TEST_F(Quiet, MemoryOfSessionsIsReportedAndTheyAreShownByThePage) {
  constexpr std::uint32_t kSessions = 100;
  Live live("p", 1, small());
  EXPECT_EQ(live.control->memory().each_bytes(), 0U) << "no session, nothing to divide by";
  for (std::uint32_t i = 0; i < kSessions; ++i) ASSERT_TRUE(live.add(fmt::format("s{}", i), i).ok());
  for (unsigned i = 0; i < 200; ++i) live.poll();
  const dataplane::SessionMemory full = live.control->memory();
  EXPECT_EQ(full.sessions, kSessions);
  EXPECT_EQ(full.keys_each_bytes, 4 * sizeof(crypto::KeySlot)) << "two epochs, two directions";
  EXPECT_EQ(full.tables_each_bytes, session::Shard::bytes_needed(live.gw.shard().limits()) / 128);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose allocators are not asked
  EXPECT_GT(full.heap_each_bytes, 1024U);
  EXPECT_LT(full.heap_each_bytes, 12U * 1024) << "of which what is there once";
#endif
  ASSERT_TRUE(live.door().session_remove("s3", 0).ok());
  for (unsigned i = 0; i < 200; ++i) live.poll();
  EXPECT_EQ(live.control->session_count(), kSessions - 1);
  EXPECT_EQ(live.control->memory().keys_used_bytes, (kSessions - 1) * 4 * sizeof(crypto::KeySlot));
  std::vector<std::string> names;
  for (std::size_t from = 0; from < kSessions; from += 7) {
    const auto page = live.control->sessions(from, 7);
    EXPECT_EQ(page.size(), std::min<std::size_t>(7, kSessions - 1 - from));
    for (const dataplane::SessionView& v : page) names.push_back(v.name);
  }
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), kSessions - 1);
  EXPECT_TRUE(live.control->sessions(kSessions, 7).empty());
  EXPECT_EQ(live.control->session("s4")->name, "s4");
  EXPECT_FALSE(live.control->session("s3"));
}

}  // namespace
