// PathManager: validation, migration, the fallback, and what keeps a stranger from moving traffic
// (protocol.md 10, 10.5, 16.6; W-17).
#include <set>

#include <gtest/gtest.h>

#include "tests/support/path_bench.h"

namespace {

using session::PathEnds;
using session::PathEvent;
using session::PathManager;
using session::PathPolicy;
using session::PathSend;
using session::PathState;
using session::PathVerdict;
using support::kMs;
using support::kSecond;
using support::PathBench;
using support::to;
using support::value_of;

const PathEnds kHome = to(10);
const PathEnds kAway = to(20);
const PathEnds kThird = to(30);

bool is_challenge(const PathSend& send) {
  return send.path_id >= PathManager::kFirstChallengeId && send.path_id <= PathManager::kLastChallengeId;
}

class PathManagerOne : public ::testing::Test {
 protected:
  // The first challenge to `ends` among what is sent now.
  PathSend challenge_to(const PathEnds& ends) {
    PathSend found{};
    for (const PathSend& send : b_.sent()) {
      if (send.ends == ends && is_challenge(send) && found.path_id == 0) found = send;
    }
    EXPECT_NE(found.path_id, 0) << "no challenge was sent";
    return found;
  }
  void move_to(const PathEnds& ends) {
    b_.source(ends);
    EXPECT_EQ(b_.echo(challenge_to(ends)), PathVerdict::kValidated);
    EXPECT_EQ(b_.at(), ends);
  }
  // Probes of the fallback and of everything else that is asked for are answered for a while.
  void settle(std::uint64_t for_ns = 300 * kMs) {
    b_.run(for_ns, [](const PathSend&) { return true; });
  }

