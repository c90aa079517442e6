// A great many rebindings through two complete gateways: each is validated and moved to, and nothing is left
// of it. 100,000 of them; PHANTOM_REBINDINGS=1000000 makes it a million.
#include <cstdlib>
#include <cstring>

#include <gtest/gtest.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include "dataplane/session_paths.h"
#include "tests/support/roaming.h"

namespace {

using namespace support;

constexpr std::uint64_t kMs = 1'000'000;
constexpr unsigned kSessions = 1000;
constexpr unsigned kChunk = 100;  // sessions that move at a time: what they send fits all rings
#if defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kDefault = 10'000;
#else
constexpr std::uint64_t kDefault = 100'000;
#endif

std::uint64_t wanted() {
  const char* text = std::getenv("PHANTOM_REBINDINGS");
  return text == nullptr ? kDefault : std::strtoull(text, nullptr, 10);
}

std::uint64_t migrations(const End& end) {
  std::uint64_t n = 0;
  for (const dataplane::SessionView& v : end.control->sessions()) n += v.paths.at(0).migrations;
  return n;
}

std::size_t heap_bytes() {
  return mallinfo2().uordblks;
}

// A's sessions come from an address of their own, another one each round.
struct Rebinder {
  Network net;
  std::uint64_t round = 0;
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;

  static GatewayOptions options() {
    GatewayOptions o;
    o.sessions = kSessions;
    o.keys = kSessions * 8;
    o.ring_size = 4096;
    o.routes = 2 * kSessions;
    return o;
  }

  Rebinder() : net(options()) {
    for (unsigned i = 0; i < kSessions; ++i) {
      net.add_pair(i, [](dataplane::SessionEntry& e) { e.policy.tx_streams = 1; });
    }
    net.start();
    net.wire = [this](Transit& t) {
      if (!t.from_a) {
        t.to = net.a.wan();
        return true;
      }
      unsigned number = 0;
      std::memcpy(&number, t.payload + session::kOffSessionId, sizeof number);
      const auto at = static_cast<std::uint32_t>(round * 3 + number);
      t.from.address = {203, static_cast<std::uint8_t>(at >> 16), static_cast<std::uint8_t>(at >> 8),
                        static_cast<std::uint8_t>(at)};
      t.from.port = static_cast<std::uint16_t>(1024 + at % 50'000);
      return true;
    };
  }

  void run_round() {
    ++round;
    net.now_ns += 160 * kMs;  // A answers 64 challenges a second, and each of its moves asks for up to seven
    for (unsigned first = 0; first < kSessions; first += kChunk) {
      for (unsigned i = first; i < first + kChunk; ++i) net.a.send(i);
      sent += kChunk;
      net.settle();
      arrived += net.b.delivered();
    }
  }
};

TEST(Rebindings, LeaveNothingBehind) {
  spdlog::set_level(spdlog::level::off);
  const unsigned free_before = free_packets();
  {
    Rebinder r;
    const std::uint64_t goal = wanted();
    const std::size_t neighbours = r.net.b.control->neighbours().size();
    std::size_t heap = 0;
    std::uint64_t moved = 0;
    // A hint that the worker's budget swallowed is a rebinding less: a few rounds more make up for it.
    for (std::uint64_t most = 2 * goal / kSessions + 20; moved < goal && r.round < most;) {
      for (unsigned i = 0; i < 10; ++i) r.run_round();
      moved = migrations(r.net.b);
      if (r.round == 10) heap = heap_bytes();  // events and tables are full by now
    }
    EXPECT_GE(moved, goal);
    EXPECT_EQ(r.arrived, r.sent);
    r.net.pass(2'000 * kMs, 100 * kMs);
    EXPECT_EQ(r.net.b.control->neighbours().size(), neighbours);
    EXPECT_EQ(r.net.a.drops() + r.net.b.drops(), 0U);
    EXPECT_TRUE(r.net.a.balanced());
    EXPECT_TRUE(r.net.b.balanced());
#if !defined(__SANITIZE_ADDRESS__)
    EXPECT_LT(heap_bytes(), heap + (4U << 20)) << "memory is constant";
#endif
    RecordProperty("rebindings", std::to_string(moved));
  }
  EXPECT_EQ(free_packets(), free_before);
}

}  // namespace
