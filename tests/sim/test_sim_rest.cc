// Rest before a rekey towards an unmodified peer (1.4 rule 7): when it comes, who notices, and what happens
// while it does not.
#include <gtest/gtest.h>

#include "tests/support/sim_ends.h"

namespace {

using namespace support;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint16_t kId = 2;

// Both ends keep the rules for unmodified peers; `a` wants to rekey.
class SimRest : public ::testing::Test {
 protected:
  SimRest() {
    ImpairmentSettings settings;
    settings.delay_ns = 5 * kMs;
    sim_.set(settings);
    sim_.work = [this] {
      a_.work(sim_.now_ns);
      b_.work(sim_.now_ns);
    };
    EXPECT_EQ(a_.streams().open_as(kId, {}), session::StreamError::kOk);
    a_.offer(kId, 10'000, false);
    sim_.pass(100 * kMs);
    EXPECT_EQ(b_.received[kId].bytes, 10'000U);
  }
  // The peer says a few bytes every 20 ms, and so never pauses.
  void chatter(std::uint64_t for_ms) {
    for (std::uint64_t i = 0; i < for_ms / 20; ++i) {
      b_.offer(kId, 100, false);
      sim_.pass(20 * kMs);
    }
  }
  static SessionEnd::Options options(bool initiator) {
    SessionEnd::Options options;
    options.initiator = initiator;
    options.unmodified_peer = true;
    return options;
  }
  SessionEnd a_{options(true), 1'000'000'000}, b_{options(false), 1'000'000'000};
  Simulator sim_{a_, b_, 1};
};

// Nothing else ever happens: the session's own deadlines have to do.
TEST_F(SimRest, TheSessionWakesAtThatMoment) {
  b_.offer(kId, 5'000, false);
  sim_.pass(30 * kMs);
  ASSERT_EQ(a_.received[kId].bytes, 5'000U);
  std::uint64_t now_ns = sim_.now_ns;
  EXPECT_FALSE(a_.session().rekey(now_ns));
  Bytes datagram;
  while (a_.next_datagram(datagram, now_ns)) {
  }
  for (int i = 0; i < 100 && a_.session().epoch() == 0 && now_ns < sim_.now_ns + 1000 * kMs; ++i) {
    now_ns = std::max(now_ns, a_.next_deadline_ns(now_ns));
    a_.on_timer(now_ns);
    while (a_.next_datagram(datagram, now_ns)) {
    }
  }
  EXPECT_EQ(a_.session().epoch(), 1);
  EXPECT_LT(now_ns, sim_.now_ns + 150 * kMs);
}

TEST_F(SimRest, IsNoticedByARequestThatComesLater) {
  chatter(100);
  EXPECT_TRUE(a_.session().rekey(sim_.now_ns + 10'000 * kMs)) << "nothing was asked since the peer's last";
}

TEST_F(SimRest, DataIsHeldBackForAWhileAndThenGoesOn) {
  chatter(100);
  EXPECT_FALSE(a_.session().rekey(sim_.now_ns));
  a_.offer(kId, 1'000'000, false);
  chatter(session::kMostHold_ns / kMs - 200);
  EXPECT_LE(b_.received[kId].bytes, 10'000U) << "what has no number yet waits for rest";
  chatter(1'500);
  EXPECT_EQ(b_.received[kId].bytes, 1'010'000U) << "and not for ever";
  EXPECT_EQ(a_.session().epoch(), 0);
  chatter(60'000);  // once more it is tried, and let go again
  a_.offer(kId, 100'000, false);
  chatter(4'000);
  EXPECT_EQ(b_.received[kId].bytes, 1'110'000U);
  EXPECT_EQ(a_.session().epoch(), 0);
  sim_.pass(500 * kMs);  // the peer pauses
  EXPECT_EQ(a_.session().epoch(), 1);
  EXPECT_EQ(a_.trouble() + b_.trouble(), "");
}

// The seals of the epoch are used up: what may not wait does not.
TEST_F(SimRest, TheSoftLimitOfSealsWaitsAsLong) {
  chatter(100);
  a_.session().set_rekey_threshold(20);
  a_.offer(kId, 1'000'000, false);
  chatter(session::kMostHold_ns / kMs + 1'500);
  EXPECT_EQ(b_.received[kId].bytes, 1'010'000U);
  EXPECT_EQ(a_.session().epoch(), 0);
  sim_.pass(500 * kMs);
  a_.offer(kId, 1'000, false);  // the shard rekeys when something is sent
  sim_.pass(500 * kMs);
  EXPECT_EQ(a_.session().epoch(), 1);
  EXPECT_EQ(b_.received[kId].bytes, 1'011'000U);
}

}  // namespace