  PathPolicy policy_;
  PathBench b_{policy_, {kHome}};
};

TEST_F(PathManagerOne, SlotZeroIsValidFromTheStart) {
  EXPECT_EQ(b_.at(), kHome);
  EXPECT_TRUE(b_.pm.validated(0));
  EXPECT_FALSE(b_.pm.validated(1));
  EXPECT_EQ(b_.pm.view().at(0).state, PathState::kValidated);
  EXPECT_EQ(b_.pm.schedule().count, 1U);
}

TEST_F(PathManagerOne, AHintIsChallengedAndOnlyTheEchoFromThereMoves) {
  b_.source(kAway);
  EXPECT_TRUE(b_.pm.migrating());
  EXPECT_EQ(b_.at(), kHome);
  const PathSend challenge = challenge_to(kAway);
  EXPECT_EQ(b_.comes(challenge.path_id, challenge.value, kThird), PathVerdict::kIgnored);
  EXPECT_EQ(b_.comes(challenge.path_id, challenge.value, kHome), PathVerdict::kIgnored);
  PathSend wrong = challenge;
  wrong.path_id = static_cast<std::uint8_t>(challenge.path_id + 1);
  EXPECT_EQ(b_.echo(wrong), PathVerdict::kIgnored);
  EXPECT_EQ(b_.at(), kHome);
  const std::uint64_t before = b_.pm.schedule_version();
  EXPECT_EQ(b_.echo(challenge), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_EQ(b_.pm.primary(), kAway);
  EXPECT_GT(b_.pm.schedule_version(), before);
  EXPECT_FALSE(b_.pm.migrating());
  const auto events = b_.events();
  EXPECT_TRUE(PathBench::has(events, PathEvent::kCandidate));
  EXPECT_TRUE(PathBench::has(events, PathEvent::kMigrated));
  EXPECT_EQ(b_.pm.view().at(0).migrations, 1U);
  EXPECT_EQ(b_.pm.view().at(0).fallback, kHome);
}

TEST_F(PathManagerOne, APortAloneAndAnotherFamilyAreAddressesToo) {
  move_to(to(10, 4001));
  settle();
  move_to({support::v6(1), support::v6(9)});
}

TEST_F(PathManagerOne, ASilentCandidateIsRejectedAfterItsSendsAndTriedAgainOnlyAfterAPause) {
  b_.source(kAway, 0, 1400);
  b_.run(policy_.attempt_timeout_ns - kMs);
  unsigned sends = 0;
  std::set<session::PathChallenge> values;
  for (const auto& one : b_.log) {
    if (!is_challenge(one.send)) continue;
    ++sends;
    values.insert(one.send.value);
  }
  EXPECT_EQ(sends, PathManager::kAttemptSends);
  EXPECT_EQ(values.size(), sends) << "every send has its own value";
  EXPECT_TRUE(b_.pm.migrating());
  b_.run(2 * kMs);
  EXPECT_FALSE(b_.pm.migrating());
  EXPECT_TRUE(PathBench::has(b_.events(), PathEvent::kRejected));
  EXPECT_EQ(b_.at(), kHome);
  b_.source(kAway);  // in the pause
  b_.run(policy_.attempt_pause_ns / 2);
  EXPECT_FALSE(b_.pm.migrating());
  b_.run(policy_.attempt_pause_ns);
  EXPECT_FALSE(b_.pm.migrating()) << "only a new packet starts another attempt";
  b_.source(kAway);
  EXPECT_TRUE(b_.pm.migrating());
  // The second pause is twice as long.
  b_.run(policy_.attempt_timeout_ns + policy_.attempt_pause_ns + 10 * kMs);
  b_.source(kAway);
  EXPECT_FALSE(b_.pm.migrating());
  b_.run(policy_.attempt_pause_ns);
  b_.source(kAway);
  EXPECT_TRUE(b_.pm.migrating());
}

TEST_F(PathManagerOne, AnyOfTheSendsMayBeTheOneThatComesThrough) {
  b_.source(kAway, 0, 1400);
  b_.run(400 * kMs);
  std::vector<PathSend> challenges;
  for (const auto& one : b_.log) {
    if (is_challenge(one.send)) challenges.push_back(one.send);
  }
  ASSERT_GE(challenges.size(), 3U);
  EXPECT_EQ(b_.echo(challenges[1]), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
}

TEST_F(PathManagerOne, AnEchoThatComesAfterItsAttemptIsNeitherTakenNorSentBack) {
  b_.source(kAway);
  const PathSend old = challenge_to(kAway);
  b_.run(policy_.attempt_timeout_ns + 60 * kSecond);
  (void)b_.sent();
  EXPECT_EQ(b_.echo(old), PathVerdict::kIgnored);
  EXPECT_EQ(b_.comes(77, old.value, kAway), PathVerdict::kIgnored);
  for (const PathSend& send : b_.sent()) EXPECT_NE(send.value, old.value);
  EXPECT_EQ(b_.at(), kHome);
}

TEST_F(PathManagerOne, W17_AForeignValueOnAnIdOfOursIsEchoedOnce) {
  b_.source(kAway);
  const PathSend challenge = challenge_to(kAway);
  EXPECT_EQ(b_.comes(challenge.path_id, value_of(5), kAway), PathVerdict::kEcho);
  const auto echoes = b_.sent();
  ASSERT_GE(echoes.size(), 1U);
  EXPECT_EQ(echoes[0].value, value_of(5));
  EXPECT_EQ(echoes[0].path_id, challenge.path_id);
  EXPECT_EQ(echoes[0].ends, kAway);
  EXPECT_EQ(b_.comes(challenge.path_id, value_of(5), kAway), PathVerdict::kIgnored);
  EXPECT_EQ(b_.echo(challenge), PathVerdict::kValidated) << "the attempt went on";
}

TEST_F(PathManagerOne, EchoesOfOneSecondAreBounded) {
  for (unsigned i = 0; i < 10'000; ++i) (void)b_.comes(9, value_of(i), kHome);
  EXPECT_LE(b_.sent().size(), policy_.echo_burst);
  EXPECT_GE(b_.pm.refused_total(), 10'000U - policy_.echo_burst);
  b_.now += kSecond;
  for (unsigned i = 0; i < 10'000; ++i) (void)b_.comes(9, value_of(i), kHome);
  EXPECT_LE(b_.sent().size(), policy_.echo_burst);
}

}  // namespace
