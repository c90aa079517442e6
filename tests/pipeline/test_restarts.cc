// Gateways that crash while their peer moves, or while it hears nothing: both find together again.
#include <gtest/gtest.h>

#include "dataplane/address_text.h"
#include "session/wire.h"
#include "tests/support/roaming.h"

namespace {

using namespace support;
using session::Endpoint;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kS = 1000 * kMs;

// A behind a translator of which only the last mapping lives; `deaf`: nothing reaches A.
struct Restarts : testing::Test {
  void SetUp() override {
    net.add_pair(0, [this](dataplane::SessionEntry& e) { change(e); });
    net.wire = [this](Transit& t) { return carry(t); };
    net.start();
    run(200);
  }
  void TearDown() override {
    EXPECT_TRUE(net.a.balanced());
    EXPECT_TRUE(net.b.balanced());
  }
  bool carry(Transit& t) {
    if (t.from_a) {
      if (outside.family == 4) t.from = outside;
      return true;
    }
    if (deaf) return false;
    if (outside.family != 4) return true;
    if (t.to.address != outside.address || t.to.port != outside.port) return false;
    t.to = net.a.wan();
    return true;
  }
  // One packet each way a millisecond.
  void run(unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      net.a.send(0);
      net.b.send(0);
      net.pass(kMs, kMs);
      to_b += net.b.delivered();
      to_a += net.a.delivered();
    }
  }
  void expect_passage() {
    to_a = to_b = 0;
    run(100);
    EXPECT_EQ(to_a, 100U);
    EXPECT_EQ(to_b, 100U);
    EXPECT_EQ(net.a.view().epoch, net.b.view().epoch);
  }
  std::function<std::uint64_t()> clock() {
    return [this] { return net.now_ns; };
  }

  std::function<void(dataplane::SessionEntry&)> change = [](dataplane::SessionEntry&) {};
  Network net;
  Endpoint outside{};
  bool deaf = false;
  std::uint64_t to_a = 0;
  std::uint64_t to_b = 0;
};

TEST_F(Restarts, APeerThatMovedDuringTheCrashIsFoundByWhatItSendsInTheOldEpoch) {
  outside = endpoint("203.0.113.7", 1000);  // the old address is dead, and B is down
  net.b.restart(clock());
  ASSERT_GT(net.b.view().epoch, net.a.view().epoch);
  run(2000);
  EXPECT_EQ(net.b.view().peer, dataplane::to_text(outside));
  expect_passage();
}

TEST_F(Restarts, AReplayAfterTheCrashMovesNothing) {
  std::vector<Bytes> captured;
  net.wire = [&](Transit& t) {
    if (t.from_a) captured.emplace_back(t.payload, t.payload + t.bytes);
    return carry(t);
  };
  run(50);
  ASSERT_FALSE(captured.empty());
  net.wire = [this](Transit& t) { return t.from_a ? false : carry(t); };  // B hears the attacker alone
  const std::string peer = net.b.view().peer;
  net.b.restart(clock());
  const Endpoint attacker = endpoint("198.18.0.66", 666);
  std::uint64_t towards_attacker = 0;
  net.wire = [&](Transit& t) {
    if (t.from_a) return false;
    if (t.to.address == attacker.address) towards_attacker += t.bytes;
    return t.to.address != attacker.address && carry(t);
  };
  std::uint64_t from_attacker = 0;
  for (unsigned i = 0; i < 1000; ++i) {
    const Bytes& replay = captured[i % captured.size()];
    from_attacker += replay.size();
    net.inject(false, replay, attacker, net.b.wan());
    net.pass(2 * kMs, kMs);
    EXPECT_EQ(net.b.delivered(), 0U) << "its windows are gone, so nothing old may pass";
  }
  EXPECT_EQ(net.b.view().peer, peer);
  EXPECT_FALSE(net.b.view().heard);
  EXPECT_LT(towards_attacker, 3 * from_attacker);
  net.wire = [this](Transit& t) { return carry(t); };
  run(1500);
  expect_passage();
}

// All the epochs that it makes of its own accord towards a peer that hears none of it, then crashes.
TEST_F(Restarts, AGatewayThatRanAheadOfADeafPeerComesBackWithinItsReach) {
  deaf = true;
  const std::uint8_t heard_at = net.b.view().epoch;
  for (unsigned i = 0; i < 40; ++i) {
    (void)net.b.control->request_rekey("s0", 1);
    net.pass(10 * kMs, kMs);
  }
  EXPECT_EQ(net.b.view().epoch, heard_at + session::MAX_REKEY_CATCHUP - session::kRestartReserve);
  EXPECT_NE(net.b.control->request_rekey("s0", 1), "");
  for (unsigned crash = 0; crash < session::kRestartReserve; ++crash) {
    net.b.restart(clock());
    net.pass(kS, 10 * kMs);
    (void)net.b.control->request_rekey("s0", 1);
    net.pass(kS, 10 * kMs);
  }
  EXPECT_EQ(net.b.view().epoch, heard_at + session::MAX_REKEY_CATCHUP);
  deaf = false;
  net.pass(20 * kS, 10 * kMs);
  expect_passage();
}

}  // namespace
